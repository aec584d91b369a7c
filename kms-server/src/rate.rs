//! How fast one identity may go: a token bucket each (GCRA), in bounded memory.
//!
//! Used for calls (`rpc::limits`) and for the lines that denials write (`gate`). An identity that is forgotten, since more came than
//! are kept, starts again with a full bucket; those that call most are forgotten last.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use quick_cache::sync::Cache;

use crate::identity::IdentityName;

/// Most identities whose rate is remembered.
const MAX_IDENTITIES: usize = 4_096;

/// A rate and how far above it somebody may go for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// For ever.
    pub per_second: NonZeroU32,
    /// At once, after a rest.
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate; 0 becomes 1.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: at_least_one(per_second), burst: at_least_one(burst) }
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// Too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too fast; wait {} ms", retry_after.as_millis())]
pub struct TooFast {
    /// When the next one would be let through.
    pub retry_after: Duration,
}

/// One bucket for each identity.
pub struct PerIdentity {
    buckets: Cache<IdentityName, Arc<Bucket>>,
    rate: Rate,
    clock: DefaultClock,
}

struct Bucket {
    limiter: DefaultDirectRateLimiter,
    refused: AtomicU64,
}

impl PerIdentity {
    /// Full buckets for everybody.
    pub fn new(rate: Rate) -> Self {
        Self { buckets: Cache::new(MAX_IDENTITIES), rate, clock: DefaultClock::default() }
    }

    /// Takes one, and says how many were refused since the last that was let through.
    ///
    /// # Errors
    /// [`TooFast`] where the bucket is empty.
    pub fn take(&self, identity: &IdentityName) -> Result<u64, TooFast> {
        let bucket = match self.buckets.get(identity) {
            Some(bucket) => bucket,
            None => self.first(identity),
        };
        match bucket.limiter.check() {
            Ok(()) if bucket.refused.load(Ordering::Relaxed) == 0 => Ok(0),
            Ok(()) => Ok(bucket.refused.swap(0, Ordering::Relaxed)),
            Err(until) => {
                bucket.refused.fetch_add(1, Ordering::Relaxed);
                Err(TooFast { retry_after: until.wait_time_from(self.clock.now()) })
            }
        }
    }

    /// ATTACK: two first calls at once must not get a bucket each.
    fn first(&self, identity: &IdentityName) -> Arc<Bucket> {
        let made: Result<_, std::convert::Infallible> = self.buckets.get_or_insert_with(identity, || {
            let quota = Quota::per_second(self.rate.per_second).allow_burst(self.rate.burst);
            Ok(Arc::new(Bucket { limiter: RateLimiter::direct(quota), refused: AtomicU64::new(0) }))
        });
        match made {
            Ok(bucket) => bucket,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> IdentityName {
        IdentityName::Spiffe(name.into())
    }

    #[test]
    fn a_burst_passes_and_what_follows_waits() {
        let rates = PerIdentity::new(Rate::new(1, 3));
        for _ in 0..3 {
            assert_eq!(rates.take(&named("a")), Ok(0));
        }
        let refused = rates.take(&named("a")).unwrap_err();
        assert!(refused.retry_after > Duration::ZERO && refused.retry_after <= Duration::from_secs(1));
    }

    #[test]
    fn one_identity_does_not_use_up_anothers_rate() {
        let rates = PerIdentity::new(Rate::new(1, 1));
        assert!(rates.take(&named("a")).is_ok());
        assert!(rates.take(&named("a")).is_err());
        assert!(rates.take(&named("b")).is_ok());
    }

    #[test]
    fn the_next_let_through_counts_those_refused() {
        let rates = PerIdentity::new(Rate::new(100, 1));
        assert_eq!(rates.take(&named("a")), Ok(0));
        let mut refused = 0;
        let counted = loop {
            match rates.take(&named("a")) {
                Ok(counted) => break counted,
                Err(_) => refused += 1,
            }
        };
        assert!(refused > 0);
        assert_eq!(counted, refused);
    }

    #[test]
    fn the_memory_is_bounded() {
        let rates = PerIdentity::new(Rate::new(1, 1));
        for number in 0..20_000_u32 {
            assert!(rates.take(&named(&format!("spiffe://x/{number}"))).is_ok());
        }
        assert!(rates.buckets.len() <= MAX_IDENTITIES);
    }
}
