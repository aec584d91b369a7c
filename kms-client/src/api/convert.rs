//! Messages into types and back. Whatever the server says that this release does not understand is an error, never a guess.

use std::time::{Duration, SystemTime};

use kms_core::{
    id::{TenantSlot, Uid, VersionId},
    names::{KeyName, TenantName},
    state::{DestroyReason, KeyClass, LifecycleState},
};
use kms_proto::v1;

use super::model::{Key, KeyVersion, Tenant};

/// What could not be understood.
pub(super) type Unclear = &'static str;

pub(super) fn class_number(class: KeyClass) -> i32 {
    let class = match class {
        KeyClass::L1 => v1::KeyClass::L1,
        KeyClass::L2 => v1::KeyClass::L2,
        KeyClass::L3 => v1::KeyClass::L3,
        KeyClass::L4 => v1::KeyClass::L4,
    };
    class.into()
}

pub(super) fn class(number: i32) -> Result<KeyClass, Unclear> {
    match v1::KeyClass::try_from(number) {
        Ok(v1::KeyClass::L1) => Ok(KeyClass::L1),
        Ok(v1::KeyClass::L2) => Ok(KeyClass::L2),
        Ok(v1::KeyClass::L3) => Ok(KeyClass::L3),
        Ok(v1::KeyClass::L4) => Ok(KeyClass::L4),
        Ok(v1::KeyClass::Unspecified) | Err(_) => Err("an unknown class"),
    }
}

pub(super) fn state(number: i32) -> Result<LifecycleState, Unclear> {
    match v1::LifecycleState::try_from(number) {
        Ok(v1::LifecycleState::PreActive) => Ok(LifecycleState::PreActive),
        Ok(v1::LifecycleState::Active) => Ok(LifecycleState::Active),
        Ok(v1::LifecycleState::Suspended) => Ok(LifecycleState::Suspended),
        Ok(v1::LifecycleState::Deactivated) => Ok(LifecycleState::Deactivated),
        Ok(v1::LifecycleState::DestroyScheduled) => Ok(LifecycleState::DestroyScheduled),
        Ok(v1::LifecycleState::Destroyed) => Ok(LifecycleState::Destroyed),
        Ok(v1::LifecycleState::Erased) => Ok(LifecycleState::Erased),
        Ok(v1::LifecycleState::Unspecified) | Err(_) => Err("an unknown state"),
    }
}

pub(super) fn reason_number(reason: DestroyReason) -> i32 {
    let reason = match reason {
        DestroyReason::RetentionEnded => v1::DestroyReason::RetentionEnded,
        DestroyReason::SubjectRequest => v1::DestroyReason::SubjectRequest,
        DestroyReason::ContractEnded => v1::DestroyReason::ContractEnded,
        DestroyReason::Compromise => v1::DestroyReason::Compromise,
        DestroyReason::Superseded => v1::DestroyReason::Superseded,
        DestroyReason::Test => v1::DestroyReason::Test,
        DestroyReason::Other => v1::DestroyReason::Other,
    };
    reason.into()
}

/// A duration that the wire cannot carry (over 290 billion years) is sent as the longest it can.
pub(super) fn duration_message(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

pub(crate) fn duration(message: prost_types::Duration) -> Result<Duration, Unclear> {
    Duration::try_from(message).map_err(|_| "a negative duration")
}

pub(super) fn time(message: Option<prost_types::Timestamp>) -> Result<SystemTime, Unclear> {
    optional_time(message)?.ok_or("a time is missing")
}

pub(super) fn optional_time(message: Option<prost_types::Timestamp>) -> Result<Option<SystemTime>, Unclear> {
    message.map(SystemTime::try_from).transpose().map_err(|_| "a time out of range")
}

pub(super) fn uid(bytes: &[u8]) -> Result<Uid, Unclear> {
    Uid::try_from(bytes).map_err(|_| "an identifier that has not 16 bytes")
}

/// The class that a server says; `None` where it says none.
pub(crate) fn key_class(message: i32) -> Result<Option<KeyClass>, Unclear> {
    if message == i32::from(v1::KeyClass::Unspecified) { Ok(None) } else { class(message).map(Some) }
}

pub(crate) fn key_name(name: &str) -> Result<KeyName, Unclear> {
    KeyName::try_from(name).map_err(|_| "a key name that breaks the rules of names")
}

pub(super) fn tenant_name(name: &str) -> Result<TenantName, Unclear> {
    TenantName::try_from(name).map_err(|_| "a tenant name that breaks the rules of names")
}

pub(super) fn tenant(message: v1::Tenant) -> Result<Tenant, Unclear> {
    Ok(Tenant {
        name: tenant_name(&message.name)?,
        state: state(message.state)?,
        revision: message.revision,
        created: time(message.created)?,
        destroyed: optional_time(message.destroyed)?,
        uid: uid(&message.uid)?,
        slot: TenantSlot(message.slot),
        label: message.label,
        destroy_due: optional_time(message.destroy_due)?,
    })
}

pub(super) fn key(message: v1::Key) -> Result<Key, Unclear> {
    Ok(Key {
        tenant: tenant_name(&message.tenant)?,
        name: key_name(&message.name)?,
        class: class(message.key_class)?,
        state: state(message.state)?,
        purposes: message.purposes,
        lease: message.lease.map(duration).transpose()?,
        rotate_every: message.rotate_every.map(duration).transpose()?,
        revision: message.revision,
        created: time(message.created)?,
        active_version: message.active_version,
        deterministic_version: message.deterministic_version,
        versions: message.versions.into_iter().map(version).collect::<Result<_, _>>()?,
        family: message.family,
        uid: uid(&message.uid)?,
        destroy_due: optional_time(message.destroy_due)?,
        rotate_due: optional_time(message.rotate_due)?,
    })
}

pub(super) fn version(message: v1::KeyVersion) -> Result<KeyVersion, Unclear> {
    Ok(KeyVersion {
        version: message.version,
        id: VersionId::from(message.id),
        state: state(message.state)?,
        created: time(message.created)?,
        destroyed: optional_time(message.destroyed)?,
        uid: uid(&message.uid)?,
        destroy_due: optional_time(message.destroy_due)?,
    })
}
