//! How much one commit may hold, counted while its changes are drafted: what does not fit waits for the next one, and a change that
//! never fits is refused alone, so that it takes nobody along.
//!
//! Counted is at least what will be written: records as they are, trees by the distinct nodes above the leaves that change.

use std::collections::HashSet;

use kms_core::tree::{MAX_HEIGHT, Place, TreeName};

use super::change::{Draft, TreeOp};
use crate::store::{MAX_BATCH, MAX_WRITES};

/// Of a commit, left for the head, evidence, what is collected, and what rides along.
const RESERVED_WRITES: usize = 128;
const RESERVED_BYTES: usize = 64 * 1024;

/// A node's record, the write it supersedes, its hash; and 32 children's keys and hashes, wrapped.
const NODE: Size = Size { writes: 3, bytes: 3 * 1024 };
/// A leaf's record, or what names it once it is garbage.
const LEAF: Size = Size { writes: 1, bytes: 384 };
/// A tenant's shape, the hash of its tree, what names it once it is garbage.
const TENANT: Size = Size { writes: 4, bytes: 2 * 1024 };
/// An entry of the log.
const ENTRY: Size = Size { writes: 1, bytes: 1024 };
/// Key, length and tag of a write, beside its value.
const WRITE: usize = 16;

/// Writes and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    writes: usize,
    bytes: usize,
}

impl Size {
    /// What one commit of an engine takes.
    pub(super) const COMMIT: Self =
        Self { writes: MAX_WRITES - RESERVED_WRITES, bytes: MAX_BATCH - RESERVED_BYTES };
    /// What an epoch gathers before it begins. It is written in parts, so only its redo, and the time it takes, bound it.
    pub(super) const EPOCH: Self = Self { writes: 64 * 1024, bytes: 16 << 20 };
    /// What one destruction may bring.
    pub(super) const DESTRUCTION: Self = Self { writes: 512 * 1024, bytes: 128 << 20 };

    /// Where something else is the bound.
    pub(super) const UNBOUNDED: Self = Self { writes: usize::MAX, bytes: usize::MAX };

    fn fits(self, most: Self) -> bool {
        self.writes <= most.writes && self.bytes <= most.bytes
    }

    fn add(&mut self, more: Self) {
        self.writes += more.writes;
        self.bytes += more.bytes;
    }
}

/// What the changes of one commit will write.
#[derive(Default)]
pub(super) struct Room {
    taken: Size,
    nodes: HashSet<Place>,
}

impl Room {
    /// What one change writes if it stands alone.
    pub(super) fn of(draft: &Draft) -> Self {
        let mut room = Self::default();
        for (key, value) in &draft.writes {
            let bytes = key.len() + value.as_ref().map_or(0, Vec::len) + WRITE;
            room.taken.add(Size { writes: 1, bytes });
        }
        draft.log.iter().for_each(|_| room.taken.add(ENTRY));
        for op in &draft.trees {
            let (tenant, slot) = match op {
                TreeOp::CreateTenant(tenant, ..) | TreeOp::DestroyTenant(tenant) => {
                    room.taken.add(TENANT);
                    (*tenant, 0)
                }
                TreeOp::CreateLeaf(tenant, slot, _) => (*tenant, slot.0),
                TreeOp::DestroyLeaf(version) => (version.tenant_slot(), version.leaf_slot().0),
            };
            room.taken.add(LEAF);
            room.climb(TreeName::Tenant(tenant), slot);
            room.climb(TreeName::Top, tenant.0);
        }
        room
    }

    /// Counts the nodes above a slot that nothing else has touched.
    fn climb(&mut self, tree: TreeName, slot: u32) {
        for level in 1..=MAX_HEIGHT {
            if !self.nodes.insert(Place::above(tree, level, slot)) {
                return;
            }
            self.taken.add(NODE);
        }
    }

    /// Whether it is within bounds.
    pub(super) fn fits(&self, most: Size) -> bool {
        self.taken.fits(most)
    }

    /// Takes another change in, where it still fits; says whether it did.
    pub(super) fn take(&mut self, change: Self, most: Size) -> bool {
        let shared = change.nodes.iter().filter(|place| self.nodes.contains(place)).count();
        let mut taken = self.taken;
        taken.add(change.taken);
        taken.writes -= shared * NODE.writes;
        taken.bytes -= shared * NODE.bytes;
        if !taken.fits(most) {
            return false;
        }
        self.taken = taken;
        self.nodes.extend(change.nodes);
        true
    }
}
