//! Hashes of the log's tree, and its right edge: all that appending needs (RFC 6962, section 2.1).

use super::subtrees::{ProveError, Subtrees};
use crate::commitment::{Hash, pair_hash, sha256};

/// `SHA256("")`: the root of a log without entries.
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Most entries of a log: 2^63 − 1, which is also the most that other implementations count to.
pub const MAX_SIZE: u64 = u64::MAX >> 1;

/// `SHA256(00 || entry)`
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

/// `SHA256(01 || left || right)`
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    pair_hash(left, right)
}

/// The right edge of a tree: the roots of the complete subtrees that its size is the sum of.
///
/// A size of 13 = 8 + 4 + 1 has three, the largest first. With them entries are appended and the root is known, without
/// reading what is already there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    // INVARIANT: one for each bit set in `size`, the most significant first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The edge of a log without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an edge together again; `None` unless there is one hash for each bit set in `size`, or past [`MAX_SIZE`].
    ///
    /// The hashes are taken at their word: whoever stored them compares [`Self::root`] with a signed one.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (size <= MAX_SIZE && peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Reads the edge of the tree of the first `size` entries.
    ///
    /// # Errors
    /// Where the source has not got a hash, or `size` is past [`MAX_SIZE`].
    pub fn read(source: &impl Subtrees, size: u64) -> Result<Self, ProveError> {
        if size > MAX_SIZE {
            return Err(ProveError::OutsideTree { index: size, size: MAX_SIZE });
        }
        let mut peaks = Vec::with_capacity(size.count_ones() as usize);
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            // The bits above are the leaves to the left of this subtree.
            let index = (size >> level) - 1;
            peaks.push(source.subtree(level, index).ok_or(ProveError::Missing { level, index })?);
        }
        Ok(Self { size, peaks })
    }

    /// Number of entries; also the index of the next one.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the largest first: what [`Self::from_parts`] takes.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Root of the tree as it stands.
    pub fn root(&self) -> Hash {
        let folded = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        folded.unwrap_or(EMPTY_ROOT)
    }

    /// Appends an entry by its [`leaf_hash`].
    pub fn append(&mut self, leaf: Hash) {
        self.append_noting(leaf, |_, _, _| ());
    }

    /// As [`Self::append`]; `completed` is told of every subtree that is now complete: level, index within it, root.
    ///
    /// The leaf itself comes first, as level 0. A store that keeps every eighth level picks those out.
    pub fn append_noting(&mut self, leaf: Hash, mut completed: impl FnMut(u32, u64, &Hash)) {
        let (mut hash, mut level) = (leaf, 0);
        completed(level, self.size, &hash);
        while self.size >> level & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            hash = node_hash(&left, &hash);
            level += 1;
            completed(level, self.size >> level, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }
}
