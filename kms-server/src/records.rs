//! What the store holds: typed keys to and from bytes, one byte prefix a table, in one key space.
//!
//! Values are messages of `kms.storage.v1`. Keys order as bytes: numbers are big-endian, a name that is followed by more ends in a
//! zero byte, which no name contains. The tables of the erasure tree are in [`tree`]; only `erasure` writes those.

pub mod key_ref;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod value;

use kms_core::commitment::Hash;
use kms_core::id::{LeafSlot, TenantSlot, Uid, VersionId};
use kms_core::names::{FamilyName, TenantName};
use kms_proto::storage as stored;
use sha2::{Digest, Sha256};

pub use key_ref::KeyRef;
pub use value::{
    Damaged, class, class_number, millis, name, reason, reason_number, state, state_number, uid,
};

use crate::{identity::IdentityName, operation::Operation};

/// Layout of the records written by this version of the server.
pub const SCHEMA: u32 = 1;

/// A table: the records under one prefix.
pub trait Table: 'static {
    /// Names one record.
    type Key: Clone;
    /// Names records that are listed together, in order of their keys.
    type Group;
    /// The message stored.
    type Value: prost::Message + Default + 'static;
    /// First byte of every key.
    const PREFIX: u8;
    /// The table's name in errors.
    const NAME: &'static str;

    /// Appends the key without its prefix.
    fn write_key(key: &Self::Key, out: &mut Vec<u8>);
    /// Appends what every key of a group starts with, without the prefix.
    fn write_group(group: &Self::Group, out: &mut Vec<u8>);
    /// Reads a key without its prefix; `None` where it is none of this table.
    fn parse_key(bytes: &[u8]) -> Option<Self::Key>;
    /// What caches must forget when this record changes.
    fn touched(_key: &Self::Key) -> Option<Touched> {
        None
    }
}

/// A record with its key.
pub type Row<T> = (<T as Table>::Key, <T as Table>::Value);

/// The key of a record as stored.
pub fn key_bytes<T: Table>(key: &T::Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.push(T::PREFIX);
    T::write_key(key, &mut bytes);
    bytes
}

/// What the stored keys of a group start with.
pub fn group_bytes<T: Table>(group: &T::Group) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.push(T::PREFIX);
    T::write_group(group, &mut bytes);
    bytes
}

/// Reads a stored key back.
pub fn parse_key<T: Table>(bytes: &[u8]) -> Option<T::Key> {
    let (prefix, key) = bytes.split_first()?;
    (*prefix == T::PREFIX).then(|| T::parse_key(key)).flatten()
}

/// What a commit changed, for those who keep copies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Touched {
    /// What a tenant's name stands for.
    TenantName(TenantName),
    /// A tenant's record: its state, its label.
    Tenant(TenantSlot),
    /// A tenant that was destroyed, with everything it owned.
    DestroyedTenant(TenantSlot),
    /// A key: state, active version, lease, purposes.
    Key(TenantSlot, KeyRef),
    /// One version, made or destroyed; nothing else of one ever changes.
    Version(VersionId),
}

/// Tenants by name.
pub enum Tenants {}
/// Tenants by slot: those whose name was given away again, too.
pub enum TenantsBySlot {}
/// Keys by tenant and name; after those of a tenant the keys of its subjects, by family and the subject's id.
pub enum Keys {}
/// Where a subject's name leads, by tenant and the keyed hash of the name. What is there once stays, so that no name is given away twice.
pub enum Subjects {}
/// Key versions by id.
pub enum Versions {}
/// Where the versions of a key stand, by number.
pub enum VersionNumbers {}
/// Data-key ids given out under a version. Changes often, and no cache holds a copy.
pub enum DataKeyIds {}
/// Outcomes of mutating calls.
pub enum Requests {}
/// Requests in order of time.
pub enum RequestTimes {}
/// What is to be done by itself, in order of time.
pub enum Due {}
/// What clients said of a version, a day each.
pub enum Uses {}
/// How long the server has run: one record.
pub enum RunningTimes {}

impl Table for Tenants {
    type Key = TenantName;
    type Group = ();
    type Value = stored::TenantRecord;
    const PREFIX: u8 = 0x10;
    const NAME: &'static str = "tenant by name";

    fn write_key(name: &TenantName, out: &mut Vec<u8>) {
        out.extend_from_slice(name.as_str().as_bytes());
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<TenantName> {
        TenantName::try_from(std::str::from_utf8(bytes).ok()?).ok()
    }
    fn touched(name: &TenantName) -> Option<Touched> {
        Some(Touched::TenantName(name.clone()))
    }
}

impl Table for TenantsBySlot {
    type Key = TenantSlot;
    type Group = ();
    type Value = stored::TenantRecord;
    const PREFIX: u8 = 0x11;
    const NAME: &'static str = "tenant by slot";

    fn write_key(slot: &TenantSlot, out: &mut Vec<u8>) {
        out.extend_from_slice(&slot.0.to_be_bytes());
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<TenantSlot> {
        Some(TenantSlot(u32::from_be_bytes(bytes.try_into().ok()?)))
    }
    fn touched(slot: &TenantSlot) -> Option<Touched> {
        Some(Touched::Tenant(*slot))
    }
}

/// Keys that are listed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyGroup {
    /// Those of a tenant; the ones of its subjects come last.
    Tenant(TenantSlot),
    /// Those of a family's subjects.
    Subjects(TenantSlot, FamilyName),
}

/// Before the family, in keys of subjects' keys: higher than any byte of a name.
const SUBJECTS: u8 = 0xFF;

impl Table for Keys {
    type Key = (TenantSlot, KeyRef);
    type Group = KeyGroup;
    type Value = stored::KeyRecord;
    const PREFIX: u8 = 0x12;
    const NAME: &'static str = "key";

    fn write_key((tenant, key): &Self::Key, out: &mut Vec<u8>) {
        match key.subject() {
            None => {
                out.extend_from_slice(&tenant.0.to_be_bytes());
                out.extend_from_slice(key.family().as_str().as_bytes());
            }
            Some(id) => {
                Self::write_group(&KeyGroup::Subjects(*tenant, key.family().clone()), out);
                out.extend_from_slice(&id.0);
            }
        }
    }
    fn write_group(group: &KeyGroup, out: &mut Vec<u8>) {
        match group {
            KeyGroup::Tenant(tenant) => out.extend_from_slice(&tenant.0.to_be_bytes()),
            KeyGroup::Subjects(tenant, family) => {
                out.extend_from_slice(&tenant.0.to_be_bytes());
                out.push(SUBJECTS);
                out.extend_from_slice(family.as_str().as_bytes());
                out.push(0);
            }
        }
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (tenant, key) = bytes.split_first_chunk::<4>()?;
        let text = |bytes| FamilyName::try_from(std::str::from_utf8(bytes).ok()?).ok();
        let key = match key.split_first()? {
            (&SUBJECTS, key) => {
                let (family, id) = key.split_last_chunk::<16>()?;
                let (end, family) = family.split_last()?;
                KeyRef::of_subject((*end == 0).then(|| text(family)).flatten()?, Uid(*id))
            }
            _ => text(key)?.into(),
        };
        Some((TenantSlot(u32::from_be_bytes(*tenant)), key))
    }
    fn touched((tenant, name): &Self::Key) -> Option<Touched> {
        Some(Touched::Key(*tenant, name.clone()))
    }
}

impl Table for Subjects {
    type Key = (TenantSlot, Hash);
    type Group = TenantSlot;
    type Value = stored::SubjectRecord;
    const PREFIX: u8 = 0x1A;
    const NAME: &'static str = "subject";

    fn write_key((tenant, name): &Self::Key, out: &mut Vec<u8>) {
        out.extend_from_slice(&tenant.0.to_be_bytes());
        out.extend_from_slice(name);
    }
    fn write_group(tenant: &TenantSlot, out: &mut Vec<u8>) {
        out.extend_from_slice(&tenant.0.to_be_bytes());
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (tenant, name) = bytes.split_first_chunk::<4>()?;
        Some((TenantSlot(u32::from_be_bytes(*tenant)), name.try_into().ok()?))
    }
}

impl Table for Versions {
    type Key = VersionId;
    type Group = TenantSlot;
    type Value = stored::VersionRecord;
    const PREFIX: u8 = 0x13;
    const NAME: &'static str = "key version";

    fn write_key(id: &VersionId, out: &mut Vec<u8>) {
        out.extend_from_slice(&id.get().to_be_bytes());
    }
    fn write_group(tenant: &TenantSlot, out: &mut Vec<u8>) {
        out.extend_from_slice(&tenant.0.to_be_bytes());
    }
    fn parse_key(bytes: &[u8]) -> Option<VersionId> {
        Some(VersionId::from(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl Table for VersionNumbers {
    type Key = (TenantSlot, KeyRef, u32);
    type Group = (TenantSlot, KeyRef);
    type Value = stored::VersionPointer;
    const PREFIX: u8 = 0x14;
    const NAME: &'static str = "version number";

    fn write_key((tenant, name, number): &Self::Key, out: &mut Vec<u8>) {
        Self::write_group(&(*tenant, name.clone()), out);
        out.extend_from_slice(&number.to_be_bytes());
    }
    fn write_group((tenant, name): &Self::Group, out: &mut Vec<u8>) {
        Keys::write_key(&(*tenant, name.clone()), out);
        out.push(0);
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (rest, number) = bytes.split_last_chunk::<4>()?;
        let (end, key) = rest.split_last()?;
        let (tenant, name) = (*end == 0).then(|| Keys::parse_key(key)).flatten()?;
        Some((tenant, name, u32::from_be_bytes(*number)))
    }
}

impl Table for DataKeyIds {
    type Key = VersionId;
    type Group = TenantSlot;
    type Value = stored::DataKeyIdsRecord;
    const PREFIX: u8 = 0x17;
    const NAME: &'static str = "data-key ids";

    fn write_key(id: &VersionId, out: &mut Vec<u8>) {
        Versions::write_key(id, out);
    }
    fn write_group(tenant: &TenantSlot, out: &mut Vec<u8>) {
        Versions::write_group(tenant, out);
    }
    fn parse_key(bytes: &[u8]) -> Option<VersionId> {
        Versions::parse_key(bytes)
    }
}

/// A mutating call: its id is unique for one identity and operation only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// SHA-256 of who called: a name may be longer than a key of the store.
    identity: [u8; 32],
    operation: Operation,
    /// The caller's UUID.
    pub id: [u8; 16],
}

impl RequestKey {
    /// The call of this identity, for this operation, under this UUID.
    pub fn new(identity: &IdentityName, operation: Operation, id: [u8; 16]) -> Self {
        Self { identity: Sha256::digest(identity.to_string()).into(), operation, id }
    }
}

impl Table for Requests {
    type Key = RequestKey;
    type Group = ();
    type Value = stored::RequestRecord;
    const PREFIX: u8 = 0x15;
    const NAME: &'static str = "request";

    fn write_key(key: &RequestKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.id);
        out.extend_from_slice(&key.identity);
        out.extend_from_slice(key.operation.as_str().as_bytes());
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<RequestKey> {
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (identity, operation) = rest.split_first_chunk::<32>()?;
        let operation = std::str::from_utf8(operation).ok()?.parse().ok()?;
        Some(RequestKey { identity: *identity, operation, id: *id })
    }
}

impl Table for RequestTimes {
    /// Milliseconds since 1970, and the request's UUID.
    type Key = (u64, [u8; 16]);
    type Group = ();
    type Value = stored::RequestPointer;
    const PREFIX: u8 = 0x16;
    const NAME: &'static str = "request time";

    fn write_key((at, id): &Self::Key, out: &mut Vec<u8>) {
        out.extend_from_slice(&at.to_be_bytes());
        out.extend_from_slice(id);
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (at, id) = bytes.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*at), id.try_into().ok()?))
    }
}

/// Something that is done by itself when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Destroys one version.
    DestroyVersion,
    /// Destroys a key.
    DestroyKey,
    /// Destroys a tenant.
    DestroyTenant,
    /// Rotates a key.
    RotateKey,
}

impl Work {
    const ALL: [Self; 4] = [Self::DestroyVersion, Self::DestroyKey, Self::DestroyTenant, Self::RotateKey];

    fn number(self) -> u8 {
        match self {
            Self::DestroyVersion => 1,
            Self::DestroyKey => 2,
            Self::DestroyTenant => 3,
            Self::RotateKey => 4,
        }
    }
}

/// When what is to be done to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueKey {
    /// Milliseconds since 1970 in UTC.
    pub at_ms: u64,
    /// What.
    pub work: Work,
    /// The version, key or tenant.
    pub uid: Uid,
}

impl Table for Due {
    type Key = DueKey;
    type Group = ();
    type Value = stored::DueRecord;
    const PREFIX: u8 = 0x18;
    const NAME: &'static str = "due";

    fn write_key(key: &DueKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.at_ms.to_be_bytes());
        out.push(key.work.number());
        out.extend_from_slice(&key.uid.0);
    }
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<DueKey> {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let (number, uid) = rest.split_first()?;
        let work = Work::ALL.into_iter().find(|work| work.number() == *number)?;
        Some(DueKey { at_ms: u64::from_be_bytes(*at), work, uid: Uid(uid.try_into().ok()?) })
    }
}

impl Table for Uses {
    /// The version, and the day since 1970 in UTC.
    type Key = (VersionId, u32);
    type Group = VersionId;
    type Value = stored::UsesRecord;
    const PREFIX: u8 = 0x1C;
    const NAME: &'static str = "uses";

    fn write_key((version, day): &Self::Key, out: &mut Vec<u8>) {
        Versions::write_key(version, out);
        out.extend_from_slice(&day.to_be_bytes());
    }
    fn write_group(version: &VersionId, out: &mut Vec<u8>) {
        Versions::write_key(version, out);
    }
    fn parse_key(bytes: &[u8]) -> Option<Self::Key> {
        let (version, day) = bytes.split_first_chunk::<8>()?;
        Some((VersionId::from(u64::from_be_bytes(*version)), u32::from_be_bytes(day.try_into().ok()?)))
    }
}

impl Table for RunningTimes {
    type Key = ();
    type Group = ();
    type Value = stored::RunningTimeRecord;
    const PREFIX: u8 = 0x19;
    const NAME: &'static str = "running time";

    fn write_key((): &(), _: &mut Vec<u8>) {}
    fn write_group((): &(), _: &mut Vec<u8>) {}
    fn parse_key(bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }
}

/// The id of a version whose record names its slots.
pub fn version_id(record: &stored::VersionRecord) -> VersionId {
    VersionId::new(TenantSlot(record.tenant_slot), LeafSlot(record.leaf_slot))
}

/// Gives the record of a subject's key the settings of its family, which it is stored without.
pub fn take_settings(subject: &mut stored::KeyRecord, family: &stored::KeyRecord) {
    subject.key_class = family.key_class;
    subject.purposes.clone_from(&family.purposes);
    subject.lease_ms = family.lease_ms;
    subject.longest_lease_ms = family.longest_lease_ms;
    subject.rotate_every_ms = family.rotate_every_ms;
}

/// Takes them out again, so that no copy of them grows old in the store.
pub fn leave_settings(subject: &mut stored::KeyRecord) {
    take_settings(subject, &stored::KeyRecord::default());
}
