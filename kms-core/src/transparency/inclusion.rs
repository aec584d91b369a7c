//! Inclusion proofs: that an entry stands at an index of a tree (RFC 6962, section 2.1.1; verified as RFC 9162, section 2.1.3.2 says).
//!
//! A proof ties the entry to a root *and* a size: both must come from the same signed checkpoint.

use super::{
    merkle::node_hash,
    subtrees::{ProveError, Subtrees, range_hash, split},
};
use crate::commitment::Hash;

/// Why a proof proves nothing. Says whether it has the wrong shape or leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No tree of this size has such an entry, or such an older tree.
    #[error("{index} lies outside a log of {size} entries")]
    OutsideTree {
        /// What the proof is about.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// Hashes are missing, or left over.
    #[error("the proof has {given} hashes, which is not as many as its place in the tree takes")]
    WrongLength {
        /// Hashes given.
        given: usize,
    },
    /// It leads to another root than the one that was signed.
    #[error("the proof leads to another root hash")]
    OtherRoot,
    /// A proof about no entry at all proves nothing.
    #[error("the proof names no entry")]
    NothingNamed,
}

/// Makes the audit path of entry `index` in the tree of the first `size` entries, the hash next to the leaf first.
///
/// # Errors
/// Where there is no such entry, or the source has not got a hash.
pub fn prove_inclusion(source: &impl Subtrees, size: u64, index: u64) -> Result<Vec<Hash>, ProveError> {
    if index >= size {
        return Err(ProveError::OutsideTree { index, size });
    }
    let mut path = Vec::new();
    let mut leaves = 0..size;
    while leaves.end - leaves.start > 1 {
        let middle = split(&leaves);
        let (holds, sibling) = match index < middle {
            true => (leaves.start..middle, middle..leaves.end),
            false => (middle..leaves.end, leaves.start..middle),
        };
        path.push(range_hash(source, sibling)?);
        leaves = holds;
    }
    path.reverse();
    Ok(path)
}

/// Checks that the entry with hash `leaf` is number `index` of the tree of `size` entries and this `root`.
///
/// # Errors
/// Unless the proof has exactly the hashes its place takes, and they lead to `root`.
pub fn verify_inclusion(
    root: &Hash,
    size: u64,
    index: u64,
    leaf: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutsideTree { index, size });
    }
    let wrong_length = ProofError::WrongLength { given: path.len() };
    // Names as in RFC 9162: the place of this node, and of the last node, of the level reached.
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(wrong_length);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            // A last node without a sibling on the right goes up unhashed.
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::OtherRoot),
        _ => Err(wrong_length),
    }
}
