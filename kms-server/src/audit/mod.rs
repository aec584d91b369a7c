//! The audit: who did what, with which key version, allowed by which rule. A line is accepted before the reply leaves, or the request
//! fails.
//!
//! Lines are JSON in segments, in one hash chain with signed heads. A line never holds a plaintext, a key or a context value; [`Entry`]
//! has no place for one.
//!
//! # Layout
//! - [`entry`]: what a line may hold. [`mod@durability`]: how far it must get before the reply.
//! - `line`, `chain`, `head`, `segment`: the bytes.
//! - `log`, `group`, `sync`, `bell`, `disk`: writing, in groups; one thread syncs. `open`: what a crash left.
//! - [`query`], [`export`]: reading and taking elsewhere. [`mod@verify`], [`report`]: offline, against whoever can write the files.
//! - `health`, `handshakes`.

mod bell;
mod chain;
mod disk;
pub mod durability;
pub mod entry;
pub mod export;
mod group;
mod handshakes;
mod head;
mod health;
mod line;
mod log;
mod open;
pub mod query;
pub mod report;
mod segment;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
pub mod verify;

use std::{
    cell::RefCell,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use kms_core::id::InstanceId;
use kms_core::state::KeyClass;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::{
    chain::ChainHash,
    durability::{Durability, durability},
    entry::{Change, Counts, Entry, Outcome, RequestId, ServerEvent, Ticket},
    export::{Chunk, DeleteError, Deleted, Deleter, Export},
    group::{Recorded, Recording, Unavailable},
    handshakes::FailedHandshakes,
    head::{AuditKey, SignedHead},
    health::{Health, Refusal, Shortage, WARN_AT, disk_percent},
    open::{Found, OpenError, Opened},
    query::{Filter, Line, OutcomeKind, Page, Tail},
    report::{Finding, Pin, Report, VerifyError, VerifyOptions, What},
    verify::verify,
};
use self::{disk::Disk, log::Core};
use crate::operation::Operation;

/// How to open an audit.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its files are.
    pub dir: PathBuf,
    /// Whose it is.
    pub instance: InstanceId,
    /// The last head that the store remembers. Fewer lines than it counts are reported.
    pub stored_head: Option<SignedHead>,
    /// A segment is followed by the next once it is this long.
    pub segment_bytes: u64,
    /// A segment is followed by the next once it is this old.
    pub segment_age: Duration,
    /// How often a signed head is written, at the most and while there is anything new.
    pub head_interval: Duration,
    /// What the segments may take before health warns, at 80 % of it; the whole disk's fill is watched always.
    pub quota: Option<u64>,
    /// The least that any line waits for.
    pub least: Durability,
    /// Whether room for a segment is set aside when it is begun.
    pub preallocate: bool,
}

impl Options {
    /// Segments of 64 MiB or a day, a head each second.
    pub fn new(dir: impl Into<PathBuf>, instance: InstanceId) -> Self {
        Self {
            dir: dir.into(),
            instance,
            stored_head: None,
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(24 * 60 * 60),
            head_interval: Duration::from_secs(1),
            quota: None,
            least: Durability::Written,
            preallocate: true,
        }
    }

    fn room(&self) -> u64 {
        if self.preallocate { self.segment_bytes } else { 0 }
    }
}

/// A handle to the log. The log is closed, with a signed head at its end, when the last one is dropped.
#[derive(Clone)]
pub struct AuditLog(Arc<Running>);

impl AuditLog {
    /// Makes the audit of a new instance: key, public key, first segment.
    ///
    /// # Errors
    /// Where one is there already, or files cannot be made.
    pub fn create(dir: &Path, instance: InstanceId) -> Result<(), OpenError> {
        open::create(dir, instance)
    }

    /// Opens the audit of an instance. Calls block.
    ///
    /// # Errors
    /// Where there is none, it is in use, another instance's, or files fail. Missing lines are no error: [`Opened`] says so.
    pub fn open(options: Options) -> Result<(Self, Opened), OpenError> {
        Self::open_on(options, Box::new(disk::RealDisk))
    }

    fn open_on(options: Options, disk: Box<dyn Disk>) -> Result<(Self, Opened), OpenError> {
        let start = open::open(&options, &*disk)?;
        let at = start.writer.at;
        let core = Arc::new(Core {
            disk,
            key: start.key,
            writer: Mutex::new(start.writer),
            tail: Mutex::new(log::Tail::new(at, start.head_at)),
            bell: bell::Bell::new(),
            synced: watch::Sender::new(at),
            head: Mutex::new(None),
            handshakes: handshakes::Handshakes::new(&options.dir),
            options,
        });
        let shared = Arc::clone(&core);
        let thread = std::thread::Builder::new().name("audit-sync".into()).spawn(move || sync::run(&shared));
        let dir = core.options.dir.as_path().into();
        let thread = thread.map_err(|source| OpenError::Io { dir, source })?;
        let running = Running { core, thread: Some(thread), _lock: start.lock };
        Ok((Self(Arc::new(running)), start.opened))
    }

    /// Records what was asked and what came of it; resolves once the line has got as far as `durability` says. Poll it soon: a group
    /// is written by the first who waits for it.
    pub fn record(&self, entry: Entry<'_>, durability: Durability) -> Recording<'_> {
        self.submit(durability, |body| line::request(body, SystemTime::now(), &entry))
    }

    /// Records something that the server did by itself; synced.
    pub fn record_server(&self, event: ServerEvent) -> Recording<'_> {
        self.submit(Durability::Synced, |body| line::server(body, SystemTime::now(), event))
    }

    /// Counts failed handshakes, outside the chain and capped. Calls block, for the length of one write; call it once a second.
    ///
    /// # Errors
    /// Where they cannot be written. Service goes on: whoever fails a handshake must not be able to stop it.
    pub fn record_handshake_failures(&self, counts: &[FailedHandshakes]) -> io::Result<()> {
        self.core().handshakes.record(counts)
    }

    /// What a line waits for here: [`durability()`], or more where the configuration asks for it.
    pub fn durability(&self, class: Option<KeyClass>, operation: Operation, outcome: Outcome) -> Durability {
        durability(class, operation, outcome).max(self.core().options.least)
    }

    /// The signed head of what would survive power loss: it never promises a line that a crash could take. Signs (about 20 µs) where
    /// lines were added since the last call.
    pub fn head(&self) -> SignedHead {
        self.core().signed_head()
    }

    /// Whether a synced line would be accepted now; counted as a refused one where not.
    ///
    /// # Errors
    /// Where it would not.
    pub fn ready(&self) -> Result<(), Unavailable> {
        self.core().ready()
    }

    /// Whether lines are accepted, and whether room runs short.
    pub fn health(&self) -> Health {
        self.core().health()
    }

    /// The key that checks the heads.
    pub fn public_key(&self) -> AuditKey {
        self.core().key.public()
    }

    /// Lines that match, oldest first, from line `from` on and at most `most` of them.
    ///
    /// # Errors
    /// Where the segments cannot be read.
    pub async fn query(&self, filter: Filter, from: u64, most: usize) -> io::Result<Page> {
        let core = Arc::clone(&self.0.core);
        let read = tokio::task::spawn_blocking(move || query::page(&core, &filter, from, most));
        read.await.map_err(io::Error::other)?
    }

    /// Lines that match, from now on.
    pub fn tail(&self, filter: Filter) -> Tail {
        Tail::new(Arc::clone(&self.0.core), filter)
    }

    /// The segments from one on, with a signed head at the end and the public key beside them. Also while lines are refused, then
    /// without that head. The iterator's calls block.
    ///
    /// # Errors
    /// Where the segments cannot be listed.
    pub async fn export(&self, from_segment: u64) -> io::Result<Export> {
        if let Some(line) = self.core().anchor()
            && let Err(error) = line.await
        {
            tracing::warn!(%error, "the audit is exported without a signed head at its end");
        }
        let core = Arc::clone(&self.0.core);
        tokio::task::spawn_blocking(move || core.export(from_segment)).await.map_err(io::Error::other)?
    }

    /// Deletes finished segments up to and with one. `hash` is that of its last line: the proof that it was exported.
    ///
    /// # Errors
    /// Where that is not so, or files fail. Lines must be accepted: the deletion is itself a line, which names who asked for it.
    pub async fn delete(
        &self,
        by: Deleter<'_>,
        through_segment: u64,
        hash: ChainHash,
    ) -> Result<Deleted, DeleteError> {
        let core = Arc::clone(&self.0.core);
        let check = tokio::task::spawn_blocking(move || core.condemn(through_segment, hash));
        let condemned = check.await.map_err(io::Error::other)??;
        let line = self.submit(Durability::Synced, |body| condemned.announce(&by, body)).await?;
        tracing::info!(line = line.sequence(), through_segment, "audit segments are deleted");
        let core = Arc::clone(&self.0.core);
        let delete = tokio::task::spawn_blocking(move || core.delete(&condemned));
        Ok(delete.await.map_err(io::Error::other)??)
    }

    fn submit(&self, durability: Durability, write: impl FnOnce(&mut Vec<u8>)) -> Recording<'_> {
        thread_local!(static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        let core = self.core();
        BODY.with_borrow_mut(|body| {
            body.clear();
            write(body);
            core.submit(body, durability.max(core.options.least))
        })
    }

    fn core(&self) -> &Core {
        &self.0.core
    }
}

/// The log while it is open.
struct Running {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
    _lock: File,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.core.bell.stop();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit's sync thread ended badly");
        }
    }
}
