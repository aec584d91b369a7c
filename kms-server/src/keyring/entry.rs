//! A tenant and a key as requests see them: parsed records, with the states that follow from one another.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kms_core::id::{LeafSlot, TenantSlot, Uid, VersionId};
use kms_core::names::{KeyName, SubjectName, TenantName};
use kms_core::state::{KeyClass, LifecycleState};
use kms_core::subject_index::SubjectIndex;
use kms_proto::storage::{KeyRecord, TenantRecord};

use super::LookupError;
use super::indexing::{IndexVersions, Indexing};
use crate::erasure::{OpenVersionError, Snapshot};
use crate::records::{KeyRef, Keys, Tenants, VersionNumbers, state, state_number, take_settings};
use crate::running::Reading;

/// The state that keeps a key from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The key neither seals nor opens.
    #[error("key `{0}` is suspended")]
    KeySuspended(KeyRef),
    /// Nothing seals under it any more.
    #[error("key `{0}` opens but no longer seals")]
    KeyDeactivated(KeyRef),
    /// It makes blind indexes and seals nothing.
    #[error("key `{0}` makes blind indexes and seals nothing")]
    OnlyIndexes(KeyRef),
    /// It seals and makes no blind indexes.
    #[error("key `{0}` makes no blind indexes")]
    MakesNoIndexes(KeyRef),
    /// Every version is gone.
    #[error("key `{0}` is destroyed")]
    KeyDestroyed(KeyRef),
    /// It has subjects, which seal in its place.
    #[error("key `{0}` is a family")]
    KeyIsFamily(KeyRef),
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
    /// Finds its subjects; opened where one is first asked for.
    index: OnceLock<SubjectIndex>,
}

/// A key.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// The tenant that owns it.
    pub tenant: Arc<TenantEntry>,
    /// What it is called.
    pub name: KeyRef,
    /// The subject, where the request named it; one that gave a version has not.
    pub subject: Option<SubjectName>,
    /// Of a subject's key: the family.
    pub family: Option<Arc<KeyEntry>>,
    /// Whether it has subjects and seals nothing itself.
    pub is_family: bool,
    /// Named so for ever.
    pub uid: Uid,
    /// How sensitive what it seals is.
    pub class: KeyClass,
    /// Its own state, or its family's where that stops it; [`KeyEntry::check_opens`] and [`KeyEntry::sealing_version`] look at the tenant's too.
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
    /// Of a family, how often it was rotated; of a subject's key, how often it had been when its newest version was made.
    rotations: u64,
}

impl TenantEntry {
    pub(super) fn load(snapshot: &Snapshot, name: &TenantName) -> Result<Self, LookupError> {
        let record = snapshot.get::<Tenants>(name)?.ok_or(LookupError::NotThere)?;
        Self::of(name.clone(), &record)
    }

    fn of(name: TenantName, record: &TenantRecord) -> Result<Self, LookupError> {
        let (slot, state) = (TenantSlot(record.slot), state(record.state)?);
        Ok(Self { name, slot, state, index: OnceLock::new() })
    }

    /// What finds its subjects.
    ///
    /// # Errors
    /// [`LookupError::NotThere`] where the tenant is destroyed.
    pub(super) fn index(&self, snapshot: &Snapshot) -> Result<&SubjectIndex, LookupError> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = match snapshot.open_index(self.slot) {
            Ok(index) => index,
            Err(OpenVersionError::NotThere) => return Err(LookupError::NotThere),
            Err(OpenVersionError::Record(error)) => return Err(error.into()),
            Err(error @ OpenVersionError::Busy) => return Err(LookupError::Store(Box::new(error))),
            Err(error) => return Err(LookupError::Damaged(Box::new(error))),
        };
        Ok(self.index.get_or_init(|| index))
    }
}

impl KeyEntry {
    /// Bytes of an entry with short names.
    pub(super) const WEIGHT: u64 = 512;

    pub(super) fn load(
        snapshot: &Snapshot,
        tenant: TenantEntry,
        name: &KeyRef,
        family: Option<Arc<Self>>,
    ) -> Result<Self, LookupError> {
        let tenant = Arc::new(tenant);
        let place = (tenant.slot, name.clone());
        let mut record: KeyRecord = snapshot.get::<Keys>(&place)?.ok_or(LookupError::NotThere)?;
        let mut state = state(record.state)?;
        if name.subject().is_some() {
            let place = (tenant.slot, name.family().clone().into());
            let of: KeyRecord = snapshot.get::<Keys>(&place)?.ok_or(LookupError::NotThere)?;
            take_settings(&mut record, &of);
            if of.state == state_number(LifecycleState::Suspended) && !state.is_destroyed() {
                state = LifecycleState::Suspended;
            }
        }
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
            subject: None,
            family,
            is_family: record.family,
            rotations: record.rotations,
            uid: Uid::try_from(&*record.uid).map_err(|error| LookupError::Damaged(Box::new(error)))?,
            class: crate::records::class(record.key_class)?,
            state,
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

    /// The same, asked for by the subject's name.
    pub(super) fn asked_by(&self, subject: SubjectName) -> Self {
        Self { subject: Some(subject), ..self.clone() }
    }

    /// The same without a subject's name, to be kept beyond the request.
    pub(super) fn unnamed(self: &Arc<Self>) -> Arc<Self> {
        match self.subject {
            None => Arc::clone(self),
            Some(_) => Arc::new(Self { subject: None, ..Self::clone(self) }),
        }
    }

    /// Its name as the request gave it.
    pub fn as_asked(&self) -> KeyName {
        match &self.subject {
            Some(subject) => KeyName::of_subject(self.name.family().clone(), subject.clone()),
            None => (&self.name).into(),
        }
    }

    /// Where its record stands.
    pub fn place(&self) -> (TenantSlot, KeyRef) {
        (self.tenant.slot, self.name.clone())
    }

    /// How often a family was rotated.
    pub fn rotations(&self) -> u64 {
        self.rotations
    }

    /// Whether its family was rotated since its newest version was made: it is to have another before it seals again.
    pub fn is_behind_family(&self) -> bool {
        self.family.as_ref().is_some_and(|family| self.rotations < family.rotations)
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
        if self.is_family {
            return Err(Unusable::KeyIsFamily(self.name.clone()));
        }
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
    pub fn index_versions(&self, now: &Reading) -> Result<IndexVersions, Unusable> {
        if !self.name.is_index() {
            return Err(Unusable::MakesNoIndexes(self.name.clone()));
        }
        self.check_opens()?;
        Ok(self.indexing.at(now, self.active_version().is_ok(), &self.scheduled))
    }

    fn check_tenant(&self) -> Result<(), Unusable> {
        match self.tenant.state {
            state if state.is_destroyed() => Err(Unusable::TenantDestroyed(self.tenant.name.clone())),
            LifecycleState::Suspended => Err(Unusable::TenantSuspended(self.tenant.name.clone())),
            _ => Ok(()),
        }
    }
}
