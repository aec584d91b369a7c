//! What a key centre has committed to, as its log's entries say it: tenants, their keys, and the trees of their slots.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, slot_tree::SlotTree};
use crate::{
    commitment::{ALG_INDEX_KEY, Hash, leaf_hash, state_root, tenant_hash},
    event::{DestroyKey, DestroyVersion, KeyCreate, TenantCreate, TenantDestroy},
    id::{LeafSlot, TenantSlot, Uid},
};

/// All of it that lives.
#[derive(Debug)]
pub(super) struct Committed {
    top: SlotTree,
    tenants: BTreeMap<TenantSlot, Tenant>,
    slots: BTreeMap<Uid, TenantSlot>,
    next_tenant: u64,
    /// Versions in the committed state.
    live: u64,
    /// Tenants in whose tree something changed.
    stale: BTreeSet<TenantSlot>,
    /// What was destroyed since the last epoch: it stands in the state until the next.
    gone: Vec<Gone>,
}

#[derive(Debug)]
struct Tenant {
    uid: Uid,
    tree: SlotTree,
    next_leaf: u64,
    keys: BTreeMap<Uid, Key>,
}

#[derive(Debug)]
struct Key {
    newest: u32,
    /// By rising number.
    live: Vec<(u32, LeafSlot, Uid)>,
}

#[derive(Debug)]
enum Gone {
    Versions(TenantSlot, Vec<LeafSlot>),
    Tenant(TenantSlot, u64),
}

impl Committed {
    pub(super) fn new() -> Self {
        Self {
            top: SlotTree::new(),
            tenants: BTreeMap::new(),
            slots: BTreeMap::new(),
            next_tenant: 0,
            live: 0,
            stale: BTreeSet::new(),
            gone: Vec::new(),
        }
    }

    /// Live versions of all tenants.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// The commitment to the state as it stands.
    pub(super) fn root(&mut self) -> Hash {
        for slot in std::mem::take(&mut self.stale) {
            let tenant = self.tenants.get_mut(&slot);
            let hash = tenant.map(|it| {
                let root = it.tree.root();
                tenant_hash(it.uid, it.tree.height(), &root)
            });
            self.top.set(slot.0, hash);
        }
        let top = self.top.root();
        state_root(self.top.height(), &top, self.live)
    }

    /// An epoch: what was destroyed since the last stands in the state no more.
    pub(super) fn settle(&mut self) {
        for gone in std::mem::take(&mut self.gone) {
            match gone {
                Gone::Versions(tenant, slots) => {
                    self.stale.insert(tenant);
                    let Some(tenant) = self.tenants.get_mut(&tenant) else { continue };
                    self.live = self.live.saturating_sub(slots.len() as u64);
                    slots.iter().for_each(|slot| tenant.tree.set(slot.0, None));
                }
                Gone::Tenant(tenant, live) => {
                    self.stale.insert(tenant);
                    self.tenants.remove(&tenant);
                    self.live = self.live.saturating_sub(live);
                }
            }
        }
    }

    pub(super) fn create_tenant(&mut self, event: &TenantCreate) -> Result<(), Fault> {
        self.nothing_pending()?;
        let slot = event.tenant_slot;
        rise(&mut self.next_tenant, slot.0)?;
        if self.slots.insert(event.tenant_uid, slot).is_some() {
            return Err(Fault::Again("tenant"));
        }
        let mut tree = SlotTree::new();
        let index = leaf_hash(event.index_uid, LeafSlot(0), ALG_INDEX_KEY, &event.index_kc);
        tree.set(0, Some(index));
        let tenant = Tenant { uid: event.tenant_uid, tree, next_leaf: 1, keys: BTreeMap::new() };
        self.tenants.insert(slot, tenant);
        self.stale.insert(slot);
        Ok(())
    }

    /// A key with its first version, or, where it is `rotated`, its next one.
    pub(super) fn create_version(&mut self, event: &KeyCreate, rotated: bool) -> Result<(), Fault> {
        self.nothing_pending()?;
        let (slot, tenant) = self.tenant(event.tenant_uid)?;
        match (tenant.keys.get(&event.key_uid), rotated) {
            (None, false) => {}
            (Some(key), true) if key.newest.checked_add(1) == Some(event.number) => {}
            (Some(_), true) => return Err(Fault::Number),
            (Some(_), false) => return Err(Fault::Again("key")),
            (None, true) => return Err(Fault::Unknown("key")),
        }
        rise(&mut tenant.next_leaf, event.slot.0)?;
        let hash = leaf_hash(event.version_uid, event.slot, event.alg, &event.kc);
        tenant.tree.set(event.slot.0, Some(hash));
        let key = tenant.keys.entry(event.key_uid).or_insert(Key { newest: 0, live: Vec::new() });
        key.newest = event.number;
        key.live.push((event.number, event.slot, event.version_uid));
        self.live = self.live.saturating_add(1);
        self.stale.insert(slot);
        Ok(())
    }

    pub(super) fn destroy_version(&mut self, event: &DestroyVersion) -> Result<(), Fault> {
        let (slot, tenant) = self.tenant(event.tenant_uid)?;
        let key = tenant.keys.get_mut(&event.key_uid).ok_or(Fault::Unknown("key"))?;
        let at = key.live.binary_search_by_key(&event.number, |(number, ..)| *number);
        let at = at.map_err(|_| Fault::Unknown("version"))?;
        let (_, leaf, uid) = key.live.remove(at);
        if (leaf, uid) != (event.slot, event.version_uid) {
            return Err(Fault::Unknown("version"));
        }
        let (live, last) = (key.live.len() as u64, key.newest);
        if key.live.is_empty() {
            tenant.keys.remove(&event.key_uid);
        }
        self.gone.push(Gone::Versions(slot, vec![leaf]));
        agree((event.live, event.last), (live, last))
    }

    pub(super) fn destroy_key(&mut self, event: &DestroyKey) -> Result<(), Fault> {
        let (slot, tenant) = self.tenant(event.tenant_uid)?;
        let key = tenant.keys.remove(&event.key_uid).ok_or(Fault::Unknown("key"))?;
        self.gone.push(Gone::Versions(slot, key.live.iter().map(|(_, leaf, _)| *leaf).collect()));
        agree((event.live, event.last), (0, key.newest))
    }

    pub(super) fn destroy_tenant(&mut self, event: &TenantDestroy) -> Result<(), Fault> {
        let (slot, tenant) = self.tenant(event.tenant_uid)?;
        let live = tenant.keys.values().map(|key| key.live.len() as u64).sum();
        if slot != event.tenant_slot {
            return Err(Fault::Unknown("tenant"));
        }
        self.slots.remove(&event.tenant_uid);
        self.gone.push(Gone::Tenant(slot, live));
        agree((event.live, 0), (live, 0))
    }

    fn tenant(&mut self, uid: Uid) -> Result<(TenantSlot, &mut Tenant), Fault> {
        let slot = *self.slots.get(&uid).ok_or(Fault::Unknown("tenant"))?;
        let tenant = self.tenants.get_mut(&slot).ok_or(Fault::Unknown("tenant"))?;
        Ok((slot, tenant))
    }

    fn nothing_pending(&self) -> Result<(), Fault> {
        if self.gone.is_empty() { Ok(()) } else { Err(Fault::BetweenDestructions) }
    }
}

/// Slots are given out in rising order, and never twice.
fn rise(next: &mut u64, slot: u32) -> Result<(), Fault> {
    if u64::from(slot) < *next {
        return Err(Fault::Slot(slot));
    }
    *next = u64::from(slot) + 1;
    Ok(())
}

fn agree(said: (u64, u32), (live, last): (u64, u32)) -> Result<(), Fault> {
    if said == (live, last) { Ok(()) } else { Err(Fault::Left { live }) }
}
