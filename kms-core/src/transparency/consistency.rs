//! Consistency proofs: that a tree is an older one with entries appended (RFC 6962, section 2.1.2; verified as RFC 9162,
//! section 2.1.4.2 says).

use super::{
    inclusion::ProofError,
    merkle::{EMPTY_ROOT, node_hash},
    subtrees::{ProveError, Subtrees, range_hash, split},
};
use crate::commitment::Hash;

/// Proves that the tree of the first `size` entries begins with that of the first `old_size`.
///
/// Empty where the sizes are equal, and from the empty tree, which every log begins with (as C2SP tlog-witness has it).
///
/// # Errors
/// Where the older tree is the larger one, or the source has not got a hash.
pub fn prove_consistency(source: &impl Subtrees, old_size: u64, size: u64) -> Result<Vec<Hash>, ProveError> {
    if old_size > size {
        return Err(ProveError::OutsideTree { index: old_size, size });
    }
    let mut proof = Vec::new();
    if old_size == 0 {
        return Ok(proof);
    }
    let mut leaves = 0..size;
    while leaves.end != old_size {
        let middle = split(&leaves);
        let (ends, sibling) = match old_size <= middle {
            true => (leaves.start..middle, middle..leaves.end),
            false => (middle..leaves.end, leaves.start..middle),
        };
        proof.push(range_hash(source, sibling)?);
        leaves = ends;
    }
    // The whole old tree is one subtree of the new one: the verifier has its hash already.
    if leaves.start != 0 {
        proof.push(range_hash(source, leaves)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that the tree of `size` entries and `root` begins with the tree of `old_size` entries and `old_root`.
///
/// # Errors
/// Unless the proof has exactly the hashes the two sizes take, and they lead to both roots.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > size {
        return Err(ProofError::OutsideTree { index: old_size, size });
    }
    let wrong_length = ProofError::WrongLength { given: proof.len() };
    if old_size == 0 || old_size == size {
        let holds = match (old_size, size) {
            (0, 0) => *old_root == EMPTY_ROOT && *root == EMPTY_ROOT,
            (0, _) => *old_root == EMPTY_ROOT,
            _ => old_root == root,
        };
        return match (proof.is_empty(), holds) {
            (true, true) => Ok(()),
            (true, false) => Err(ProofError::OtherRoot),
            _ => Err(wrong_length),
        };
    }
    let (mut at, mut last) = (old_size - 1, size - 1);
    // The largest subtree that ends where the old tree does; both roots are built from it.
    let whole_levels = at.trailing_ones();
    (at, last) = (at >> whole_levels, last >> whole_levels);
    let (start, rest) = match (old_size.is_power_of_two(), proof.split_first()) {
        (true, _) => (old_root, proof),
        (false, Some((first, rest))) => (first, rest),
        (false, None) => return Err(wrong_length),
    };
    let (mut old_hash, mut hash) = (*start, *start);
    for sibling in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match (last, old_hash == *old_root && hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::OtherRoot),
        _ => Err(wrong_length),
    }
}
