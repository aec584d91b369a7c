//! Keys, families and the keys of subjects, and where the name of a subject leads.

use kms_core::commitment::Hash;
use kms_core::id::{TenantSlot, Uid};
use kms_core::names::FamilyName;
use kms_proto::storage as stored;

use super::{KeyRef, Table, Touched};

/// Keys by tenant and name; after those of a tenant the keys of its subjects, by family and the subject's id.
pub enum Keys {}

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

/// Where a subject's name leads, by tenant and the keyed hash of the name. What is there once stays, so that no name is given away twice.
pub enum Subjects {}

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
