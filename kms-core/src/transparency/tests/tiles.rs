//! Paths, widths and contents of tiles: the examples of C2SP tlog-tiles, all small logs, and the right edge of a log of 72 million
//! entries.

use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::{
    transparency::{
        bundle,
        tile::{FULL_WIDTH, Tile, TileLevel, new_tiles, tiles},
    },
    vectors,
};

fn hashes(level: u8, index: u64, width: u16) -> Tile {
    Tile::new(TileLevel::Hashes(level), index, width).unwrap()
}

#[test]
fn paths_are_those_of_the_specification() {
    let entries = |index, width| Tile::new(TileLevel::Entries, index, width).unwrap();
    for (tile, path) in [
        (hashes(0, 0, 256), "tile/0/000"),
        (hashes(0, 0, 1), "tile/0/000.p/1"),
        (hashes(3, 999, 255), "tile/3/999.p/255"),
        (hashes(63, 1000, 256), "tile/63/x001/000"),
        (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (entries(1_234_067, 7), "tile/entries/x001/x234/067.p/7"),
        (entries(u64::MAX, 256), "tile/entries/x018/x446/x744/x073/x709/x551/615"),
    ] {
        assert_eq!(tile.to_string(), path);
        assert_eq!(path.parse(), Ok(tile));
    }
}

#[test]
fn a_path_that_is_written_otherwise_is_none() {
    for path in [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/+1/000",
        "tile/64/000",
        "tile/-1/000",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0//000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/xx01/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/1.p/1",
        "tile/data/000",
        "tile/8/0/000",
        "tile/../000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(path.parse::<Tile>().is_err(), "{path}");
    }
    assert_eq!(Tile::new(TileLevel::Hashes(64), 0, 1), None);
    assert_eq!(Tile::new(TileLevel::Entries, 0, 0), None);
    assert_eq!(Tile::new(TileLevel::Entries, 0, 257), None);
}

#[test]
fn a_log_of_70_000_entries_is_served_as_the_specification_says() {
    let count =
        |level, full| tiles(70_000).filter(|t| t.level() == level && (t.width() == 256) == full).count();
    let partial = |level| {
        let partial: Vec<_> = tiles(70_000).filter(|t| t.level() == level && t.width() < 256).collect();
        partial.iter().map(|tile| (tile.index(), tile.width())).collect::<Vec<_>>()
    };
    for leaves in [TileLevel::Entries, TileLevel::Hashes(0)] {
        assert_eq!(count(leaves, true), 273);
        assert_eq!(partial(leaves), [(273, 112)]);
    }
    assert_eq!((count(TileLevel::Hashes(1), true), partial(TileLevel::Hashes(1))), (1, vec![(1, 17)]));
    assert_eq!((count(TileLevel::Hashes(2), true), partial(TileLevel::Hashes(2))), (0, vec![(0, 1)]));
    assert!(tiles(70_000).all(|tile| !matches!(tile.level(), TileLevel::Hashes(3..))));
    assert_eq!(partial(TileLevel::Hashes(0)), [(273, 112)]);
}

#[test]
fn of_256_entries_there_is_one_full_tile_and_one_hash_above() {
    let all: Vec<_> = tiles(256).map(|tile| tile.to_string()).collect();
    assert_eq!(all, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(tiles(0).count(), 0);
}

#[test]
fn tiles_hold_what_the_formula_says_and_no_more_than_the_log_has() {
    let log = Reference::of(600);
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 600] {
        for tile in tiles(size) {
            assert!(tile.is_in(size), "{tile} at {size}");
            let hashes = tile.hashes(&log).unwrap();
            assert_eq!(hashes.len(), usize::from(tile.width()));
            let subtree = match tile.level() {
                TileLevel::Entries => 1,
                TileLevel::Hashes(level) => 256_u64.pow(level.into()),
            };
            for (at, hash) in hashes.iter().enumerate() {
                let first = (tile.index() * 256 + at as u64) * subtree;
                assert_eq!(*hash, log.mth(first..first + subtree), "{tile} {at}");
            }
            let wider = Tile::new(tile.level(), tile.index(), tile.width() + 1);
            assert!(wider.is_none_or(|wider| !wider.is_in(size)), "{tile} at {size}");
            assert!(!Tile::new(tile.level(), tile.index() + 3, 1).unwrap().is_in(size));
        }
    }
    assert!(hashes(0, 2, 89).hashes(&log).is_err(), "the 601st is not there");
    assert!(!hashes(0, u64::MAX, 256).is_in(u64::MAX));
}

#[test]
fn what_grew_is_what_was_not_served_before() {
    let served = |size| tiles(size).collect::<BTreeSet<_>>();
    for old in (0..1100).step_by(37) {
        for new in (old..1100).step_by(53) {
            let grown: BTreeSet<_> = new_tiles(old, new).collect();
            assert_eq!(grown, &served(new) - &served(old), "{old} {new}");
        }
    }
}

#[test]
fn bundles_are_read_as_they_were_written() {
    let entries: Vec<Vec<u8>> = (0..256).map(|at| vec![at as u8; at * 3]).collect();
    let written = bundle::encode(&entries).unwrap();
    assert_eq!(written[..5], [0, 0, 0, 3, 1]);
    assert_eq!(bundle::decode(&written).unwrap(), entries);
    assert_eq!(bundle::decode(&[]).unwrap(), Vec::<&[u8]>::new());
    for cut in [1, 3, 4, written.len() - 1] {
        assert_eq!(bundle::decode(&written[..cut]), Err(bundle::BundleError::Cut), "{cut}");
    }
    let longer = [&written[..], &[0, 0]].concat();
    assert_eq!(bundle::decode(&longer), Err(bundle::BundleError::TooMany));
    assert_eq!(bundle::encode(&vec![[0]; 257]), Err(bundle::BundleError::TooMany));
    assert!(bundle::encode(&[vec![0; 65_535]]).is_ok());
    assert_eq!(bundle::encode(&[vec![0; 65_536]]), Err(bundle::BundleError::EntryTooLong(65_536)));
}

/// The rightmost tiles of a log: all that is needed for its root.
struct RightEdge(HashMap<Tile, Vec<Hash>>);

impl Subtrees for RightEdge {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        let (tile, at) = (index / u64::from(FULL_WIDTH), (index % u64::from(FULL_WIDTH)) as usize);
        let level = u8::try_from(level / 8).ok().filter(|_| level.is_multiple_of(8))?;
        let held =
            self.0.iter().find(|(held, _)| held.level() == TileLevel::Hashes(level) && held.index() == tile);
        held?.1.get(at).copied()
    }
}

#[test]
fn the_right_edge_of_the_go_checksum_database_has_its_signed_root() {
    let database = vectors::parse(include_str!("../../../../tests/vectors/go_checksum_database.json"));
    let note = database["note"].as_str().unwrap();
    let (text, _) = note.split_once("\n\n").unwrap();
    let head = Checkpoint::parse(&format!("{text}\n")).unwrap();
    let mut edge = HashMap::new();
    for (path, hex) in database["right_edge"].as_object().unwrap() {
        let tile: Tile = path.parse().unwrap();
        let bytes = vectors::bytes(hex);
        assert_eq!(bytes.len(), 32 * usize::from(tile.width()), "{path}");
        assert!(tiles(head.size).any(|served| served == tile), "{path}");
        edge.insert(tile, bytes.chunks(32).map(|hash| hash.try_into().unwrap()).collect());
    }
    let edge = Computed(RightEdge(edge));
    assert_eq!(tree_root(&edge, head.size), Ok(head.root));
    let frontier = Frontier::read(&edge, head.size).unwrap();
    assert_eq!(frontier.root(), head.root);
    assert_ne!(tree_root(&edge, head.size - 1), Ok(head.root));
}
