//! A log in the C2SP tlog-tiles layout, as `kms log mirror` writes it: read once, bundle by bundle, tile by tile.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use kms_core::{
    certificate::{
        check::Mirror,
        replay::{Replay, Replayed, Watch},
    },
    commitment::Hash,
    transparency::{
        bundle::{self, MAX_ENTRY},
        tile::{FULL_WIDTH, Tile, TileLevel, tiles},
    },
};

use super::{checkpoint, is_there};
use crate::failure::Failure;

/// Most bytes that a tile or bundle can have.
const MOST: u64 = FULL_WIDTH as u64 * (MAX_ENTRY as u64 + 2);

/// Reads a mirror. What is wrong in it is for the check to say; that it is none is a wrong use.
pub(super) fn read(dir: &Path, watch: Watch) -> Result<Mirror, Failure> {
    let place = dir.join("checkpoint");
    if !is_there(&place) {
        return Err(Failure::usage(format!(
            "`{}` is not a mirror of a log: it has no file `checkpoint`\n`kms log mirror` makes one",
            dir.display()
        )));
    }
    let (head, said) = checkpoint(&place)?;
    Ok(Mirror { head, replayed: replay(dir, said.size, watch) })
}

fn replay(dir: &Path, size: u64, watch: Watch) -> Result<Replayed, String> {
    let mut replay = Replay::new(watch);
    for bundle in tiles(size).take_while(|tile| tile.level() == TileLevel::Entries) {
        let bytes = tile(dir, bundle)?;
        let entries =
            bundle::decode(&bytes).map_err(|error| format!("`{bundle}` is not a bundle: {error}"))?;
        if entries.len() != usize::from(bundle.width()) {
            return Err(format!("`{bundle}` holds {} entries, not {}", entries.len(), bundle.width()));
        }
        for entry in entries {
            let mut unlike = Ok(());
            let followed = replay.entry(entry, |full, hashes| {
                // The first that differs is told.
                if unlike.is_ok() {
                    unlike = compare(dir, full, hashes);
                }
            });
            followed.map_err(|error| error.to_string())?;
            unlike?;
        }
    }
    for (edge, hashes) in replay.partial_tiles().filter(|(_, hashes)| !hashes.is_empty()) {
        compare(dir, edge, hashes)?;
    }
    replay.finish().ok_or_else(|| "there is no entry".to_owned())
}

fn compare(dir: &Path, expected: Tile, hashes: &[Hash]) -> Result<(), String> {
    match tile(dir, expected)? == hashes.as_flattened() {
        true => Ok(()),
        false => Err(format!("the tile `{expected}` is not what the entries come to")),
    }
}

fn tile(dir: &Path, tile: Tile) -> Result<Vec<u8>, String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(dir.join(tile.to_string()))?.take(MOST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| format!("`{tile}` cannot be read: {error}"))
}
