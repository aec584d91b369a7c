//! Where the hashes of a stored tree come from, and the hashes of what lies between complete subtrees.
//!
//! Only complete subtrees are asked for: once hashed they never change, so a source may cache them without end.

use std::ops::Range;

use super::merkle::{EMPTY_ROOT, node_hash};
use crate::commitment::Hash;

/// The complete subtrees of a log.
pub trait Subtrees {
    /// Root of the complete subtree of the leaves `index << level` to `(index + 1) << level`; at level 0 a leaf hash.
    ///
    /// `None` where the source has not got it: not kept at this level, not yet complete, or not readable.
    fn subtree(&self, level: u32, index: u64) -> Option<Hash>;
}

impl<S: Subtrees + ?Sized> Subtrees for &S {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        (**self).subtree(level, index)
    }
}

/// A source that keeps some levels only; the others are hashed from those below when asked for.
///
/// With leaves and levels 8, 16, 24 kept, one hash costs at most 128 reads; above the highest level kept it costs more
/// with each level.
pub struct Computed<S>(pub S);

impl<S: Subtrees> Subtrees for Computed<S> {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        if let Some(hash) = self.0.subtree(level, index) {
            return Some(hash);
        }
        // A gap ends this at the first leaf that is missing, not after all that are there.
        let below = level.checked_sub(1).filter(|below| *below < u64::BITS)?;
        let left = self.subtree(below, index.checked_mul(2)?)?;
        let right = self.subtree(below, index.checked_mul(2)? + 1)?;
        Some(node_hash(&left, &right))
    }
}

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The source gave `None` for a subtree that is complete in a tree of this size.
    #[error("the log's hash at level {level}, index {index} is missing")]
    Missing {
        /// Levels above the leaves.
        level: u32,
        /// Place within the level.
        index: u64,
    },
    /// There is no such entry, or no such older tree, in a tree of this size.
    #[error("{index} lies outside a log of {size} entries")]
    OutsideTree {
        /// What was asked for.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// A proof about nothing.
    #[error("nothing was named to prove; name at least one")]
    NothingNamed,
}

/// Root of the tree of the first `size` entries.
///
/// # Errors
/// Where the source has not got a hash.
pub fn tree_root(source: &impl Subtrees, size: u64) -> Result<Hash, ProveError> {
    if size == 0 { Ok(EMPTY_ROOT) } else { range_hash(source, 0..size) }
}

/// MTH of RFC 6962 over the leaves `lo..hi`, at least one; `lo` must be a place where its recursion splits.
pub(super) fn range_hash(source: &impl Subtrees, leaves: Range<u64>) -> Result<Hash, ProveError> {
    let width = leaves.end - leaves.start;
    if width.is_power_of_two() {
        let level = width.trailing_zeros();
        let index = leaves.start >> level;
        return source.subtree(level, index).ok_or(ProveError::Missing { level, index });
    }
    let middle = split(&leaves);
    let left = range_hash(source, leaves.start..middle)?;
    Ok(node_hash(&left, &range_hash(source, middle..leaves.end)?))
}

/// Where RFC 6962 splits a range of two or more: after the largest power of two smaller than its width.
pub(super) fn split(leaves: &Range<u64>) -> u64 {
    leaves.start + (1 << (leaves.end - leaves.start - 1).ilog2())
}
