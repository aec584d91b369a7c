//! Tenants, by name and by slot.

use kms_core::id::TenantSlot;
use kms_core::names::TenantName;
use kms_proto::storage as stored;

use super::{Table, Touched};

/// Tenants by name.
pub enum Tenants {}

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

/// Tenants by slot: those whose name was given away again, too.
pub enum TenantsBySlot {}

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
