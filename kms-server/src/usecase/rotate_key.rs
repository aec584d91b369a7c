//! Rotates a key: a new version seals, the ones before open on.

use kms_core::id::TenantSlot;
use kms_core::state::LifecycleState;
use kms_proto::storage::{KeyRecord, OutcomeRecord};

use super::change_key::{change, tenant_uid};
use super::create_key::add_version;
use super::describe::KeyView;
use super::mutation::Mutation;
use super::refused::Refused;
use crate::gate::permit::op;
use crate::gate::{Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::records::{state, state_number};

/// Makes a new active version. With `deterministic`, deterministic columns are sealed under it too from now on.
pub async fn rotate_key(
    permit: Permit<op::RotateKey>,
    keyring: &Keyring,
    deterministic: bool,
    expected: Option<u64>,
    mutation: Mutation,
) -> Unrecorded<Result<KeyView, Refused>> {
    let name = permit.target().name.clone();
    change(permit, keyring, expected, mutation, move |change, key: &mut KeyRecord| {
        match state(key.state)? {
            LifecycleState::Active | LifecycleState::Deactivated => {}
            state => {
                let what = format!("key `{name}`");
                return Err(Refused::State { what, state, todo: "resume it before rotating" });
            }
        }
        let owner = tenant_uid(change, key)?;
        add_version(change, &(TenantSlot(key.tenant_slot), name), key, owner)?;
        key.state = state_number(LifecycleState::Active);
        if deterministic || key.deterministic_version == 0 {
            key.deterministic_version = key.active_version;
        }
        Ok(OutcomeRecord { versions: vec![key.active_version], ..OutcomeRecord::default() })
    })
    .await
}
