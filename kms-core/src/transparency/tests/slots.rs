use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{super::slots::root, *};
use crate::commitment::{EMPTY, MAX_LEVELS, empty_subtree, pair_hash};

/// The tree of the commitment over `leaves`; the definition, most significant bit first.
fn subtree(leaves: &BTreeMap<u64, Hash>, level: usize, prefix: u64) -> Hash {
    if leaves.range(prefix << level..(prefix + 1) << level).next().is_none() {
        return empty_subtree(level);
    }
    match level {
        0 => leaves[&prefix],
        _ => {
            let (left, right) = (2 * prefix, 2 * prefix + 1);
            pair_hash(&subtree(leaves, level - 1, left), &subtree(leaves, level - 1, right))
        }
    }
}

fn prove(leaves: &BTreeMap<u64, Hash>, levels: usize, slots: &BTreeSet<u64>) -> SlotProof {
    // Empty subtrees as `None` or written out: the proof must be the same.
    let proof =
        SlotProof::prove(levels, slots, |level, prefix| Some(subtree(leaves, level, prefix))).unwrap();
    let sparse = |level, prefix| {
        let hash = subtree(leaves, level, prefix);
        (hash != empty_subtree(level)).then_some(hash)
    };
    assert_eq!(SlotProof::prove(levels, slots, sparse).as_ref(), Ok(&proof));
    proof
}

fn known(leaves: &BTreeMap<u64, Hash>, slots: &BTreeSet<u64>) -> BTreeMap<u64, Hash> {
    slots.iter().map(|slot| (*slot, leaves.get(slot).copied().unwrap_or(EMPTY))).collect()
}

fn check(leaves: &BTreeMap<u64, Hash>, levels: usize, slots: &BTreeSet<u64>) {
    let proof = prove(leaves, levels, slots);
    let (known, of_tree) = (known(leaves, slots), subtree(leaves, levels, 0));
    assert_eq!(proof.root(levels, &known), Ok(of_tree));

    let refused = |siblings: &[Option<Hash>]| root(levels, &known, siblings) != Ok(of_tree);
    for at in 0..=proof.siblings.len() {
        for added in [None, Some(EMPTY), Some([7; 32])] {
            let mut siblings = proof.siblings.clone();
            siblings.insert(at, added);
            assert!(refused(&siblings), "one added");
        }
    }
    for at in 0..proof.siblings.len() {
        let mut siblings = proof.siblings.clone();
        siblings[at] = siblings[at].map_or(Some([7; 32]), |_| None);
        assert!(refused(&siblings), "one blanked, or filled in");
        siblings.remove(at);
        assert!(refused(&siblings), "one dropped");
        if let Some(mut flipped) = proof.siblings[at] {
            flipped[0] ^= 1;
            siblings.insert(at, Some(flipped));
            assert!(refused(&siblings), "one flipped");
        }
    }
    for (slot, hash) in &known {
        let mut other = known.clone();
        other.insert(*slot, if *hash == EMPTY { [7; 32] } else { EMPTY });
        assert_ne!(proof.root(levels, &other), Ok(of_tree), "present as absent, absent as present");
    }
    for other in (0..=MAX_LEVELS).filter(|other| *other != levels) {
        assert_ne!(proof.root(other, &known), Ok(of_tree), "another height");
    }
}

fn leaf(slot: u64) -> Hash {
    crate::commitment::sha256(&[b"leaf", &slot.to_be_bytes()])
}

#[test]
fn every_set_of_slots_of_every_small_tree_is_proven() {
    for levels in 0..=3 {
        let width = 1_u64 << levels;
        for filled in 0_u64..1 << width {
            let leaves =
                (0..width).filter(|slot| filled >> slot & 1 == 1).map(|slot| (slot, leaf(slot))).collect();
            for asked in 1_u64..1 << width {
                let slots = (0..width).filter(|slot| asked >> slot & 1 == 1).collect();
                let proof = prove(&leaves, levels, &slots);
                assert_eq!(
                    proof.root(levels, &known(&leaves, &slots)),
                    Ok(subtree(&leaves, levels, 0)),
                    "{filled:b} {asked:b}"
                );
            }
        }
    }
}

#[test]
fn presence_before_and_absence_after_share_one_list_of_siblings() {
    let mut leaves: BTreeMap<u64, Hash> = (0..40).map(|slot| (slot, leaf(slot))).collect();
    let slots = BTreeSet::from([3, 17, 33]);
    let before = prove(&leaves, 10, &slots);
    leaves.retain(|slot, _| !slots.contains(slot));
    assert_eq!(prove(&leaves, 10, &slots), before);
    let absent = slots.iter().map(|slot| (*slot, EMPTY)).collect();
    assert_eq!(before.root(10, &absent), Ok(subtree(&leaves, 10, 0)));
}

#[test]
fn an_empty_subtree_is_never_written_out() {
    let proof = prove(&BTreeMap::new(), 5, &BTreeSet::from([9]));
    assert_eq!(proof.siblings, [None; 5]);
    let absent = BTreeMap::from([(9, EMPTY)]);
    assert_eq!(proof.root(5, &absent), Ok(empty_subtree(5)));
    // Slot 9 is 01001: from left to right the siblings are those of levels 3, 0, 1, 2 and 4.
    for (at, level) in [3, 0, 1, 2, 4].into_iter().enumerate() {
        let mut siblings = proof.siblings.clone();
        siblings[at] = Some(empty_subtree(level));
        assert_eq!(root(5, &absent, &siblings), Err(SlotProofError::EmptyWrittenOut));
    }
}

#[test]
fn nothing_is_proven_about_no_slot_or_one_outside() {
    assert_eq!(root(5, &BTreeMap::new(), &[Some(leaf(1))]), Err(SlotProofError::NothingNamed));
    assert_eq!(SlotProof::prove(5, &BTreeSet::new(), |_, _| None), Err(SlotProofError::NothingNamed));
    let outside = |slot, levels| SlotProofError::OutsideTree { slot, levels };
    assert_eq!(SlotProof::prove(5, &BTreeSet::from([1, 32]), |_, _| None), Err(outside(32, 5)));
    assert_eq!(root(5, &BTreeMap::from([(32, leaf(1))]), &[]), Err(outside(32, 5)));
    assert_eq!(root(36, &BTreeMap::from([(1, leaf(1))]), &[None; 36]), Err(outside(1, 36)));
    assert_eq!(
        root(0, &BTreeMap::from([(0, leaf(1))]), &[]),
        Ok(leaf(1)),
        "a tree of one slot has its leaf for a root"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_slots_of_random_trees_are_proven(
        height in 1_usize..=7,
        filled in prop::collection::btree_set(any::<u64>(), 0..40),
        asked in prop::collection::btree_set(any::<u64>(), 0..8),
        near in any::<bool>(),
    ) {
        let levels = 5 * height;
        let below = if near { 64.min(1 << levels) } else { 1 << levels };
        let leaves: BTreeMap<u64, Hash> = filled.iter().map(|slot| (slot % below, leaf(*slot))).collect();
        let mut slots: BTreeSet<u64> = asked.into_iter().map(|slot| slot % below).collect();
        // Absent slots by chance, present ones by choice.
        slots.extend(leaves.keys().step_by(7).copied());
        prop_assume!(!slots.is_empty());
        check(&leaves, levels, &slots);
    }

    #[test]
    fn random_lists_never_panic(
        levels in any::<usize>(),
        slots in prop::collection::btree_set(any::<u64>(), 0..6),
        siblings in prop::collection::vec(any::<Option<Hash>>(), 0..80),
        small in any::<bool>(),
    ) {
        let levels = if small { levels % 40 } else { levels };
        let known = slots.into_iter().map(|slot| (if small { slot >> 32 } else { slot }, EMPTY)).collect();
        drop(root(levels, &known, &siblings));
    }
}
