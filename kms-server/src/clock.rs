//! Whether the wall clock goes forward. Leases and intervals count running time and do not follow it; certificates, the instants in
//! records and the age of idempotent requests do.
//!
//! A clock that was set back lets certificates in that have expired, so it is said loudly until it has caught up.

use std::time::{Duration, Instant, SystemTime};

/// Further back than the steps of a time service that corrects a clock.
const TOLERATED: Duration = Duration::from_secs(5);

/// The latest time that is known to have been.
#[derive(Debug)]
pub struct Clock {
    wall: SystemTime,
    at: Instant,
}

impl Clock {
    /// `known` is a time that was, such as that of the last signed head of the audit.
    pub fn new(known: Option<SystemTime>, wall: SystemTime, at: Instant) -> Self {
        Self { wall: known.map_or(wall, |known| known.max(wall)), at }
    }

    /// How far the clock is behind what it must be at the least, where that is more than it may be.
    pub fn behind(&mut self, wall: SystemTime, at: Instant) -> Option<Duration> {
        let least = self.wall + at.saturating_duration_since(self.at);
        if wall >= least {
            (self.wall, self.at) = (wall, at);
            return None;
        }
        least.duration_since(wall).ok().filter(|behind| *behind > TOLERATED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_is_set_back_is_behind_until_it_has_caught_up() {
        let (wall, at) = (SystemTime::UNIX_EPOCH + 1_000_000 * SECOND, Instant::now());
        let mut clock = Clock::new(None, wall, at);
        assert_eq!(clock.behind(wall + 10 * SECOND, at + 10 * SECOND), None);
        assert_eq!(clock.behind(wall + 9 * SECOND, at + 12 * SECOND), None, "a correction");
        assert_eq!(clock.behind(wall - 3600 * SECOND, at + 13 * SECOND), Some(3613 * SECOND));
        assert_eq!(clock.behind(wall - 3590 * SECOND, at + 23 * SECOND), Some(3613 * SECOND));
        assert_eq!(clock.behind(wall + 24 * SECOND, at + 24 * SECOND), None);
        assert_eq!(
            clock.behind(wall + 9_000 * SECOND, at + 25 * SECOND),
            None,
            "forward is not this one's matter"
        );
    }

    #[test]
    fn a_clock_that_was_set_back_while_the_server_did_not_run_is_behind_what_was_signed() {
        let (wall, at) = (SystemTime::UNIX_EPOCH + 1_000_000 * SECOND, Instant::now());
        let mut clock = Clock::new(Some(wall + 86_400 * SECOND), wall, at);
        assert_eq!(clock.behind(wall, at), Some(86_400 * SECOND));
        assert_eq!(clock.behind(wall + 86_400 * SECOND, at), None);
    }
}
