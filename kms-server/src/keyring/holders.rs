//! Which client holds data keys of which version, and until when.
//!
//! What becomes of a key is told to those who hold something of it, and to nobody else; and what they confirm to have purged is not
//! waited for any more. Nothing is stored: who held what before a restart is unknown after it, and is waited for to the end.
//!
//! INVARIANT: a lease is noted before its data key leaves, and a destroyed version is retired before its holders are counted. So
//! whoever got a data key is counted, and whoever is noted after that gets none.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{Epoch, TenantSlot, VersionId};
use parking_lot::Mutex;
use uuid::Uuid;

use super::KeyEntry;
use super::held::{ClientId, Held, State};
use super::leases::ToSeal;
use super::purges::Ending;
use super::watches::{Item, KeyEvent, Kind};
use crate::erasure::{CommitNotice, Destroyed, What};
use crate::identity::IdentityName;
use crate::records::KeyRef;
use crate::running::BootTime;

/// A client as leases are attributed: no identity can speak for another one's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Client {
    /// Whose certificate it has.
    pub identity: IdentityName,
    /// Drawn by the client.
    pub instance: Uuid,
}

/// Who holds what.
pub struct Holders {
    started: BootTime,
    /// Tenants from this slot on were made by this process: no other handed out anything of theirs.
    born: TenantSlot,
    pub(super) state: Mutex<State>,
}

/// A lease that is about to be given.
#[derive(Debug, Clone, Copy)]
pub struct Lease<'a> {
    /// Of this key.
    pub key: &'a Arc<KeyEntry>,
    /// Of this version.
    pub version: VersionId,
    /// To seal; or to open.
    pub to_seal: Option<ToSeal>,
    /// Whether data keys of the version were handed out before.
    pub issued_before: bool,
    /// To whom, if it said so.
    pub client: Option<&'a Client>,
}

impl Holders {
    pub(super) fn new(born: TenantSlot) -> Self {
        Self { started: BootTime::now(), born, state: Mutex::default() }
    }

    /// Notes a lease that starts now. To be called before the data key leaves.
    pub fn note(&self, lease: Lease<'_>) {
        let now = BootTime::now();
        let end = BootTime(now.0 + lease.key.lease);
        let earlier = lease.issued_before && lease.version.tenant_slot() < self.born;
        let mut state = self.state.lock();
        state.sweep_if_due(now);
        state.note(lease, end, earlier);
    }

    /// Takes note of what a commit destroyed, and tells those who hold something of it. Says when the epoch is quiesced as far as is
    /// known now.
    pub(super) fn destroyed(&self, notice: &CommitNotice) -> Option<Ending> {
        let now = BootTime::now();
        let leased = notice.destroyed.iter().filter(|destroyed| destroyed.lease_ms > 0);
        let mut state = self.state.lock();
        state.purges.forget_ended(now);
        let mut counted = Counted::default();
        for Destroyed { what, lease_ms } in leased {
            let earlier = BootTime(self.started.0 + Duration::from_millis(*lease_ms));
            match what {
                What::Version(id) => {
                    let held = state.take(*id);
                    let known = match &held {
                        Some(held) => !held.earlier,
                        None => id.tenant_slot() >= self.born,
                    };
                    counted.unless(known, earlier);
                    if let Some(held) = held {
                        let item = Item::of(&held.key, Some(*id));
                        counted.add(held, &item);
                    }
                }
                What::Tenant(slot) => {
                    counted.unless(*slot >= self.born, earlier);
                    for id in state.of_tenant(*slot) {
                        let Some(held) = state.take(id) else { continue };
                        let item = Item::tenant(&held.key);
                        counted.add(held, &item);
                    }
                }
            }
        }
        if notice.destroyed.iter().all(|destroyed| destroyed.lease_ms == 0) {
            return None;
        }
        counted.unattributed = counted.unattributed.max(state.beyond);
        let (epoch, revision) = (notice.epoch, notice.revision);
        for (client, (_, items)) in &counted.clients {
            let items = items.iter().cloned().collect();
            state.tell(*client, KeyEvent { kind: Kind::Destroyed, revision, items, epoch: Some(epoch) });
        }
        Some(state.purges.begin((epoch, revision), counted.clients, counted.unattributed, now))
    }

    /// A client confirmed that it purged what an epoch destroyed. `None` where that was not waited for any more.
    pub(super) fn confirmed(&self, client: ClientId, epoch: Epoch) -> Option<Ending> {
        self.state.lock().purges.confirm(client, epoch, BootTime::now())
    }

    /// Whether somebody holds something of a key, or of a subject of the family that it is.
    pub(super) fn hold_key(&self, place: &(TenantSlot, KeyRef)) -> Option<Arc<KeyEntry>> {
        let state = self.state.lock();
        let version = state.held_under(place).find_map(|held| held.versions.iter().next())?;
        state.versions.get(version).map(|held| Arc::clone(&held.key))
    }

    /// Tells those who hold something of a key that it changed, where that means anything to them.
    pub(super) fn changed(&self, entry: &Arc<KeyEntry>, notice: &CommitNotice) {
        let state = &mut *self.state.lock();
        if entry.is_family {
            return state.family_changed(entry, notice);
        }
        let Some(key) = state.keys.get_mut(&entry.place()) else { return };
        let mut stopped = BTreeSet::new();
        let kind = match (entry.is_suspended(), entry.check_opens()) {
            (true, _) => Kind::Suspended,
            // Destruction has an event of its own.
            (false, Err(_)) => return,
            (false, Ok(())) => {
                let seals = |kind: &ToSeal| match kind {
                    ToSeal::Randomized => entry.sealing_version().ok(),
                    ToSeal::Deterministic => entry.deterministic_version().ok(),
                };
                key.sealing.retain(|kind, version| {
                    let stays = seals(kind) == Some(*version);
                    if !stays {
                        stopped.insert(*version);
                    }
                    stays
                });
                // Of an index key all versions are held, and there is a new one.
                let indexes = entry.indexing().any(|version| !key.versions.contains(&version));
                if stopped.is_empty() && !indexes {
                    return;
                }
                Kind::Rotated
            }
        };
        let versions: Vec<_> = key.versions.iter().copied().collect();
        // A client that knows the key by a subject's name goes by the version.
        if stopped.is_empty() {
            stopped.extend(versions.first());
        }
        for version in stopped {
            state.tell_holders(&versions, kind, Item::of(entry, Some(version)), notice);
        }
    }

    /// Tells those who hold something of a tenant that it changed.
    pub(super) fn tenant_changed(&self, slot: TenantSlot, kind: Kind, notice: &CommitNotice) {
        let mut state = self.state.lock();
        let versions = state.of_tenant(slot);
        let Some(held) = versions.first().and_then(|version| state.versions.get(version)) else { return };
        let item = Item::tenant(&held.key);
        state.tell_holders(&versions, kind, item, notice);
    }
}

impl State {
    /// Tells those who hold something of a family's subjects that they are stopped with it: once, and not for each of them. A rotation
    /// they hear of as each follows it.
    fn family_changed(&mut self, family: &KeyEntry, notice: &CommitNotice) {
        if !family.is_suspended() {
            return;
        }
        let place = family.place();
        let held = self.held_under(&place).flat_map(|held| held.versions.iter().copied());
        let versions: Vec<_> = held.collect();
        self.tell_holders(&versions, Kind::Suspended, Item::of(family, None), notice);
    }
}

/// Holders of what an epoch destroyed.
#[derive(Default)]
struct Counted {
    clients: HashMap<ClientId, (BootTime, Vec<Item>)>,
    unattributed: Option<BootTime>,
}

impl Counted {
    /// Where not all holders are known, they are waited for until `end`.
    fn unless(&mut self, known: bool, end: BootTime) {
        if !known {
            self.unattributed = self.unattributed.max(Some(end));
        }
    }

    fn add(&mut self, held: Held, item: &Item) {
        self.unattributed = self.unattributed.max(held.unnamed);
        for (client, end) in held.clients {
            let (last, items) = self.clients.entry(client).or_insert((end, Vec::new()));
            *last = end.max(*last);
            if items.last() != Some(item) {
                items.push(item.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
