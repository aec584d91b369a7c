//! Every proof of every small tree against a reference written from the definitions, and every way to damage it.

mod known;
mod never_panics;
mod notes;
mod proofs;
mod shared;
mod slots;
mod tiles;

use std::ops::Range;

use super::*;
use crate::commitment::Hash;

/// A log that keeps its leaf hashes only: subtrees are hashed by the reference.
struct Reference(Vec<Hash>);

impl Reference {
    fn of(size: u64) -> Self {
        Self((0..size).map(|index| leaf_hash(format!("entry {index}").as_bytes())).collect())
    }

    /// MTH of RFC 6962, section 2.1, word for word.
    fn mth(&self, leaves: Range<u64>) -> Hash {
        match leaves.end - leaves.start {
            0 => EMPTY_ROOT,
            1 => self.0[leaves.start as usize],
            n => {
                let k = largest_power_of_two_below(n);
                let (left, right) = (leaves.start..leaves.start + k, leaves.start + k..leaves.end);
                node_hash(&self.mth(left), &self.mth(right))
            }
        }
    }

    fn root(&self, size: u64) -> Hash {
        self.mth(0..size)
    }

    /// PATH of RFC 6962, section 2.1.1, within the leaves given.
    fn path(&self, m: u64, leaves: Range<u64>) -> Vec<Hash> {
        let n = leaves.end - leaves.start;
        if n == 1 {
            return Vec::new();
        }
        let k = largest_power_of_two_below(n);
        let (left, right) = (leaves.start..leaves.start + k, leaves.start + k..leaves.end);
        let (mut path, other) =
            if m < k { (self.path(m, left), right) } else { (self.path(m - k, right), left) };
        path.push(self.mth(other));
        path
    }

    /// SUBPROOF of RFC 6962, section 2.1.2, within the leaves given.
    fn subproof(&self, m: u64, leaves: Range<u64>, known: bool) -> Vec<Hash> {
        let n = leaves.end - leaves.start;
        if m == n {
            return if known { Vec::new() } else { vec![self.mth(leaves)] };
        }
        let k = largest_power_of_two_below(n);
        let (left, right) = (leaves.start..leaves.start + k, leaves.start + k..leaves.end);
        let (mut proof, other) = match m <= k {
            true => (self.subproof(m, left, known), right),
            false => (self.subproof(m - k, right, false), left),
        };
        proof.push(self.mth(other));
        proof
    }
}

fn largest_power_of_two_below(n: u64) -> u64 {
    let mut k = 1;
    while 2 * k < n {
        k *= 2;
    }
    k
}

impl Subtrees for Reference {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        let width = 1_u64.checked_shl(level)?;
        let leaves = index.checked_mul(width)?..index.checked_add(1)?.checked_mul(width)?;
        (leaves.end <= self.0.len() as u64).then(|| self.mth(leaves))
    }
}

/// Every list that differs from `proof` by one hash flipped, dropped, added or doubled, or by two swapped.
fn damaged(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    let mut change = |damage: &dyn Fn(&mut Vec<Hash>)| {
        let mut copy = proof.to_vec();
        damage(&mut copy);
        if copy != proof {
            all.push(copy);
        }
    };
    for at in 0..proof.len() {
        change(&|proof| proof[at][0] ^= 1);
        change(&|proof| proof[at][31] ^= 0x80);
        change(&|proof| {
            proof.remove(at);
        });
        change(&|proof| proof.insert(at, proof[at]));
        change(&|proof| proof.rotate_left(at));
        change(&|proof| proof.swap(0, at));
    }
    for at in 0..=proof.len() {
        change(&|proof| proof.insert(at, [0; 32]));
        change(&|proof| proof.insert(at, EMPTY_ROOT));
    }
    all
}

mod self_check {
    use super::*;

    #[test]
    fn empty_root_is_the_hash_of_nothing() {
        assert_eq!(EMPTY_ROOT, crate::commitment::sha256(&[]));
    }

    #[test]
    fn the_reference_splits_after_the_largest_smaller_power_of_two() {
        let splits: Vec<_> = (2..10).map(largest_power_of_two_below).collect();
        assert_eq!(splits, [1, 2, 2, 4, 4, 4, 4, 8]);
    }
}
