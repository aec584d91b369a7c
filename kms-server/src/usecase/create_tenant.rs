//! Creates a tenant: a slot in the top tree, and a tree of its own with the subject index key at slot 0.

use kms_core::event::TenantCreate;
use kms_core::id::Uid;
use kms_core::state::LifecycleState;
use kms_proto::storage::{OutcomeRecord, TenantRecord};

use super::describe::{self, TenantView};
use super::mutation::{Mutation, now_ms};
use super::refused::Refused;
use crate::erasure::NewTenant;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::records::{Tenants, TenantsBySlot, state, state_number};

/// Creates the tenant that the permit names. The name of a destroyed tenant may be used again; its slot never is.
pub async fn create_tenant(
    permit: Permit<op::CreateTenant>,
    keyring: &Keyring,
    label: String,
    mutation: Mutation,
) -> Unrecorded<Result<TenantView, Refused>> {
    let name = permit.target().clone();
    let made = mutation.run(keyring.writer(), move |change| {
        if let Some(existing) = change.get::<Tenants>(&name)?
            && !state(existing.state)?.is_destroyed()
        {
            return Err(Refused::AlreadyExists { what: "tenant", name: name.to_string() });
        }
        let uid = Uid::random().map_err(Refused::internal)?;
        let NewTenant { slot, index_uid, index_commitment } = change.create_tenant_tree(uid)?;
        let created_entry = change.log(TenantCreate {
            tenant: name.clone(),
            tenant_uid: uid,
            tenant_slot: slot,
            index_uid,
            index_kc: index_commitment,
        });
        let record = TenantRecord {
            name: name.to_string(),
            uid: uid.0.to_vec(),
            slot: slot.0,
            state: state_number(LifecycleState::Active),
            revision: 1,
            created_ms: now_ms(),
            label,
            created_entry,
            ..TenantRecord::default()
        };
        change.put::<Tenants>(&name, &record);
        change.put::<TenantsBySlot>(&slot, &record);
        Ok(OutcomeRecord::default())
    });
    let result = match made.await {
        Ok(_) => describe::tenant(&keyring.writer().snapshot(), permit.target()),
        Err(refused) => Err(refused),
    };
    let note = Note { state: Some(LifecycleState::Active), ..Note::default() };
    permit.finish(result, note)
}
