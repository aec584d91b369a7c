use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// The definition, reading `known` as a list and the proof as a stack.
fn defined(lo: u64, hi: u64, known: &BTreeMap<u64, Hash>, next: &mut Vec<Hash>) -> Hash {
    if !known.keys().any(|index| (lo..hi).contains(index)) {
        return next.remove(0);
    }
    if hi - lo == 1 {
        return known[&lo];
    }
    let k = largest_power_of_two_below(hi - lo);
    let left = defined(lo, lo + k, known, next);
    node_hash(&left, &defined(lo + k, hi, known, next))
}

fn leaves(log: &Reference, indexes: &BTreeSet<u64>) -> BTreeMap<u64, Hash> {
    indexes.iter().map(|index| (*index, log.0[*index as usize])).collect()
}

fn check(log: &Reference, size: u64, indexes: &BTreeSet<u64>) {
    let (root, known) = (log.root(size), leaves(log, indexes));
    let proof = MultiProof::prove(log, size, indexes).unwrap();
    let mut rest = proof.hashes.clone();
    assert_eq!(defined(0, size, &known, &mut rest), root);
    assert!(rest.is_empty());
    assert_eq!(proof.verify(&root, size, &known), Ok(()));

    for hashes in damaged(&proof.hashes) {
        assert!(MultiProof { hashes }.verify(&root, size, &known).is_err(), "{indexes:?} of {size}");
    }
    for index in indexes {
        let mut other = known.clone();
        other.insert(*index, EMPTY_ROOT);
        assert_eq!(proof.verify(&root, size, &other), Err(ProofError::OtherRoot));
        let mut fewer = known.clone();
        fewer.remove(index);
        assert!(proof.verify(&root, size, &fewer).is_err(), "an entry left out");
        let moved = (index + 1) % size;
        if !known.contains_key(&moved) {
            fewer.insert(moved, known[index]);
            assert!(proof.verify(&root, size, &fewer).is_err(), "an entry moved");
        }
    }
}

#[test]
fn with_one_index_it_has_the_hashes_of_the_audit_path() {
    let log = Reference::of(64);
    for size in 1..=64 {
        for index in 0..size {
            let indexes = BTreeSet::from([index]);
            let proof = MultiProof::prove(&log, size, &indexes).unwrap();
            let (mut shared, mut path) = (proof.hashes.clone(), log.path(index, 0..size));
            shared.sort();
            path.sort();
            assert_eq!(shared, path);
            check(&log, size, &indexes);
        }
    }
}

#[test]
fn every_set_of_indexes_of_every_small_tree_is_proven() {
    let log = Reference::of(9);
    for size in 1..=9 {
        for set in 1_u64..1 << size {
            check(&log, size, &(0..size).filter(|index| set >> index & 1 == 1).collect());
        }
    }
}

#[test]
fn all_entries_of_a_tree_need_no_hash() {
    let log = Reference::of(37);
    assert_eq!(MultiProof::prove(&log, 37, &(0..37).collect()), Ok(MultiProof { hashes: vec![] }));
}

#[test]
fn nothing_is_proven_about_no_entry_or_one_outside() {
    let log = Reference::of(5);
    let root_alone = MultiProof { hashes: vec![log.root(5)] };
    assert_eq!(root_alone.verify(&log.root(5), 5, &BTreeMap::new()), Err(ProofError::NothingNamed));
    assert_eq!(MultiProof::prove(&log, 5, &BTreeSet::new()), Err(ProveError::NothingNamed));
    let outside = ProveError::OutsideTree { index: 5, size: 5 };
    assert_eq!(MultiProof::prove(&log, 5, &BTreeSet::from([1, 5])), Err(outside));
    let outside = ProofError::OutsideTree { index: 7, size: 5 };
    assert_eq!(root_alone.root(5, &BTreeMap::from([(1, EMPTY_ROOT), (7, EMPTY_ROOT)])), Err(outside));
}

#[test]
fn it_is_smaller_than_the_audit_paths_it_stands_for() {
    let log = Reference::of(1000);
    let indexes: BTreeSet<u64> = (500..520).collect();
    let apart: usize = indexes.iter().map(|index| log.path(*index, 0..1000).len()).sum();
    let together = MultiProof::prove(&log, 1000, &indexes).unwrap().hashes.len();
    assert!(together <= 12 && apart == 200, "{together} {apart}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_sets_of_random_trees_are_proven(
        size in 1_u64..600,
        picks in prop::collection::btree_set(any::<u64>(), 1..20),
    ) {
        let indexes = picks.into_iter().map(|pick| pick % size).collect();
        check(&Reference::of(size), size, &indexes);
    }

    #[test]
    fn random_lists_never_panic(
        size in any::<u64>(),
        picks in prop::collection::btree_set(any::<u64>(), 0..6),
        hashes in prop::collection::vec(any::<Hash>(), 0..80),
    ) {
        let known = picks.into_iter().map(|index| (index, EMPTY_ROOT)).collect();
        drop(MultiProof { hashes }.root(size, &known));
    }
}
