//! What an epoch destroyed, until every client that held a data key of it has confirmed that it purged it, or its lease has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kms_core::id::{CommitNumber, Epoch};
use kms_proto::storage::PurgesRecord;

use super::held::ClientId;
use super::watches::{Item, KeyEvent, Kind};
use crate::running::BootTime;

/// When an epoch is quiesced, as far as is known: what is confirmed later brings it nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) epoch: Epoch,
    pub(super) at: BootTime,
    /// How it will have come; `None` where not every client that held something is known.
    pub(super) purges: Option<PurgesRecord>,
}

/// The epochs that are not quiesced yet.
#[derive(Default)]
pub(super) struct Purges(BTreeMap<Epoch, Purging>);

struct Purging {
    revision: CommitNumber,
    waiting: HashMap<ClientId, (BootTime, Arc<[Item]>)>,
    /// The same, by the end of their leases.
    ends: BTreeSet<(BootTime, ClientId)>,
    /// Until when somebody may hold something of whom nothing is known.
    unattributed: Option<BootTime>,
    confirmed: u64,
}

impl Purges {
    /// From now on these are waited for.
    pub(super) fn begin(
        &mut self,
        (epoch, revision): (Epoch, CommitNumber),
        clients: HashMap<ClientId, (BootTime, Vec<Item>)>,
        unattributed: Option<BootTime>,
        now: BootTime,
    ) -> Ending {
        let running = clients.into_iter().filter(|(_, (end, _))| *end > now);
        let waiting: HashMap<_, _> =
            running.map(|(client, (end, items))| (client, (end, items.into()))).collect();
        let ends = waiting.iter().map(|(client, (end, _))| (*end, *client)).collect();
        let unattributed = unattributed.filter(|end| *end > now);
        let purging = Purging { revision, waiting, ends, unattributed, confirmed: 0 };
        let ending = purging.ending(epoch, now);
        self.0.insert(epoch, purging);
        ending
    }

    /// A client is not waited for any more, if it was.
    pub(super) fn confirm(&mut self, client: ClientId, epoch: Epoch, now: BootTime) -> Option<Ending> {
        let purging = self.0.get_mut(&epoch)?;
        // Of one whose lease has ended by itself, that is what is said.
        purging.waiting.get(&client).filter(|(end, _)| *end > now)?;
        let (end, _) = purging.waiting.remove(&client)?;
        purging.ends.remove(&(end, client));
        purging.confirmed += 1;
        let ending = purging.ending(epoch, now);
        if ending.at <= now {
            self.0.remove(&epoch);
        }
        Some(ending)
    }

    /// What a client has still to confirm.
    pub(super) fn of(&self, client: ClientId, now: BootTime) -> Vec<KeyEvent> {
        let of = |(epoch, purging): (&Epoch, &Purging)| {
            let (_, items) = purging.waiting.get(&client).filter(|(end, _)| *end > now)?;
            let (revision, items) = (purging.revision, Arc::clone(items));
            Some(KeyEvent { kind: Kind::Destroyed, revision, items, epoch: Some(*epoch) })
        };
        self.0.iter().filter_map(of).collect()
    }

    /// Whether a client is waited for.
    pub(super) fn wait_for(&self, client: ClientId) -> bool {
        self.0.values().any(|purging| purging.waiting.contains_key(&client))
    }

    pub(super) fn forget_ended(&mut self, now: BootTime) {
        self.0.retain(|_, purging| purging.end(now) > now);
    }
}

impl Purging {
    fn end(&self, now: BootTime) -> BootTime {
        let last = self.ends.last().map(|(end, _)| *end);
        last.max(self.unattributed).unwrap_or(now).max(now)
    }

    fn ending(&self, epoch: Epoch, now: BootTime) -> Ending {
        let counts = PurgesRecord { confirmed: self.confirmed, ended: self.waiting.len() as u64 };
        let purges = self.unattributed.is_none().then_some(counts);
        Ending { epoch, at: self.end(now), purges }
    }
}
