//! The sidecar: a small file beside the engine's own, by which loss is noticed that the engine does not notice.
//!
//! It states the instance, the engine, the number of a commit that was durable, and how long the engine's file was then. It is
//! written *after* each barrier, so it is never ahead of the store: a store that is behind its sidecar has lost commits.
//!
//! Two slots of 128 bytes, 4 KiB apart, are written in turn, so that a torn write leaves the other; each lies within one sector.
//! A write outlives the process at once, and power loss after the next `Sidecar::sync`, which comes with the first commit after
//! [`SYNC_EVERY`] commits or [`SYNC_AFTER`], and at a clean close: a second barrier for each commit would double its cost.
//! What that leaves open is in `docs/decisions/0030-store-engine.md`.
//!
//! ATTACK: who can write this file can hide a loss or stop the server; no secret depends on it.
//!
//! ```text
//! 0 "KMSS"   4 version u16   6 engine u8   7 closed u8   8 instance 16   24 sequence u64   32 commit number u64
//! 40 length u64   48 zeros   96 SHA-256 of bytes 0..96
//! ```

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

use kms_core::id::{CommitNumber, InstanceId};
use sha2::{Digest, Sha256};

use super::open::OpenError;

const NAME: &str = "sidecar";
const MAGIC: &[u8; 4] = b"KMSS";
const VERSION: u16 = 1;
const SLOT: usize = 128;
const BODY: usize = 96;
const STRIDE: u64 = 4096;

/// A sync comes with the commit after this many.
pub const SYNC_EVERY: u32 = 64;

/// A sync comes with the first commit after this long.
pub const SYNC_AFTER: Duration = Duration::from_secs(1);

/// Which engine's files lie beside the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The embedded default.
    Sled,
    /// The embedded alternative.
    Redb,
}

/// What the sidecar states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The engine.
    pub engine: Engine,
    /// Whose records these are.
    pub instance: InstanceId,
    /// A commit that was durable.
    pub number: CommitNumber,
    /// Bytes of the engine's file after that commit.
    pub length: u64,
    /// Whether the engine was closed after it, and not opened since.
    pub closed: bool,
}

/// The open sidecar.
#[derive(Debug)]
pub struct Sidecar {
    file: File,
    noted: Noted,
    sequence: u64,
    unsynced: u32,
    synced: Instant,
}

impl Sidecar {
    /// Makes the sidecar of a new store, durably.
    pub(super) fn create(directory: &Path, noted: Noted) -> io::Result<Self> {
        let file = options().create_new(true).mode(0o600).open(directory.join(NAME))?;
        file.set_len(2 * STRIDE)?;
        let mut sidecar = Self { file, noted, sequence: 0, unsynced: 0, synced: Instant::now() };
        // Both slots, so that from now on an unreadable one is damage.
        sidecar.write()?;
        sidecar.write()?;
        sidecar.file.sync_all()?;
        File::open(directory)?.sync_all()?;
        Ok(sidecar)
    }

    /// Reads the sidecar; `None` where there is none.
    pub(super) fn open(directory: &Path) -> Result<Option<Self>, OpenError> {
        let file = match options().open(directory.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(OpenError::Io)?,
        };
        let mut best: Option<(u64, Noted)> = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT];
            match file.read_exact_at(&mut bytes, slot * STRIDE) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                read => read.map_err(OpenError::Io)?,
            }
            best = best.into_iter().chain(decode(&bytes)?).max_by_key(|(sequence, _)| *sequence);
        }
        let (sequence, noted) = best.ok_or(OpenError::SidecarDamaged)?;
        Ok(Some(Self { file, noted, sequence, unsynced: 0, synced: Instant::now() }))
    }

    /// What was stated last.
    pub fn noted(&self) -> Noted {
        self.noted
    }

    /// States a durable commit, and sometimes syncs.
    pub(super) fn note(&mut self, number: CommitNumber, length: u64) -> io::Result<()> {
        self.noted = Noted { number, length, closed: false, ..self.noted };
        self.write()?;
        self.unsynced += 1;
        if self.unsynced >= SYNC_EVERY || self.synced.elapsed() >= SYNC_AFTER {
            self.sync()?;
        }
        Ok(())
    }

    /// States that the engine is about to be opened, durably.
    pub(super) fn note_opening(&mut self) -> io::Result<()> {
        self.noted.closed = false;
        self.write()?;
        self.sync()
    }

    /// After the engine closed: brings its file onto the medium, and states how long it is.
    pub(super) fn close_after(&mut self, engine: &File) {
        let length = engine.sync_all().and_then(|()| engine.metadata()).map(|metadata| metadata.len());
        if let Err(error) = length.and_then(|length| self.note_closed(length)) {
            tracing::warn!(%error, "the store's sidecar could not be closed: the next start will try the store on a copy");
        }
    }

    /// States that the engine was closed, durably.
    pub(super) fn note_closed(&mut self, length: u64) -> io::Result<()> {
        self.noted = Noted { length, closed: true, ..self.noted };
        self.write()?;
        self.sync()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.unsynced = 0;
        self.synced = Instant::now();
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.sequence += 1;
        self.file.write_all_at(&encode(self.sequence, &self.noted), self.sequence % 2 * STRIDE)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

fn encode(sequence: u64, noted: &Noted) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..4].copy_from_slice(MAGIC);
    slot[4..6].copy_from_slice(&VERSION.to_be_bytes());
    slot[6] = match noted.engine {
        Engine::Sled => 1,
        Engine::Redb => 2,
    };
    slot[7] = u8::from(noted.closed);
    slot[8..24].copy_from_slice(&noted.instance.0);
    slot[24..32].copy_from_slice(&sequence.to_be_bytes());
    slot[32..40].copy_from_slice(&noted.number.0.to_be_bytes());
    slot[40..48].copy_from_slice(&noted.length.to_be_bytes());
    let sum = Sha256::digest(&slot[..BODY]);
    slot[BODY..].copy_from_slice(&sum);
    slot
}

/// A slot that was torn is `None`; one of another version is refused, for it may state what this server does not know.
fn decode(slot: &[u8; SLOT]) -> Result<Option<(u64, Noted)>, OpenError> {
    let version = u16::from_be_bytes([slot[4], slot[5]]);
    if slot.starts_with(MAGIC) && version != VERSION {
        return Err(OpenError::SidecarVersion(version));
    }
    if !slot.starts_with(MAGIC) || Sha256::digest(&slot[..BODY])[..] != slot[BODY..] {
        return Ok(None);
    }
    let engine = match slot[6] {
        1 => Engine::Sled,
        2 => Engine::Redb,
        _ => return Err(OpenError::SidecarVersion(version)),
    };
    let number = |at: usize| slot[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let mut instance = InstanceId([0; 16]);
    instance.0.copy_from_slice(&slot[8..24]);
    let noted = Noted {
        engine,
        instance,
        number: CommitNumber(number(32)),
        length: number(40),
        closed: slot[7] == 1,
    };
    Ok(Some((number(24), noted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(number: u64) -> Noted {
        Noted {
            engine: Engine::Sled,
            instance: InstanceId([7; 16]),
            number: CommitNumber(number),
            length: number * 1000,
            closed: false,
        }
    }

    #[test]
    fn what_was_noted_last_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut sidecar = Sidecar::create(directory.path(), noted(0)).unwrap();
        for number in 1..=200 {
            sidecar.note(CommitNumber(number), number * 1000).unwrap();
            let read = Sidecar::open(directory.path()).unwrap().unwrap();
            assert_eq!(read.noted(), noted(number));
        }
        sidecar.note_closed(5).unwrap();
        let read = Sidecar::open(directory.path()).unwrap().unwrap().noted();
        assert_eq!((read.number, read.length, read.closed), (CommitNumber(200), 5, true));
    }

    #[test]
    fn a_torn_write_at_any_byte_leaves_what_was_noted_before_or_after_it() {
        let (before, after) = (encode(3, &noted(2)), encode(5, &noted(4)));
        for cut in 0..=SLOT {
            let directory = tempfile::tempdir().unwrap();
            let mut sidecar = Sidecar::create(directory.path(), noted(3)).unwrap();
            sidecar.sequence = 3;
            sidecar.write().unwrap();
            let mut torn = before;
            torn[..cut].copy_from_slice(&after[..cut]);
            sidecar.file.write_all_at(&torn, STRIDE).unwrap();
            let number = Sidecar::open(directory.path()).unwrap().unwrap().noted().number.0;
            let whole = torn == after;
            assert_eq!(number, if whole { 4 } else { 3 }, "cut at {cut}");
        }
    }

    #[test]
    fn a_newer_version_a_damaged_file_and_a_truncated_one_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let sidecar = Sidecar::create(directory.path(), noted(3)).unwrap();
        let open = || Sidecar::open(directory.path());
        sidecar.file.write_all_at(&[0, 2], 4).unwrap();
        assert!(matches!(open(), Err(OpenError::SidecarVersion(2))));
        sidecar.file.write_all_at(&[0; SLOT], 0).unwrap();
        assert!(open().is_ok());
        sidecar.file.write_all_at(&[1], STRIDE + 50).unwrap();
        assert!(matches!(open(), Err(OpenError::SidecarDamaged)));
        sidecar.file.set_len(10).unwrap();
        assert!(matches!(open(), Err(OpenError::SidecarDamaged)));
    }
}
