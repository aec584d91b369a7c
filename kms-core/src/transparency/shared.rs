//! One inclusion proof for several entries of one tree: hashes that their audit paths share stand once.
//!
//! Definition, for a tree of `size` entries and a set of known indexes:
//! ```text
//! root(lo, hi) = the next hash of the list                     if no known index lies in lo..hi
//!              = the known leaf hash                           if hi - lo = 1
//!              = node(root(lo, lo + k), root(lo + k, hi))      else; k: the largest power of two smaller than hi - lo
//! ```
//! The root of the tree is `root(0, size)`, and the list must be used up. For one index these are the hashes of the RFC 6962 audit
//! path, ordered from left to right.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    inclusion::ProofError,
    merkle::node_hash,
    subtrees::{ProveError, Subtrees, range_hash, split},
};
use crate::commitment::Hash;

/// The hashes that, with some leaves of a tree, lead to its root; from left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiProof {
    /// As many as the indexes take, no more and no fewer.
    pub hashes: Vec<Hash>,
}

impl MultiProof {
    /// Proves the entries at `indexes` in the tree of the first `size` entries.
    ///
    /// # Errors
    /// Where an index lies outside the tree, none is named, or the source has not got a hash.
    pub fn prove(source: &impl Subtrees, size: u64, indexes: &BTreeSet<u64>) -> Result<Self, ProveError> {
        let Some(&last) = indexes.last() else { return Err(ProveError::NothingNamed) };
        if last >= size {
            return Err(ProveError::OutsideTree { index: last, size });
        }
        let mut proof = Self { hashes: Vec::new() };
        proof.collect(source, 0..size, indexes)?;
        Ok(proof)
    }

    fn collect(
        &mut self,
        source: &impl Subtrees,
        leaves: Range<u64>,
        indexes: &BTreeSet<u64>,
    ) -> Result<(), ProveError> {
        if indexes.range(leaves.clone()).next().is_none() {
            self.hashes.push(range_hash(source, leaves)?);
        } else if leaves.end - leaves.start > 1 {
            let middle = split(&leaves);
            self.collect(source, leaves.start..middle, indexes)?;
            self.collect(source, middle..leaves.end, indexes)?;
        }
        Ok(())
    }

    /// The root of the tree of `size` entries in which the leaf hashes stand at the indexes that `known` says.
    ///
    /// # Errors
    /// Where an index lies outside the tree, none is known, or hashes are missing or left over.
    pub fn root(&self, size: u64, known: &BTreeMap<u64, Hash>) -> Result<Hash, ProofError> {
        // ATTACK: with nothing known the list would be one hash, the root itself, and would "prove" any tree.
        let Some((&last, _)) = known.last_key_value() else { return Err(ProofError::NothingNamed) };
        if last >= size {
            return Err(ProofError::OutsideTree { index: last, size });
        }
        let mut rest = self.hashes.iter();
        match fold(&mut rest, 0..size, known) {
            Some(root) if rest.len() == 0 => Ok(root),
            _ => Err(ProofError::WrongLength { given: self.hashes.len() }),
        }
    }

    /// Checks that the leaf hashes stand at these indexes of the tree of `size` entries and this `root`.
    ///
    /// # Errors
    /// Those of [`Self::root`], and where it is another one.
    pub fn verify(&self, root: &Hash, size: u64, known: &BTreeMap<u64, Hash>) -> Result<(), ProofError> {
        (self.root(size, known)? == *root).then_some(()).ok_or(ProofError::OtherRoot)
    }
}

/// `root(lo, hi)`; `None` where the list has run out.
fn fold<'a>(
    rest: &mut impl Iterator<Item = &'a Hash>,
    leaves: Range<u64>,
    known: &BTreeMap<u64, Hash>,
) -> Option<Hash> {
    let Some((_, leaf)) = known.range(leaves.clone()).next() else { return rest.next().copied() };
    if leaves.end - leaves.start == 1 {
        return Some(*leaf);
    }
    let middle = split(&leaves);
    let left = fold(rest, leaves.start..middle, known)?;
    Some(node_hash(&left, &fold(rest, middle..leaves.end, known)?))
}
