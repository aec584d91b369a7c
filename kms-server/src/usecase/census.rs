//! Counts what still used which version of a key, as far as clients have said; and asks that before a version is destroyed.

use std::collections::BTreeMap;

use kms_core::id::VersionId;
use kms_proto::storage::UsesRecord;
use time::{Duration, OffsetDateTime};

use super::describe;
use super::destroy_key::version_id;
use super::refused::Refused;
use crate::erasure::Change;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
pub use crate::keyring::census::DAYS_KEPT;
use crate::keyring::census::today;
use crate::keyring::{KeyEntry, Keyring};
use crate::records::{Uses, Versions, state};

/// A use in the last so many days says that a version is in use: a weekly job has come by.
const RECENT_DAYS: u32 = 8;
/// Columns that are named where values would die; the rest is counted.
const NAMED: usize = 5;

/// What is known of the uses of a version. Days are counted since 1970 in UTC.
#[derive(Debug)]
pub struct VersionUse {
    /// Its number.
    pub version: u32,
    /// Its address.
    pub id: VersionId,
    /// What used it, by table and column.
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
    /// The last day of a report.
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
) -> Unrecorded<Result<Vec<VersionUse>, Refused>> {
    keyring.census().flush(keyring.writer()).await;
    let count = || {
        let snapshot = keyring.writer().snapshot();
        let entry = permit.target();
        let key = describe::key(&snapshot, &entry.tenant.name, &entry.name)?;
        let live = key.versions.into_iter().filter(|version| !version.state.is_destroyed());
        live.map(|version| {
            let mut used = VersionUse {
                version: version.record.version,
                id: version.id,
                columns: BTreeMap::new(),
                holders: BTreeMap::new(),
                left_out: 0,
            };
            for ((_, day), record) in snapshot.range::<Uses>(&version.id, None, DAYS_KEPT as usize + 1)? {
                used.add(day, record);
            }
            Ok(used)
        })
        .collect()
    };
    let result = count();
    permit.finish(result, Note::default())
}

/// Refuses where clients said not long ago that they need a version. Who was leased it and said nothing holds nothing up: the census
/// shows them.
pub(super) fn refuse_if_used(change: &Change<'_>, entry: &KeyEntry, number: u32) -> Result<(), Refused> {
    // One that is not there is refused by whoever destroys.
    let Some(id) = version_id(change, entry, number)? else { return Ok(()) };
    let version = change.get::<Versions>(&id)?.ok_or_else(|| Refused::damaged("key version"))?;
    if state(version.state)?.is_destroyed() {
        return Ok(());
    }
    let mut columns: BTreeMap<(String, String), u32> = BTreeMap::new();
    let since = today().saturating_sub(RECENT_DAYS);
    for ((_, day), record) in change.range::<Uses>(&id, Some(&(id, since)), RECENT_DAYS as usize + 1)? {
        columns.extend(record.columns.into_iter().map(|used| ((used.table, used.column), day)));
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

/// The day of a number, in UTC.
fn date(day: u32) -> time::Date {
    OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(day.into())).date()
}

impl VersionUse {
    /// Takes in a day; days come in order.
    fn add(&mut self, day: u32, record: UsesRecord) {
        for used in record.columns {
            let column = self.columns.entry((used.table, used.column)).or_default();
            column.seals = column.seals.saturating_add(used.seals);
            column.opens = column.opens.saturating_add(used.opens);
            column.last_day = day;
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
