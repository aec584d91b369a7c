//! From a name or an id in a request to what is kept in memory, read from the store where it is cold.
//!
//! INVARIANT: what was read before a commit is not cached after it: it is read again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_core::commitment::Hash;
use kms_core::id::{Uid, VersionId};
use kms_core::names::{FamilyName, KeyName, SubjectName, TenantName};

use super::cached::{KeyPlace, Weighed};
use super::register::Register;
use super::{KeyEntry, Keyring, LiveVersion, TenantEntry};
use crate::erasure::{RecordError, Snapshot};
use crate::records::{Damaged, KeyRef, Subjects, Versions, uid};

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
        let place = (tenant.slot, self.index_of(tenant, family, subject)?);
        if let Some(id) = self.subjects.get(&place) {
            return Ok(id);
        }
        self.load(
            |snapshot| {
                let record = snapshot.get::<Subjects>(&place)?.ok_or(LookupError::NotThere)?;
                Ok(uid(&record.id)?)
            },
            |register, id| {
                register.read(tenant.slot);
                self.subjects.insert(place, id);
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
    pub(super) fn keep(&self, register: &mut Register, version: Arc<LiveVersion>) -> Arc<LiveVersion> {
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

    pub(super) fn load<T>(
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
