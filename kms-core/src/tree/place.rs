//! Where a record of a tree stands: fan-out 32, level 0 the leaves, the node of level k above slot s at index s >> 5k.

use crate::id::{KeyGen, LeafSlot, RecordVer, TenantSlot};
use crate::record::{NO_TENANT, RecordKind};

/// Children of a node.
pub const FAN_OUT: usize = 32;
/// Bits of a slot that one level decides.
pub const LEVEL_BITS: u32 = 5;
/// Most levels of a tree: seven hold every 32-bit slot.
pub const MAX_HEIGHT: u8 = 7;

/// Which tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TreeName {
    /// One tenant's: its slots are leaves. Ordered before the top tree, which is written after it.
    Tenant(TenantSlot),
    /// The top tree: its slots are tenants.
    Top,
}

impl TreeName {
    /// The number that stands for it in headers and keys: the tenant's slot, or all ones.
    pub fn number(self) -> u64 {
        match self {
            Self::Top => NO_TENANT,
            Self::Tenant(slot) => slot.0.into(),
        }
    }

    /// The tree of a number.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            NO_TENANT => Some(Self::Top),
            slot => u32::try_from(slot).ok().map(|slot| Self::Tenant(TenantSlot(slot))),
        }
    }
}

/// One node or leaf of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which tree.
    pub tree: TreeName,
    /// Height above the leaves.
    pub level: u8,
    /// Place within the level.
    pub index: u64,
}

impl Place {
    /// The node of `level` above a slot.
    pub fn above(tree: TreeName, level: u8, slot: u32) -> Self {
        Self { tree, level, index: u64::from(slot) >> (LEVEL_BITS * u32::from(level)) }
    }

    /// The root of a tree of `height` levels.
    pub fn root(tree: TreeName, height: u8) -> Self {
        Self { tree, level: height, index: 0 }
    }

    /// A leaf.
    pub fn leaf(tenant: TenantSlot, slot: LeafSlot) -> Self {
        Self { tree: TreeName::Tenant(tenant), level: 0, index: slot.0.into() }
    }

    /// The node above.
    pub fn parent(self) -> Self {
        Self { level: self.level + 1, index: self.index >> LEVEL_BITS, ..self }
    }

    /// The place's slot in its parent.
    #[expect(clippy::cast_possible_truncation, reason = "masked to five bits")]
    pub fn child_slot(self) -> usize {
        self.index as usize & (FAN_OUT - 1)
    }

    /// The child in a slot.
    pub fn child(self, slot: usize) -> Self {
        Self { level: self.level - 1, index: self.index << LEVEL_BITS | slot as u64, ..self }
    }

    /// What kind of record stands here.
    pub fn kind(self) -> RecordKind {
        match (self.tree, self.level) {
            (TreeName::Top, _) => RecordKind::TopNode,
            (TreeName::Tenant(_), 0) => RecordKind::Leaf,
            (TreeName::Tenant(_), _) => RecordKind::TenantNode,
        }
    }
}

/// One write of one place: never overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Where.
    pub place: Place,
    /// Which key of that place.
    pub key_gen: KeyGen,
    /// Which write under that key.
    pub record_ver: RecordVer,
}

/// Whether a tree of `height` levels has room for `slot`.
pub fn holds(height: u8, slot: u32) -> bool {
    u64::from(slot) >> (LEVEL_BITS * u32::from(height)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_of_level_k_above_a_slot_has_index_slot_shifted_by_5k() {
        let tree = TreeName::Tenant(TenantSlot(5));
        assert_eq!(Place::above(tree, 1, 288), Place { tree, level: 1, index: 9 });
        assert_eq!(Place::above(tree, 2, 288), Place::root(tree, 2));
        let leaf = Place::leaf(TenantSlot(5), LeafSlot(288));
        assert_eq!(leaf.parent(), Place::above(tree, 1, 288));
        assert_eq!(leaf.parent().child(leaf.child_slot()), leaf);
    }

    #[test]
    fn seven_levels_hold_every_slot_and_six_do_not() {
        assert!(holds(1, 31) && !holds(1, 32));
        assert!(holds(2, 1023) && !holds(2, 1024));
        assert!(holds(MAX_HEIGHT, u32::MAX) && !holds(6, u32::MAX));
    }
}
