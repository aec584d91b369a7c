//! The census: which columns used which version on which day, as clients say, and who was leased it and could have said so.
//!
//! Kept in memory, bounded, and merged into the store now and then: the data plane never waits for it. It is for people who plan a
//! destruction; no limit and no decision of the server rests on it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kms_core::id::{TenantSlot, VersionId};
use kms_core::names::{ColumnName, TableName};
use kms_proto::storage::{UseHolder, UsedColumn, UsesRecord};
use kms_proto::v1::open_data_keys_request::UseReport;
use parking_lot::Mutex;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::Keyring;
use crate::erasure::{Change, RecordError, Writer};
use crate::identity::IdentityName;
use crate::records::Uses;

/// Days that are kept of each version.
pub const DAYS_KEPT: u32 = 90;
/// How often what was said is put on record.
const RECORDED: Duration = Duration::from_secs(60);
/// Reports of one call that are read.
const MOST_REPORTS: usize = 1_000;
/// What may wait for the store; more is counted as left out.
const MOST_PENDING: usize = 20_000;
/// How much of that may be one identity's.
// ATTACK: version ids can be invented, and no policy is asked about a report; so one identity does not take the others' places.
const MOST_OF_ONE: usize = MOST_PENDING / 4;
/// Bytes of one version and day, from which on nothing new is added: an engine takes 64 KiB, and names have up to 2 KiB.
const FULL: usize = 48 * 1024;
/// Versions in one commit.
const TOGETHER: usize = 4;

/// What was said since the last time it was put on record.
#[derive(Default)]
pub struct Census {
    pending: Mutex<Pending>,
    /// One flush at a time, so that whoever asked for one finds everything on record.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Pending {
    versions: HashMap<VersionId, Said>,
    entries: usize,
    /// Of those, each identity's.
    of: HashMap<IdentityName, usize>,
}

impl Pending {
    /// What is said of a version, where one more entry of this identity finds room.
    fn room_for(&mut self, identity: &IdentityName, version: VersionId) -> Option<&mut Said> {
        let of = self.of.get(identity).copied().unwrap_or_default();
        if self.entries >= MOST_PENDING || of >= MOST_OF_ONE {
            metrics::counter!("kms_census_left_out_total").increment(1);
            return None;
        }
        self.entries += 1;
        *self.of.entry(identity.clone()).or_default() += 1;
        Some(self.versions.entry(version).or_default())
    }

    /// Of a version of which something is said, there is more, which found no room.
    fn leave_out(&mut self, version: VersionId, really: impl Fn(&Said) -> bool) {
        if let Some(said) = self.versions.get_mut(&version).filter(|said| really(said)) {
            said.left_out = said.left_out.saturating_add(1);
        }
    }
}

#[derive(Default)]
struct Said {
    holders: Vec<IdentityName>,
    uses: HashMap<Use, Counts>,
    left_out: u64,
}

#[derive(PartialEq, Eq, Hash)]
struct Use {
    identity: IdentityName,
    table: TableName,
    column: ColumnName,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    seals: u64,
    opens: u64,
}

impl Census {
    /// Notes who was leased data keys of which versions.
    pub fn leased(&self, identity: &IdentityName, versions: impl Iterator<Item = VersionId>) {
        let pending = &mut *self.pending.lock();
        for version in versions {
            let known = pending.versions.get(&version).is_some_and(|said| said.holders.contains(identity));
            if known {
                continue;
            }
            match pending.room_for(identity, version) {
                Some(said) => said.holders.push(identity.clone()),
                None => pending.leave_out(version, |_| true),
            }
        }
    }

    /// Notes what a client says that it did. Whether it can have done so is looked at when it is put on record.
    pub fn reported(&self, identity: &IdentityName, tenant: TenantSlot, reports: Vec<UseReport>) {
        let pending = &mut *self.pending.lock();
        for report in reports.into_iter().take(MOST_REPORTS) {
            let UseReport { version_id, table, column, seals, opens } = report;
            let version = VersionId::from(version_id);
            let (Ok(table), Ok(column)) = (table.parse(), column.parse()) else { continue };
            // ATTACK: a version of another tenant is as good as none.
            if version.tenant_slot() != tenant {
                continue;
            }
            let used = Use { identity: identity.clone(), table, column };
            let known = pending.versions.get(&version).is_some_and(|said| said.uses.contains_key(&used));
            let said = match known {
                true => pending.versions.get_mut(&version),
                false => pending.room_for(identity, version),
            };
            let Some(said) = said else {
                // ATTACK: who was never leased a version cannot make it look as if something were missing of it.
                pending.leave_out(version, |said| said.holders.contains(identity));
                continue;
            };
            let counts = said.uses.entry(used).or_default();
            counts.seals = counts.seals.saturating_add(seals);
            counts.opens = counts.opens.saturating_add(opens);
        }
    }

    /// Puts on record what was said. Where that fails it is lost: the next reports come within a lease's time.
    pub async fn flush(&self, writer: &Writer) {
        let _one_at_a_time = self.flushing.lock().await;
        let Pending { versions, .. } = std::mem::take(&mut *self.pending.lock());
        let mut versions: Vec<_> = versions.into_iter().collect();
        let today = today();
        while !versions.is_empty() {
            let part = versions.split_off(versions.len().saturating_sub(TOGETHER));
            let put = move |change: &mut Change<'_>| -> Result<(), RecordError> {
                part.iter().try_for_each(|(version, said)| merge(change, *version, today, said))
            };
            if let Err(error) = writer.commit(put).await {
                tracing::warn!("the census of a minute is lost: {error}");
                return;
            }
        }
    }
}

/// Puts the census on record now and then, and at the end.
pub(crate) async fn keep(keyring: Arc<Keyring>, stop: CancellationToken) {
    loop {
        let stopped = tokio::time::timeout(RECORDED, stop.cancelled()).await.is_ok();
        keyring.census().flush(keyring.writer()).await;
        if stopped {
            return;
        }
    }
}

/// Number of the day since 1970 in UTC.
pub fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 86_400).unwrap_or(u32::MAX)
}

fn merge(change: &mut Change<'_>, version: VersionId, today: u32, said: &Said) -> Result<(), RecordError> {
    let yesterday = change.get::<Uses>(&(version, today.saturating_sub(1)))?.unwrap_or_default();
    let stored = change.get::<Uses>(&(version, today))?;
    if stored.is_none() {
        for (key, _) in change.range::<Uses>(&version, None, DAYS_KEPT as usize + 1)? {
            if key.1.saturating_add(DAYS_KEPT) <= today {
                change.delete::<Uses>(&key);
            }
        }
    }
    let mut record = stored.unwrap_or_default();
    add(&mut record, &yesterday, said);
    // Where nobody was leased it there is nothing to keep: a version id can be anybody's invention.
    if !record.holders.is_empty() {
        change.put::<Uses>(&(version, today), &record);
    }
    Ok(())
}

fn add(record: &mut UsesRecord, yesterday: &UsesRecord, said: &Said) {
    record.left_out = record.left_out.saturating_add(said.left_out);
    for identity in &said.holders {
        hold(record, identity.to_string(), false);
    }
    for (Use { identity, table, column }, counts) in &said.uses {
        let identity = identity.to_string();
        // ATTACK: who was never leased a version cannot make it look used. A lease can have begun the day before.
        let holds = |record: &UsesRecord| record.holders.iter().any(|holder| holder.identity == identity);
        if !holds(record) && !holds(yesterday) {
            continue;
        }
        hold(record, identity, true);
        let same = |used: &&mut UsedColumn| used.table == table.as_str() && used.column == column.as_str();
        let has_room = record.encoded_len() < FULL;
        match record.columns.iter_mut().find(same) {
            Some(used) => {
                used.seals = used.seals.saturating_add(counts.seals);
                used.opens = used.opens.saturating_add(counts.opens);
            }
            None if has_room => record.columns.push(UsedColumn {
                table: table.to_string(),
                column: column.to_string(),
                seals: counts.seals,
                opens: counts.opens,
            }),
            None => record.left_out = record.left_out.saturating_add(1),
        }
    }
}

fn hold(record: &mut UsesRecord, identity: String, reported: bool) {
    let has_room = record.encoded_len() < FULL;
    match record.holders.iter_mut().find(|holder| holder.identity == identity) {
        Some(holder) => holder.reported |= reported,
        None if has_room => record.holders.push(UseHolder { identity, reported }),
        None => record.left_out = record.left_out.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantSlot = TenantSlot(3);

    fn version(number: usize) -> VersionId {
        VersionId::new(TENANT, kms_core::id::LeafSlot(u32::try_from(number).unwrap()))
    }

    fn identity(name: &str) -> IdentityName {
        IdentityName::Spiffe(name.into())
    }

    fn report(version: VersionId) -> UseReport {
        let (table, column) = ("checkins".into(), "phone".into());
        UseReport { version_id: version.get(), table, column, seals: 1, opens: 2 }
    }

    fn flood(census: &Census, name: &str) {
        for number in 0..2 * MOST_OF_ONE {
            census.reported(&identity(name), TENANT, vec![report(version(1_000 + number))]);
        }
    }

    #[test]
    fn who_invents_versions_takes_no_more_than_a_quarter_and_another_is_still_heard() {
        let census = Census::default();
        flood(&census, "greedy");
        assert_eq!(census.pending.lock().entries, MOST_OF_ONE);
        let honest = identity("honest");
        census.leased(&honest, [version(1)].into_iter());
        census.reported(&honest, TENANT, vec![report(version(1)), report(version(1))]);
        let pending = census.pending.lock();
        let said = &pending.versions[&version(1)];
        assert_eq!((said.holders.len(), said.uses.len(), said.left_out), (1, 1, 0));
        assert!(said.uses.values().all(|counts| (counts.seals, counts.opens) == (2, 4)));
    }

    #[test]
    fn what_finds_no_room_is_said_of_its_version() {
        let census = Census::default();
        census.leased(&identity("honest"), [version(1)].into_iter());
        for name in ["a", "b", "c", "d"] {
            flood(&census, name);
        }
        assert_eq!(census.pending.lock().entries, MOST_PENDING);
        census.leased(&identity("honest"), [version(1)].into_iter());
        assert_eq!(census.pending.lock().versions[&version(1)].left_out, 0, "that is known");
        census.reported(&identity("a"), TENANT, vec![report(version(1))]);
        assert_eq!(census.pending.lock().versions[&version(1)].left_out, 0, "that one was never leased it");
        census.reported(&identity("honest"), TENANT, vec![report(version(1))]);
        census.leased(&identity("another"), [version(1)].into_iter());
        let pending = census.pending.lock();
        assert_eq!(pending.versions[&version(1)].left_out, 2);
        assert!(!pending.versions.contains_key(&version(2)));
    }
}
