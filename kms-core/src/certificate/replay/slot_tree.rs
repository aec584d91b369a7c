//! A tree of slots as far as anything stands in it: hashes of what is there, level by level, computed anew only where something changed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    commitment::{Hash, empty_subtree, fold_children},
    tree::{FAN_OUT, MAX_HEIGHT, holds, place::LEVEL_BITS},
};

/// A tree of slots.
#[derive(Debug)]
pub(super) struct SlotTree {
    height: u8,
    /// By levels of fan-out 32, 0 the slots themselves, and place within the level; what is empty is not there.
    hashes: BTreeMap<(u8, u64), Hash>,
    /// Nodes of level 1 below which something changed.
    stale: BTreeSet<u64>,
}

impl SlotTree {
    /// An empty one, of the height that every tree begins with.
    pub(super) fn new() -> Self {
        Self { height: 1, hashes: BTreeMap::new(), stale: BTreeSet::new() }
    }

    pub(super) fn height(&self) -> u8 {
        self.height
    }

    /// Fills or empties a slot; a tree grows until it has room, and never shrinks.
    pub(super) fn set(&mut self, slot: u32, hash: Option<Hash>) {
        while !holds(self.height, slot) && self.height < MAX_HEIGHT {
            self.height += 1;
            // The root of what stood so far is the first child of the node above.
            self.stale.insert(0);
        }
        put(&mut self.hashes, (0, slot.into()), hash);
        self.stale.insert(u64::from(slot) >> LEVEL_BITS);
    }

    /// The root over all slots.
    pub(super) fn root(&mut self) -> Hash {
        let mut stale = std::mem::take(&mut self.stale);
        for level in 1..=self.height {
            let mut above = BTreeSet::new();
            for index in stale {
                let hash = self.node(level, index);
                put(&mut self.hashes, (level, index), hash);
                above.insert(index >> LEVEL_BITS);
            }
            stale = above;
        }
        let root = self.hashes.get(&(self.height, 0)).copied();
        root.unwrap_or_else(|| empty_subtree(binary_levels(self.height)))
    }

    fn node(&self, level: u8, index: u64) -> Option<Hash> {
        let (below, first) = (level - 1, index << LEVEL_BITS);
        let mut children = [None; FAN_OUT];
        let mut some = false;
        for ((_, child), hash) in self.hashes.range((below, first)..(below, first + FAN_OUT as u64)) {
            children[(child - first) as usize] = Some(*hash);
            some = true;
        }
        some.then(|| fold_children(&children, binary_levels(below)))
    }
}

fn put(hashes: &mut BTreeMap<(u8, u64), Hash>, place: (u8, u64), hash: Option<Hash>) {
    match hash {
        Some(hash) => hashes.insert(place, hash),
        None => hashes.remove(&place),
    };
}

fn binary_levels(height: u8) -> usize {
    LEVEL_BITS as usize * usize::from(height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparency::{SlotProof, slots};

    /// The root by the definition of slot proofs: every slot known, nothing else there.
    fn reference(slots: &BTreeMap<u64, Hash>, height: u8) -> Hash {
        let levels = binary_levels(height);
        if slots.is_empty() {
            return empty_subtree(levels);
        }
        let known = slots.keys().copied().collect();
        let proof = SlotProof::prove(levels, &known, |_, _| None).unwrap();
        slots::root(levels, slots, &proof.siblings).unwrap()
    }

    #[test]
    fn after_any_changes_the_root_is_that_of_the_definition() {
        let (mut tree, mut model) = (SlotTree::new(), BTreeMap::new());
        let slots = [0, 1, 31, 0, 32, 33, 1023, 31, 1024, 40_000, 1, 0, 33_554_432, u32::MAX, 1023, 32, 33];
        for (step, slot) in slots.into_iter().chain([1024, 40_000, 33_554_432, u32::MAX, 0]).enumerate() {
            // What stands is taken out, what does not is put in.
            match model.remove(&u64::from(slot)) {
                Some(_) => tree.set(slot, None),
                None => {
                    model.insert(slot.into(), [step as u8; 32]);
                    tree.set(slot, Some([step as u8; 32]));
                }
            }
            assert_eq!(tree.root(), reference(&model, tree.height()), "{step}");
        }
        assert_eq!((tree.height(), model.is_empty(), tree.hashes.is_empty()), (7, true, true));
    }

    #[test]
    fn several_changes_at_once_come_to_the_same_root() {
        let (mut one_by_one, mut at_once) = (SlotTree::new(), SlotTree::new());
        for slot in [0, 7, 31, 32, 100, 2000] {
            for tree in [&mut one_by_one, &mut at_once] {
                tree.set(slot, Some([slot as u8; 32]));
            }
            one_by_one.root();
        }
        assert_eq!(one_by_one.root(), at_once.root());
        assert_eq!(one_by_one.height(), 3);
    }
}
