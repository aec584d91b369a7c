//! What clients say that they did under each version, by days: a version that values still seem to need is not destroyed without force.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kms_core::{
    id::VersionId,
    names::{ColumnName, KeyName, TableName},
};
use kms_proto::{reason::Reason, v1::open_data_keys_request::UseReport};

use super::{super::refused::Refused, Ledger, Moment, Place};

/// For how many days a use holds a destruction up.
const RECENT_DAYS: u64 = 8;
/// Columns that a refusal names.
const NAMED: usize = 5;
/// Reports of one call that are read.
const MOST_REPORTS: usize = 1_000;

/// What was said of one version: each client and each column with its last day.
#[derive(Debug, Default)]
pub(super) struct Uses {
    leased: HashMap<String, u64>,
    columns: BTreeMap<(TableName, ColumnName), u64>,
}

impl Ledger {
    /// Notes that a client was leased a version. Index keys are not counted.
    pub(in super::super) fn leased_to(
        &mut self,
        client: &str,
        place: &Place,
        version: VersionId,
        now: Moment,
    ) {
        if let Some(uses) = self.uses(place, version) {
            uses.leased.insert(client.to_owned(), day(now));
        }
    }

    /// Notes what a client says that it did, with versions that it was leased today or yesterday.
    pub(in super::super) fn reported(
        &mut self,
        client: &str,
        tenant: &str,
        reports: Vec<UseReport>,
        now: Moment,
    ) {
        let today = day(now);
        for report in reports.into_iter().take(MOST_REPORTS) {
            let UseReport { version_id, table, column, seals, opens, moved } = report;
            // What was sealed anew in its place needs its version no more.
            if seals == 0 && opens <= moved {
                continue;
            }
            let version = VersionId::from(version_id);
            let (Ok(table), Ok(column)) = (table.parse(), column.parse()) else { continue };
            let Some(place) = self.place_of(tenant, version) else { continue };
            let Some(uses) = self.uses(&place, version) else { continue };
            if uses.leased.get(client).is_some_and(|day| *day + 1 >= today) {
                uses.columns.insert((table, column), today);
            }
        }
    }

    fn uses(&mut self, place: &Place, version: VersionId) -> Option<&mut Uses> {
        let tenant = self.tenant_mut(place.tenant).ok()?;
        let (key, number) = tenant.leaf(version)?;
        let key = key.clone();
        Some(&mut tenant.key_mut(&key).ok()?.version_mut(number)?.uses)
    }
}

impl Uses {
    /// Refuses where somebody said not long ago that it was needed.
    pub(super) fn refuse_if_recent(&self, key: &KeyName, number: u32, now: Moment) -> Result<(), Refused> {
        let since = day(now).saturating_sub(RECENT_DAYS);
        let recent: Vec<_> = self.columns.iter().filter(|(_, day)| **day >= since).collect();
        if recent.is_empty() {
            return Ok(());
        }
        let named = recent.iter().take(NAMED).map(|((table, column), day)| {
            let (table, column) = (table.as_str().escape_debug(), column.as_str().escape_debug());
            format!("{table}.{column}, last on {}", date(**day))
        });
        let mut dying = named.collect::<Vec<_>>().join("; ");
        if recent.len() > NAMED {
            dying += &format!("; and {} more", recent.len() - NAMED);
        }
        let words = format!(
            "version {number} of `{key}` is in use: {dying}; what is still sealed under it dies with it: reseal it first, or use force"
        );
        Err(Refused::new(Reason::VersionInUse, words))
    }
}

/// Number of a day since 1970, in UTC.
fn day(now: Moment) -> u64 {
    now.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}

fn date(day: u64) -> time::Date {
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(day.saturating_mul(86_400)));
    time::OffsetDateTime::from(at.unwrap_or(SystemTime::UNIX_EPOCH)).date()
}
