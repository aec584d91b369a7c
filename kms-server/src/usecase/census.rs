//! Counts what still used which version of a key, as far as clients have said; and asks that before a version is destroyed.

use std::collections::BTreeMap;

use kms_core::id::VersionId;
use kms_proto::storage::UsesRecord;
use time::{Duration, OffsetDateTime};

use super::describe;
use super::destroy_key::version_id;
use super::refused::Refused;
use crate::erasure::{Change, Snapshot};
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
pub use crate::keyring::census::DAYS_KEPT;
use crate::keyring::census::today;
use crate::keyring::{KeyEntry, Keyring};
use crate::records::uses::{SubjectUses, Uses};
use crate::records::{Versions, state};

/// A use in the last so many days says that a version is in use: a weekly job has come by.
const RECENT_DAYS: u32 = 8;
/// Columns that are named where values would die; the rest is counted.
const NAMED: usize = 5;

/// Days of uses of a family's subjects that are looked at.
const MOST_OF_SUBJECTS: usize = 1_000;

/// What is known of the uses of a key.
#[derive(Debug)]
pub struct Census {
    /// Its versions that are not destroyed.
    pub versions: Vec<VersionUse>,
    /// Of a family: those of its subjects, the oldest first.
    pub subjects: Vec<SubjectsUse>,
    /// There is more on record of its subjects than was looked at.
    pub more_subjects: bool,
}

/// What is known of the uses of a version.
#[derive(Debug)]
pub struct VersionUse {
    /// Its number.
    pub version: u32,
    /// Its address.
    pub id: VersionId,
    /// How it was used.
    pub used: Used,
}

/// What is known of the uses of those versions of a family's subjects that were made after as many rotations of it.
#[derive(Debug)]
pub struct SubjectsUse {
    /// How often it had been rotated.
    pub rotations: u64,
    /// Whether it was rotated since.
    pub is_older: bool,
    /// How they were used.
    pub used: Used,
}

/// Uses, over all days that are kept. Days are counted since 1970 in UTC.
#[derive(Debug, Default)]
pub struct Used {
    /// By table and column.
    pub columns: BTreeMap<(String, String), ColumnUse>,
    /// Who was leased it, by identity.
    pub holders: BTreeMap<String, Holder>,
    /// What there was no room for.
    pub left_out: u64,
}

/// Uses of one column.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ColumnUse {
    /// Values sealed.
    pub seals: u64,
    /// Values opened.
    pub opens: u64,
    /// Of those, values that were sealed anew in place.
    pub moved: u64,
    /// The last day of a use; of one that moved values, where there was no other.
    pub last_day: u32,
}

/// Somebody who was leased data keys of the version.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The last day.
    pub last_leased: u32,
    /// The last day on which it said what it did.
    pub last_report: Option<u32>,
}

/// The uses of every version of the key that is not destroyed.
pub async fn census(
    permit: Permit<op::DescribeKey>,
    keyring: &Keyring,
) -> Unrecorded<Result<Census, Refused>> {
    keyring.census().flush(keyring.writer()).await;
    let result = count(permit.target(), &keyring.writer().snapshot());
    permit.finish(result, Note::default())
}

fn count(entry: &KeyEntry, snapshot: &Snapshot) -> Result<Census, Refused> {
    let key = describe::key(snapshot, &entry.tenant.name, &entry.name)?;
    let live = key.versions.into_iter().filter(|version| !version.state.is_destroyed());
    let of_version = |version: describe::VersionView| {
        let mut used = Used::default();
        for ((_, day), record) in snapshot.range::<Uses>(&version.id, None, DAYS_KEPT as usize + 1)? {
            used.add(day, record);
        }
        Ok(VersionUse { version: version.record.version, id: version.id, used })
    };
    let versions = live.map(of_version).collect::<Result<_, Refused>>()?;
    let mut of_subjects: BTreeMap<u64, Used> = BTreeMap::new();
    let mut more_subjects = false;
    if entry.is_family {
        let days = snapshot.range::<SubjectUses>(&entry.uid, None, MOST_OF_SUBJECTS + 1)?;
        more_subjects = days.len() > MOST_OF_SUBJECTS;
        for ((_, rotations, day), record) in days.into_iter().take(MOST_OF_SUBJECTS) {
            if day.saturating_add(DAYS_KEPT) > today() {
                of_subjects.entry(rotations).or_default().add(day, record);
            }
        }
    }
    let is_older = |rotations| rotations < entry.rotations();
    let subjects = of_subjects.into_iter().map(|(rotations, used)| SubjectsUse {
        rotations,
        is_older: is_older(rotations),
        used,
    });
    Ok(Census { versions, subjects: subjects.collect(), more_subjects })
}

/// Refuses where clients said not long ago that they need a version. Who was leased it and said nothing holds nothing up: the census
/// shows them. Nor do those who sealed anew what they opened.
pub(super) fn refuse_if_used(change: &Change<'_>, entry: &KeyEntry, number: u32) -> Result<(), Refused> {
    // One that is not there is refused by whoever destroys.
    let Some(id) = version_id(change, entry, number)? else { return Ok(()) };
    let version = change.get::<Versions>(&id)?.ok_or_else(|| Refused::damaged("key version"))?;
    if state(version.state)?.is_destroyed() {
        return Ok(());
    }
    let mut columns: BTreeMap<(String, String), u32> = BTreeMap::new();
    for (day, record) in recent(change, entry, (id, version.rotations))? {
        let used = record.columns.into_iter().filter(|used| used.seals > 0 || used.opens > used.moved);
        columns.extend(used.map(|used| ((used.table, used.column), day)));
    }
    if columns.is_empty() {
        return Ok(());
    }
    let named = columns.iter().take(NAMED).map(|((table, column), day)| {
        format!("{}.{}, last on {}", table.escape_debug(), column.escape_debug(), date(*day))
    });
    let mut dying = named.collect::<Vec<_>>().join("; ");
    if columns.len() > NAMED {
        dying += &format!("; and {} more", columns.len() - NAMED);
    }
    Err(Refused::VersionInUse { key: entry.name.clone(), version: number, dying })
}

/// What is on record of the last days in which the version may have been used, and of which day it is.
fn recent(
    change: &Change<'_>,
    entry: &KeyEntry,
    (id, rotations): (VersionId, u64),
) -> Result<Vec<(u32, UsesRecord)>, Refused> {
    let (since, most) = (today().saturating_sub(RECENT_DAYS), RECENT_DAYS as usize + 1);
    let Some(family) = &entry.family else {
        let days = change.range::<Uses>(&id, Some(&(id, since)), most)?;
        return Ok(days.into_iter().map(|((_, day), record)| (day, record)).collect());
    };
    let days = change.range::<SubjectUses>(&family.uid, Some(&(family.uid, rotations, since)), most)?;
    let days = days.into_iter().filter(|((_, made, _), record)| {
        // Where more were used than are remembered, each may have been.
        *made == rotations && (record.more_versions || record.versions.contains(&id.get()))
    });
    Ok(days.map(|((_, _, day), record)| (day, record)).collect())
}

/// The day of a number, in UTC.
fn date(day: u32) -> time::Date {
    OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(day.into())).date()
}

impl Used {
    /// Takes in a day; days come in order.
    fn add(&mut self, day: u32, record: UsesRecord) {
        for used in record.columns {
            let column = self.columns.entry((used.table, used.column)).or_default();
            let had_uses = column.keeps_in_use();
            if used.seals > 0 || used.opens > used.moved || !had_uses {
                column.last_day = day;
            }
            column.seals = column.seals.saturating_add(used.seals);
            column.opens = column.opens.saturating_add(used.opens);
            column.moved = column.moved.saturating_add(used.moved);
        }
        for holder in record.holders {
            let known = self.holders.entry(holder.identity).or_default();
            known.last_leased = day;
            if holder.reported {
                known.last_report = Some(day);
            }
        }
        self.left_out = self.left_out.saturating_add(record.left_out);
    }
}

impl ColumnUse {
    fn keeps_in_use(&self) -> bool {
        self.seals > 0 || self.opens > self.moved
    }
}
