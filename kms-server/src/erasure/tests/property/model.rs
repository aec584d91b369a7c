//! What lives, as it should be.

use std::collections::{BTreeMap, BTreeSet};

use kms_core::id::{TenantSlot, VersionId};

/// Versions of a key that live.
pub(super) type Key = BTreeSet<VersionId>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) tenants: BTreeMap<TenantSlot, Vec<Key>>,
    pub(super) ever: BTreeSet<VersionId>,
    /// Versions that a row asks to be destroyed; they may be gone already.
    pub(super) scheduled: BTreeSet<VersionId>,
}

impl Model {
    pub(super) fn live(&self) -> BTreeSet<VersionId> {
        self.tenants.values().flatten().flatten().copied().collect()
    }

    pub(super) fn tenant(&self, choice: usize) -> Option<TenantSlot> {
        self.tenants.keys().nth(choice % self.tenants.len().max(1)).copied()
    }

    /// Keys with a live version, by tenant and place.
    pub(super) fn key(&self, choice: usize) -> Option<(TenantSlot, usize)> {
        let keys = self.tenants.iter().flat_map(|(tenant, keys)| {
            let live = keys.iter().enumerate().filter(|(_, key)| !key.is_empty());
            live.map(|(at, _)| (*tenant, at))
        });
        let keys: Vec<_> = keys.collect();
        keys.get(choice % keys.len().max(1)).copied()
    }

    pub(super) fn made(&mut self, tenant: TenantSlot, key: Option<usize>, made: VersionId) {
        let keys = self.tenants.get_mut(&tenant).unwrap();
        match key {
            Some(key) => drop(keys[key].insert(made)),
            None => keys.push(Key::from([made])),
        }
        self.ever.insert(made);
    }

    pub(super) fn destroyed(&mut self, gone: &BTreeSet<VersionId>) {
        let keys = self.tenants.values_mut().flatten();
        keys.for_each(|key| key.retain(|version| !gone.contains(version)));
    }

    pub(super) fn carried_out(&mut self, version: VersionId) {
        self.scheduled.remove(&version);
        self.destroyed(&BTreeSet::from([version]));
    }
}
