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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const EPOCH: Epoch = Epoch(7);
    const HOUR: u64 = 3_600;

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(1_000_000 + seconds))
    }

    fn begun(ends: &[(u64, u64)], unattributed: Option<u64>) -> (Purges, Ending) {
        let clients = ends.iter().map(|(client, end)| (ClientId(*client), (at(*end), Vec::new())));
        let mut purges = Purges::default();
        let ending = purges.begin((EPOCH, CommitNumber(1)), clients.collect(), unattributed.map(at), at(0));
        (purges, ending)
    }

    fn counts(confirmed: u64, ended: u64) -> Option<PurgesRecord> {
        Some(PurgesRecord { confirmed, ended })
    }

    #[test]
    fn an_epoch_is_quiesced_with_the_last_confirmation() {
        let (mut purges, ending) = begun(&[(1, HOUR), (2, HOUR)], None);
        assert_eq!(ending, Ending { epoch: EPOCH, at: at(HOUR), purges: counts(0, 2) });
        let ending = purges.confirm(ClientId(1), EPOCH, at(1)).unwrap();
        assert_eq!((ending.at, ending.purges), (at(HOUR), counts(1, 1)));
        assert!(purges.confirm(ClientId(1), EPOCH, at(1)).is_none(), "once");
        assert!(purges.confirm(ClientId(3), EPOCH, at(1)).is_none(), "it held nothing");
        assert!(purges.confirm(ClientId(2), Epoch(8), at(1)).is_none(), "of that epoch");
        let ending = purges.confirm(ClientId(2), EPOCH, at(2)).unwrap();
        assert_eq!((ending.at, ending.purges), (at(2), counts(2, 0)));
    }

    #[test]
    fn of_each_client_the_earlier_of_both_counts() {
        let (mut purges, ending) = begun(&[(1, 60), (2, HOUR)], None);
        assert_eq!(ending.at, at(HOUR));
        assert_eq!(purges.confirm(ClientId(2), EPOCH, at(1)).unwrap().at, at(60), "the other's own end");
        assert!(purges.confirm(ClientId(1), EPOCH, at(60)).is_none(), "its lease had ended by itself");
        let (mut purges, ending) = begun(&[(1, 0)], None);
        assert_eq!((ending.at, ending.purges), (at(0), counts(0, 0)), "ended before it was destroyed");
        assert!(purges.confirm(ClientId(1), EPOCH, at(0)).is_none());
    }

    #[test]
    fn those_of_whom_nothing_is_known_are_waited_for_and_nobody_is_counted() {
        let (mut purges, ending) = begun(&[(1, HOUR)], Some(2 * HOUR));
        assert_eq!((ending.at, ending.purges), (at(2 * HOUR), None));
        let ending = purges.confirm(ClientId(1), EPOCH, at(1)).unwrap();
        assert_eq!((ending.at, ending.purges), (at(2 * HOUR), None));
        let (_, ending) = begun(&[(1, HOUR)], Some(0));
        assert_eq!((ending.at, ending.purges), (at(HOUR), counts(0, 1)), "their time is over");
    }

    #[test]
    fn a_client_is_told_again_what_it_has_not_confirmed_until_its_lease_ends() {
        let (mut purges, _) = begun(&[(1, 60), (2, HOUR)], None);
        assert_eq!(purges.of(ClientId(1), at(59)).len(), 1);
        assert!(purges.of(ClientId(1), at(60)).is_empty() && purges.of(ClientId(3), at(1)).is_empty());
        purges.confirm(ClientId(2), EPOCH, at(1)).unwrap();
        assert!(purges.of(ClientId(2), at(1)).is_empty());
        assert!(purges.wait_for(ClientId(1)) && !purges.wait_for(ClientId(2)));
        purges.forget_ended(at(60));
        assert!(!purges.wait_for(ClientId(1)));
    }
}
