//! One live version: its material, the ciphers prepared from it, and the server's own data key that it seals under.
//!
//! The material leaves only as data keys. `LiveVersion::retire` waits for uses under way and wipes; afterwards every use fails.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use kms_core::field::{
    Column, DeterministicCipher, DirectCipher, FieldCipher, Header, Kind, OpenError, SealError,
};
use kms_core::id::{DataKeyId, VersionId};
use kms_core::names::{ColumnName, TableName, TenantName};
use kms_core::secret::{DataKey, Plaintext, VersionMaterial};
use kms_proto::storage::DataKeyIdsRecord;
use parking_lot::RwLock;

use super::LookupError;
use crate::binding::{Binding, FieldBinding};
use crate::erasure::{OpenVersionError, Snapshot};
use crate::records::{DataKeyIds, KeyRef, TenantsBySlot, Versions, name, state};

/// Ciphers kept prepared for one version and kind of use; past that one makes room for the next.
const MAX_CIPHERS: usize = 64;
/// Bytes of one prepared cipher: key schedule, hash key, names.
const CIPHER_WEIGHT: u64 = 768;
/// Seals under one data key of the server. Random nonces allow 2^32 under one key (SP 800-38D, 8.3).
const SEALS_PER_DATA_KEY: u64 = 1 << 31;

/// A version whose material is in memory.
pub struct LiveVersion {
    id: VersionId,
    /// Number within its key.
    pub number: u32,
    /// Tenant it belongs to.
    pub tenant: TenantName,
    /// Key it belongs to.
    pub key: KeyRef,
    /// Of a subject's key: how often its family had been rotated when it was made.
    pub rotations: u64,
    material: RwLock<Option<VersionMaterial>>,
    direct: Prepared<DataKeyId, DirectCipher>,
    randomized: Prepared<(DataKeyId, TableName, ColumnName), FieldCipher>,
    deterministic: Prepared<(TableName, ColumnName), DeterministicCipher>,
    own: OwnDataKey,
    /// Data-key ids below this one were assigned to clients.
    leased_ids: AtomicU32,
    /// It is on record that clients were leased the data key of deterministic columns.
    leased_deterministic: AtomicBool,
    /// It is on record that envelope keys left the server.
    gave_envelopes: AtomicBool,
    /// Serializes the reservation of data-key ids, so that a burst of first seals makes one commit.
    pub(crate) reserve: tokio::sync::Mutex<LeasedDataKeys>,
}

/// The data key that clients are leased to seal with, and what they were allowed under it.
#[derive(Debug, Default)]
pub(crate) struct LeasedDataKeys {
    /// The one in use, with the day it came into use.
    pub(crate) current: Option<(DataKeyId, u64)>,
    /// Seals reported, plus budgets still out.
    pub(crate) allowed: u64,
}

/// The destroyed version cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the version is destroyed")]
pub struct Retired;

/// Why a value was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealFailure {
    /// A data-key id must be reserved first: [`LiveVersion::install`].
    #[error("no data key of the server is reserved")]
    NeedsDataKey,
    /// The version was destroyed meanwhile.
    #[error(transparent)]
    Retired(#[from] Retired),
    /// The cipher failed.
    #[error(transparent)]
    Cipher(#[from] SealError),
}

/// Why a value did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailure {
    /// The version was destroyed meanwhile.
    #[error(transparent)]
    Retired(#[from] Retired),
    /// Wrong key, wrong binding or forged: one face.
    #[error(transparent)]
    Rejected(#[from] OpenError),
    /// A `direct` value with a field binding, or the other way round.
    #[error("the ciphertext was sealed for another kind of binding")]
    OtherKind,
}

/// Ciphers prepared for one kind of use, by what they were prepared for.
struct Prepared<K, C>(RwLock<HashMap<K, Arc<C>>>);

impl<K: Clone + Eq + Hash, C> Prepared<K, C> {
    fn get(&self, place: K, prepare: impl FnOnce() -> C) -> Arc<C> {
        if let Some(cipher) = self.0.read().get(&place) {
            return Arc::clone(cipher);
        }
        let cipher = Arc::new(prepare());
        let mut ciphers = self.0.write();
        if ciphers.len() >= MAX_CIPHERS
            && let Some(victim) = ciphers.keys().next().cloned()
        {
            ciphers.remove(&victim);
        }
        ciphers.insert(place, Arc::clone(&cipher));
        cipher
    }
}

impl<K, C> Default for Prepared<K, C> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

/// The server's own data key in use.
#[derive(Default)]
struct OwnDataKey {
    /// 0: none; else the id.
    id: AtomicU64,
    day: AtomicU64,
    seals: AtomicU64,
}

impl LiveVersion {
    /// Bytes of a version before it prepared a cipher.
    pub(super) const WEIGHT: u64 = 640;

    /// Reads a version of the key named; of another key's no more than whose it is.
    pub(super) fn load(snapshot: &Snapshot, of: &KeyRef, id: VersionId) -> Result<Self, LookupError> {
        let record = snapshot.get::<Versions>(&id)?.ok_or(LookupError::NotThere)?;
        let key: KeyRef = name(&record.key)?;
        if key != *of {
            return Err(LookupError::NotThere);
        }
        let tenant = snapshot.get::<TenantsBySlot>(&id.tenant_slot())?.ok_or(LookupError::NotThere)?;
        let tenant_name = name(&tenant.name)?;
        let number = record.version;
        if state(record.state)?.is_destroyed() || state(tenant.state)?.is_destroyed() {
            return Err(LookupError::Destroyed { key, version: number });
        }
        let ids = snapshot.get::<DataKeyIds>(&id)?.unwrap_or_default();
        let material = match snapshot.open_version(id) {
            Ok(material) => material,
            // Destroyed since its record was read.
            Err(OpenVersionError::NotThere) => return Err(LookupError::Destroyed { key, version: number }),
            Err(OpenVersionError::Record(error)) => return Err(error.into()),
            Err(error @ OpenVersionError::Busy) => return Err(LookupError::Store(Box::new(error))),
            Err(error) => return Err(LookupError::Damaged(Box::new(error))),
        };
        let made = (number, record.rotations);
        Ok(Self::new(id, made, (tenant_name, key), &ids, material))
    }

    fn new(
        id: VersionId,
        (number, rotations): (u32, u64),
        (tenant, key): (TenantName, KeyRef),
        ids: &DataKeyIdsRecord,
        material: VersionMaterial,
    ) -> Self {
        Self {
            id,
            number,
            tenant,
            key,
            rotations,
            material: RwLock::new(Some(material)),
            direct: Prepared::default(),
            randomized: Prepared::default(),
            deterministic: Prepared::default(),
            own: OwnDataKey::default(),
            leased_ids: AtomicU32::new(ids.leased),
            leased_deterministic: AtomicBool::new(ids.deterministic),
            gave_envelopes: AtomicBool::new(ids.envelopes),
            reserve: tokio::sync::Mutex::default(),
        }
    }

    /// The version's address.
    pub fn id(&self) -> VersionId {
        self.id
    }

    pub(super) fn weight(&self) -> u64 {
        Self::WEIGHT + self.prepared_ciphers() as u64 * CIPHER_WEIGHT
    }

    /// Waits for uses under way, then wipes the material and every cipher.
    pub(super) fn retire(&self) {
        *self.material.write() = None;
        self.direct.0.write().clear();
        self.randomized.0.write().clear();
        self.deterministic.0.write().clear();
    }

    /// Derives a data key.
    ///
    /// # Errors
    /// Where the version was destroyed.
    pub fn data_key(&self, id: DataKeyId) -> Result<DataKey, Retired> {
        let material = self.material.read();
        Ok(material.as_ref().ok_or(Retired)?.data_key(self.id, id))
    }

    /// Whether it is on record that clients were leased the data key of deterministic columns, to seal with.
    pub(crate) fn leased_deterministic(&self) -> bool {
        self.leased_deterministic.load(Ordering::Acquire)
    }

    /// That is on record now.
    pub(crate) fn set_leased_deterministic(&self) {
        self.leased_deterministic.store(true, Ordering::Release);
    }

    /// Whether it is on record that envelope keys left the server.
    pub(crate) fn gave_envelopes(&self) -> bool {
        self.gave_envelopes.load(Ordering::Acquire)
    }

    /// That is on record now.
    pub(crate) fn set_gave_envelopes(&self) {
        self.gave_envelopes.store(true, Ordering::Release);
    }

    /// Whether any data key was ever handed out under a lease.
    pub fn was_ever_leased(&self) -> bool {
        self.leased_ids.load(Ordering::Acquire) > 0 || self.leased_deterministic()
    }

    /// Whether a data key that clients seal with was ever assigned.
    pub fn was_leased(&self, id: DataKeyId) -> bool {
        match id {
            DataKeyId::DETERMINISTIC => self.leased_deterministic(),
            id => id.get() < self.leased_ids.load(Ordering::Acquire),
        }
    }

    /// Data-key ids below this one are assigned from now on.
    pub(crate) fn raise_leased_ids(&self, below: u32) {
        self.leased_ids.fetch_max(below, Ordering::AcqRel);
    }

    /// The server's data key in use today, if one is reserved and not used up.
    pub fn own_data_key(&self, today: u64) -> Option<DataKeyId> {
        let id = self.own.id.load(Ordering::Acquire);
        let usable = id != 0
            && self.own.day.load(Ordering::Relaxed) == today
            && self.own.seals.load(Ordering::Relaxed) < SEALS_PER_DATA_KEY;
        usable.then(|| DataKeyId::from(u32::try_from(id).unwrap_or_default()))
    }

    /// Puts a data key into use that was durably reserved.
    pub fn install(&self, id: DataKeyId, today: u64) {
        self.own.seals.store(0, Ordering::Relaxed);
        self.own.day.store(today, Ordering::Relaxed);
        self.own.id.store(u64::from(id.get()), Ordering::Release);
    }

    /// Seals under the server's own data key.
    ///
    /// # Errors
    /// [`SealFailure::NeedsDataKey`] where none is installed for today.
    pub fn seal(&self, binding: &Binding, plaintext: &[u8], today: u64) -> Result<Vec<u8>, SealFailure> {
        let id = self.own_data_key(today).ok_or(SealFailure::NeedsDataKey)?;
        self.own.seals.fetch_add(1, Ordering::Relaxed);
        // INVARIANT: held to the end of the use, so that `retire` waits for it.
        let material = self.material.read();
        let material = material.as_ref().ok_or(Retired)?;
        Ok(match binding {
            Binding::Direct(context) => self.direct(material, id).seal(context, plaintext)?,
            Binding::Field(field) => self.randomized(material, id, field).seal(&field.record, plaintext)?,
        })
    }

    /// Opens a value of this version.
    ///
    /// # Errors
    /// One face for wrong key, wrong binding and forgery.
    pub fn open(
        &self,
        header: &Header,
        binding: &Binding,
        ciphertext: &[u8],
    ) -> Result<Plaintext, OpenFailure> {
        let material = self.material.read();
        let material = material.as_ref().ok_or(Retired)?;
        let id = header.data_key;
        Ok(match (header.kind, binding) {
            (Kind::Direct, Binding::Direct(context)) => {
                self.direct(material, id).open(context, ciphertext)?
            }
            (Kind::Randomized, Binding::Field(field)) => {
                self.randomized(material, id, field).open(&field.record, ciphertext)?
            }
            (Kind::Deterministic, Binding::Field(field)) => {
                self.deterministic(material, field).open(ciphertext)?
            }
            _ => return Err(OpenFailure::OtherKind),
        })
    }

    /// How many ciphers are prepared: the weight follows it.
    pub fn prepared_ciphers(&self) -> usize {
        self.direct.0.read().len() + self.randomized.0.read().len() + self.deterministic.0.read().len()
    }

    fn direct(&self, material: &VersionMaterial, id: DataKeyId) -> Arc<DirectCipher> {
        self.direct.get(id, || DirectCipher::new(&material.data_key(self.id, id), self.id, id))
    }

    fn randomized(
        &self,
        material: &VersionMaterial,
        id: DataKeyId,
        field: &FieldBinding,
    ) -> Arc<FieldCipher> {
        self.randomized.get((id, field.table.clone(), field.column.clone()), || {
            FieldCipher::new(&material.data_key(self.id, id), self.id, id, self.column(field))
        })
    }

    fn deterministic(&self, material: &VersionMaterial, field: &FieldBinding) -> Arc<DeterministicCipher> {
        self.deterministic.get((field.table.clone(), field.column.clone()), || {
            let data_key = material.data_key(self.id, DataKeyId::DETERMINISTIC);
            DeterministicCipher::new(&data_key, self.id, self.column(field))
        })
    }

    fn column<'a>(&'a self, field: &'a FieldBinding) -> Column<'a> {
        Column { tenant: &self.tenant, table: &field.table, column: &field.column }
    }
}
