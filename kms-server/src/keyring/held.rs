//! The table of who holds what: bounded, swept of what has ended, and one lock around all of it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{LeafSlot, TenantSlot, Uid, VersionId};

use super::KeyEntry;
use super::holders::{Client, Lease};
use super::leases::ToSeal;
use super::purges::Purges;
use super::watches::{Item, KeyEvent, Kind, Watch};
use crate::erasure::CommitNotice;
use crate::identity::IdentityName;
use crate::records::KeyRef;
use crate::running::BootTime;

/// Stands for a client; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) u64);

/// Most leases that are attributed; further ones are counted to their end without a name.
const MOST: usize = 1 << 20;
/// How many of these may be one identity's, so that it does not take the others' places.
pub(super) const MOST_OF_ONE: usize = MOST / 4;
/// Events kept for a client that does not listen; with more, it is told to lease anew.
const BACKLOG: usize = 64;
/// Leases that are swept for at the earliest, and how often where they are at their most.
const SWEPT_FROM: usize = 4_096;
const SWEEP_AGAIN: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct State {
    clients: HashMap<Client, ClientId>,
    pub(super) known: HashMap<ClientId, Known>,
    last_client: u64,
    pub(super) versions: BTreeMap<VersionId, Held>,
    /// In order, so that those of a family's subjects stand together after it.
    pub(super) keys: BTreeMap<(TenantSlot, KeyRef), HeldKey>,
    /// Attributed leases, of all and of each identity.
    pub(super) pairs: usize,
    of: HashMap<IdentityName, usize>,
    sweep_at: usize,
    swept: Option<BootTime>,
    /// End of the last lease of versions that there was no room to note.
    pub(super) beyond: Option<BootTime>,
    /// What is destroyed and not purged everywhere.
    pub(super) purges: Purges,
    /// Clients that listen, and the number of the last that did.
    pub(super) watches: usize,
    pub(super) last_watch: u64,
    /// Nobody more may listen.
    pub(super) closed: bool,
}

/// A client that holds something, or listens.
pub(super) struct Known {
    client: Client,
    pairs: usize,
    pub(super) watch: Option<Watch>,
    pub(super) backlog: VecDeque<KeyEvent>,
    /// Something was not told, and will not be.
    pub(super) lost: bool,
}

/// A version of which something is held.
pub(super) struct Held {
    pub(super) key: Arc<KeyEntry>,
    /// Data keys of it were handed out before this process noted any.
    pub(super) earlier: bool,
    /// End of the last lease that is attributed to nobody.
    pub(super) unnamed: Option<BootTime>,
    pub(super) clients: HashMap<ClientId, BootTime>,
}

/// A key of which something is held.
#[derive(Default)]
pub(super) struct HeldKey {
    pub(super) versions: HashSet<VersionId>,
    pub(super) sealing: HashMap<ToSeal, VersionId>,
}

impl State {
    pub(super) fn note(&mut self, lease: Lease<'_>, end: BootTime, earlier: bool) {
        let Lease { key, version, to_seal, client, .. } = lease;
        if !self.versions.contains_key(&version) && self.versions.len() >= MOST {
            self.beyond = self.beyond.max(Some(end));
            return;
        }
        let id = client.and_then(|client| self.room_for(client, version));
        // ATTACK: a name of a subject would stay here for as long as the lease; whoever is told of the key is told its id.
        let fresh = || Held { key: key.unnamed(), earlier, unnamed: None, clients: HashMap::new() };
        let held = self.versions.entry(version).or_insert_with(fresh);
        match id {
            None => held.unnamed = held.unnamed.max(Some(end)),
            Some(id) => {
                let known = held.clients.insert(id, end);
                if let Some(before) = known {
                    held.clients.insert(id, end.max(before));
                } else if let Some(known) = self.known.get_mut(&id) {
                    known.pairs += 1;
                    self.pairs += 1;
                    metrics::gauge!("kms_leases_held").increment(1);
                    *self.of.entry(known.client.identity.clone()).or_default() += 1;
                }
            }
        }
        let key = self.keys.entry(key.place()).or_default();
        key.versions.insert(version);
        if let Some(kind) = to_seal {
            key.sealing.insert(kind, version);
        }
    }

    /// The client to attribute a lease to, if there is room.
    fn room_for(&mut self, client: &Client, version: VersionId) -> Option<ClientId> {
        let known = self.clients.get(client).copied();
        let held = self.versions.get(&version);
        if let Some(id) = known
            && held.is_some_and(|held| held.clients.contains_key(&id))
        {
            return known;
        }
        let of = self.of.get(&client.identity).copied().unwrap_or_default();
        (self.pairs < MOST && of < MOST_OF_ONE).then(|| self.client(client))
    }

    /// The number of a client, known from now on.
    pub(super) fn client(&mut self, client: &Client) -> ClientId {
        if let Some(id) = self.clients.get(client) {
            return *id;
        }
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let known =
            Known { client: client.clone(), pairs: 0, watch: None, backlog: VecDeque::new(), lost: false };
        self.clients.insert(client.clone(), id);
        self.known.insert(id, known);
        id
    }

    /// Whether a client is known that holds something or listens.
    pub(super) fn knows(&self, client: &Client) -> bool {
        self.clients.contains_key(client)
    }

    /// Forgets a client that neither holds anything nor listens.
    pub(super) fn forget_idle(&mut self, id: ClientId) {
        let idle = |known: &Known| known.pairs == 0 && known.watch.is_none();
        if self.known.get(&id).is_some_and(idle)
            && !self.purges.wait_for(id)
            && let Some(known) = self.known.remove(&id)
        {
            self.clients.remove(&known.client);
        }
    }

    /// Keys of which something is held: the one named, and where that is a family's the ones of its subjects.
    pub(super) fn held_under(&self, (slot, key): &(TenantSlot, KeyRef)) -> impl Iterator<Item = &HeldKey> {
        let last = match key.subject() {
            Some(_) => key.clone(),
            None => KeyRef::of_subject(key.family().clone(), Uid([u8::MAX; 16])),
        };
        self.keys.range((*slot, key.clone())..=(*slot, last)).map(|(_, held)| held)
    }

    pub(super) fn of_tenant(&self, slot: TenantSlot) -> Vec<VersionId> {
        let first = VersionId::new(slot, LeafSlot(0));
        let last = VersionId::new(slot, LeafSlot(u32::MAX));
        self.versions.range(first..=last).map(|(id, _)| *id).collect()
    }

    /// Takes a version out, with who holds it.
    pub(super) fn take(&mut self, id: VersionId) -> Option<Held> {
        let held = self.versions.remove(&id)?;
        let place = held.key.place();
        if let Some(key) = self.keys.get_mut(&place) {
            key.versions.remove(&id);
            key.sealing.retain(|_, version| *version != id);
            if key.versions.is_empty() {
                self.keys.remove(&place);
            }
        }
        for client in held.clients.keys() {
            self.release(*client);
        }
        Some(held)
    }

    fn release(&mut self, id: ClientId) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.pairs = known.pairs.saturating_sub(1);
        self.pairs = self.pairs.saturating_sub(1);
        metrics::gauge!("kms_leases_held").decrement(1);
        if let Some(of) = self.of.get_mut(&known.client.identity) {
            *of -= 1;
            if *of == 0 {
                self.of.remove(&known.client.identity);
            }
        }
    }

    /// Tells those who hold something of some versions.
    pub(super) fn tell_holders(
        &mut self,
        versions: &[VersionId],
        kind: Kind,
        item: Item,
        notice: &CommitNotice,
    ) {
        let held = versions.iter().filter_map(|version| self.versions.get(version));
        let clients: HashSet<ClientId> = held.flat_map(|held| held.clients.keys().copied()).collect();
        let event = KeyEvent { kind, revision: notice.revision, items: Arc::new([item]), epoch: None };
        for client in clients {
            self.tell(client, event.clone());
        }
    }

    /// Tells a client, or keeps it for when it listens.
    pub(super) fn tell(&mut self, id: ClientId, event: KeyEvent) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let event = match &known.watch {
            None => event,
            Some(watch) => match watch.push(event) {
                Ok(()) => return,
                // It is too slow, and was cut off: it will ask again.
                Err(event) => {
                    known.watch = None;
                    known.lost = true;
                    event
                }
            },
        };
        // What was destroyed is told again from what is waited for.
        if event.epoch.is_none() && !known.lost {
            known.backlog.push_back(event);
            if known.backlog.len() > BACKLOG {
                known.backlog.clear();
                known.lost = true;
            }
        }
    }

    /// Sweeps out leases that have ended, only once they doubled: a sweep at each lease would look at every one that runs.
    pub(super) fn sweep_if_due(&mut self, now: BootTime) {
        let size = self.pairs.max(self.versions.len());
        let again = self.swept.is_none_or(|swept| now.0 >= swept.0 + SWEEP_AGAIN);
        if size < self.sweep_at.max(SWEPT_FROM) && (size < MOST || !again) {
            return;
        }
        let mut ended = Vec::new();
        for held in self.versions.values_mut() {
            held.unnamed = held.unnamed.filter(|end| *end > now);
            ended.extend(held.clients.extract_if(|_, end| *end <= now).map(|(client, _)| client));
        }
        ended.into_iter().for_each(|client| self.release(client));
        let idle = |held: &Held| held.clients.is_empty() && held.unnamed.is_none();
        let gone: Vec<_> = self.versions.iter().filter(|(_, held)| idle(held)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| drop(self.take(id)));
        self.purges.forget_ended(now);
        let known: Vec<_> = self.known.keys().copied().collect();
        known.into_iter().for_each(|client| self.forget_idle(client));
        self.swept = Some(now);
        self.sweep_at = (2 * self.pairs.max(self.versions.len())).clamp(SWEPT_FROM, MOST);
    }
}
