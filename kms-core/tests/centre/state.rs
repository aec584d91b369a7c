//! What the key centre commits to, computed by the definitions.

use std::collections::{BTreeMap, BTreeSet};

use kms_core::{
    certificate::proofs::{State, TenantProof},
    commitment::{Hash, empty_subtree, pair_hash, state_root, tenant_hash},
    id::Uid,
    transparency::SlotProof,
};

/// What is committed to.
#[derive(Clone)]
pub(super) struct Committed {
    pub(super) tenants: BTreeMap<u32, Tenant>,
    pub(super) top_height: u8,
    pub(super) live: u64,
}

#[derive(Clone)]
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) height: u8,
    pub(super) slots: BTreeMap<u64, Hash>,
}

impl Committed {
    pub(super) fn top(&self) -> BTreeMap<u64, Hash> {
        let hash = |tenant: &Tenant| {
            let levels = 5 * usize::from(tenant.height);
            let root = subtree(&tenant.slots, levels, 0).unwrap_or_else(|| empty_subtree(levels));
            tenant_hash(tenant.uid, tenant.height, &root)
        };
        self.tenants.iter().map(|(slot, tenant)| (u64::from(*slot), hash(tenant))).collect()
    }

    pub(super) fn root(&self) -> Hash {
        let levels = 5 * usize::from(self.top_height);
        let top = subtree(&self.top(), levels, 0).unwrap_or_else(|| empty_subtree(levels));
        state_root(self.top_height, &top, self.live)
    }

    pub(super) fn proof(&self, tenant: u32, slots: &BTreeSet<u64>) -> State {
        let prove = |height: u8, all: &BTreeMap<u64, Hash>, slots: &BTreeSet<u64>| {
            let source = |level, index| subtree(all, level, index);
            SlotProof::prove(5 * usize::from(height), slots, source).unwrap().siblings
        };
        let proof = match self.tenants.get(&tenant) {
            None => TenantProof::Empty,
            Some(it) if slots.is_empty() => {
                let levels = 5 * usize::from(it.height);
                let root = subtree(&it.slots, levels, 0).unwrap_or_else(|| empty_subtree(levels));
                TenantProof::Root { height: it.height, root }
            }
            Some(it) => TenantProof::Slots { height: it.height, slots: prove(it.height, &it.slots, slots) },
        };
        let top = prove(self.top_height, &self.top(), &[tenant.into()].into());
        State { live: self.live, top_height: self.top_height, top, tenant: proof }
    }
}

/// By the definition: the hash of 2^level slots; `None` where nothing stands in them.
pub(super) fn subtree(slots: &BTreeMap<u64, Hash>, level: usize, index: u64) -> Option<Hash> {
    let mut below = slots.range(index << level..(index + 1) << level);
    let (_, first) = below.next()?;
    if level == 0 {
        return Some(*first);
    }
    let half = |index| subtree(slots, level - 1, index).unwrap_or_else(|| empty_subtree(level - 1));
    Some(pair_hash(&half(2 * index), &half(2 * index + 1)))
}

pub(super) fn height(slot: u64) -> u8 {
    (1..=7).find(|height| slot >> (5 * height) == 0).unwrap()
}
