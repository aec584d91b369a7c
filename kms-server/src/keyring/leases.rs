//! Which sealing leases may still run: what a destroy of the active version would cut off.
//!
//! Time is CLOCK_BOOTTIME, which counts suspend: a lease runs on while a machine sleeps.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kms_core::id::VersionId;
use parking_lot::Mutex;

use crate::running::BootTime;

/// What a lease lets a client seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToSeal {
    /// Randomized columns, under the active version.
    Randomized,
    /// Deterministic columns, under the deterministic version.
    Deterministic,
}

/// The end of the longest sealing lease of each version and kind, as far as this process handed them out.
pub struct Leases {
    started: BootTime,
    state: Mutex<State>,
}

/// Leases that are swept for at the earliest.
const SWEPT_FROM: usize = 1024;

struct State {
    ends: HashMap<(VersionId, ToSeal), BootTime>,
    /// How many there may be before those that have ended are swept out.
    sweep_at: usize,
    /// Versions whose destruction is decided but not durable yet: no lease to seal is handed out any more.
    closed: HashSet<VersionId>,
}

/// The version is being destroyed.
#[derive(Debug, thiserror::Error)]
#[error("the version is being destroyed")]
pub struct Closed;

/// A sealing lease may still run.
#[derive(Debug, thiserror::Error)]
#[error("a sealing lease may still run")]
pub struct Running;

impl Default for Leases {
    fn default() -> Self {
        let state = State { ends: HashMap::new(), sweep_at: SWEPT_FROM, closed: HashSet::new() };
        Self { started: BootTime::now(), state: Mutex::new(state) }
    }
}

impl Leases {
    /// Notes a sealing lease that starts now. To be called before the data key leaves.
    ///
    /// # Errors
    /// Where the destruction of the version is decided.
    pub fn note(&self, version: VersionId, kind: ToSeal, lease: Duration) -> Result<(), Closed> {
        let now = BootTime::now();
        let end = BootTime(now.0 + lease);
        let State { ends, sweep_at, closed } = &mut *self.state.lock();
        if closed.contains(&version) {
            return Err(Closed);
        }
        // Only once they doubled: a sweep at each lease would look at every one that runs.
        if ends.len() >= *sweep_at {
            ends.retain(|_, end| *end > now);
            *sweep_at = SWEPT_FROM.max(2 * ends.len());
        }
        let known = ends.entry((version, kind)).or_insert(end);
        *known = end.max(*known);
        Ok(())
    }

    /// Lets no sealing lease of the version start from now on, unless one of these kinds may still run. `issued_ever` and `longest`
    /// come from the version's records: what an earlier process handed out is counted from the start of this one.
    ///
    /// # Errors
    /// Where one may still run: nothing is closed then.
    pub fn close(
        &self,
        version: VersionId,
        kinds: &[ToSeal],
        issued_ever: bool,
        longest: Duration,
    ) -> Result<(), Running> {
        let now = BootTime::now();
        let earlier = issued_ever && now.0 < self.started.0 + longest;
        let State { ends, closed, .. } = &mut *self.state.lock();
        let runs = |kind: &ToSeal| ends.get(&(version, *kind)).is_some_and(|end| *end > now);
        if earlier || kinds.iter().any(runs) {
            return Err(Running);
        }
        closed.insert(version);
        Ok(())
    }

    /// Lets no sealing lease of the version start from now on, although others may run: a forced destruction loses what those seal,
    /// but not what would be sealed after it was decided.
    pub fn cut(&self, version: VersionId) {
        self.state.lock().closed.insert(version);
    }

    /// The destruction that [`Self::close`] or [`Self::cut`] was for did not come about.
    pub fn reopen(&self, version: VersionId) {
        self.state.lock().closed.remove(&version);
    }

    /// The version is destroyed and wiped: no lease can start any more, whatever this says.
    pub(super) fn forget(&self, version: VersionId) {
        let State { ends, closed, .. } = &mut *self.state.lock();
        ends.remove(&(version, ToSeal::Randomized));
        ends.remove(&(version, ToSeal::Deterministic));
        closed.remove(&version);
    }
}

#[cfg(test)]
mod tests {
    use super::ToSeal::{Deterministic, Randomized};
    use super::*;

    const ONE: VersionId = VersionId::new(kms_core::id::TenantSlot(0), kms_core::id::LeafSlot(1));
    const TWO: VersionId = VersionId::new(kms_core::id::TenantSlot(0), kms_core::id::LeafSlot(2));
    const BOTH: [ToSeal; 2] = [Randomized, Deterministic];
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_version_is_not_closed_while_a_lease_of_it_runs_and_another_is() {
        let leases = Leases::default();
        leases.note(ONE, Randomized, MINUTE).unwrap();
        assert!(leases.close(ONE, &BOTH, false, MINUTE).is_err());
        assert!(leases.note(ONE, Randomized, MINUTE).is_ok());
        assert!(leases.close(TWO, &BOTH, false, MINUTE).is_ok());
    }

    #[test]
    fn a_version_that_seals_deterministic_columns_only_waits_for_the_leases_of_those() {
        let leases = Leases::default();
        leases.note(ONE, Randomized, MINUTE).unwrap();
        leases.note(TWO, Deterministic, MINUTE).unwrap();
        assert!(leases.close(ONE, &[Deterministic], false, MINUTE).is_ok());
        assert!(leases.close(TWO, &[Deterministic], false, MINUTE).is_err());
    }

    #[test]
    fn a_closed_version_is_leased_to_nobody_until_it_is_reopened() {
        let leases = Leases::default();
        leases.close(ONE, &BOTH, false, MINUTE).unwrap();
        assert!(leases.note(ONE, Randomized, MINUTE).is_err());
        assert!(leases.note(TWO, Randomized, MINUTE).is_ok());
        leases.reopen(ONE);
        assert!(leases.note(ONE, Randomized, MINUTE).is_ok());
    }

    #[test]
    fn a_cut_version_is_leased_to_nobody_although_a_lease_of_it_runs() {
        let leases = Leases::default();
        leases.note(ONE, Randomized, MINUTE).unwrap();
        leases.cut(ONE);
        assert!(leases.note(ONE, Randomized, MINUTE).is_err());
        leases.reopen(ONE);
        assert!(leases.close(ONE, &BOTH, false, MINUTE).is_err(), "the one that ran runs on");
    }

    #[test]
    fn nothing_is_kept_of_a_version_that_is_destroyed() {
        let leases = Leases::default();
        leases.note(ONE, Randomized, MINUTE).unwrap();
        leases.cut(ONE);
        leases.forget(ONE);
        let state = leases.state.lock();
        assert!(state.ends.is_empty() && state.closed.is_empty());
    }

    #[test]
    fn running_leases_are_swept_for_only_once_they_doubled_and_ended_ones_go() {
        let leases = Leases::default();
        let lease = |numbers: std::ops::Range<u32>, lease| {
            for number in numbers {
                let slot = kms_core::id::LeafSlot(number);
                let version = VersionId::new(kms_core::id::TenantSlot(0), slot);
                leases.note(version, Randomized, lease).unwrap();
            }
        };
        lease(0..1_100, MINUTE);
        assert_eq!(leases.state.lock().sweep_at, 2_048);
        lease(1_100..2_000, Duration::ZERO);
        assert_eq!(leases.state.lock().ends.len(), 2_000, "nothing is swept before");
        lease(2_000..2_049, MINUTE);
        assert_eq!(leases.state.lock().ends.len(), 1_149);
    }

    #[test]
    fn what_an_earlier_process_handed_out_counts_from_the_start_of_this_one() {
        let leases = Leases::default();
        assert!(leases.close(ONE, &BOTH, true, MINUTE).is_err());
        assert!(leases.close(ONE, &BOTH, true, Duration::ZERO).is_ok());
    }
}
