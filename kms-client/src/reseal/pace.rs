//! So many rows a second, no more, however fast the machine is.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

/// Lets rows be written at a rate.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<NonZeroU32>,
    free: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        Self { rate, free: Instant::now() }
    }

    /// Most rows of one step: a quarter of a second's worth, so that a rate is no series of bursts.
    pub(super) fn step(&self, usual: usize) -> usize {
        self.rate.map_or(usual, |rate| (rate.get() as usize / 4).clamp(1, usual))
    }

    /// Waits until so many rows may be written.
    pub(super) async fn wait(&mut self, rows: usize) {
        let Some(rate) = self.rate else { return };
        tokio::time::sleep_until(self.free).await;
        let took = Duration::from_secs_f64(rows as f64 / f64::from(rate.get()));
        // Time that nobody used is not saved up.
        self.free = self.free.max(Instant::now()) + took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_wait_for_those_before_them_and_a_rest_is_not_saved_up() {
        tokio::time::pause();
        let mut pace = Pace::new(NonZeroU32::new(100));
        assert_eq!((pace.step(500), Pace::new(None).step(500)), (25, 500));
        let started = Instant::now();
        for _ in 0..5 {
            pace.wait(25).await;
        }
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
        tokio::time::advance(Duration::from_secs(60)).await;
        let started = Instant::now();
        for _ in 0..5 {
            pace.wait(25).await;
        }
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    }
}
