//! Reads tenants, keys and versions as their readers see them: states that follow from one another are worked out here.

use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{Epoch, LeafSlot, TenantSlot, VersionId};
use kms_core::names::{FamilyName, TenantName};
use kms_core::state::{KeyClass, LifecycleState};
use kms_proto::storage::{KeyRecord, TenantRecord, VersionRecord};

use super::refused::Refused;
use crate::erasure::Snapshot;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::records::{
    KeyGroup, KeyRef, Keys, Tenants, VersionNumbers, Versions, class, state, state_number, take_settings,
};

/// Most versions that describing a key shows; a list shows the rest, a page at a time.
pub const SHOWN_VERSIONS: usize = 1_000;

/// A tenant.
#[derive(Debug)]
pub struct TenantView {
    /// Its name.
    pub name: TenantName,
    /// Its state.
    pub state: LifecycleState,
    /// Its record.
    pub record: TenantRecord,
}

/// A key.
#[derive(Debug)]
pub struct KeyView {
    /// The tenant that owns it.
    pub tenant: TenantName,
    /// Its name.
    pub name: KeyRef,
    /// Its class.
    pub class: KeyClass,
    /// Its state, with that of its tenant taken in.
    pub state: LifecycleState,
    /// Its record.
    pub record: KeyRecord,
    /// Its newest versions, oldest first.
    pub versions: Vec<VersionView>,
}

/// A version.
#[derive(Debug)]
pub struct VersionView {
    /// Its address.
    pub id: VersionId,
    /// Its state, with that of its key and tenant taken in.
    pub state: LifecycleState,
    /// Its record.
    pub record: VersionRecord,
}

impl KeyView {
    /// Address of the version that seals.
    pub fn active_version(&self) -> Option<VersionId> {
        let active = |version: &&VersionView| version.record.version == self.record.active_version;
        self.versions.iter().find(active).map(|version| version.id)
    }

    /// How long clients may hold data keys.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.record.lease_ms)
    }
}

/// Shows the tenant that the permit names.
pub fn describe_tenant(
    permit: Permit<op::DescribeTenant>,
    keyring: &Keyring,
) -> Unrecorded<Result<TenantView, Refused>> {
    let result = tenant(&keyring.writer().snapshot(), permit.target());
    permit.finish(result, Note::default())
}

/// Shows the key that the permit names, with its newest versions.
pub fn describe_key(
    permit: Permit<op::DescribeKey>,
    keyring: &Keyring,
) -> Unrecorded<Result<KeyView, Refused>> {
    let entry = Arc::clone(permit.target());
    let result = key(&keyring.writer().snapshot(), &entry.tenant.name, &entry.name);
    permit.finish(result, Note::default())
}

/// Tenants after a name, in order.
pub fn list_tenants(
    permit: Permit<op::ListTenants>,
    keyring: &Keyring,
    after: Option<TenantName>,
    limit: usize,
) -> Unrecorded<Result<Vec<TenantView>, Refused>> {
    let list = || {
        let snapshot = keyring.writer().snapshot();
        let found = snapshot.range::<Tenants>(&(), after.as_ref(), limit)?;
        found.into_iter().map(|(name, record)| tenant_view(&snapshot, name, record)).collect()
    };
    let result = list();
    permit.finish(result, Note::default())
}

/// Keys of a tenant after a name, in order, without their versions: those that are no subjects', or those of a family's subjects.
pub fn list_keys(
    permit: Permit<op::ListKeys>,
    keyring: &Keyring,
    family: Option<FamilyName>,
    after: Option<KeyRef>,
    limit: usize,
) -> Unrecorded<Result<Vec<KeyView>, Refused>> {
    let list = || {
        let snapshot = keyring.writer().snapshot();
        let tenant = tenant(&snapshot, permit.target())?;
        let slot = TenantSlot(tenant.record.slot);
        let after = after.map(|name| (slot, name));
        let group = match &family {
            None => KeyGroup::Tenant(slot),
            Some(family) => KeyGroup::Subjects(slot, family.clone()),
        };
        let settings = match family.clone() {
            None => None,
            Some(family) => Some(key_record(&snapshot, &tenant, &family.into())?),
        };
        let mut found = snapshot.range::<Keys>(&group, after.as_ref(), limit)?;
        // Keys of subjects come after all others of a tenant.
        found.retain(|((_, name), _)| name.subject().is_some() == family.is_some());
        if let Some(settings) = &settings {
            found.iter_mut().for_each(|(_, record)| inherit(record, settings));
        }
        found
            .into_iter()
            .map(|((_, name), record)| key_view(&snapshot, &tenant, name, record, Vec::new()))
            .collect()
    };
    let result = list();
    permit.finish(result, Note::default())
}

/// Versions of a key after a number, in order.
pub fn list_versions(
    permit: Permit<op::DescribeKey>,
    keyring: &Keyring,
    after: u32,
    limit: usize,
) -> Unrecorded<Result<Vec<VersionView>, Refused>> {
    let list = || {
        let snapshot = keyring.writer().snapshot();
        let entry = permit.target();
        let tenant = tenant(&snapshot, &entry.tenant.name)?;
        let key = key_record(&snapshot, &tenant, &entry.name)?;
        versions(&snapshot, &tenant, (&entry.name, &key), after, limit)
    };
    let result = list();
    permit.finish(result, Note::default())
}

/// A tenant by name.
pub(super) fn tenant(snapshot: &Snapshot, name: &TenantName) -> Result<TenantView, Refused> {
    let record = snapshot.get::<Tenants>(name)?.ok_or_else(|| Refused::TenantNotAccessible(name.clone()))?;
    tenant_view(snapshot, name.clone(), record)
}

/// A key by name, with its newest versions.
pub(super) fn key(snapshot: &Snapshot, tenant: &TenantName, name: &KeyRef) -> Result<KeyView, Refused> {
    let tenant = self::tenant(snapshot, tenant)?;
    let record = key_record(snapshot, &tenant, name)?;
    let shown = u32::try_from(SHOWN_VERSIONS).unwrap_or(u32::MAX);
    let after = record.versions.saturating_sub(shown).max(record.first_version.saturating_sub(1));
    let versions = versions(snapshot, &tenant, (name, &record), after, SHOWN_VERSIONS)?;
    key_view(snapshot, &tenant, name.clone(), record, versions)
}

fn tenant_view(snapshot: &Snapshot, name: TenantName, record: TenantRecord) -> Result<TenantView, Refused> {
    let state = gone_for_good(snapshot, state(record.state)?, record.destroyed_epoch)?;
    Ok(TenantView { name, state, record })
}

/// What is destroyed is erased, once nothing that is left leads to it.
fn gone_for_good(
    snapshot: &Snapshot,
    state: LifecycleState,
    destroyed_epoch: u64,
) -> Result<LifecycleState, Refused> {
    match state {
        LifecycleState::Destroyed if snapshot.erased(Epoch(destroyed_epoch))? => Ok(LifecycleState::Erased),
        state => Ok(state),
    }
}

fn key_record(snapshot: &Snapshot, tenant: &TenantView, name: &KeyRef) -> Result<KeyRecord, Refused> {
    let slot = TenantSlot(tenant.record.slot);
    let gone = || Refused::KeyDestroyed(name.clone());
    let mut record = snapshot.get::<Keys>(&(slot, name.clone()))?.ok_or_else(gone)?;
    if name.subject().is_some() {
        let family = snapshot.get::<Keys>(&(slot, name.family().clone().into()))?.ok_or_else(gone)?;
        inherit(&mut record, &family);
    }
    Ok(record)
}

/// A subject's key as it is under its family: with its settings, and stopped where that is.
fn inherit(record: &mut KeyRecord, family: &KeyRecord) {
    take_settings(record, family);
    let suspended = state_number(LifecycleState::Suspended);
    if family.state == suspended && !state(record.state).is_ok_and(LifecycleState::is_destroyed) {
        record.state = suspended;
    }
}

fn key_view(
    snapshot: &Snapshot,
    tenant: &TenantView,
    name: KeyRef,
    mut record: KeyRecord,
    versions: Vec<VersionView>,
) -> Result<KeyView, Refused> {
    let own = state(record.state)?;
    if tenant.state.is_destroyed() {
        // Its record is as it was: destroying a tenant touches none of its keys'.
        (record.active_version, record.deterministic_version) = (0, 0);
    }
    let state = match tenant.state {
        _ if own.is_destroyed() => gone_for_good(snapshot, own, record.destroyed_epoch)?,
        state if state.is_destroyed() => state,
        LifecycleState::Suspended => LifecycleState::Suspended,
        LifecycleState::DestroyScheduled if own != LifecycleState::Suspended => {
            LifecycleState::DestroyScheduled
        }
        _ => own,
    };
    Ok(KeyView {
        tenant: tenant.name.clone(),
        name,
        class: class(record.key_class)?,
        state,
        record,
        versions,
    })
}

fn versions(
    snapshot: &Snapshot,
    tenant: &TenantView,
    (name, key): (&KeyRef, &KeyRecord),
    after: u32,
    limit: usize,
) -> Result<Vec<VersionView>, Refused> {
    let slot = TenantSlot(tenant.record.slot);
    let group = (slot, name.clone());
    let after = (slot, name.clone(), after.max(key.first_version.saturating_sub(1)));
    let mut views = Vec::new();
    for (_, pointer) in snapshot.range::<VersionNumbers>(&group, Some(&after), limit)? {
        let id = VersionId::new(slot, LeafSlot(pointer.leaf_slot));
        let mut record = snapshot.get::<Versions>(&id)?.ok_or_else(|| Refused::damaged("key version"))?;
        if tenant.state.is_destroyed() && record.destroyed_ms == 0 {
            record.destroyed_ms = tenant.record.destroyed_ms;
        }
        let state = match state(record.state)? {
            state if state.is_destroyed() => gone_for_good(snapshot, state, record.destroyed_epoch)?,
            _ if tenant.state.is_destroyed() => tenant.state,
            LifecycleState::DestroyScheduled => LifecycleState::DestroyScheduled,
            _ if key.destroy_due_ms != 0 || tenant.record.destroy_due_ms != 0 => {
                LifecycleState::DestroyScheduled
            }
            _ if record.version == key.active_version => LifecycleState::Active,
            _ => LifecycleState::Deactivated,
        };
        views.push(VersionView { id, state, record });
    }
    Ok(views)
}
