//! What describing shows: states that follow from one another are worked out here.

use std::time::{Duration, SystemTime};

use kms_core::state::{KeyClass, LifecycleState};
use kms_proto::v1;

use super::{super::refused::Refused, Ledger, Moment, Place, Tenant, key::Version};

impl Ledger {
    /// A tenant for the wire.
    pub(in super::super) fn tenant_view(&self, tenant: &Tenant, now: Moment) -> v1::Tenant {
        v1::Tenant {
            name: tenant.name.to_string(),
            state: state(self.shown(tenant.state, tenant.destroyed_epoch, now)).into(),
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
    pub(in super::super) fn key_view(
        &self,
        place: &Place,
        versions: bool,
        now: Moment,
    ) -> Result<v1::Key, Refused> {
        let (tenant, name) = (self.tenant(place.tenant)?, &place.key);
        let (key, settings) = (tenant.key(name)?, tenant.settings(name)?);
        let own = tenant.state_of(name)?;
        let gone = tenant.state.is_destroyed();
        let state_now = match tenant.state {
            _ if own.is_destroyed() => self.shown(own, key.destroyed_epoch, now),
            of_tenant if gone => self.shown(of_tenant, tenant.destroyed_epoch, now),
            LifecycleState::Suspended => LifecycleState::Suspended,
            _ => own,
        };
        let of_this_key = |version: &&Version| versions && version.number >= key.first_version;
        let shown = key.versions.iter().filter(of_this_key);
        Ok(v1::Key {
            tenant: tenant.name.to_string(),
            name: name.to_string(),
            key_class: class(settings.class).into(),
            state: state(state_now).into(),
            purposes: settings.purposes.clone(),
            lease: Some(duration(settings.lease)),
            rotate_every: settings.rotate_every.map(duration),
            revision: key.revision,
            created: Some(timestamp(key.created)),
            active_version: if gone { 0 } else { key.active },
            deterministic_version: if gone { 0 } else { key.deterministic },
            versions: shown.map(|version| self.version_view(key.active, version, now)).collect(),
            family: key.is_family,
            uid: key.uid.0.to_vec(),
            destroy_due: None,
            rotate_due: None,
        })
    }

    /// Versions of a key after a number, in order, for the wire.
    pub(in super::super) fn version_views(
        &self,
        place: &Place,
        after: u32,
        now: Moment,
    ) -> Result<impl Iterator<Item = v1::KeyVersion>, Refused> {
        let key = self.tenant(place.tenant)?.key(&place.key)?;
        let from = key.first_version.max(after.saturating_add(1));
        let versions = key.versions.iter().filter(move |version| version.number >= from);
        Ok(versions.map(move |version| self.version_view(key.active, version, now)))
    }

    fn version_view(&self, active: u32, version: &Version, now: Moment) -> v1::KeyVersion {
        let state_now = match &version.material {
            None => self.shown(LifecycleState::Destroyed, version.destroyed_epoch, now),
            Some(_) if version.number == active => LifecycleState::Active,
            Some(_) => LifecycleState::Deactivated,
        };
        v1::KeyVersion {
            version: version.number,
            id: version.id.get(),
            state: state(state_now).into(),
            created: Some(timestamp(version.created)),
            destroyed: version.destroyed.map(timestamp),
            uid: version.uid.0.to_vec(),
            destroy_due: None,
        }
    }

    /// What is destroyed is erased once nobody can hold anything of it any more.
    fn shown(&self, state: LifecycleState, epoch: u64, now: Moment) -> LifecycleState {
        match state.is_destroyed() && self.holders.are_quiesced(epoch, now) {
            true => LifecycleState::Erased,
            false => state,
        }
    }
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

pub(super) fn class(class: KeyClass) -> v1::KeyClass {
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
