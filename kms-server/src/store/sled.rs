//! sled 0.34.7 behind the trait. Everything is in one tree, so that a batch is atomic; the empty key holds the commit number.
//!
//! What sled does not do by itself, and is done here (`docs/decisions/0030-store-engine.md` has the figures):
//! - `flush` ends with `sync_file_range`: the barrier is `fdatasync` on a handle of our own.
//! - segments are reused once their content was *written* elsewhere: segments are larger than all that is written between two
//!   barriers, so that it was also *synced*.
//! - readers see half a batch, and one that is not durable: the records a batch replaces are kept aside until its barrier is past.
//! - a snapshot that was being written when the process ended keeps it from opening: it is removed, the one before it stands.
//! - recovery panics on some damage and shrugs at other: panics are caught, and loss is noticed by the sidecar.
//!
//! Values stay inline (sled puts pages over a quarter of a segment in files that it never syncs).

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    ops::Bound::{self, Excluded, Included, Unbounded},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use ::sled::Db;
use kms_core::id::CommitNumber;
use parking_lot::{Mutex, RwLock};

use crate::effaceable::lock::patiently;

use super::{
    Batch, Cause, CommitError, Pair, ReadError, Store, check,
    memory::after_prefix,
    open::{CACHE, Directory, Embedded, OpenError, room},
    sidecar::{Engine, Sidecar},
};

/// Holds the commit number; no record has the empty key.
const NUMBER: &[u8] = b"";

/// Records in sled.
pub struct SledStore {
    db: Option<Db>,
    seen: RwLock<Seen>,
    writer: Mutex<Writer>,
    folder: PathBuf,
    barrier: Barrier,
    _directory: Directory,
}

/// What readers see: the records that the commit under way replaces, as they were.
struct Seen {
    committed: CommitNumber,
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

struct Writer {
    file: File,
    sidecar: Option<Sidecar>,
    /// INVARIANT: true from when a batch is handed to sled until its barrier is past, and for ever where it never passed.
    unknown: bool,
}

/// Makes what was written to sled's file durable.
pub(super) type Barrier = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// How sled is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning {
    /// Bytes of a segment. INVARIANT: more than is written between two barriers, our own or the background flusher's.
    pub(super) segment: usize,
    /// Milliseconds between the rounds of sled's background flusher, which moves pages for half of that and then syncs.
    pub(super) flush_every: Option<u64>,
    /// Bytes of cached pages, roughly: sled keeps at least one page in each of 256 parts.
    pub(super) cache: u64,
}

impl Tuning {
    pub(super) const DEFAULT: Self = Self { segment: 16 * 1024 * 1024, flush_every: Some(100), cache: CACHE };
}

impl SledStore {
    pub(super) fn open(directory: Directory, cache: u64) -> Result<Self, OpenError> {
        Self::open_with(directory, Tuning { cache, ..Tuning::DEFAULT }, Box::new(File::sync_data))
    }

    pub(super) fn open_with(
        directory: Directory,
        tuning: Tuning,
        barrier: Barrier,
    ) -> Result<Self, OpenError> {
        let folder = directory.folder(Engine::Sled)?;
        remove_unfinished(&folder)?;
        let config = ::sled::Config::new()
            .path(&folder)
            .segment_size(tuning.segment)
            .flush_every_ms(tuning.flush_every)
            .cache_capacity(tuning.cache);
        // The directory's lock is ours, so one on the file is that of a process which is just ending.
        let locked = |outcome: &Result<Db, Cause>| {
            outcome.as_ref().is_err_and(|error| error.to_string().contains("acquire lock"))
        };
        let db = patiently(|| guarded(|| config.open()), locked).map_err(OpenError::Engine)?;
        let number = guarded(|| db.get(NUMBER)).map_err(OpenError::Engine)?;
        let committed = match number.as_deref().map(<[u8; 8]>::try_from) {
            None => CommitNumber(0),
            Some(Ok(bytes)) => CommitNumber(u64::from_be_bytes(bytes)),
            Some(Err(_)) => return Err(OpenError::Engine("its commit number is not one".into())),
        };
        let file = open_file(&folder.join("db"))?;
        file.sync_all()?;
        open_file(&folder.join("conf"))?.sync_all()?;
        File::open(&folder)?.sync_all()?;
        directory.sync()?;
        Ok(Self {
            db: Some(db),
            seen: RwLock::new(Seen { committed, before: BTreeMap::new() }),
            writer: Mutex::new(Writer { file, sidecar: None, unknown: false }),
            folder,
            barrier,
            _directory: directory,
        })
    }

    fn db(&self) -> Result<&Db, ReadError> {
        self.db.as_ref().ok_or_else(|| ReadError("it is closed".into()))
    }

    /// The records that a batch replaces, as they are.
    fn images(&self, batch: &Batch) -> Result<BTreeMap<Vec<u8>, Option<Vec<u8>>>, ReadError> {
        let db = self.db()?;
        let image = |key: &[u8]| guarded(|| db.get(key)).map(|value| value.map(|value| value.to_vec()));
        let before = |key: &Vec<u8>| match batch.before.get(key) {
            Some(known) => Ok(known.clone()),
            None => image(key).map_err(ReadError),
        };
        batch.writes.iter().map(|(key, _)| Ok((key.clone(), before(key)?))).collect()
    }

    /// Hands a batch to sled and makes it durable.
    fn write(&self, writer: &mut Writer, number: CommitNumber, batch: Batch) -> Result<(), Cause> {
        let db = self.db()?;
        let mut whole = ::sled::Batch::default();
        for (key, value) in batch.writes {
            match value {
                Some(value) => whole.insert(key, value),
                None => whole.remove(key),
            }
        }
        whole.insert(NUMBER, &number.0.to_be_bytes());
        guarded(|| {
            db.apply_batch(whole)?;
            db.flush()
        })?;
        (self.barrier)(&writer.file)?;
        let length = writer.file.metadata()?.len();
        // ORDER: after the barrier, so that the sidecar is never ahead of the store.
        writer.sidecar.as_mut().map_or(Ok(()), |sidecar| sidecar.note(number, length))?;
        Ok(())
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        if key == NUMBER {
            return Ok(None);
        }
        let seen = self.seen.read();
        if let Some(before) = seen.before.get(key) {
            return Ok(before.clone());
        }
        let db = self.db()?;
        guarded(|| db.get(key)).map(|value| value.map(|value| value.to_vec())).map_err(ReadError)
    }

    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError> {
        let from = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ if prefix.is_empty() => Excluded(NUMBER),
            _ => Included(prefix),
        };
        let seen = self.seen.read();
        let db = self.db()?;
        guarded(|| {
            let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (from, Unbounded);
            let mut below = db.range::<&[u8], _>(bounds).peekable();
            let mut before = seen.before.range::<[u8], _>(bounds).peekable();
            let mut found = Vec::new();
            while found.len() < limit {
                if let Some(Err(error)) = below.peek() {
                    return Err(error.clone());
                }
                let next_below =
                    below.peek().and_then(|next| next.as_ref().ok()).map(|(key, _)| key.as_ref());
                let next_before = before.peek().map(|(key, _)| key.as_slice());
                let aside = match (next_before, next_below) {
                    (None, None) => break,
                    (Some(one), Some(two)) => one <= two,
                    (one, _) => one.is_some(),
                };
                let pair = if aside {
                    if next_before == next_below {
                        below.next();
                    }
                    before.next().and_then(|(key, value)| Some((key.clone(), value.clone()?)))
                } else {
                    below.next().transpose()?.map(|(key, value)| (key.to_vec(), value.to_vec()))
                };
                match pair {
                    Some((key, _)) if !key.starts_with(prefix) => break,
                    pair => found.extend(pair),
                }
            }
            Ok(found)
        })
        .map_err(ReadError)
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError> {
        let from = if prefix.is_empty() { Excluded(NUMBER) } else { Included(prefix) };
        let end = after_prefix(prefix);
        let bounds = (from, end.as_deref().map_or(Unbounded, Excluded));
        let seen = self.seen.read();
        let db = self.db()?;
        let aside = seen.before.range::<[u8], _>(bounds).rev();
        let aside = aside.filter_map(|(key, value)| Some((key.clone(), value.clone()?))).next();
        let mut below = db.range::<&[u8], _>(bounds).rev();
        let below = guarded(|| {
            below
                .find(|next| next.as_ref().map_or(true, |(key, _)| !seen.before.contains_key(key.as_ref())))
                .transpose()
        });
        let below = below.map_err(ReadError)?.map(|(key, value)| (key.to_vec(), value.to_vec()));
        Ok(aside.into_iter().chain(below).max())
    }

    fn committed(&self) -> CommitNumber {
        self.seen.read().committed
    }

    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError> {
        let mut writer = self.writer.lock();
        if writer.unknown {
            return Err(CommitError::Unknown("an earlier commit's outcome is unknown".into()));
        }
        check(self.committed(), number, &batch)?;
        room(&self.folder).map_err(CommitError::NotWritten)?;
        self.seen.write().before =
            self.images(&batch).map_err(|error| CommitError::NotWritten(error.into()))?;
        writer.unknown = true;
        self.write(&mut writer, number, batch).map_err(CommitError::Unknown)?;
        writer.unknown = false;
        let mut seen = self.seen.write();
        seen.before.clear();
        seen.committed = number;
        Ok(())
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let writer = self.writer.get_mut();
        let Some(db) = self.db.take() else { return };
        if writer.unknown {
            // INVARIANT: nothing is written after an unknown outcome, and sled writes when it is dropped.
            std::mem::forget(db);
            return;
        }
        let closed = guarded(|| {
            drop(db);
            Ok(())
        });
        if let (Ok(()), Some(sidecar)) = (closed, writer.sidecar.as_mut()) {
            sidecar.close_after(&writer.file);
        }
    }
}

impl Embedded for SledStore {
    fn attach(&self, sidecar: Sidecar) {
        self.writer.lock().sidecar = Some(sidecar);
    }
}

/// Calls sled, which panics where it is surprised.
fn guarded<T>(act: impl FnOnce() -> ::sled::Result<T>) -> Result<T, Cause> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => Ok(done?),
        Err(_) => Err("sled panicked".into()),
    }
}

/// Removes snapshots whose writing was interrupted: sled takes the newest for whole, and then does not open.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}
