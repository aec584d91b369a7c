//! Which versions of an index key rows are looked for under, and which one of them new rows are written under.

use std::time::Duration;

use kms_core::id::{LeafSlot, TenantSlot, VersionId};
use kms_proto::storage::{KeyRecord, VersionRecord};

use super::LookupError;
use crate::erasure::Snapshot;
use crate::records::{KeyRef, VersionNumbers, Versions, state};
use crate::running::Reading;

/// Most live versions of an index key: a lease has all of them, and a search looks for the index of each.
pub const MAX_INDEX_VERSIONS: u32 = 100;
/// How long after a lease's time a new version takes rows: a lease may be on its way while the commit that makes the version ends.
pub const SETTLING_MARGIN: Duration = Duration::from_secs(2);

/// The versions of an index key at a moment.
#[derive(Debug, PartialEq, Eq)]
pub struct IndexVersions {
    /// Those that may open, the newest first.
    pub live: Vec<VersionId>,
    /// The one that new rows are indexed under; none where the key takes no new values.
    pub writes_under: Option<VersionId>,
    /// How long until that is the newest; none where it is, or will not be.
    pub settles_in: Option<Duration>,
    /// Which that is, as long as it is not there yet.
    pub settles_under: Option<VersionId>,
}

/// The versions of an index key that are not destroyed, the newest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Indexing(Box<[IndexingVersion]>);

#[derive(Debug, Clone, Copy)]
struct IndexingVersion {
    id: VersionId,
    settles: Settles,
}

/// From when on new rows are indexed under a version: when no lease runs any more that does not have it.
// ATTACK: by the wall clock a step forward would bring that nearer, and what is written under a version that running leases lack is found
// by none of those who hold them.
#[derive(Debug, Clone, Copy)]
enum Settles {
    /// By running time, in milliseconds.
    Running(u64),
    /// By the wall clock, in milliseconds since 1970: of a version made before running time was noted.
    Wall(i64),
}

impl Settles {
    fn of(version: &VersionRecord) -> Self {
        match version.indexes_from_ms {
            0 => Self::Running(version.indexes_from_running_ms),
            wall => Self::Wall(wall),
        }
    }

    /// How long until then; nothing once it has come.
    fn left(self, now: &Reading) -> Duration {
        Duration::from_millis(match self {
            Self::Running(from) => from.saturating_sub(now.running_ms),
            Self::Wall(from) => from.max(0).unsigned_abs().saturating_sub(now.wall_ms),
        })
    }
}

impl Indexing {
    pub(super) fn load(
        snapshot: &Snapshot,
        key: &KeyRecord,
        (slot, name): &(TenantSlot, KeyRef),
    ) -> Result<Self, LookupError> {
        let count = key.live_versions as usize;
        let mut live = Vec::with_capacity(count);
        for number in (key.first_version..=key.versions).rev() {
            if live.len() == count {
                break;
            }
            let pointer = snapshot.get::<VersionNumbers>(&(*slot, name.clone(), number))?;
            let Some(pointer) = pointer else { continue };
            let id = VersionId::new(*slot, LeafSlot(pointer.leaf_slot));
            let version = snapshot.get::<Versions>(&id)?.ok_or(LookupError::NotThere)?;
            if !state(version.state)?.is_destroyed() {
                live.push(IndexingVersion { id, settles: Settles::of(&version) });
            }
        }
        Ok(Self(live.into()))
    }

    pub(super) fn weight(&self) -> u64 {
        size_of_val(&*self.0) as u64
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = VersionId> {
        self.0.iter().map(|version| version.id)
    }

    /// What they do now. Those that are to be destroyed take no new rows; where the key takes no new values, none does.
    pub(super) fn at(&self, now: &Reading, takes_new: bool, scheduled: &[VersionId]) -> IndexVersions {
        let taking = self.0.iter().filter(|version| takes_new && !scheduled.contains(&version.id));
        // INVARIANT: rows are written under no version that a running lease may lack: whoever holds that lease would not find them.
        // Unless there is no other: then under the oldest, which the fewest lack.
        let settled = taking.clone().find(|version| version.settles.left(now).is_zero());
        let writes_under = settled.or(taking.clone().next_back()).map(|version| version.id);
        let newest = taking.clone().next().filter(|newest| Some(newest.id) != writes_under);
        let settles_in = newest.map(|newest| newest.settles.left(now));
        let settles_under = newest.map(|newest| newest.id);
        IndexVersions { live: self.ids().collect(), writes_under, settles_in, settles_under }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(number: u32) -> VersionId {
        VersionId::new(TenantSlot(0), LeafSlot(number))
    }

    /// Versions by number and by when they take rows, the newest first.
    fn indexing(versions: &[(u32, u64)]) -> Indexing {
        let version = |(number, from): &(u32, u64)| IndexingVersion {
            id: id(*number),
            settles: Settles::of(&VersionRecord {
                indexes_from_running_ms: *from,
                ..VersionRecord::default()
            }),
        };
        Indexing(versions.iter().map(version).collect())
    }

    /// A wall clock that was put far forward.
    fn running(running_ms: u64) -> Reading {
        Reading { running_ms, wall_ms: u64::MAX, forward: Duration::MAX, up_ms: 0 }
    }

    fn writes(
        indexing: &Indexing,
        running_ms: u64,
        scheduled: &[VersionId],
    ) -> (Option<VersionId>, Option<u64>) {
        let IndexVersions { live, writes_under, settles_in, settles_under } =
            indexing.at(&running(running_ms), true, scheduled);
        assert_eq!(settles_in.is_some(), settles_under.is_some());
        let newest = live.iter().find(|id| !scheduled.contains(id)).copied();
        assert!(settles_under.is_none() || settles_under == newest);
        assert_eq!(live, indexing.ids().collect::<Vec<_>>(), "rows are looked for under all");
        (writes_under, settles_in.map(|left| u64::try_from(left.as_millis()).unwrap()))
    }

    #[test]
    fn a_new_version_takes_rows_once_every_lease_without_it_has_ended_and_not_before() {
        let two = indexing(&[(2, 1_000), (1, 0)]);
        assert_eq!(writes(&two, 0, &[]), (Some(id(1)), Some(1_000)));
        assert_eq!(writes(&two, 999, &[]), (Some(id(1)), Some(1)));
        assert_eq!(writes(&two, 1_000, &[]), (Some(id(2)), None));
    }

    #[test]
    fn after_several_rotations_within_a_lease_the_newest_that_all_have_takes_rows() {
        let three = indexing(&[(3, 2_000), (2, 1_000), (1, 0)]);
        assert_eq!(writes(&three, 500, &[]), (Some(id(1)), Some(1_500)));
        assert_eq!(writes(&three, 1_500, &[]), (Some(id(2)), Some(500)));
        assert_eq!(writes(&three, 2_000, &[]), (Some(id(3)), None));
    }

    #[test]
    fn where_no_version_has_settled_the_oldest_takes_rows() {
        assert_eq!(writes(&indexing(&[(1, 0)]), 0, &[]), (Some(id(1)), None));
        assert_eq!(writes(&indexing(&[(2, 1_000)]), 0, &[]), (Some(id(2)), None), "there is no other");
        assert_eq!(writes(&indexing(&[(3, 2_000), (2, 1_000)]), 0, &[]), (Some(id(2)), Some(2_000)));
    }

    #[test]
    fn a_version_made_before_running_time_was_noted_settles_by_the_wall_clock() {
        let from = |indexes_from_ms| VersionRecord { indexes_from_ms, ..VersionRecord::default() };
        let version = |number, from| IndexingVersion { id: id(number), settles: Settles::of(&from) };
        let two = Indexing([version(2, from(1_000)), version(1, from(0))].into());
        let at = |wall_ms| two.at(&Reading { wall_ms, ..running(0) }, true, &[]);
        assert_eq!((at(999).writes_under, at(999).settles_in), (Some(id(1)), Some(Duration::from_millis(1))));
        assert_eq!((at(1_000).writes_under, at(1_000).settles_in), (Some(id(2)), None));
    }

    #[test]
    fn what_is_to_be_destroyed_is_searched_and_takes_no_rows() {
        let two = indexing(&[(2, 1_000), (1, 0)]);
        assert_eq!(writes(&two, 0, &[id(1)]), (Some(id(2)), None));
        assert_eq!(writes(&two, 2_000, &[id(1)]), (Some(id(2)), None));
        let none = IndexVersions {
            live: vec![id(2), id(1)],
            writes_under: None,
            settles_in: None,
            settles_under: None,
        };
        assert_eq!(two.at(&running(2_000), false, &[]), none, "nor does any where the key takes none");
        assert_eq!(two.at(&running(2_000), true, &[id(1), id(2)]), none);
    }
}
