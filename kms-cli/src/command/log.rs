//! `kms log`: the signed head, the key, a mirror in the C2SP tlog-tiles layout.

use std::{fs, path::Path};

use kms_client::{Kms, api::SignedCheckpoint};
use kms_core::{
    commitment::Hash,
    transparency::{
        Checkpoint, Note, Subtrees, bundle, leaf_hash, node_hash, prove_consistency,
        subtrees::tree_root,
        tile::{TileLevel, tiles},
        verify_consistency,
    },
};
use serde_json::json;

use super::cert::save;
use crate::{failure::Failure, session::Session, words};

/// Saves the log's signed head.
///
/// # Errors
/// Those of the call, and where the file cannot be written.
pub async fn checkpoint(out: &Path, session: &Session) -> Result<(), Failure> {
    save(out, session.connect().await?.checkpoint().await?.note.as_bytes())
}

/// Hands in what witnesses signed.
///
/// # Errors
/// Those of the call, and where the file cannot be read.
pub async fn cosign(note: &Path, session: &Session) -> Result<(), Failure> {
    let cannot = |error| Failure::usage(format!("cannot read `{}`: {error}", note.display()));
    let text = fs::read_to_string(note).map_err(cannot)?;
    let (size, witnesses) = session.connect().await?.add_cosignatures(text).await?;
    session.answer(
        || json!({ "size": size, "witnesses": witnesses }),
        || format!("the head of {size} entries is cosigned by {}", witnesses.join(", ")),
    )
}

/// Saves the log's public key.
///
/// # Errors
/// Those of the call, and where the file cannot be written.
pub async fn key(out: &Path, session: &Session) -> Result<(), Failure> {
    let key = session.connect().await?.checkpoint().await?.verifier_key;
    save(out, format!("{key}\n").as_bytes())
}

/// Saves the whole log, and checks that it is what the server signed, and goes on from what was saved before.
///
/// # Errors
/// Those of the calls, where the log is not what its head says, and where a file cannot be written.
pub async fn mirror(dir: &Path, session: &Session) -> Result<(), Failure> {
    let kms = session.connect().await?;
    let SignedCheckpoint { note, verifier_key } = kms.checkpoint().await?;
    let head = signed(note.as_bytes(), &verifier_key).map_err(|why| broken(&why))?;
    let place = dir.join("checkpoint");
    let before = match fs::read(&place) {
        Ok(bytes) => Some(signed(&bytes, &verifier_key).map_err(|why| {
            Failure::failed("LOG_FORKED", format!("`{}` is not of this log: {why}", place.display()))
        })?),
        Err(_) => None,
    };
    let entries = entries(&kms, head.size).await?;
    let tree = Tree::of(&entries);
    let root = tree_root(&tree, head.size).map_err(|error| broken(&error.to_string()))?;
    if root != head.root {
        return Err(broken("its entries do not come to the root that it signed"));
    }
    if let Some(before) = &before {
        let goes_on = before.size <= head.size && {
            let proof = prove_consistency(&tree, before.size, head.size).unwrap_or_default();
            verify_consistency(before.size, &before.root, head.size, &head.root, &proof).is_ok()
        };
        if !goes_on {
            let message = "the log is no continuation of the one that was mirrored before: keep both, and ask its operator";
            return Err(Failure::failed("LOG_FORKED", message));
        }
    }
    let mut written = 0u64;
    for tile in tiles(head.size) {
        let bytes = match tile.level() {
            TileLevel::Entries => {
                let first = usize::try_from(tile.index()).unwrap_or(usize::MAX).saturating_mul(256);
                let some = entries.get(first..first + usize::from(tile.width())).unwrap_or_default();
                bundle::encode(some).map_err(|error| broken(&error.to_string()))?
            }
            TileLevel::Hashes(_) => tile.hashes(&tree).map_err(|error| broken(&error.to_string()))?.concat(),
        };
        let path = dir.join(tile.to_string());
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            continue;
        }
        make_parent(&path)?;
        save(&path, &bytes)?;
        written += 1;
    }
    // ORDER: last: the tiles that it speaks of are there.
    make_parent(&place)?;
    save(&place, note.as_bytes())?;
    session.answer(
        || json!({ "size": head.size, "tiles_written": written }),
        || {
            format!(
                "{} of the log are in {} ({} written)",
                words::count(head.size, "entry").replace("entrys", "entries"),
                dir.display(),
                words::count(written, "tile")
            )
        },
    )
}

fn signed(note: &[u8], key: &str) -> Result<Checkpoint, String> {
    let note = Note::parse(note).map_err(|error| error.to_string())?;
    let key = key.parse().map_err(|error| format!("{error}"))?;
    note.verify(&[key]).map_err(|error| error.to_string())?;
    Checkpoint::parse(note.text()).map_err(|error| error.to_string())
}

async fn entries(kms: &Kms, size: u64) -> Result<Vec<Vec<u8>>, Failure> {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    while (entries.len() as u64) < size {
        let more = kms.log_entries(entries.len() as u64).await?.entries;
        if more.is_empty() {
            return Err(broken("it has fewer entries than it signed"));
        }
        entries.extend(more);
    }
    entries.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    Ok(entries)
}

fn make_parent(path: &Path) -> Result<(), Failure> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| {
        Failure::failed("INPUT_OUTPUT", format!("cannot make the directory `{}`: {error}", parent.display()))
    })
}

fn broken(why: &str) -> Failure {
    Failure::failed(
        "LOG_BROKEN",
        format!("the server's log is not what it signed: {why}; keep what you have, and ask its operator"),
    )
}

/// Every complete subtree of a log, by level.
struct Tree(Vec<Vec<Hash>>);

impl Tree {
    fn of(entries: &[Vec<u8>]) -> Self {
        let mut levels: Vec<Vec<Hash>> = vec![entries.iter().map(|entry| leaf_hash(entry)).collect()];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let pairs = below.as_chunks::<2>().0;
            levels.push(pairs.iter().map(|[left, right]| node_hash(left, right)).collect());
        }
        Self(levels)
    }
}

impl Subtrees for Tree {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        let level = self.0.get(usize::try_from(level).ok()?)?;
        level.get(usize::try_from(index).ok()?).copied()
    }
}
