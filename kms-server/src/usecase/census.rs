//! Counts what still used which version of a key, as far as clients have said.

use std::collections::BTreeMap;

use kms_core::id::VersionId;
use kms_proto::storage::UsesRecord;

use super::describe;
use super::refused::Refused;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;
pub use crate::keyring::census::DAYS_KEPT;
use crate::records::Uses;

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
