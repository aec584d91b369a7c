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
        let at = self.due(rows, Instant::now());
        tokio::time::sleep_until(at).await;
    }

    /// When so many rows may be written; those after them come later.
    fn due(&mut self, rows: usize, now: Instant) -> Instant {
        let Some(rate) = self.rate else { return now };
        // Time that nobody used is not saved up.
        let at = self.free.max(now);
        self.free = at + Duration::from_secs_f64(rows as f64 / f64::from(rate.get()));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_wait_for_those_before_them_and_a_rest_is_not_saved_up() {
        let mut pace = Pace::new(NonZeroU32::new(100));
        assert_eq!((pace.step(500), Pace::new(None).step(500)), (25, 500));
        let mut five_from = |began: Instant| (0..5).map(|_| pace.due(25, began) - began).collect::<Vec<_>>();
        let quarters: Vec<_> = (0..5).map(|n| Duration::from_millis(250 * n)).collect();
        let began = Instant::now() + Duration::from_secs(1);
        assert_eq!(five_from(began), quarters);
        assert_eq!(five_from(began + Duration::from_secs(60)), quarters);
    }
}
