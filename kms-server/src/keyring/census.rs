//! The census: which columns used which version on which day, as clients say, and who was leased it and could have said so. Versions
//! of subjects' keys are counted together (`counted`).
//!
//! Kept in memory, bounded, and merged into the store now and then. Reports are looked up beside the calls (`beside`). It is for people
//! who plan a destruction; no limit and no decision of the server rests on it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kms_core::id::VersionId;
use kms_core::names::{ColumnName, TableName};
use kms_proto::storage::{UseHolder, UsedColumn, UsesRecord};
use kms_proto::v1::open_data_keys_request::UseReport;
use parking_lot::Mutex;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::Keyring;
use super::beside::Beside;
use super::counted::Counted;
use crate::erasure::{Change, RecordError, Writer};
use crate::identity::IdentityName;
use crate::records::Table;
use crate::records::uses::{SubjectUses, Uses};

/// Days that are kept of each version.
pub const DAYS_KEPT: u32 = 90;
/// How often what was said is put on record.
const RECORDED: Duration = Duration::from_secs(60);
/// Reports of one call that are read.
pub const MOST_REPORTS: usize = 1_000;
/// What may wait for the store; more is counted as left out.
const MOST_PENDING: usize = 20_000;
/// How much of that may be one identity's.
// ATTACK: version ids can be invented, and no policy is asked about a report; so one identity does not take the others' places.
const MOST_OF_ONE: usize = MOST_PENDING / 4;
/// Bytes of one version and day, from which on nothing new is added: an engine takes 64 KiB, and names have up to 2 KiB.
const FULL: usize = 48 * 1024;
/// Records in one commit.
const TOGETHER: usize = 4;
/// Subjects' versions that are remembered of one day: so that one can be destroyed that nobody uses, while others are used.
const MOST_VERSIONS: usize = 1_024;
/// Records that are looked through for those that are too old to be kept.
const LOOKED_THROUGH: usize = 500;

/// What was said since the last time it was put on record.
#[derive(Default)]
pub struct Census {
    pending: Mutex<Pending>,
    /// Reports that are being looked up.
    pub beside: Beside,
    /// One flush at a time, so that whoever asked for one finds everything on record.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Pending {
    said: HashMap<Counted, Said>,
    entries: usize,
    /// Of those, each identity's.
    of: HashMap<IdentityName, usize>,
}

impl Pending {
    /// What is said of it, where one more entry of this identity finds room.
    fn room_for(&mut self, identity: &IdentityName, counted: Counted) -> Option<&mut Said> {
        let of = self.of.get(identity).copied().unwrap_or_default();
        if self.entries >= MOST_PENDING || of >= MOST_OF_ONE {
            metrics::counter!("kms_census_left_out_total").increment(1);
            return None;
        }
        self.entries += 1;
        *self.of.entry(identity.clone()).or_default() += 1;
        Some(self.said.entry(counted).or_default())
    }

    /// Of what something is said of, there is more, which found no room.
    fn leave_out(&mut self, counted: Counted, really: impl Fn(&Said) -> bool) {
        if let Some(said) = self.said.get_mut(&counted).filter(|said| really(said)) {
            said.left_out = said.left_out.saturating_add(1);
        }
    }
}

#[derive(Default)]
struct Said {
    holders: Vec<IdentityName>,
    uses: HashMap<Use, Counts>,
    /// Of subjects: which versions each says that it used; one more than are kept says that there were more.
    versions: HashMap<IdentityName, BTreeSet<VersionId>>,
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
    /// Of the opens.
    moved: u64,
}

impl Counts {
    /// As a client says it.
    fn said(seals: u64, opens: u64, moved: u64) -> Self {
        // ATTACK: who says that more was moved than opened does not speak for the opens of others.
        Self { seals, opens, moved: moved.min(opens) }
    }

    fn add(&mut self, more: Self) {
        self.seals = self.seals.saturating_add(more.seals);
        self.opens = self.opens.saturating_add(more.opens);
        self.moved = self.moved.saturating_add(more.moved);
    }

    fn keeps_in_use(self) -> bool {
        self.seals > 0 || self.opens > self.moved
    }
}

impl Census {
    /// Notes who was leased data keys of which versions.
    pub fn leased(&self, identity: &IdentityName, counted: impl Iterator<Item = Counted>) {
        let pending = &mut *self.pending.lock();
        for counted in counted {
            let known = pending.said.get(&counted).is_some_and(|said| said.holders.contains(identity));
            if known {
                continue;
            }
            match pending.room_for(identity, counted) {
                Some(said) => said.holders.push(identity.clone()),
                None => pending.leave_out(counted, |_| true),
            }
        }
    }

    /// Notes what a client says that it did. Whether it can have done so is looked at when it is put on record.
    pub fn reported(&self, identity: &IdentityName, reports: Vec<(Counted, UseReport)>) {
        let pending = &mut *self.pending.lock();
        for (counted, report) in reports {
            let UseReport { version_id, table, column, seals, opens, moved } = report;
            let (Ok(table), Ok(column)) = (table.parse(), column.parse()) else { continue };
            let used = Use { identity: identity.clone(), table, column };
            let known = pending.said.get(&counted).is_some_and(|said| said.uses.contains_key(&used));
            let said =
                if known { pending.said.get_mut(&counted) } else { pending.room_for(identity, counted) };
            let Some(said) = said else {
                // ATTACK: who was never leased a version cannot make it look as if something were missing of it.
                pending.leave_out(counted, |said| said.holders.contains(identity));
                continue;
            };
            let counts = Counts::said(seals, opens, moved);
            said.uses.entry(used).or_default().add(counts);
            if let Counted::Subjects { .. } = counted
                && counts.keeps_in_use()
            {
                let versions = said.versions.entry(identity.clone()).or_default();
                if versions.len() <= MOST_VERSIONS {
                    versions.insert(version_id.into());
                }
            }
        }
    }

    /// Puts on record what was said, and what is being looked up. What fails is lost: the next reports come within a lease's time.
    pub async fn flush(&self, writer: &Writer) {
        let _one_at_a_time = self.flushing.lock().await;
        self.beside.settled().await;
        let mut said: Vec<_> = std::mem::take(&mut *self.pending.lock()).said.into_iter().collect();
        let today = today();
        while !said.is_empty() {
            let part = said.split_off(said.len().saturating_sub(TOGETHER));
            let put = move |change: &mut Change<'_>| -> Result<(), RecordError> {
                part.iter().try_for_each(|(counted, said)| merge(change, *counted, today, said))
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

fn merge(change: &mut Change<'_>, counted: Counted, today: u32, said: &Said) -> Result<(), RecordError> {
    match counted {
        Counted::Version(version) => {
            let at = |day| (version, day);
            merge_into::<Uses>(change, (&version, DAYS_KEPT as usize + 1), at, |key| key.1, (today, said))
        }
        Counted::Subjects { family, rotations } => {
            let at = |day| (family, rotations, day);
            merge_into::<SubjectUses>(change, (&family, LOOKED_THROUGH), at, |key| key.2, (today, said))
        }
    }
}

fn merge_into<T: Table<Value = UsesRecord>>(
    change: &mut Change<'_>,
    (group, most): (&T::Group, usize),
    at: impl Fn(u32) -> T::Key,
    day_of: impl Fn(&T::Key) -> u32,
    (today, said): (u32, &Said),
) -> Result<(), RecordError> {
    let yesterday = change.get::<T>(&at(today.saturating_sub(1)))?.unwrap_or_default();
    let stored = change.get::<T>(&at(today))?;
    if stored.is_none() {
        for (key, _) in change.range::<T>(group, None, most)? {
            if day_of(&key).saturating_add(DAYS_KEPT) <= today {
                change.delete::<T>(&key);
            }
        }
    }
    let mut record = stored.unwrap_or_default();
    add(&mut record, &yesterday, said);
    // Where nobody was leased it there is nothing to keep: what was said of it was made up.
    if !record.holders.is_empty() {
        change.put::<T>(&at(today), &record);
    }
    Ok(())
}

fn add(record: &mut UsesRecord, yesterday: &UsesRecord, said: &Said) {
    record.left_out = record.left_out.saturating_add(said.left_out);
    for identity in &said.holders {
        hold(record, identity.to_string(), false);
    }
    // ATTACK: who was never leased a version cannot make it look used. A lease can have begun the day before.
    let holds = |record: &UsesRecord, identity: &str| {
        let mut holders = record.holders.iter().chain(&yesterday.holders);
        holders.any(|holder| holder.identity == identity)
    };
    for (Use { identity, table, column }, counts) in &said.uses {
        let identity = identity.to_string();
        if !holds(record, &identity) {
            continue;
        }
        hold(record, identity, true);
        let same = |used: &&mut UsedColumn| used.table == table.as_str() && used.column == column.as_str();
        let has_room = record.encoded_len() < FULL;
        match record.columns.iter_mut().find(same) {
            Some(used) => {
                let mut all = Counts::said(used.seals, used.opens, used.moved);
                all.add(*counts);
                (used.seals, used.opens, used.moved) = (all.seals, all.opens, all.moved);
            }
            None if has_room => record.columns.push(UsedColumn {
                table: table.to_string(),
                column: column.to_string(),
                seals: counts.seals,
                opens: counts.opens,
                moved: counts.moved,
            }),
            None => record.left_out = record.left_out.saturating_add(1),
        }
    }
    let by_holders = said.versions.iter().filter(|(identity, _)| holds(record, &identity.to_string()));
    let used: BTreeSet<VersionId> = by_holders.flat_map(|(_, versions)| versions).copied().collect();
    for version in used {
        if record.versions.contains(&version.get()) {
            continue;
        }
        match record.versions.len() < MOST_VERSIONS && record.encoded_len() < FULL {
            true => record.versions.push(version.get()),
            false => record.more_versions = true,
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

    const FAMILY: Counted = Counted::Subjects { family: kms_core::id::Uid([7; 16]), rotations: 1 };

    fn version(number: usize) -> Counted {
        Counted::Version(id(number))
    }

    fn id(number: usize) -> VersionId {
        VersionId::new(kms_core::id::TenantSlot(3), kms_core::id::LeafSlot(u32::try_from(number).unwrap()))
    }

    fn identity(name: &str) -> IdentityName {
        IdentityName::Spiffe(name.into())
    }

    fn report(counted: Counted) -> (Counted, UseReport) {
        (counted, of_version(0, 2, 0))
    }

    fn of_version(number: usize, opens: u64, moved: u64) -> UseReport {
        let (table, column) = ("checkins".into(), "phone".into());
        UseReport { version_id: id(number).get(), table, column, seals: 0, opens, moved }
    }

    fn flood(census: &Census, name: &str) {
        for number in 0..2 * MOST_OF_ONE {
            census.reported(&identity(name), vec![report(version(1_000 + number))]);
        }
    }

    #[test]
    fn who_invents_versions_takes_no_more_than_a_quarter_and_another_is_still_heard() {
        let census = Census::default();
        flood(&census, "greedy");
        assert_eq!(census.pending.lock().entries, MOST_OF_ONE);
        let honest = identity("honest");
        census.leased(&honest, [version(1)].into_iter());
        census.reported(&honest, vec![report(version(1)), report(version(1))]);
        let pending = census.pending.lock();
        let said = &pending.said[&version(1)];
        assert_eq!((said.holders.len(), said.uses.len(), said.left_out), (1, 1, 0));
        assert!(said.uses.values().all(|counts| (counts.seals, counts.opens) == (0, 4)));
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
        assert_eq!(census.pending.lock().said[&version(1)].left_out, 0, "that is known");
        census.reported(&identity("a"), vec![report(version(1))]);
        assert_eq!(census.pending.lock().said[&version(1)].left_out, 0, "that one was never leased it");
        census.reported(&identity("honest"), vec![report(version(1))]);
        census.leased(&identity("another"), [version(1)].into_iter());
        let pending = census.pending.lock();
        assert_eq!(pending.said[&version(1)].left_out, 2);
        assert!(!pending.said.contains_key(&version(2)));
    }

    /// A record of what was said of subjects, by one who holds a lease and one who does not.
    fn record(reports: Vec<UseReport>) -> UsesRecord {
        let census = Census::default();
        census.leased(&identity("holder"), [FAMILY].into_iter());
        let all = |reports: Vec<UseReport>| reports.into_iter().map(|report| (FAMILY, report)).collect();
        census.reported(&identity("holder"), all(reports));
        census.reported(&identity("stranger"), all(vec![of_version(77, 5, 0)]));
        let mut record = UsesRecord::default();
        add(&mut record, &UsesRecord::default(), &census.pending.lock().said[&FAMILY]);
        record
    }

    #[test]
    fn subjects_are_counted_together_and_their_versions_remembered_while_there_is_room() {
        let few = record((1..=3).map(|number| of_version(number, 1, 0)).collect());
        let [column] = &few.columns[..] else { panic!("{few:?}") };
        assert_eq!((column.opens, few.versions.len(), few.more_versions), (3, 3, false));
        assert!(!few.versions.contains(&id(77).get()), "a stranger makes no version look used");
        let many = record((1..=MOST_VERSIONS + 2).map(|number| of_version(number, 1, 0)).collect());
        assert_eq!((many.versions.len(), many.more_versions), (MOST_VERSIONS, true));
        assert!(many.encoded_len() < FULL);
    }

    #[test]
    fn what_was_moved_keeps_no_version_in_use_and_says_nothing_of_what_others_opened() {
        let moved = record(vec![of_version(1, 4, 4), of_version(2, 4, 3)]);
        assert_eq!((moved.columns[0].opens, moved.columns[0].moved), (8, 7));
        assert_eq!(moved.versions, [id(2).get()]);
        let lied = record(vec![of_version(1, 1, 1_000), of_version(2, 4, 0)]);
        assert_eq!((lied.columns[0].opens, lied.columns[0].moved), (5, 1));
    }
}
