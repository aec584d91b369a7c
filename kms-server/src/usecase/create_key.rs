//! Creates a key with its first version.

use std::time::Duration;

use kms_core::commitment::ALG_AES_256;
use kms_core::event::{KeyCreate, KeyRotate, Origin};
use kms_core::id::{TenantSlot, Uid};
use kms_core::names::TenantName;
use kms_core::state::{KeyClass, LifecycleState};
use kms_proto::storage::{KeyRecord, OutcomeRecord, TenantRecord, VersionPointer, VersionRecord};

use super::change_tenant::{living, put};
use super::describe::{self, KeyView};
use super::mutation::{Mutation, now_ms};
use super::refused::Refused;
use super::schedule::plan_rotation;
use crate::erasure::Change;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::records::{
    KeyRef, Keys, VersionNumbers, Versions, class, class_number, millis, state, state_number, uid,
};

/// How a key is to be, beside what policy looked at.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long clients may hold data keys.
    pub lease: Option<Duration>,
    /// How often it is to be rotated.
    pub rotate_every: Option<Duration>,
    /// Whether it is to have subjects, and no versions of its own.
    pub family: bool,
}

/// Creates the key that the permit describes. The name of a destroyed key may be used again; version numbers go on.
pub async fn create_key(
    permit: Permit<op::CreateKey>,
    keyring: &Keyring,
    settings: Settings,
    mutation: Mutation,
) -> Unrecorded<Result<KeyView, Refused>> {
    let new = permit.target().clone();
    let (tenant, name) = (new.tenant.clone(), KeyRef::from(new.name.family().clone()));
    let made = mutation.run(keyring.writer(), move |change| {
        let mut owner = open_to_new_keys(change, &tenant)?;
        let place = (TenantSlot(owner.slot), name);
        let before = change.get::<Keys>(&place)?;
        if let Some(existing) = &before
            && !state(existing.state)?.is_destroyed()
        {
            return Err(Refused::AlreadyExists { what: "key", name: place.1.to_string() });
        }
        let before = before.map_or(0, |destroyed| destroyed.versions);
        if settings.family && before > 0 {
            let todo = "its ciphertexts are still told by its name; choose another for the family";
            let what = format!("a key that was called `{}`", place.1);
            return Err(Refused::State { what, state: LifecycleState::Destroyed, todo });
        }
        let number = before + 1;
        let lease = millis(settings.lease.unwrap_or(KeyClass::DEFAULT_LEASE));
        let mut key = KeyRecord {
            name: place.1.to_string(),
            uid: Uid::random().map_err(Refused::internal)?.0.to_vec(),
            tenant_slot: owner.slot,
            key_class: class_number(new.class),
            state: state_number(LifecycleState::Active),
            purposes: new.purposes.iter().map(|purpose| purpose.to_string()).collect(),
            lease_ms: lease,
            longest_lease_ms: lease,
            rotate_every_ms: settings.rotate_every.map(millis).unwrap_or_default(),
            revision: 1,
            created_ms: now_ms(),
            first_version: number,
            versions: number - 1,
            deterministic_version: number,
            ..KeyRecord::default()
        };
        let versions = if settings.family {
            key.family = true;
            (key.first_version, key.deterministic_version) = (0, 0);
            Vec::new()
        } else {
            key.created_entry = add_version(change, &place, &mut key, uid(&owner.uid)?)?;
            vec![number]
        };
        if lease > owner.longest_lease_ms {
            owner.longest_lease_ms = lease;
            put(change, &tenant, &owner);
        }
        plan_rotation(change, &mut key)?;
        change.put::<Keys>(&place, &key);
        Ok(OutcomeRecord { versions, ..OutcomeRecord::default() })
    });
    let name = permit.target().name.family().clone().into();
    let result = match made.await {
        Ok(_) => describe::key(&keyring.writer().snapshot(), &permit.target().tenant, &name),
        Err(refused) => Err(refused),
    };
    let mut note = Note { state: Some(LifecycleState::Active), ..Note::default() };
    note.versions = result.iter().filter_map(KeyView::active_version).collect();
    permit.finish(result, note)
}

/// The record of a tenant in which keys may be made.
pub(super) fn open_to_new_keys(change: &Change<'_>, tenant: &TenantName) -> Result<TenantRecord, Refused> {
    let owner = living(change, tenant)?;
    match state(owner.state)? {
        LifecycleState::Suspended => Err(Refused::TenantSuspended(tenant.clone())),
        LifecycleState::DestroyScheduled => Err(Refused::TenantScheduled(tenant.clone())),
        _ => Ok(owner),
    }
}

/// Adds a version to a key and makes it the active one. Gives the index of its entry in the log.
pub(super) fn add_version(
    change: &mut Change<'_>,
    place: &(TenantSlot, KeyRef),
    key: &mut KeyRecord,
    tenant_uid: Uid,
) -> Result<u64, Refused> {
    add_settling_version(change, place, key, tenant_uid, 0)
}

/// The same, of an index key that has others: by running time, rows are indexed under it from `indexes_from_running_ms` on.
pub(super) fn add_settling_version(
    change: &mut Change<'_>,
    place: &(TenantSlot, KeyRef),
    key: &mut KeyRecord,
    tenant_uid: Uid,
    indexes_from_running_ms: u64,
) -> Result<u64, Refused> {
    let version_uid = Uid::random().map_err(Refused::internal)?;
    let leaf = change.create_leaf(place.0, version_uid)?;
    let number = key.versions + 1;
    let (slot, name) = (leaf.version.leaf_slot(), place.1.logged());
    let (key_uid, class) = (uid(&key.uid)?, class(key.key_class)?);
    let (alg, kc, origin) = (ALG_AES_256, leaf.key_commitment, Origin::Generated);
    let entry = match number == key.first_version {
        true => change.log(KeyCreate {
            tenant_uid,
            key: name,
            key_uid,
            class,
            number,
            version_uid,
            slot,
            alg,
            kc,
            origin,
        }),
        false => change.log(KeyRotate {
            tenant_uid,
            key: name,
            key_uid,
            class,
            number,
            version_uid,
            slot,
            alg,
            kc,
            origin,
        }),
    };
    change.put_new::<Versions>(
        &leaf.version,
        &VersionRecord {
            tenant_slot: place.0.0,
            leaf_slot: slot.0,
            key: place.1.to_string(),
            version: number,
            uid: version_uid.0.to_vec(),
            state: state_number(LifecycleState::Active),
            created_ms: now_ms(),
            key_commitment: leaf.key_commitment.to_vec(),
            created_entry: entry,
            indexes_from_running_ms,
            rotations: key.rotations,
            ..VersionRecord::default()
        },
    );
    let pointer = VersionPointer { leaf_slot: slot.0 };
    change.put_new::<VersionNumbers>(&(place.0, place.1.clone(), number), &pointer);
    key.versions = number;
    key.live_versions += 1;
    key.active_version = number;
    Ok(entry)
}
