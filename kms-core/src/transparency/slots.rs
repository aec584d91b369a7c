//! Proofs about slots of the erasure tree: what stands in some of them, or that nothing does, under one root ([`crate::commitment`]).
//!
//! Definition, for a tree of `levels` binary levels, the most significant bit of a slot first, and a set of known slots:
//! ```text
//! root(level, prefix) = the next of the list, nothing standing for Zlevel           if no known slot lies below
//!                     = the known leaf hash, or EMPTY for a slot known to be empty  if level = 0
//!                     = node(root(level - 1, 2 prefix), root(level - 1, 2 prefix + 1))
//! ```
//! The root of the tree is `root(levels, 0)`, and the list must be used up.

use std::collections::{BTreeMap, BTreeSet};

use crate::commitment::{Hash, MAX_LEVELS, empty_subtree, pair_hash};

/// The hashes that, with some slots of a tree, lead to its root; from left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotProof {
    /// `None` stands for the empty subtree of its level, which is never written out.
    pub siblings: Vec<Option<Hash>>,
}

/// Why a proof about slots could not be made, or proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotProofError {
    /// No such slot in a tree of this height, or no such height.
    #[error("slot {slot} lies outside a tree of {levels} levels")]
    OutsideTree {
        /// The slot.
        slot: u64,
        /// Binary levels of the tree.
        levels: usize,
    },
    /// Hashes are missing, or left over.
    #[error("the proof has {given} hashes, which is not as many as its slots take")]
    WrongLength {
        /// Hashes given, empty ones included.
        given: usize,
    },
    /// An empty subtree was written out: there is one way to write a proof.
    #[error("the proof writes out the hash of an empty subtree, which has to be left empty")]
    EmptyWrittenOut,
    /// A proof about no slot at all proves nothing.
    #[error("the proof names no slot")]
    NothingNamed,
}

impl SlotProof {
    /// Proves what stands in `slots`; `source(level, index)` gives the roots of subtrees, `None` for an empty one.
    ///
    /// Level 0 is a leaf; index counts within the level. Only subtrees without a slot of `slots` are asked for.
    ///
    /// # Errors
    /// Where a slot lies outside the tree, or none is named.
    pub fn prove(
        levels: usize,
        slots: &BTreeSet<u64>,
        mut source: impl FnMut(usize, u64) -> Option<Hash>,
    ) -> Result<Self, SlotProofError> {
        check(levels, slots.last())?;
        let mut proof = Self { siblings: Vec::new() };
        proof.collect(levels, 0, slots, &mut source);
        Ok(proof)
    }

    fn collect(
        &mut self,
        level: usize,
        prefix: u64,
        slots: &BTreeSet<u64>,
        source: &mut impl FnMut(usize, u64) -> Option<Hash>,
    ) {
        if slots.range(prefix << level..(prefix + 1) << level).next().is_none() {
            let hash = source(level, prefix);
            self.siblings.push(hash.filter(|hash| *hash != empty_subtree(level)));
        } else if let Some(below) = level.checked_sub(1) {
            self.collect(below, 2 * prefix, slots, source);
            self.collect(below, 2 * prefix + 1, slots, source);
        }
    }

    /// The root of the tree in which the slots hold the leaf hashes that `known` says.
    ///
    /// # Errors
    /// As [`root`].
    pub fn root(&self, levels: usize, known: &BTreeMap<u64, Hash>) -> Result<Hash, SlotProofError> {
        root(levels, known, &self.siblings)
    }
}

/// The root of the tree of `levels` binary levels in which `known` says what slots hold:
/// [`EMPTY`](crate::commitment::EMPTY) for nothing.
///
/// # Errors
/// Where a slot lies outside the tree, none is known, hashes are missing or left over, or one is that of an empty subtree.
pub fn root(
    levels: usize,
    known: &BTreeMap<u64, Hash>,
    siblings: &[Option<Hash>],
) -> Result<Hash, SlotProofError> {
    check(levels, known.last_key_value().map(|(slot, _)| slot))?;
    let wrong_length = SlotProofError::WrongLength { given: siblings.len() };
    let mut rest = siblings.iter();
    let root = fold(levels, 0, known, &mut rest)?.ok_or(wrong_length.clone())?;
    if rest.len() == 0 { Ok(root) } else { Err(wrong_length) }
}

/// `root(level, prefix)`; `None` where the list has run out.
fn fold<'a>(
    level: usize,
    prefix: u64,
    known: &BTreeMap<u64, Hash>,
    rest: &mut impl Iterator<Item = &'a Option<Hash>>,
) -> Result<Option<Hash>, SlotProofError> {
    let Some((_, leaf)) = known.range(prefix << level..(prefix + 1) << level).next() else {
        let empty = empty_subtree(level);
        return match rest.next() {
            Some(Some(hash)) if *hash == empty => Err(SlotProofError::EmptyWrittenOut),
            Some(hash) => Ok(Some(hash.unwrap_or(empty))),
            None => Ok(None),
        };
    };
    let Some(below) = level.checked_sub(1) else { return Ok(Some(*leaf)) };
    let Some(left) = fold(below, 2 * prefix, known, rest)? else { return Ok(None) };
    let right = fold(below, 2 * prefix + 1, known, rest)?;
    Ok(right.map(|right| pair_hash(&left, &right)))
}

fn check(levels: usize, highest: Option<&u64>) -> Result<(), SlotProofError> {
    // ATTACK: with nothing known the list would be one hash, the root itself, and would "prove" any tree.
    let Some(&slot) = highest else { return Err(SlotProofError::NothingNamed) };
    if levels > MAX_LEVELS || slot.checked_shr(levels as u32).unwrap_or(0) != 0 {
        return Err(SlotProofError::OutsideTree { slot, levels });
    }
    Ok(())
}
