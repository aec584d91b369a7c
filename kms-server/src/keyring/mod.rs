//! Live keys in memory, so that the data plane touches no store when warm: resolved names, and versions with their prepared
//! ciphers, bounded by weight.
//!
//! INVARIANT: what a commit touched is out of the caches, and wiped, before the caller of that commit hears of it
//! (`commits` runs on the writer's thread after the barrier). A load that began before such a commit is thrown away.
//!
//! # Layout
//! - this file: the caches; `cached`: what stands in them; `register`: the one instance of each version, in a cache or not.
//! - `lookup`: from names and ids to what is cached; `commits`: what a commit takes out of the caches and tells to clients.
//! - [`entry`]: a key as requests see it; [`indexing`]: the versions of an index key; [`warm`]: many cold ones at once.
//! - [`version`]: a live version, its material and its ciphers.
//! - [`leases`]: which sealing leases may still run; [`census`]: what clients say that they use; [`beside`]: work that no call waits for.
//! - [`holders`], over the table `held`: which client holds what; [`watches`]: clients that listen; `purges`: what they have to confirm.

pub mod beside;
mod cached;
pub mod census;
mod commits;
pub mod counted;
pub mod entry;
mod held;
pub mod holders;
pub mod indexing;
pub mod leases;
mod lookup;
mod purges;
mod register;
#[cfg(test)]
pub(crate) mod tests;
pub mod version;
pub mod warm;
pub mod watches;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kms_core::id::{Uid, VersionId};
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::erasure::Writer;
use crate::running::RunningTime;
use cached::{
    KeyPlace, KeyWeight, SUBJECT_WEIGHT, SubjectPlace, TENANT_WEIGHT, VersionWeight, Weighed, items,
};
pub use entry::{KeyEntry, TenantEntry, Unusable};
pub use holders::Holders;
pub use leases::Leases;
pub use lookup::LookupError;
use register::Register;
pub use version::LiveVersion;

/// The caches over one store.
pub struct Keyring {
    writer: Writer,
    tenants: Cache<Arc<str>, Arc<TenantEntry>>,
    keys: Cache<KeyPlace, Arc<KeyEntry>, KeyWeight>,
    /// Which subject a name leads to. That never changes while the tenant lives.
    subjects: Cache<SubjectPlace, Uid>,
    versions: Cache<VersionId, Weighed, VersionWeight>,
    /// Counts purges; a load notes it before it reads, and its result is cached only if none came between.
    purges: AtomicU64,
    /// Held while a load is cached and while a purge runs, so that the two never interleave.
    register: Mutex<Register>,
    leases: Leases,
    census: census::Census,
    holders: Holders,
    running: Arc<RunningTime>,
    instance: Box<str>,
}

impl Keyring {
    /// Caches over the writer's store that hold at most about `budget` bytes.
    pub fn new(writer: Writer, running: Arc<RunningTime>, budget: u64) -> Arc<Self> {
        // Names are small beside versions with their key schedules: a quarter of the budget holds as many.
        let (names, versions) = (budget / 4, budget - budget / 4);
        let keyring = Arc::new(Self {
            tenants: Cache::new(items(names, TENANT_WEIGHT) / 8),
            keys: Cache::with_weighter(items(names / 2, KeyEntry::WEIGHT), names / 2, KeyWeight),
            subjects: Cache::new(items(names / 2, SUBJECT_WEIGHT)),
            versions: Cache::with_weighter(items(versions, LiveVersion::WEIGHT), versions, VersionWeight),
            purges: AtomicU64::new(0),
            register: Mutex::default(),
            leases: Leases::default(),
            census: census::Census::default(),
            holders: Holders::new(writer.next_tenant()),
            running,
            instance: uuid::Uuid::new_v4().to_string().into(),
            writer,
        });
        let listener = Arc::downgrade(&keyring);
        keyring.writer.on_commit(move |notice| {
            if let Some(keyring) = listener.upgrade() {
                keyring.committed(notice);
            }
        });
        keyring
    }

    /// The sealing leases handed out by this process.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// What clients say that they use.
    pub fn census(&self) -> &census::Census {
        &self.census
    }

    /// Which client holds what.
    pub fn holders(&self) -> &Holders {
        &self.holders
    }

    /// The writer behind the caches.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// How long the server has run: what waits for leases to end goes by it.
    pub fn running(&self) -> &Arc<RunningTime> {
        &self.running
    }

    /// Names this run of the server to its clients.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}
