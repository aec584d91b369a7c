//! redb behind the trait: the way out, should sled fail. It is maintained, copies on write, checks what it reads back after a kill,
//! and syncs by itself; what is added here is the lock, the sidecar, and the state after a failed sync.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Bound::{self, Excluded, Included, Unbounded},
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use ::redb::{
    Builder, Database, ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition, TableError,
    backends::FileBackend,
};
use kms_core::id::CommitNumber;
use parking_lot::{Mutex, RwLock};

use crate::effaceable::lock::patiently;

use super::{
    Batch, Cause, CommitError, Pair, ReadError, Store, check,
    memory::after_prefix,
    open::{Directory, Embedded, OpenError, room},
    sidecar::{Engine, Sidecar},
};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const NUMBER: TableDefinition<'_, (), u64> = TableDefinition::new("number");

/// Records in redb.
pub struct RedbStore {
    db: Option<Database>,
    committed: RwLock<CommitNumber>,
    writer: Mutex<Writer>,
    folder: PathBuf,
    _directory: Directory,
}

struct Writer {
    file: File,
    sidecar: Option<Sidecar>,
    /// INVARIANT: true from when a batch is handed to redb until it is durable, and for ever where it never was.
    unknown: bool,
}

impl RedbStore {
    pub(super) fn open(directory: Directory, cache: u64) -> Result<Self, OpenError> {
        Self::open_with(directory, cache, FileBackend::new)
    }

    pub(super) fn open_with<B: StorageBackend>(
        directory: Directory,
        cache: u64,
        backend: impl Fn(File) -> Result<B, ::redb::DatabaseError>,
    ) -> Result<Self, OpenError> {
        let cache = usize::try_from(cache).unwrap_or(usize::MAX);
        let folder = directory.folder(Engine::Redb)?;
        let path = folder.join("db");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path)?;
        let attempt = || {
            let below = file.try_clone().map_err(::redb::StorageError::from)?;
            Ok(Builder::new().set_cache_size(cache).create_with_backend(backend(below)?)?)
        };
        // The directory's lock is ours, so one on the file is that of a process which is just ending.
        let locked = |outcome: &Result<Database, Cause>| {
            outcome.as_ref().is_err_and(|error| error.to_string().contains("already open"))
        };
        let db = patiently(|| guarded(attempt), locked).map_err(OpenError::Engine)?;
        let committed = guarded(|| match db.begin_read()?.open_table(NUMBER) {
            Err(TableError::TableDoesNotExist(_)) => Ok(0),
            table => Ok(table?.get(())?.map_or(0, |number| number.value())),
        });
        let committed = CommitNumber(committed.map_err(OpenError::Engine)?);
        file.sync_all()?;
        File::open(&folder)?.sync_all()?;
        directory.sync()?;
        Ok(Self {
            db: Some(db),
            committed: RwLock::new(committed),
            writer: Mutex::new(Writer { file, sidecar: None, unknown: false }),
            folder,
            _directory: directory,
        })
    }

    /// Reads the records, of which a new store has none.
    fn read<T: Default>(
        &self,
        act: impl FnOnce(ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, ::redb::Error>,
    ) -> Result<T, ReadError> {
        let db = self.db.as_ref().ok_or_else(|| ReadError("it is closed".into()))?;
        guarded(|| match db.begin_read()?.open_table(RECORDS) {
            Err(TableError::TableDoesNotExist(_)) => Ok(T::default()),
            table => act(table?),
        })
        .map_err(ReadError)
    }

    fn write(&self, writer: &mut Writer, number: CommitNumber, batch: Batch) -> Result<(), Cause> {
        let db = self.db.as_ref().ok_or("it is closed")?;
        guarded(|| {
            let mut transaction = db.begin_write()?;
            // After a kill the whole file would have to be walked otherwise; it costs a second sync for each commit.
            transaction.set_quick_repair(true);
            {
                let mut records = transaction.open_table(RECORDS)?;
                for (key, value) in &batch.writes {
                    match value {
                        Some(value) => records.insert(key.as_slice(), value.as_slice())?,
                        None => records.remove(key.as_slice())?,
                    };
                }
                transaction.open_table(NUMBER)?.insert((), number.0)?;
            }
            Ok(transaction.commit()?)
        })?;
        let length = writer.file.metadata()?.len();
        // ORDER: after the barrier, so that the sidecar is never ahead of the store.
        writer.sidecar.as_mut().map_or(Ok(()), |sidecar| sidecar.note(number, length))?;
        Ok(())
    }
}

impl Store for RedbStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|records| Ok(records.get(key)?.map(|value| value.value().to_vec())))
    }

    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError> {
        let from: Bound<&[u8]> = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        self.read(|records| {
            let mut found = Vec::new();
            for pair in records.range::<&[u8]>((from, Unbounded))?.take(limit) {
                let (key, value) = pair?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(found)
        })
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError> {
        let end = after_prefix(prefix);
        let end: Bound<&[u8]> = end.as_deref().map_or(Unbounded, Excluded);
        self.read(|records| {
            let last = records.range::<&[u8]>((Included(prefix), end))?.next_back().transpose()?;
            Ok(last.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
        })
    }

    fn committed(&self) -> CommitNumber {
        *self.committed.read()
    }

    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError> {
        let mut writer = self.writer.lock();
        if writer.unknown {
            return Err(CommitError::Unknown("an earlier commit's outcome is unknown".into()));
        }
        check(self.committed(), number, &batch)?;
        room(&self.folder).map_err(CommitError::NotWritten)?;
        writer.unknown = true;
        self.write(&mut writer, number, batch).map_err(CommitError::Unknown)?;
        writer.unknown = false;
        *self.committed.write() = number;
        Ok(())
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        let writer = self.writer.get_mut();
        let Some(db) = self.db.take() else { return };
        if writer.unknown {
            // INVARIANT: nothing is written after an unknown outcome, and redb writes when it is dropped.
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

impl Embedded for RedbStore {
    fn attach(&self, sidecar: Sidecar) {
        self.writer.lock().sidecar = Some(sidecar);
    }
}

/// Calls redb, which may panic on a file that was altered.
fn guarded<T>(act: impl FnOnce() -> Result<T, ::redb::Error>) -> Result<T, Cause> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => Ok(done?),
        Err(_) => Err(io::Error::other("redb panicked").into()),
    }
}
