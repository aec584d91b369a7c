//! Key versions: where they stand, and what was given out under them.

use kms_core::id::{LeafSlot, TenantSlot, VersionId};
use kms_proto::storage as stored;

use super::{KeyRef, Keys, Table};

/// Key versions by id.
pub enum Versions {}

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

/// Where the versions of a key stand, by number.
pub enum VersionNumbers {}

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

/// Data-key ids given out under a version. Changes often, and no cache holds a copy.
pub enum DataKeyIds {}

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

/// The id of a version whose record names its slots.
pub fn version_id(record: &stored::VersionRecord) -> VersionId {
    VersionId::new(TenantSlot(record.tenant_slot), LeafSlot(record.leaf_slot))
}
