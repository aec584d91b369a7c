//! Which sealing leases may still run: what a destroy of the active version would cut off.
//!
//! Time is CLOCK_BOOTTIME, which counts suspend: a lease runs on while a machine sleeps.

use std::collections::HashMap;
use std::time::Duration;

use kms_core::id::VersionId;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// Time since boot, suspend included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// Now.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)))
    }
}

/// The end of the longest sealing lease of each version, as far as this process handed them out.
pub struct Leases {
    started: BootTime,
    ends: Mutex<HashMap<VersionId, BootTime>>,
}

impl Default for Leases {
    fn default() -> Self {
        Self { started: BootTime::now(), ends: Mutex::default() }
    }
}

impl Leases {
    /// Notes a sealing lease that starts now.
    pub fn note(&self, version: VersionId, lease: Duration) {
        let now = BootTime::now();
        let end = BootTime(now.0 + lease);
        let mut ends = self.ends.lock();
        if ends.len() >= 1024 {
            ends.retain(|_, end| *end > now);
        }
        let known = ends.entry(version).or_insert(end);
        *known = end.max(*known);
    }

    /// Whether a sealing lease of the version may still run. `issued_ever` and `longest` come from the version's record: what an
    /// earlier process handed out is counted from the start of this one.
    pub fn may_run(&self, version: VersionId, issued_ever: bool, longest: Duration) -> bool {
        let now = BootTime::now();
        let earlier = issued_ever && now.0 < self.started.0 + longest;
        earlier || self.ends.lock().get(&version).is_some_and(|end| *end > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_lease_runs_until_its_end_and_no_other_does() {
        let leases = Leases::default();
        let (one, two) = (VersionId::from(1), VersionId::from(2));
        leases.note(one, Duration::from_secs(60));
        assert!(leases.may_run(one, false, Duration::from_secs(60)));
        assert!(!leases.may_run(two, false, Duration::from_secs(60)));
    }

    #[test]
    fn what_an_earlier_process_handed_out_counts_from_the_start_of_this_one() {
        let leases = Leases::default();
        assert!(leases.may_run(VersionId::from(1), true, Duration::from_secs(60)));
        assert!(!leases.may_run(VersionId::from(1), true, Duration::ZERO));
    }
}
