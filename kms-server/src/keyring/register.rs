//! Every version in memory: those that a cache holds, and those that only a request still holds.
//!
//! INVARIANT: a version has one instance. Two would each have seen only some of the data keys leased; and one that no cache holds
//! would outlive the version's destruction in the hands of whoever waits with it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use kms_core::id::{TenantSlot, VersionId};

use super::LiveVersion;

/// Versions that are swept for at the earliest.
const SWEPT_FROM: usize = 1024;

/// The instances there are, and how far the store has been read.
pub(super) struct Register {
    live: HashMap<VersionId, Weak<LiveVersion>>,
    /// How many there may be before those that are gone are swept out.
    sweep_at: usize,
    /// Nothing of a tenant from this slot on was ever loaded.
    unread_from: u32,
}

impl Default for Register {
    fn default() -> Self {
        Self { live: HashMap::new(), sweep_at: SWEPT_FROM, unread_from: 0 }
    }
}

impl Register {
    /// Enters what was loaded; gives the instance that was there before, if there is one.
    pub(super) fn enter(&mut self, loaded: Arc<LiveVersion>) -> Arc<LiveVersion> {
        if let Some(version) = self.get(loaded.id()) {
            return version;
        }
        if self.live.len() >= self.sweep_at {
            self.live.retain(|_, version| version.strong_count() > 0);
            self.sweep_at = SWEPT_FROM.max(2 * self.live.len());
        }
        self.live.insert(loaded.id(), Arc::downgrade(&loaded));
        loaded
    }

    /// The instance of a version.
    pub(super) fn get(&self, id: VersionId) -> Option<Arc<LiveVersion>> {
        self.live.get(&id).and_then(Weak::upgrade)
    }

    /// Takes the instance of a destroyed version out.
    pub(super) fn remove(&mut self, id: VersionId) -> Option<Arc<LiveVersion>> {
        self.live.remove(&id).and_then(|version| version.upgrade())
    }

    /// Takes the instances of a destroyed tenant out.
    pub(super) fn remove_tenant(&mut self, slot: TenantSlot) -> Vec<Arc<LiveVersion>> {
        let theirs = self.live.extract_if(|id, _| id.tenant_slot() == slot);
        theirs.filter_map(|(_, version)| version.upgrade()).collect()
    }

    /// Something of a tenant is about to be cached.
    pub(super) fn read(&mut self, slot: TenantSlot) {
        self.unread_from = self.unread_from.max(slot.0.saturating_add(1));
    }

    /// Whether anything of a tenant may be in memory. Slots are given away in order, so nothing is of one just made.
    pub(super) fn may_hold(&self, slot: TenantSlot) -> bool {
        slot.0 < self.unread_from
    }
}
