//! A tenant and a key as requests see them: parsed records, with the states that follow from one another.

use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{LeafSlot, TenantSlot, Uid, VersionId};
use kms_core::names::{KeyName, TenantName};
use kms_core::state::{KeyClass, LifecycleState};
use kms_proto::storage::{KeyRecord, TenantRecord};

use super::LookupError;
use super::indexing::{IndexVersions, Indexing};
use crate::erasure::Snapshot;
use crate::records::{Keys, Tenants, VersionNumbers, state};

/// The state that keeps a key from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The key neither seals nor opens.
    #[error("key `{0}` is suspended")]
    KeySuspended(KeyName),
    /// Nothing seals under it any more.
    #[error("key `{0}` opens but no longer seals")]
    KeyDeactivated(KeyName),
    /// It makes blind indexes and seals nothing.
    #[error("key `{0}` makes blind indexes and seals nothing")]
    OnlyIndexes(KeyName),
    /// It seals and makes no blind indexes.
    #[error("key `{0}` makes no blind indexes")]
    MakesNoIndexes(KeyName),
    /// Every version is gone.
    #[error("key `{0}` is destroyed")]
    KeyDestroyed(KeyName),
    /// Its tenant neither seals nor opens.
    #[error("tenant `{0}` is suspended")]
    TenantSuspended(TenantName),
    /// Its tenant is to be destroyed.
    #[error("tenant `{0}` is to be destroyed: its keys open but no longer seal")]
    TenantScheduled(TenantName),
    /// Its tenant is gone.
    #[error("tenant `{0}` is destroyed")]
    TenantDestroyed(TenantName),
}

/// A tenant.
#[derive(Debug)]
pub struct TenantEntry {
    /// Its name.
    pub name: TenantName,
    /// Its place in the erasure tree.
    pub slot: TenantSlot,
    /// Its state.
    pub state: LifecycleState,
}

/// A key.
#[derive(Debug)]
pub struct KeyEntry {
    /// The tenant that owns it.
    pub tenant: Arc<TenantEntry>,
    /// Its name.
    pub name: KeyName,
    /// Named so for ever.
    pub uid: Uid,
    /// How sensitive what it seals is.
    pub class: KeyClass,
    /// Its own state; [`KeyEntry::check_opens`] and [`KeyEntry::sealing_version`] look at the tenant's too.
    pub state: LifecycleState,
    /// What it may be used for, as policy sees it.
    pub purposes: Arc<[Arc<str>]>,
    /// How long clients may hold its data keys.
    pub lease: Duration,
    /// Rises with each change.
    pub revision: u64,
    active: Option<VersionId>,
    deterministic: Option<VersionId>,
    /// Versions that are to be destroyed one by one.
    scheduled: Box<[VersionId]>,
    /// Of an index key: its versions; of another, none.
    indexing: Indexing,
}

impl TenantEntry {
    pub(super) fn load(snapshot: &Snapshot, name: &TenantName) -> Result<Self, LookupError> {
        let record = snapshot.get::<Tenants>(name)?.ok_or(LookupError::NotThere)?;
        Self::of(name.clone(), &record)
    }

    fn of(name: TenantName, record: &TenantRecord) -> Result<Self, LookupError> {
        Ok(Self { name, slot: TenantSlot(record.slot), state: state(record.state)? })
    }
}

impl KeyEntry {
    /// Bytes of an entry with short names.
    pub(super) const WEIGHT: u64 = 512;

    pub(super) fn load(
        snapshot: &Snapshot,
        tenant: TenantEntry,
        name: &KeyName,
    ) -> Result<Self, LookupError> {
        let tenant = Arc::new(tenant);
        let place = (tenant.slot, name.clone());
        let record: KeyRecord = snapshot.get::<Keys>(&place)?.ok_or(LookupError::NotThere)?;
        let version = |number: u32| -> Result<Option<VersionId>, LookupError> {
            if number == 0 {
                return Ok(None);
            }
            let pointer = snapshot.get::<VersionNumbers>(&(tenant.slot, name.clone(), number))?;
            Ok(pointer.map(|pointer| VersionId::new(tenant.slot, LeafSlot(pointer.leaf_slot))))
        };
        let (active, deterministic) =
            (version(record.active_version)?, version(record.deterministic_version)?);
        let scheduled = record.scheduled_versions.iter().filter_map(|number| version(*number).transpose());
        let scheduled = scheduled.collect::<Result<_, _>>()?;
        let indexing = match name.is_index() {
            true => Indexing::load(snapshot, &record, &place)?,
            false => Indexing::default(),
        };
        Ok(Self {
            name: name.clone(),
            uid: Uid::try_from(&*record.uid).map_err(|error| LookupError::Damaged(Box::new(error)))?,
            class: crate::records::class(record.key_class)?,
            state: state(record.state)?,
            purposes: record.purposes.into_iter().map(Arc::from).collect(),
            lease: Duration::from_millis(record.lease_ms),
            revision: record.revision,
            active,
            deterministic,
            scheduled,
            indexing,
            tenant,
        })
    }

    pub(super) fn weight(&self) -> u64 {
        let purposes = self.purposes.iter().map(|purpose| purpose.len() as u64).sum::<u64>();
        Self::WEIGHT + purposes + self.indexing.weight()
    }

    /// Where its record stands.
    pub fn place(&self) -> (TenantSlot, KeyName) {
        (self.tenant.slot, self.name.clone())
    }

    /// Whether it, its tenant, or one of these versions is to be destroyed soon.
    pub fn is_scheduled(&self, versions: &[VersionId]) -> bool {
        let is = |state| state == LifecycleState::DestroyScheduled;
        is(self.state) || is(self.tenant.state) || versions.iter().any(|id| self.scheduled.contains(id))
    }

    /// Whether it or its tenant is suspended.
    pub fn is_suspended(&self) -> bool {
        [self.state, self.tenant.state].contains(&LifecycleState::Suspended)
    }

    /// Whether its values may be opened.
    ///
    /// # Errors
    /// Says which state forbids it.
    pub fn check_opens(&self) -> Result<(), Unusable> {
        self.check_tenant()?;
        match self.state {
            state if state.opens() => Ok(()),
            LifecycleState::Suspended => Err(Unusable::KeySuspended(self.name.clone())),
            _ => Err(Unusable::KeyDestroyed(self.name.clone())),
        }
    }

    /// The version that seals new values.
    ///
    /// # Errors
    /// Says which state forbids it.
    pub fn sealing_version(&self) -> Result<VersionId, Unusable> {
        // ATTACK: versions of an index key are destroyed once its indexes are rebuilt; a value sealed under one would be lost with it.
        if self.name.is_index() {
            return Err(Unusable::OnlyIndexes(self.name.clone()));
        }
        self.active_version()
    }

    fn active_version(&self) -> Result<VersionId, Unusable> {
        self.check_opens()?;
        if self.tenant.state == LifecycleState::DestroyScheduled {
            return Err(Unusable::TenantScheduled(self.tenant.name.clone()));
        }
        match self.active {
            Some(version) if self.state.seals() => Ok(version),
            _ => Err(Unusable::KeyDeactivated(self.name.clone())),
        }
    }

    /// The version that seals deterministic columns; rotation leaves it.
    ///
    /// # Errors
    /// Says which state forbids it.
    pub fn deterministic_version(&self) -> Result<VersionId, Unusable> {
        self.sealing_version()?;
        self.deterministic.ok_or_else(|| Unusable::KeyDeactivated(self.name.clone()))
    }

    /// Of an index key: the versions that are not destroyed, the newest first; of another, none.
    pub fn indexing(&self) -> impl Iterator<Item = VersionId> {
        self.indexing.ids()
    }

    /// The versions that make blind indexes at a moment.
    ///
    /// # Errors
    /// Says what forbids it.
    pub fn index_versions(&self, now_ms: i64) -> Result<IndexVersions, Unusable> {
        if !self.name.is_index() {
            return Err(Unusable::MakesNoIndexes(self.name.clone()));
        }
        self.check_opens()?;
        Ok(self.indexing.at(now_ms, self.active_version().is_ok(), &self.scheduled))
    }

    fn check_tenant(&self) -> Result<(), Unusable> {
        match self.tenant.state {
            state if state.is_destroyed() => Err(Unusable::TenantDestroyed(self.tenant.name.clone())),
            LifecycleState::Suspended => Err(Unusable::TenantSuspended(self.tenant.name.clone())),
            _ => Ok(()),
        }
    }
}
