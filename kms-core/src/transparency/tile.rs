//! Under which paths a log's hashes and entries are served, 256 at a time (C2SP tlog-tiles).
//!
//! ```text
//! tile/<level>/<index>[.p/<width>]     tile/entries/<index>[.p/<width>]
//! ```
//! The index stands in groups of three digits, all but the last after an `x`: 1234067 is `x001/x234/067`. A tile at level l holds the
//! roots of complete subtrees of 256^l entries.

use std::{fmt, str::FromStr};

use super::{checkpoint::parse_size, subtrees::ProveError, subtrees::Subtrees};
use crate::commitment::Hash;

/// Hashes of a full tile, entries of a full bundle.
pub const FULL_WIDTH: u16 = 256;
/// Binary levels from one level of tiles to the next.
pub const TILE_HEIGHT: u32 = 8;
const MAX_LEVEL: u8 = 63;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileLevel {
    /// Entries, as a bundle.
    Entries,
    /// Hashes: 0 for leaf hashes, l for roots of subtrees of 256^l entries; at most 63.
    Hashes(u8),
}

/// One tile: what is served under one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    // INVARIANT: a level of hashes is at most 63; 1 <= width <= 256.
    level: TileLevel,
    index: u64,
    width: u16,
}

/// A path that no tile has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no tile has this path")]
pub struct TilePathError;

impl Tile {
    /// A tile; `None` where the level is past 63, or the width not 1 to 256.
    pub fn new(level: TileLevel, index: u64, width: u16) -> Option<Self> {
        let level_holds = !matches!(level, TileLevel::Hashes(level) if level > MAX_LEVEL);
        (level_holds && (1..=FULL_WIDTH).contains(&width)).then_some(Self { level, index, width })
    }

    /// What it holds.
    pub fn level(&self) -> TileLevel {
        self.level
    }

    /// Place within the level.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Number of hashes, or of entries: 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether a tree of `size` entries has all that this tile holds.
    pub fn is_in(&self, size: u64) -> bool {
        let first = self.index.checked_mul(FULL_WIDTH.into());
        let end = first.and_then(|first| first.checked_add(self.width.into()));
        end.is_some_and(|end| end <= nodes(self.level, size))
    }

    /// The hashes of a tile, 32 bytes each; of a tile of entries their leaf hashes.
    ///
    /// # Errors
    /// Where the source has not got one.
    pub fn hashes(&self, source: &impl Subtrees) -> Result<Vec<Hash>, ProveError> {
        let level = match self.level {
            TileLevel::Entries => 0,
            TileLevel::Hashes(level) => TILE_HEIGHT * u32::from(level),
        };
        let first = self.index.saturating_mul(FULL_WIDTH.into());
        let indexes = (0..u64::from(self.width)).map(|at| first.saturating_add(at));
        indexes
            .map(|index| source.subtree(level, index).ok_or(ProveError::Missing { level, index }))
            .collect()
    }
}

/// Everything that the log serves at `size` entries: bundles, then tiles level by level, each level from left to right.
pub fn tiles(size: u64) -> impl Iterator<Item = Tile> {
    new_tiles(0, size)
}

/// What has to be written when the log grows from `old_size` to `size` entries: tiles that are new, or wider than before.
pub fn new_tiles(old_size: u64, size: u64) -> impl Iterator<Item = Tile> {
    let hashes = (0..=MAX_LEVEL).map(TileLevel::Hashes);
    let levels = std::iter::once(TileLevel::Entries).chain(hashes);
    levels.flat_map(move |level| {
        let (old, new) = (nodes(level, old_size), nodes(level, size));
        let full = u64::from(FULL_WIDTH);
        let indexes = if old < new { old / full..new.div_ceil(full) } else { 0..0 };
        indexes.map(move |index| Tile { level, index, width: (new - index * full).min(full) as u16 })
    })
}

/// Number of hashes a level has at a size: of subtrees that are complete.
fn nodes(level: TileLevel, size: u64) -> u64 {
    match level {
        TileLevel::Entries => size,
        TileLevel::Hashes(level) => size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0),
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            TileLevel::Entries => f.write_str("tile/entries/")?,
            TileLevel::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let digits = self.index.to_string();
        let groups = digits.len().div_ceil(3);
        for group in (1..groups).rev() {
            write!(f, "x{:03}/", self.index / 1000u64.pow(group as u32) % 1000)?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.width < FULL_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for Tile {
    type Err = TilePathError;
    fn from_str(path: &str) -> Result<Self, TilePathError> {
        // One path for one tile: what is not written the same way again is not the path of this tile.
        parse(path).filter(|tile| tile.to_string() == path).ok_or(TilePathError)
    }
}

fn parse(path: &str) -> Option<Tile> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = match level {
        "entries" => TileLevel::Entries,
        number => TileLevel::Hashes(number.parse().ok()?),
    };
    let (groups, width) = match rest.split_once(".p/") {
        Some((groups, width)) => (groups, parse_size(width)?.try_into().ok()?),
        None => (rest, FULL_WIDTH),
    };
    let mut index = 0_u64;
    for group in groups.split('/') {
        let number: u64 = group.trim_start_matches('x').parse().ok()?;
        index = index.checked_mul(1000)?.checked_add(number)?;
    }
    Tile::new(level, index, width)
}
