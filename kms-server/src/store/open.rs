//! Opening a store's directory: its lock, its sidecar, and the doubts to settle before an engine may touch a file.
//!
//! An engine repairs while it opens, and what it repairs away is gone. So where the sidecar gives reason to doubt, the engine opens
//! a *copy* first, and the directory itself only if that holds every commit the sidecar knows of.
//!
//! ```text
//! lock       held by the one process that has the directory open
//! sidecar    see sidecar.rs
//! sled/      or redb/: the engine's own
//! trial/     a copy being tried; removed at each open
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use kms_core::id::{CommitNumber, InstanceId};

use super::{
    Cause, Store,
    redb::RedbStore,
    sidecar::{Engine, Noted, Sidecar},
    sled::SledStore,
};

/// After a kill, a store up to this many bytes is tried on a copy first; a larger one only where its length gives reason to doubt.
const TRIED_AFTER_A_KILL: u64 = 256 * 1024 * 1024;

/// A store that is ready for use.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Whose records it holds.
    pub instance: InstanceId,
    /// The engine below.
    pub engine: Engine,
}

/// Makes an empty store in a directory that is empty or not there.
///
/// # Errors
/// Where the directory is not empty, cannot be written, or is open in another process.
pub fn create(path: &Path, engine: Engine, instance: InstanceId) -> Result<Opened, OpenError> {
    let directory = Directory::lock(path, true)?;
    if fs::read_dir(path)?.any(|entry| entry.map_or(true, |entry| entry.file_name() != LOCK)) {
        return Err(OpenError::NotEmpty(path.into()));
    }
    let store = engine.open(directory, CACHE)?;
    // ORDER: the sidecar is last; a directory without one is an `init` that did not finish.
    let noted =
        Noted { engine, instance, number: CommitNumber(0), length: engine.length(path)?, closed: false };
    store.attach(Sidecar::create(path, noted)?);
    File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()?;
    Ok(Opened { store, instance, engine })
}

/// Opens a store.
///
/// # Errors
/// Where anything makes it doubtful that all durable commits are there. The directory is then as it was, except where a store that
/// was not closed is too large to be tried on a copy.
pub fn open(path: &Path) -> Result<Opened, OpenError> {
    open_with(path, CACHE)
}

/// As [`open`], with a page cache of this many bytes.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: &Path, cache: u64) -> Result<Opened, OpenError> {
    let directory = Directory::lock(path, false)?;
    let mut sidecar = match Sidecar::open(path)? {
        Some(sidecar) => sidecar,
        None if fs::read_dir(path)?.count() > 1 => return Err(OpenError::NoSidecar(path.into())),
        None => return Err(OpenError::Missing(path.into())),
    };
    let noted = sidecar.noted();
    let length = noted.engine.length(path)?;
    let short = length < noted.length;
    if short && length == 0 {
        return Err(OpenError::Short { length, noted: noted.length });
    }
    if short || (!noted.closed && length <= TRIED_AFTER_A_KILL) {
        match try_on_a_copy(path, &noted) {
            Err(OpenError::Engine(_) | OpenError::Behind { .. }) if short => {
                return Err(OpenError::Short { length, noted: noted.length });
            }
            tried => tried?,
        }
    }
    sidecar.note_opening()?;
    let store = noted.engine.open(directory, cache)?;
    at_least(store.committed(), &noted)?;
    store.attach(sidecar);
    Ok(Opened { store, instance: noted.instance, engine: noted.engine })
}

/// Opens a copy, which is removed, and checks that it holds every commit that was noted.
fn try_on_a_copy(path: &Path, noted: &Noted) -> Result<(), OpenError> {
    let copy = path.join(TRIAL);
    let tried = copy_files(&path.join(noted.engine.folder()), &copy.join(noted.engine.folder()))
        .map_err(OpenError::Trial)
        .and_then(|()| noted.engine.open(Directory::lock(&copy, false)?, CACHE))
        .and_then(|store| at_least(store.committed(), noted));
    fs::remove_dir_all(&copy).map_err(OpenError::Trial)?;
    tried
}

fn at_least(found: CommitNumber, noted: &Noted) -> Result<(), OpenError> {
    if found < noted.number { Err(OpenError::Behind { found, noted: noted.number }) } else { Ok(()) }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Refuses while the disk is nearly full: handed to an engine, a batch that does not fit has an unknown outcome.
pub(super) fn room(folder: &Path) -> Result<(), Cause> {
    let disk = rustix::fs::statvfs(folder).map_err(io::Error::from)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < ROOM { Err(io::Error::new(io::ErrorKind::StorageFull, NoRoom(free)).into()) } else { Ok(()) }
}

/// Free space below which nothing is written: what the largest batch takes, several times over.
const ROOM: u64 = 64 * 1024 * 1024;

/// The disk is nearly full.
#[derive(Debug, thiserror::Error)]
#[error("the disk of the data directory has {0} bytes free, and at least {ROOM} are kept: make room")]
pub struct NoRoom(u64);

/// Bytes of page cache where nothing is said.
pub const CACHE: u64 = 16 * 1024 * 1024;

const LOCK: &str = "lock";
const TRIAL: &str = "trial";

/// A directory that no other process has open.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    pub(super) fn lock(path: &Path, make: bool) -> Result<Self, OpenError> {
        if make {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        } else if !path.is_dir() {
            return Err(OpenError::Missing(path.into()));
        }
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path.join(LOCK))?;
        if !crate::effaceable::lock::lock(&lock)? {
            return Err(OpenError::Locked(path.into()));
        }
        match fs::remove_dir_all(path.join(TRIAL)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(Self { path: path.into(), _lock: lock }),
        }
    }

    /// Where the engine's files are; made where it is not there.
    pub(super) fn folder(&self, engine: Engine) -> io::Result<PathBuf> {
        let folder = self.path.join(engine.folder());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(folder)
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// A store in a directory.
pub(super) trait Embedded: Store {
    /// Lets it note its commits from now on.
    fn attach(&self, sidecar: Sidecar);
}

impl Engine {
    fn folder(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        }
    }

    fn open(self, directory: Directory, cache: u64) -> Result<Arc<dyn Embedded>, OpenError> {
        match self {
            Self::Sled => Ok(Arc::new(SledStore::open(directory, cache)?)),
            Self::Redb => Ok(Arc::new(RedbStore::open(directory, cache)?)),
        }
    }

    /// Bytes of the engine's file; 0 where it is not there.
    fn length(self, path: &Path) -> io::Result<u64> {
        match fs::metadata(path.join(self.folder()).join("db")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            metadata => Ok(metadata?.len()),
        }
    }
}

/// A store was not opened, or not made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("`{}` is open in another server: stop that one, or give this one a data directory of its own", .0.display())]
    Locked(PathBuf),
    /// Nothing there.
    #[error("`{}` holds no store: make one with `kms-server init`, or correct the path of the data directory", .0.display())]
    Missing(PathBuf),
    /// Something there already.
    #[error("`{}` is not empty, and a new store is made in an empty directory only", .0.display())]
    NotEmpty(PathBuf),
    /// Files without a sidecar.
    #[error("`{}` has no sidecar: if `kms-server init` was interrupted, delete the directory and run it again; else restore the directory from a backup", .0.display())]
    NoSidecar(PathBuf),
    /// Neither slot can be read.
    #[error(
        "the store's sidecar is damaged, so lost commits could not be noticed: restore the data directory from a backup; nothing was changed"
    )]
    SidecarDamaged,
    /// A version, or an engine, that this server does not know.
    #[error(
        "the store's sidecar is of version {0}, which this server does not know: run a newer server; nothing was changed"
    )]
    SidecarVersion(u16),
    /// The file was cut.
    #[error(
        "the store's file has {length} bytes and had {noted}, and commits are missing: restore the data directory from a backup; nothing was changed"
    )]
    Short {
        /// Bytes there.
        length: u64,
        /// Bytes there once.
        noted: u64,
    },
    /// Durable commits are gone.
    #[error(
        "the store ends at commit {found}, but commit {noted} was durable: restore the data directory from a backup"
    )]
    Behind {
        /// The last one there.
        found: CommitNumber,
        /// The last one that the sidecar knows of.
        noted: CommitNumber,
    },
    /// The engine cannot open its files.
    #[error("the store cannot be opened: {0}: restore the data directory from a backup")]
    Engine(#[source] Cause),
    /// No copy could be made to settle a doubt.
    #[error(
        "the store was not closed or its file is short, and it could not be tried on a copy: {0}: make room in the data directory; nothing was changed"
    )]
    Trial(#[source] io::Error),
    /// Input or output failed.
    #[error("the data directory cannot be used: {0}")]
    Io(#[from] io::Error),
}
