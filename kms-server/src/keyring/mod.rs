//! Live keys in memory, so that the data plane touches no store when warm: resolved names, and versions with their prepared
//! ciphers, bounded by weight.
//!
//! INVARIANT: what a commit touched is out of the caches, and wiped, before the caller of that commit hears of it
//! (`Keyring::purge` runs on the writer's thread after the barrier). A load that began before such a commit is thrown away.
//!
//! # Layout
//! - this file: the caches and their invalidation; `register`: the one instance of each version, in a cache or not.
//! - [`entry`]: a key as requests see it; [`indexing`]: the versions of an index key; [`warm`]: many cold ones at once.
//! - [`version`]: a live version, its material and its ciphers.
//! - [`leases`]: which sealing leases may still run; [`census`]: what clients say that they use.
//! - [`holders`], over the table `held`: which client holds what; [`watches`]: clients that listen; `purges`: what they have to confirm.

pub mod census;
pub mod entry;
mod held;
pub mod holders;
pub mod indexing;
pub mod leases;
mod purges;
mod register;
#[cfg(test)]
pub(crate) mod tests;
pub mod version;
pub mod warm;
pub mod watches;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kms_core::commitment::Hash;
use kms_core::id::{TenantSlot, Uid, VersionId};
use kms_core::names::{FamilyName, KeyName, SubjectName, TenantName};
use kms_core::state::LifecycleState;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::erasure::{CommitNotice, RecordError, Snapshot, Touched, Writer};
use crate::records::{Damaged, KeyRef, Subjects, Versions, uid};
pub use entry::{KeyEntry, TenantEntry, Unusable};
pub use holders::Holders;
pub use leases::Leases;
use purges::Ending;
use register::Register;
pub use version::LiveVersion;
use watches::Kind;

/// The caches over one store.
pub struct Keyring {
    writer: Writer,
    tenants: Cache<Arc<str>, Arc<TenantEntry>>,
    keys: Cache<KeyPlace, Arc<KeyEntry>, KeyWeight>,
    /// Which subject a name leads to. That never changes while the tenant lives.
    subjects: Cache<KeyPlace, Uid, SubjectWeight>,
    versions: Cache<VersionId, Weighed, VersionWeight>,
    /// Counts purges; a load notes it before it reads, and its result is cached only if none came between.
    purges: AtomicU64,
    /// Held while a load is cached and while a purge runs, so that the two never interleave.
    register: Mutex<Register>,
    leases: Leases,
    census: census::Census,
    holders: Holders,
    instance: Box<str>,
}

/// A version or key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// No such tenant, key or version.
    #[error("there is no such key")]
    NotThere,
    /// The version was destroyed.
    #[error("the version is destroyed")]
    Destroyed {
        /// Key the version belonged to.
        key: KeyRef,
        /// Its number.
        version: u32,
    },
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A record is not what it must be.
    #[error("a stored record is damaged: {0}")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Keyring {
    /// Caches over the writer's store that hold at most about `budget` bytes.
    pub fn new(writer: Writer, budget: u64) -> Arc<Self> {
        // Names are small beside versions with their key schedules: a quarter of the budget holds as many.
        let (names, versions) = (budget / 4, budget - budget / 4);
        let keyring = Arc::new(Self {
            tenants: Cache::new(items(names, TENANT_WEIGHT) / 8),
            keys: Cache::with_weighter(items(names / 2, KeyEntry::WEIGHT), names / 2, KeyWeight),
            subjects: Cache::with_weighter(items(names / 2, SUBJECT_WEIGHT), names / 2, SubjectWeight),
            versions: Cache::with_weighter(items(versions, LiveVersion::WEIGHT), versions, VersionWeight),
            purges: AtomicU64::new(0),
            register: Mutex::default(),
            leases: Leases::default(),
            census: census::Census::default(),
            holders: Holders::new(writer.next_tenant()),
            instance: uuid::Uuid::new_v4().to_string().into(),
            writer,
        });
        let listener = Arc::downgrade(&keyring);
        keyring.writer.on_commit(move |notice| {
            if let Some(keyring) = listener.upgrade() {
                // ORDER: retired first, then counted: whoever is noted after that gets no data key.
                keyring.purge(&notice.touched);
                keyring.tell(notice);
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

    /// Names this run of the server to its clients.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The tenant of a name as a request wrote it.
    ///
    /// # Errors
    /// [`LookupError::NotThere`] also where the text is no name at all: nothing can be called so.
    pub fn tenant(&self, name: &str) -> Result<Arc<TenantEntry>, LookupError> {
        if let Some(entry) = self.tenants.get(name) {
            return Ok(entry);
        }
        let name = TenantName::try_from(name).map_err(|_| LookupError::NotThere)?;
        self.load(
            |snapshot| TenantEntry::load(snapshot, &name).map(Arc::new),
            |register, entry| {
                register.read(entry.slot);
                self.tenants.insert(name.as_str().into(), Arc::clone(&entry));
                entry
            },
        )
    }

    /// The key of names as a request wrote them. Cached names need no check and no allocation.
    ///
    /// # Errors
    /// [`LookupError::NotThere`] also where a text is no name at all: nothing can be called so.
    pub fn key(&self, tenant: &str, key: &str) -> Result<Arc<KeyEntry>, LookupError> {
        let tenant = self.tenant(tenant)?;
        if !key.contains('/') {
            if let Some(entry) = self.keys.get(&(tenant.slot, key)) {
                return Ok(entry);
            }
            let name = FamilyName::try_from(key).map_err(|_| LookupError::NotThere)?;
            return self.key_at(&tenant, &name.into());
        }
        if let Ok(named) = KeyRef::try_from(key) {
            return self.key_at(&tenant, &named);
        }
        let name = KeyName::try_from(key).map_err(|_| LookupError::NotThere)?;
        let subject = name.subject().ok_or(LookupError::NotThere)?;
        let id = self.subject(&tenant, name.family(), subject)?;
        let entry = self.key_at(&tenant, &KeyRef::of_subject(name.family().clone(), id))?;
        Ok(Arc::new(entry.asked_by(subject.clone())))
    }

    /// The key that is called so.
    ///
    /// # Errors
    /// [`LookupError::NotThere`] where there is none.
    pub fn key_at(&self, tenant: &TenantEntry, name: &KeyRef) -> Result<Arc<KeyEntry>, LookupError> {
        let family = match name.subject() {
            Some(_) => Some(self.key_at(tenant, &name.family().clone().into())?),
            None => None,
        };
        let text = name.to_string();
        if let Some(entry) = self.keys.get(&(tenant.slot, &*text)) {
            // A subject's key has its settings from the family as it is now.
            let same = |(own, now)| Arc::ptr_eq(own, now);
            if entry.family.as_ref().zip(family.as_ref()).is_none_or(same) {
                return Ok(entry);
            }
        }
        self.load(
            // The tenant is read again: a copy from before a purge must not be cached after it.
            |snapshot| {
                let tenant = TenantEntry::load(snapshot, &tenant.name)?;
                KeyEntry::load(snapshot, tenant, name, family.clone()).map(Arc::new)
            },
            |register, entry| {
                register.read(entry.tenant.slot);
                let place = KeyPlace { tenant: entry.tenant.slot, key: (&*text).into() };
                self.keys.insert(place, Arc::clone(&entry));
                entry
            },
        )
    }

    /// The id of the subject of a name.
    fn subject(
        &self,
        tenant: &TenantEntry,
        family: &FamilyName,
        subject: &SubjectName,
    ) -> Result<Uid, LookupError> {
        let text = format!("{family}/{subject}");
        if let Some(id) = self.subjects.get(&(tenant.slot, &*text)) {
            return Ok(id);
        }
        self.load(
            |snapshot| {
                let place = (tenant.slot, tenant.index(snapshot)?.of(family, subject));
                let record = snapshot.get::<Subjects>(&place)?.ok_or(LookupError::NotThere)?;
                Ok(uid(&record.id)?)
            },
            |register, id| {
                register.read(tenant.slot);
                self.subjects.insert(KeyPlace { tenant: tenant.slot, key: (&*text).into() }, id);
                id
            },
        )
    }

    /// What stands for a subject's name in the store of its tenant.
    ///
    /// # Errors
    /// [`LookupError::NotThere`] where the tenant is destroyed.
    pub fn index_of(
        &self,
        tenant: &TenantEntry,
        family: &FamilyName,
        subject: &SubjectName,
    ) -> Result<Hash, LookupError> {
        Ok(tenant.index(&self.writer.snapshot())?.of(family, subject))
    }

    /// The key that a version belongs to, where it belongs to the tenant named. Policy was not asked yet: no material is opened.
    ///
    /// # Errors
    /// [`LookupError::NotThere`] also where it belongs to another tenant.
    pub fn key_of(&self, version: VersionId, tenant: &str) -> Result<Arc<KeyEntry>, LookupError> {
        let tenant = self.tenant(tenant)?;
        // ATTACK: a version id of another tenant is as good as none.
        if version.tenant_slot() != tenant.slot {
            return Err(LookupError::NotThere);
        }
        let key = match self.versions.get(&version) {
            Some(Weighed { version, .. }) => version.key.to_string(),
            None => self.writer.snapshot().get::<Versions>(&version)?.ok_or(LookupError::NotThere)?.key,
        };
        let key = KeyRef::try_from(&*key).map_err(|_| Damaged("name"))?;
        self.key_at(&tenant, &key)
    }

    /// A live version of a key that policy gave leave for, opened down the erasure tree where it is not warm.
    ///
    /// # Errors
    /// [`LookupError::NotThere`] also where it belongs to another key; that one's material is not opened.
    pub fn version_of(&self, key: &KeyEntry, id: VersionId) -> Result<Arc<LiveVersion>, LookupError> {
        // ATTACK: a caller with leave for one key learns nothing of a version of another, not even that it is destroyed.
        if id.tenant_slot() != key.tenant.slot {
            return Err(LookupError::NotThere);
        }
        let version = match self.versions.get(&id) {
            Some(Weighed { version, .. }) => version,
            None => self.load_version(key, id)?,
        };
        if version.key == key.name { Ok(version) } else { Err(LookupError::NotThere) }
    }

    fn load_version(&self, key: &KeyEntry, id: VersionId) -> Result<Arc<LiveVersion>, LookupError> {
        {
            // It may have been evicted while requests go on with it.
            let mut register = self.register.lock();
            if let Some(version) = register.get(id) {
                return Ok(self.keep(&mut register, version));
            }
        }
        self.load(
            |snapshot| LiveVersion::load(snapshot, &key.name, id).map(Arc::new),
            |register, version| self.keep(register, version),
        )
    }

    /// Caches the one instance of a version.
    fn keep(&self, register: &mut Register, version: Arc<LiveVersion>) -> Arc<LiveVersion> {
        let version = register.enter(version);
        register.read(version.id().tenant_slot());
        self.versions.insert(version.id(), Weighed::now(&version));
        version
    }

    /// Weighs a version again after it prepared another cipher.
    pub fn reweigh(&self, version: &Arc<LiveVersion>) {
        let _gate = self.register.lock();
        if self.versions.peek(&version.id()).is_some_and(|cached| Arc::ptr_eq(&cached.version, version)) {
            self.versions.insert(version.id(), Weighed::now(version));
        }
    }

    fn load<T>(
        &self,
        read: impl Fn(&Snapshot) -> Result<T, LookupError>,
        cache: impl Fn(&mut Register, T) -> T,
    ) -> Result<T, LookupError> {
        loop {
            let before = self.purges.load(Ordering::Acquire);
            let loaded = read(&self.writer.snapshot());
            let mut register = self.register.lock();
            // ATTACK: material read before a destroy must not be cached after it.
            if self.purges.load(Ordering::Acquire) == before {
                return loaded.map(|value| cache(&mut register, value));
            }
        }
    }

    /// Drops what a commit touched, and wipes what it destroyed; waits for uses under way.
    fn purge(&self, touched: &[Touched]) {
        if touched.is_empty() {
            return;
        }
        let mut register = self.register.lock();
        self.purges.fetch_add(1, Ordering::AcqRel);
        for touched in touched {
            match touched {
                Touched::TenantName(name) => drop(self.tenants.remove(name.as_str())),
                Touched::Tenant(slot) if register.may_hold(*slot) => self.forget_names(*slot),
                Touched::Tenant(_) => {}
                Touched::Key(slot, key) => drop(self.keys.remove(&(*slot, &*key.to_string()))),
                Touched::Version(id) => {
                    self.versions.remove(id);
                    if let Some(version) = register.remove(*id) {
                        version.retire();
                    }
                    self.leases.forget(*id);
                }
                Touched::DestroyedTenant(slot) => {
                    self.forget_names(*slot);
                    self.subjects.retain(|place, _| place.tenant != *slot);
                    self.versions.retain(|id, _| id.tenant_slot() != *slot);
                    register.remove_tenant(*slot).iter().for_each(|version| version.retire());
                }
            }
        }
    }

    /// Tells clients what became of the keys that they hold something of. On the writer's thread: none is told twice, or out of order.
    fn tell(&self, notice: &CommitNotice) {
        if let Some(ending) = self.holders.destroyed(notice) {
            self.quiesces(&ending);
        }
        for touched in &*notice.touched {
            match touched {
                Touched::Key(slot, key) => {
                    let Some(held) = self.holders.hold_key(&(*slot, key.clone())) else { continue };
                    // What cannot be read is not told: its leases end.
                    let Ok(entry) = self.key(held.tenant.name.as_str(), &key.to_string()) else { continue };
                    if entry.tenant.slot == *slot {
                        self.holders.changed(&entry, notice);
                    }
                }
                Touched::TenantName(name) => {
                    let Ok(tenant) = self.tenant(name.as_str()) else { continue };
                    let kind = match tenant.state {
                        LifecycleState::Suspended => Kind::Suspended,
                        LifecycleState::DestroyScheduled => Kind::Rotated,
                        _ => continue,
                    };
                    self.holders.tenant_changed(tenant.slot, kind, notice);
                }
                _ => {}
            }
        }
    }

    /// Tells the writer when an epoch is quiesced.
    fn quiesces(&self, ending: &Ending) {
        self.writer.quiesces(ending.epoch, ending.at, ending.purges);
    }

    fn forget_names(&self, slot: TenantSlot) {
        self.tenants.retain(|_, tenant| tenant.slot != slot);
        self.keys.retain(|place, _| place.tenant != slot);
    }
}

/// Bytes of a cached tenant.
const TENANT_WEIGHT: u64 = 256;

fn items(budget: u64, each: u64) -> usize {
    usize::try_from(budget / each).unwrap_or(usize::MAX)
}

/// Key of the cache of keys; looked up by a borrowed name.
#[derive(Clone, PartialEq, Eq, Hash)]
struct KeyPlace {
    tenant: TenantSlot,
    key: Box<str>,
}

impl Equivalent<KeyPlace> for (TenantSlot, &str) {
    fn equivalent(&self, place: &KeyPlace) -> bool {
        self.0 == place.tenant && *self.1 == *place.key
    }
}

/// Bytes of a subject's id and its place in the cache, its name left out.
const SUBJECT_WEIGHT: u64 = 96;

#[derive(Clone)]
struct SubjectWeight;

impl Weighter<KeyPlace, Uid> for SubjectWeight {
    fn weight(&self, place: &KeyPlace, _: &Uid) -> u64 {
        SUBJECT_WEIGHT + place.key.len() as u64
    }
}

#[derive(Clone)]
struct KeyWeight;

impl Weighter<KeyPlace, Arc<KeyEntry>> for KeyWeight {
    fn weight(&self, _: &KeyPlace, entry: &Arc<KeyEntry>) -> u64 {
        entry.weight()
    }
}

/// A version with what it weighed when it was cached.
// INVARIANT: the cache takes off what it put on, so the weight of an entry never changes while it is there.
#[derive(Clone)]
struct Weighed {
    version: Arc<LiveVersion>,
    weight: u64,
}

impl Weighed {
    fn now(version: &Arc<LiveVersion>) -> Self {
        Self { version: Arc::clone(version), weight: version.weight() }
    }
}

#[derive(Clone)]
struct VersionWeight;

impl Weighter<VersionId, Weighed> for VersionWeight {
    fn weight(&self, _: &VersionId, cached: &Weighed) -> u64 {
        cached.weight
    }
}

impl From<Damaged> for LookupError {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(Box::new(damaged))
    }
}

impl From<RecordError> for LookupError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Damaged(_) => Self::Damaged(Box::new(error)),
            RecordError::Read(_) | RecordError::Stopped => Self::Store(Box::new(error)),
        }
    }
}
