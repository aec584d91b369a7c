//! The tiles of a log that is read once, from its first entry on: at most one unfinished tile a level is kept.

use super::{
    merkle::Frontier,
    tile::{FULL_WIDTH, TILE_HEIGHT, Tile, TileLevel},
};
use crate::commitment::Hash;

/// Hashes of tiles, as entries come.
#[derive(Debug, Clone, Default)]
pub struct Tiling {
    frontier: Frontier,
    /// Of each level of tiles, the hashes of the one that is not full yet.
    unfinished: Vec<Vec<Hash>>,
}

impl Tiling {
    /// That of a log without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Root of the tree as it stands.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Appends an entry by its leaf hash; `full` is given every tile that this fills.
    pub fn append(&mut self, leaf: Hash, mut full: impl FnMut(Tile, &[Hash])) {
        let unfinished = &mut self.unfinished;
        self.frontier.append_noting(leaf, |level, index, hash| {
            if !level.is_multiple_of(TILE_HEIGHT) {
                return;
            }
            let level = level / TILE_HEIGHT;
            let at = level as usize;
            if unfinished.len() <= at {
                unfinished.resize_with(at + 1, Vec::new);
            }
            unfinished[at].push(*hash);
            if unfinished[at].len() == usize::from(FULL_WIDTH) {
                if let Some(tile) = hashes(level, index / u64::from(FULL_WIDTH), FULL_WIDTH) {
                    full(tile, &unfinished[at]);
                }
                unfinished[at].clear();
            }
        });
    }

    /// The tiles at the right edge, which are not full.
    pub fn partial(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        let size = self.size();
        (0..).zip(&self.unfinished).filter_map(move |(level, hashes_of)| {
            let width = u16::try_from(hashes_of.len()).ok()?;
            let index = size.checked_shr(TILE_HEIGHT * (level + 1)).unwrap_or(0);
            Some((hashes(level, index, width)?, hashes_of.as_slice()))
        })
    }
}

fn hashes(level: u32, index: u64, width: u16) -> Option<Tile> {
    Tile::new(TileLevel::Hashes(u8::try_from(level).ok()?), index, width)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{Computed, Subtrees, leaf_hash, tile::tiles, tree_root},
        *,
    };

    struct Leaves(Vec<Hash>);

    impl Subtrees for Leaves {
        fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
            (level == 0).then(|| self.0.get(usize::try_from(index).ok()?).copied())?
        }
    }

    #[test]
    fn one_pass_makes_every_tile_that_a_log_of_that_size_has() {
        let leaves: Vec<Hash> = (0..66_000_u32).map(|at| leaf_hash(&at.to_be_bytes())).collect();
        let (mut tiling, mut made) = (Tiling::new(), BTreeMap::new());
        let sizes = [0, 1, 255, 256, 257, 512, 65_535, 65_536, 65_537, 66_000];
        for (at, leaf) in (0..).zip(&leaves).chain([(66_000, &[0; 32])]) {
            if sizes.contains(&at) {
                let source = Computed(Leaves(leaves[..at as usize].to_vec()));
                let mut all = made.clone();
                all.extend(tiling.partial().map(|(tile, hashes)| (tile, hashes.to_vec())));
                let served = tiles(at).filter(|tile| tile.level() != TileLevel::Entries);
                let served: BTreeMap<Tile, Vec<Hash>> =
                    served.map(|tile| (tile, tile.hashes(&source).unwrap())).collect();
                assert_eq!(all, served, "{at}");
                assert_eq!((tiling.size(), Ok(tiling.root())), (at, tree_root(&source, at)));
            }
            tiling.append(*leaf, |tile, hashes| drop(made.insert(tile, hashes.to_vec())));
        }
    }
}
