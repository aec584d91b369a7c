//! How many seals one field key may make under one lease. The limit of random nonces is 2^32 seals a field key; the server cuts
//! it into budgets.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The seals of one field key, counted before they are made.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    used: Arc<AtomicU64>,
    limit: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Takes up to `wanted` seals; says how many may be made and whether it is time to renew.
    // INVARIANT: `used` never passes `limit`, so the limit of nonces holds whatever threads do.
    pub(crate) fn take(&self, wanted: u64) -> Taken {
        let taking = |used: u64| Some(used + wanted.min(self.limit - used));
        let (Ok(before) | Err(before)) = self.used.fetch_update(Relaxed, Relaxed, taking);
        let seals = wanted.min(self.limit - before);
        let early = self.limit - self.limit / 4;
        Taken { seals, renew: before < early && before + seals >= early }
    }

    /// Gives back what was taken and not used.
    pub(crate) fn give_back(&self, seals: u64) {
        self.used.fetch_sub(seals, Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

/// An answer of [`Budget::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) seals: u64,
    /// Three quarters are used since this one; said once.
    pub(crate) renew: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_its_limit_and_not_one_more() {
        let budget = Budget::new(100);
        let given: u64 = std::thread::scope(|scope| {
            let take = || (0..50).map(|_| budget.take(1).seals).sum::<u64>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((given, budget.used(), budget.take(1).seals), (100, 100, 0));
    }

    #[test]
    fn it_says_once_that_it_is_time_to_renew() {
        let budget = Budget::new(8);
        let renew: Vec<_> = (0..10).map(|_| budget.take(1).renew).collect();
        assert_eq!(renew.iter().filter(|renew| **renew).count(), 1);
        assert!(renew[5], "at three quarters");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::new(10);
        assert_eq!(budget.take(64).seals, 10);
        budget.give_back(4);
        assert_eq!(budget.take(64).seals, 4);
    }
}
