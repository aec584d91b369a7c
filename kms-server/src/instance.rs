//! One installation on its disk: making it, and opening its parts in an order in which each can be checked against the ones before.
//!
//! ```text
//! data/store      the store, its lock and its sidecar
//! data/redo       the redo file of an epoch under way
//! data/log        the key of the transparency log, and its last signed head
//! audit.directory the audit
//! effaceable.path epoch-secrets, never part of a copy
//! ```

mod medium;

use std::convert::Infallible;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kms_core::id::{Epoch, InstanceId};
use kms_proto::storage::RunningTimeRecord;

use crate::audit::{self, AuditLog, SignedHead};
use crate::config::{AuditDurability, Config, Engine};
use crate::effaceable::{EffaceableError, MediumName};
use crate::erasure::options::Fatal;
use crate::erasure::{Adoption, CommitFailed, Options, RecordError, StartError, Started, Writer};
use crate::records::RunningTimes;
use crate::records::tree::AUDIT_HEAD;
use crate::seal::{self, SealError};
use crate::store::deadline::{self, Watched};
use crate::store::open::{self as store, OpenError};
use crate::store::sidecar;
use crate::store::{ReadError, Store};
use crate::transparency::{LogError, Transparency};

/// The parts of an open instance.
pub struct Instance {
    /// Whose it is.
    pub id: InstanceId,
    /// The one writer of its store.
    pub writer: Writer,
    /// Its audit.
    pub audit: AuditLog,
    /// Its transparency log.
    pub log: Transparency,
    /// How its writer started.
    pub started: Started,
    /// When the last head of the audit that the store remembers was signed: a time that has been.
    pub last_signed: Option<SystemTime>,
    /// How long it had run, as far as that was put on record.
    pub running: Option<RunningTimeRecord>,
    /// How many lines the audit should have had, where it had not.
    pub audit_gap: Option<u64>,
}

/// Why an instance was not made or not opened.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// `init` makes new instances only.
    #[error("there is an instance in `{}` already; `kms-server run` serves it", .0.display())]
    Exists(PathBuf),
    /// `run` makes none.
    #[error("there is no instance in `{}`; `kms-server init` makes a new one, a lost one comes back from a backup", .0.display())]
    Missing(PathBuf),
    /// The seal.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A record of it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The effaceable medium.
    #[error(transparent)]
    Medium(#[from] EffaceableError),
    /// The audit.
    #[error(transparent)]
    Audit(#[from] audit::OpenError),
    /// The erasure tree.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The transparency log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A change without the medium that it is from.
    #[error(
        "`[effaceable.previous]` is the medium of `[effaceable]`, or a copy of it: name another place in `[effaceable]`, where no medium is yet, and destroy the copy"
    )]
    SameMedium,
    /// Nothing to pass from.
    #[error(
        "`[effaceable]` names the new medium, and `[effaceable.previous]` the one that the secrets lie in: there is none"
    )]
    NoPrevious,
    /// The epoch.
    #[error(transparent)]
    Commit(#[from] CommitFailed<Infallible>),
    /// A record of the store.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// No thread to watch the store.
    #[error("the thread that watches the store did not start: {0}")]
    Thread(#[source] io::Error),
    /// No runtime.
    #[error("cannot wait for the writer: {0}")]
    Runtime(#[source] io::Error),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Random(#[from] getrandom::Error),
    /// A directory.
    #[error("cannot make the directory `{}`: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Whether an instance was made, or begun, in the configured directory.
pub fn exists(config: &Config) -> bool {
    store_path(config).exists()
}

/// Makes a new instance; the seal file too, where there is none.
///
/// # Errors
/// Where one exists, or a part cannot be made. What was made until then stays, for an operator to look at.
pub fn create(config: &Config) -> Result<InstanceId, InstanceError> {
    if exists(config) {
        return Err(InstanceError::Exists(config.data.clone()));
    }
    medium::check(&config.effaceable)?;
    let seal = if config.seal.exists() { seal::load(&config.seal)? } else { seal::create(&config.seal)? };
    let id = InstanceId::random()?;
    for path in [&config.data, &redo_path(config)] {
        private_directory(path)?;
    }
    let engine = match config.store.engine {
        Engine::Sled => sidecar::Engine::Sled,
        Engine::Redb => sidecar::Engine::Redb,
    };
    let store = store::create(&store_path(config), engine, id)?;
    let mut medium = medium::create(&config.effaceable, id)?;
    AuditLog::create(&config.audit.directory, id)?;
    Transparency::create(&log_path(config), id)?;
    // ORDER: last: before this the store has no root, and `run` refuses it.
    Writer::create(&*store.store, &mut *medium, &seal, id)?;
    Ok(id)
}

/// Opens the instance; `fatal` is told where its writer had to stop. Blocks.
///
/// # Errors
/// Where a part is missing, damaged, older than another, or another instance's. Nothing is changed then.
pub fn open(config: &Config, fatal: Fatal) -> Result<Instance, InstanceError> {
    open_with(config, fatal, Adoption::Refused)
}

fn open_with(config: &Config, fatal: Fatal, adoption: Adoption) -> Result<Instance, InstanceError> {
    if !exists(config) {
        return Err(InstanceError::Missing(config.data.clone()));
    }
    let seal = seal::load(&config.seal)?;
    let opened = store::open_with(&store_path(config), config.store.cache)?;
    let id = opened.instance;
    let watched = Watched::new(opened.store, deadline::LONGEST, Arc::clone(&fatal));
    let store: Arc<dyn Store> = Arc::new(watched.map_err(InstanceError::Thread)?);
    let medium = match adoption {
        Adoption::Refused => medium::open(&config.effaceable, id)?,
        Adoption::Allowed => medium::open_or_create(&config.effaceable, id)?,
    };
    let previous = config.effaceable.previous.as_ref().map(|previous| medium::open(previous, id));

    let stored_head = store.get(&AUDIT_HEAD)?.and_then(|bytes| SignedHead::from_bytes(&bytes));
    let last_signed = stored_head.map(|head| SystemTime::UNIX_EPOCH + Duration::from_millis(head.signed_ms));
    let (audit, found) = AuditLog::open(audit::Options {
        stored_head,
        segment_bytes: config.audit.segment_size,
        quota: config.audit.quota,
        least: match config.audit.durability {
            AuditDurability::ByClass => audit::Durability::Written,
            AuditDurability::Synced => audit::Durability::Synced,
        },
        ..audit::Options::new(&config.audit.directory, id)
    })?;
    for finding in &found.findings {
        tracing::error!(gap = found.is_gap(), "the audit is not as it was left: {finding}");
    }

    let audit_gap = found.is_gap().then(|| stored_head.map_or(found.lines, |head| head.count));
    let rider = audit.clone();
    let mut last = None;
    let mut options = Options::new(redo_path(config));
    options.instance = Some(id);
    options.erasure_interval = config.erasure_interval;
    options.fatal = fatal;
    options.adoption = adoption;
    match previous {
        None => {}
        // ATTACK: a copy of the medium has its id: it would pass for the one in use, and go on holding the secret.
        Some(Ok(previous)) if previous.name().is(&medium.name()) => return Err(InstanceError::SameMedium),
        Some(Ok(previous)) => options.others.push(previous),
        // The store knows whether anything can be on it.
        Some(Err(error)) => tracing::warn!("`[effaceable.previous]` cannot be reached: {error}"),
    }
    options.rider = Box::new(move || {
        let head = rider.head();
        let new = last.replace(head) != Some(head);
        new.then(|| (AUDIT_HEAD.to_vec(), head.to_bytes().to_vec()))
    });
    let (writer, started) = Writer::start(store, medium, seal, options)?;
    tracing::info!(
        instance = %started.instance,
        revision = started.revision.0,
        epoch = started.epoch.0,
        live_versions = started.live_versions,
        rolled_forward = started.rolled_forward.is_some(),
        "instance open"
    );
    if !started.effaced {
        tracing::error!("an earlier epoch secret could not be effaced yet: its erasure is pending");
    }
    let log = Transparency::open(log_path(config), id, writer.clone(), config.transparency.clone())?;
    let running = writer.snapshot().get::<RunningTimes>(&()).map_err(StartError::from)?;
    Ok(Instance { id, writer, audit, log, started, last_signed, running, audit_gap })
}

/// What passing to another medium came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The epoch whose secret lies in it.
    pub epoch: Epoch,
    /// The medium in use.
    pub to: MediumName,
    /// Media that may still hold a secret.
    pub pending: Vec<MediumName>,
}

/// Passes to the configured medium from `[effaceable.previous]`, through an epoch, while no server runs. Blocks. What was done already is not
/// done again.
///
/// # Errors
/// Those of [`open`], and those of the epoch's commit.
pub fn change_medium(config: &Config) -> Result<Passed, InstanceError> {
    if config.effaceable.previous.is_none() {
        return Err(InstanceError::NoPrevious);
    }
    let fatal: Fatal = std::sync::Arc::new(|why| tracing::error!("{why}"));
    let Instance { writer, audit, started, .. } = open_with(config, fatal, Adoption::Allowed)?;
    let passed = match started.media.split_first() {
        Some((to, [])) => Ok(Passed { epoch: started.epoch, to: to.clone(), pending: Vec::new() }),
        _ => pass(&writer),
    };
    writer.stop();
    drop(audit);
    passed
}

fn pass(writer: &Writer) -> Result<Passed, InstanceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(InstanceError::Runtime)?;
    let renewed = runtime.block_on(writer.destroy(|epoch| {
        epoch.renew();
        Ok::<_, Infallible>(())
    }))?;
    let mut media = writer.snapshot().media()?;
    if media.is_empty() {
        return Err(InstanceError::NoPrevious);
    }
    let to = media.remove(0);
    Ok(Passed { epoch: renewed.epoch, to, pending: media })
}

fn store_path(config: &Config) -> PathBuf {
    config.data.join("store")
}

fn redo_path(config: &Config) -> PathBuf {
    config.data.join("redo")
}

fn log_path(config: &Config) -> PathBuf {
    config.data.join("log")
}

fn private_directory(path: &Path) -> Result<(), InstanceError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| InstanceError::Directory { path: path.into(), source })
}
