//! What describing shows: states that follow from one another are worked out here.

use std::time::{Duration, SystemTime};

use kms_core::{
    names::KeyName,
    state::{KeyClass, LifecycleState},
};
use kms_proto::v1;

use super::{super::refused::Refused, Tenant, key::Version};

/// A tenant for the wire.
pub(in super::super) fn tenant(tenant: &Tenant) -> v1::Tenant {
    v1::Tenant {
        name: tenant.name.to_string(),
        state: state(shown(tenant.state)).into(),
        revision: tenant.revision,
        created: Some(timestamp(tenant.created)),
        destroyed: tenant.destroyed.map(timestamp),
        uid: tenant.uid.0.to_vec(),
        slot: tenant.slot.0,
        label: tenant.label.clone(),
        destroy_due: None,
    }
}

/// A key for the wire; lists leave its versions out.
pub(in super::super) fn key(tenant: &Tenant, name: &KeyName, versions: bool) -> Result<v1::Key, Refused> {
    let (key, settings) = (tenant.key(name)?, tenant.settings(name)?);
    let own = tenant.state_of(name)?;
    let state_now = match tenant.state {
        _ if own.is_destroyed() => own,
        of_tenant if of_tenant.is_destroyed() || of_tenant == LifecycleState::Suspended => of_tenant,
        _ => own,
    };
    let gone = tenant.state.is_destroyed();
    let first = key.first_version.max(1);
    let numbers = key.versions.iter().filter(|version| versions && version.number >= first);
    Ok(v1::Key {
        tenant: tenant.name.to_string(),
        name: name.to_string(),
        key_class: class(settings.class).into(),
        state: state(shown(state_now)).into(),
        purposes: settings.purposes.clone(),
        lease: Some(duration(settings.lease)),
        rotate_every: settings.rotate_every.map(duration),
        revision: key.revision,
        created: Some(timestamp(key.created)),
        active_version: if gone { 0 } else { key.active },
        deterministic_version: if gone { 0 } else { key.deterministic },
        versions: numbers.map(|number| version(tenant, name, number)).collect::<Result<_, _>>()?,
        family: key.is_family,
        uid: key.uid.0.to_vec(),
        destroy_due: None,
        rotate_due: None,
    })
}

/// A version for the wire.
pub(in super::super) fn version(
    tenant: &Tenant,
    name: &KeyName,
    version: &Version,
) -> Result<v1::KeyVersion, Refused> {
    let state_now = match &version.material {
        None => LifecycleState::Destroyed,
        Some(_) if version.number == tenant.key(name)?.active => LifecycleState::Active,
        Some(_) => LifecycleState::Deactivated,
    };
    Ok(v1::KeyVersion {
        version: version.number,
        id: version.id.get(),
        state: state(shown(state_now)).into(),
        created: Some(timestamp(version.created)),
        destroyed: version.destroyed.map(timestamp),
        uid: version.uid.0.to_vec(),
        destroy_due: None,
    })
}

/// What is destroyed in memory is gone at once.
fn shown(state: LifecycleState) -> LifecycleState {
    if state.is_destroyed() { LifecycleState::Erased } else { state }
}

fn state(state: LifecycleState) -> v1::LifecycleState {
    use v1::LifecycleState as Wire;
    match state {
        LifecycleState::PreActive => Wire::PreActive,
        LifecycleState::Active => Wire::Active,
        LifecycleState::Suspended => Wire::Suspended,
        LifecycleState::Deactivated => Wire::Deactivated,
        LifecycleState::DestroyScheduled => Wire::DestroyScheduled,
        LifecycleState::Destroyed => Wire::Destroyed,
        LifecycleState::Erased => Wire::Erased,
    }
}

fn class(class: KeyClass) -> v1::KeyClass {
    match class {
        KeyClass::L1 => v1::KeyClass::L1,
        KeyClass::L2 => v1::KeyClass::L2,
        KeyClass::L3 => v1::KeyClass::L3,
        KeyClass::L4 => v1::KeyClass::L4,
    }
}

fn timestamp(at: SystemTime) -> prost_types::Timestamp {
    at.into()
}

pub(in super::super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
