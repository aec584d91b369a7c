use std::{cell::Cell, collections::HashMap};

use super::*;
use crate::transparency::merkle::MAX_SIZE;

const MOST: u64 = 64;

fn roots(log: &Reference) -> Vec<Hash> {
    (0..=log.0.len() as u64).map(|size| log.root(size)).collect()
}

#[test]
fn the_edge_of_every_tree_has_the_root_of_the_definition() {
    let log = Reference::of(300);
    let mut edge = Frontier::new();
    for (size, leaf) in log.0.iter().enumerate() {
        let size = size as u64;
        assert_eq!((edge.size(), edge.root()), (size, log.root(size)));
        assert_eq!(tree_root(&log, size), Ok(edge.root()));
        assert_eq!(Frontier::read(&log, size).as_ref(), Ok(&edge));
        assert_eq!(Frontier::from_parts(size, edge.peaks().to_vec()).as_ref(), Some(&edge));
        edge.append(*leaf);
    }
}

#[test]
fn an_edge_is_not_put_together_of_too_many_hashes_or_too_few() {
    assert_eq!(Frontier::from_parts(5, vec![EMPTY_ROOT; 1]), None);
    assert_eq!(Frontier::from_parts(5, vec![EMPTY_ROOT; 3]), None);
    assert_eq!(Frontier::from_parts(0, vec![EMPTY_ROOT]), None);
    assert_eq!(Frontier::from_parts(MAX_SIZE + 1, vec![EMPTY_ROOT]), None);
    assert!(Frontier::from_parts(MAX_SIZE, vec![EMPTY_ROOT; 63]).is_some());
    assert!(Frontier::read(&Reference::of(4), 5).is_err());
}

#[test]
fn appending_tells_of_each_complete_subtree_once() {
    let log = Reference::of(600);
    let (mut edge, mut told) = (Frontier::new(), HashMap::new());
    for leaf in &log.0 {
        edge.append_noting(*leaf, |level, index, hash| {
            assert_eq!(told.insert((level, index), *hash), None);
        });
    }
    for level in 0..12 {
        for index in 0..600 >> level {
            assert_eq!(told.remove(&(level, index)), log.subtree(level, index));
        }
    }
    assert!(told.is_empty());
}

/// Leaf hashes and the levels that a store keeps, counting what is read.
struct Kept<'a> {
    log: &'a Reference,
    reads: Cell<usize>,
}

impl Subtrees for Kept<'_> {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        self.reads.set(self.reads.get() + 1);
        level.is_multiple_of(8).then(|| self.log.subtree(level, index)).flatten()
    }
}

#[test]
fn levels_that_are_not_kept_are_hashed_from_those_below() {
    let log = Reference::of(1030);
    let kept = Computed(Kept { log: &log, reads: Cell::new(0) });
    for level in 0..10 {
        for index in 0..1030 >> level {
            assert_eq!(kept.subtree(level, index), log.subtree(level, index), "{level} {index}");
        }
        kept.0.reads.set(0);
        assert_eq!(kept.subtree(level, 1030 >> level), None, "not complete");
        assert!(kept.0.reads.get() < 2000);
    }
    for (level, index) in [(63, 0), (40, 0), (1000, 0), (64, u64::MAX), (3, u64::MAX)] {
        kept.0.reads.set(0);
        assert_eq!(kept.subtree(level, index), None);
        assert!(kept.0.reads.get() < 2000, "a gap ends the search");
    }
}

#[test]
fn inclusion_proofs_of_every_tree_are_those_of_the_definition_and_hold() {
    let log = Reference::of(MOST);
    for size in 1..=MOST {
        let root = log.root(size);
        for index in 0..size {
            let path = prove_inclusion(&log, size, index).unwrap();
            assert_eq!(path, log.path(index, 0..size), "{index} of {size}");
            assert_eq!(verify_inclusion(&root, size, index, &log.0[index as usize], &path), Ok(()));
        }
        assert_eq!(
            prove_inclusion(&log, size, size),
            Err(ProveError::OutsideTree { index: size, size }),
            "there is no such entry"
        );
    }
}

#[test]
fn no_damaged_inclusion_proof_holds() {
    let log = Reference::of(MOST);
    for size in 1..=MOST {
        let root = log.root(size);
        for index in 0..size {
            let leaf = &log.0[index as usize];
            let path = log.path(index, 0..size);
            for damaged in damaged(&path) {
                assert!(verify_inclusion(&root, size, index, leaf, &damaged).is_err(), "{index} of {size}");
            }
            for flip in [0, 31] {
                let (mut other_root, mut other_leaf) = (root, *leaf);
                other_root[flip] ^= 1;
                other_leaf[flip] ^= 1;
                assert!(verify_inclusion(&other_root, size, index, leaf, &path).is_err());
                assert!(verify_inclusion(&root, size, index, &other_leaf, &path).is_err());
            }
        }
    }
}

#[test]
fn an_inclusion_proof_holds_for_no_other_index_and_no_other_tree() {
    let log = Reference::of(MOST);
    let roots = roots(&log);
    for size in 1..=MOST {
        for index in 0..size {
            let (leaf, path) = (&log.0[index as usize], log.path(index, 0..size));
            for other in (0..MOST + 2).filter(|other| *other != index) {
                let verdict = verify_inclusion(&roots[size as usize], size, other, leaf, &path);
                assert!(verdict.is_err(), "{index} of {size} as {other}");
            }
            for other in (0..=MOST).filter(|other| *other != size) {
                let verdict = verify_inclusion(&roots[other as usize], other, index, leaf, &path);
                assert!(verdict.is_err(), "{index} of {size} in the tree of {other}");
            }
            for size in [0, index] {
                let outside = ProofError::OutsideTree { index, size };
                assert_eq!(verify_inclusion(&roots[1], size, index, leaf, &path), Err(outside));
            }
        }
    }
}

#[test]
fn consistency_proofs_of_every_two_trees_are_those_of_the_definition_and_hold() {
    let log = Reference::of(MOST);
    let roots = roots(&log);
    for size in 0..=MOST {
        for old_size in 0..=size {
            let proof = prove_consistency(&log, old_size, size).unwrap();
            let defined = if old_size == 0 { Vec::new() } else { log.subproof(old_size, 0..size, true) };
            assert_eq!(proof, defined, "{old_size} to {size}");
            let (old_root, root) = (&roots[old_size as usize], &roots[size as usize]);
            assert_eq!(verify_consistency(old_size, old_root, size, root, &proof), Ok(()));
        }
        let larger = prove_consistency(&log, size + 1, size);
        assert_eq!(larger, Err(ProveError::OutsideTree { index: size + 1, size }));
    }
}

#[test]
fn no_damaged_consistency_proof_holds() {
    let log = Reference::of(MOST);
    let roots = roots(&log);
    for size in 0..=MOST {
        for old_size in 0..=size {
            let proof = prove_consistency(&log, old_size, size).unwrap();
            let (old_root, root) = (roots[old_size as usize], roots[size as usize]);
            for damaged in damaged(&proof) {
                let verdict = verify_consistency(old_size, &old_root, size, &root, &damaged);
                assert!(verdict.is_err(), "{old_size} to {size}");
            }
            let (mut other_old, mut other) = (old_root, root);
            other_old[7] ^= 1;
            other[7] ^= 1;
            assert!(verify_consistency(old_size, &other_old, size, &root, &proof).is_err());
            // Every log begins with the empty one: of the newer tree, nothing is claimed.
            if old_size != 0 || size == 0 {
                assert!(verify_consistency(old_size, &old_root, size, &other, &proof).is_err());
            }
        }
    }
}

#[test]
fn a_consistency_proof_holds_for_no_other_two_trees() {
    let log = Reference::of(MOST);
    let roots = roots(&log);
    for size in 1..=MOST {
        for old_size in 1..size {
            let proof = log.subproof(old_size, 0..size, true);
            let (old_root, root) = (&roots[old_size as usize], &roots[size as usize]);
            for other in (0..=MOST).filter(|other| *other != old_size) {
                let verdict = verify_consistency(other, &roots[other as usize], size, root, &proof);
                assert!(verdict.is_err(), "{old_size} to {size} as from {other}");
                assert!(verify_consistency(other, old_root, size, root, &proof).is_err());
            }
            for other in (0..=MOST).filter(|other| *other != size) {
                let verdict = verify_consistency(old_size, old_root, other, &roots[other as usize], &proof);
                assert!(verdict.is_err(), "{old_size} to {size} as to {other}");
            }
        }
    }
}

#[test]
fn a_rewritten_history_has_no_consistency_proof() {
    let (log, mut rewritten) = (Reference::of(MOST), Reference::of(MOST));
    rewritten.0[3] = leaf_hash(b"something else");
    for old_size in 4..MOST {
        let proof = prove_consistency(&rewritten, old_size, MOST).unwrap();
        let (old_root, root) = (log.root(old_size), rewritten.root(MOST));
        assert_eq!(verify_consistency(old_size, &old_root, MOST, &root, &proof), Err(ProofError::OtherRoot));
    }
}

#[test]
fn a_missing_hash_is_named_and_nothing_is_made_up() {
    let log = Reference::of(5);
    let missing = |level, index| Err(ProveError::Missing { level, index });
    assert_eq!(prove_inclusion(&log, 8, 0), missing(2, 1));
    assert_eq!(prove_consistency(&log, 4, 8), missing(2, 1));
    assert_eq!(tree_root(&log, 8), missing(3, 0).map(|_: Vec<Hash>| EMPTY_ROOT));
}

#[test]
fn sizes_up_to_the_largest_do_not_overflow() {
    struct Zeroes;
    impl Subtrees for Zeroes {
        fn subtree(&self, _: u32, _: u64) -> Option<Hash> {
            Some([0; 32])
        }
    }
    for size in [u64::MAX, u64::MAX - 1, MAX_SIZE, MAX_SIZE + 1, MAX_SIZE + 2] {
        let root = tree_root(&Zeroes, size).unwrap();
        for index in [0, 1, size / 2, size - 2, size - 1] {
            let path = prove_inclusion(&Zeroes, size, index).unwrap();
            assert_ne!(
                verify_inclusion(&root, size, index, &[0; 32], &path),
                Err(ProofError::WrongLength { given: path.len() })
            );
            let proof = prove_consistency(&Zeroes, index, size).unwrap();
            let verdict = verify_consistency(index, &EMPTY_ROOT, size, &root, &proof);
            assert_ne!(verdict, Err(ProofError::WrongLength { given: proof.len() }));
        }
    }
    let mut edge = Frontier::from_parts(MAX_SIZE, vec![[0; 32]; 63]).unwrap();
    edge.append([0; 32]);
    edge.append([0; 32]);
    assert_eq!(edge.size(), MAX_SIZE + 2);
}
