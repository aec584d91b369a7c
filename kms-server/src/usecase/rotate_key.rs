//! Rotates a key: a new version seals, the ones before open on.

use std::sync::Arc;
use std::time::Duration;

use kms_core::id::TenantSlot;
use kms_core::state::LifecycleState;
use kms_proto::storage::{KeyRecord, OutcomeRecord};

use super::change_key::{change, owner};
use super::create_key::add_settling_version;
use super::describe::KeyView;
use super::mutation::Mutation;
use super::refused::Refused;
use super::schedule::{after, plan_rotation};
use crate::erasure::Change;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::keyring::indexing::{MAX_INDEX_VERSIONS, SETTLING_MARGIN};
use crate::records::{KeyRef, Keys, Table as _, state, state_number, uid};
use crate::running::RunningTime;

/// Makes a new active version. With `deterministic`, deterministic columns are sealed under it too from now on.
pub async fn rotate_key(
    permit: Permit<op::RotateKey>,
    keyring: &Keyring,
    deterministic: bool,
    expected: Option<u64>,
    mutation: Mutation,
) -> Unrecorded<Result<KeyView, Refused>> {
    let (name, running) = (permit.target().name.clone(), Arc::clone(keyring.running()));
    change(permit, keyring, expected, mutation, Note::default(), move |change, key: &mut KeyRecord| {
        rotate(change, key, &name, deterministic, &running)?;
        let versions = if key.family { Vec::new() } else { vec![key.active_version] };
        Ok(OutcomeRecord { versions, ..OutcomeRecord::default() })
    })
    .await
}

/// Gives a key its next version, and plans the one after.
pub(super) fn rotate(
    change: &mut Change<'_>,
    key: &mut KeyRecord,
    name: &KeyRef,
    deterministic: bool,
    running: &RunningTime,
) -> Result<(), Refused> {
    let refused = |state, todo| Refused::State { what: format!("key `{name}`"), state, todo };
    match state(key.state)? {
        LifecycleState::Active | LifecycleState::Deactivated => {}
        state @ LifecycleState::DestroyScheduled => {
            return Err(refused(state, "call its destruction off before rotating"));
        }
        state => return Err(refused(state, "resume it before rotating")),
    }
    let owner = owner(change, key)?;
    match state(owner.state)? {
        LifecycleState::DestroyScheduled => {
            return Err(Refused::TenantScheduled(crate::records::name(&owner.name)?));
        }
        LifecycleState::Suspended => {
            return Err(Refused::TenantSuspended(crate::records::name(&owner.name)?));
        }
        _ => {}
    }
    let slot = TenantSlot(key.tenant_slot);
    let family = match name.subject() {
        None => None,
        Some(_) => {
            let family = change.get::<Keys>(&(slot, name.family().clone().into()))?;
            Some(family.ok_or_else(|| Refused::damaged(Keys::NAME))?)
        }
    };
    if let Some(family) = &family
        && state(family.state)? == LifecycleState::Suspended
    {
        return Err(Refused::KeySuspended(name.family().clone().into()));
    }
    if key.family {
        // Its subjects follow, each when it is next to seal: a sweep over millions would hold everybody up.
        key.rotations += 1;
        if deterministic {
            key.deterministic_rotation = key.rotations;
        }
        return plan_rotation(change, key);
    }
    if name.is_index() && key.live_versions >= MAX_INDEX_VERSIONS {
        let what = format!("index key `{name}`, with {MAX_INDEX_VERSIONS} live versions,");
        let todo = "searches look through no more of them; rebuild its indexes, then destroy older versions";
        return Err(Refused::State { what, state: LifecycleState::Active, todo });
    }
    let settles = match name.is_index() && key.live_versions > 0 {
        // Who holds a lease without this version would miss rows that are indexed under it.
        true => {
            let longest = Duration::from_millis(key.longest_lease_ms);
            after(change, running, longest + SETTLING_MARGIN).running_ms
        }
        false => 0,
    };
    let mut deterministic = deterministic;
    if let Some(family) = &family {
        // It catches up with all rotations at once, and with what any of them asked for.
        deterministic |= key.rotations < family.deterministic_rotation;
        key.rotations = family.rotations;
    }
    add_settling_version(change, &(slot, name.clone()), key, uid(&owner.uid)?, settles)?;
    key.state = state_number(LifecycleState::Active);
    if deterministic || key.deterministic_version == 0 {
        key.deterministic_version = key.active_version;
    }
    match family {
        // That has a period, and the subject's key has not.
        Some(_) => Ok(()),
        None => plan_rotation(change, key),
    }
}
