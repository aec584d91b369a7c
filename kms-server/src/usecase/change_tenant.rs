//! Changes a tenant's label, suspends it, resumes it.

use kms_core::event::TenantState;
use kms_core::id::TenantSlot;
use kms_core::names::TenantName;
use kms_core::state::LifecycleState;
use kms_proto::storage::{OutcomeRecord, TenantRecord};

use super::describe::{self, TenantView};
use super::mutation::Mutation;
use super::refused::Refused;
use super::revision;
use crate::erasure::Change;
use crate::gate::permit::op;
use crate::gate::{Note, Op, Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::records::{Tenants, TenantsBySlot, state, state_number, uid};

type Changed = Unrecorded<Result<TenantView, Refused>>;

/// Gives the tenant another label; its name stays.
pub async fn update(
    permit: Permit<op::UpdateTenant>,
    keyring: &Keyring,
    label: Option<String>,
    expected: Option<u64>,
    mutation: Mutation,
) -> Changed {
    let edit = move |tenant: &mut TenantRecord| {
        if let Some(label) = label {
            tenant.label = label;
        }
        Ok(())
    };
    change(permit, keyring, expected, mutation, edit).await
}

/// Stops every key of the tenant.
pub async fn suspend(
    permit: Permit<op::SuspendTenant>,
    keyring: &Keyring,
    expected: Option<u64>,
    mutation: Mutation,
) -> Changed {
    change(permit, keyring, expected, mutation, |tenant| set_state(tenant, LifecycleState::Suspended)).await
}

/// Undoes that.
pub async fn resume(
    permit: Permit<op::ResumeTenant>,
    keyring: &Keyring,
    expected: Option<u64>,
    mutation: Mutation,
) -> Changed {
    change(permit, keyring, expected, mutation, |tenant| {
        set_state(
            tenant,
            match tenant.destroy_due_ms {
                0 => LifecycleState::Active,
                _ => LifecycleState::DestroyScheduled,
            },
        )
    })
    .await
}

fn set_state(tenant: &mut TenantRecord, state: LifecycleState) -> Result<(), Refused> {
    tenant.state = state_number(state);
    Ok(())
}

async fn change<O: Op<Target = TenantName>>(
    permit: Permit<O>,
    keyring: &Keyring,
    expected: Option<u64>,
    mutation: Mutation,
    edit: impl FnOnce(&mut TenantRecord) -> Result<(), Refused> + Send + 'static,
) -> Changed {
    let name = permit.target().clone();
    let changed = mutation.run(keyring.writer(), move |change| {
        let mut tenant = living(change, &name)?;
        revision::advance(&mut tenant.revision, expected)?;
        let before = tenant.state;
        edit(&mut tenant)?;
        if tenant.state != before {
            let (tenant_uid, state) = (uid(&tenant.uid)?, state(tenant.state)?);
            change.log(TenantState { tenant: name.clone(), tenant_uid, state });
        }
        put(change, &name, &tenant);
        Ok(OutcomeRecord::default())
    });
    let result = match changed.await {
        Ok(_) => describe::tenant(&keyring.writer().snapshot(), permit.target()),
        Err(refused) => Err(refused),
    };
    let note = Note { state: result.as_ref().ok().map(|tenant| tenant.state), ..Note::default() };
    permit.finish(result, note)
}

/// The record of a tenant that is not destroyed.
pub(super) fn living(change: &Change<'_>, name: &TenantName) -> Result<TenantRecord, Refused> {
    let tenant = change.get::<Tenants>(name)?.ok_or_else(|| Refused::TenantNotAccessible(name.clone()))?;
    if state(tenant.state)?.is_destroyed() {
        return Err(Refused::TenantDestroyed(name.clone()));
    }
    Ok(tenant)
}

/// Writes a tenant where it is found by name and by slot.
pub(super) fn put(change: &mut Change<'_>, name: &TenantName, tenant: &TenantRecord) {
    change.put::<Tenants>(name, tenant);
    change.put::<TenantsBySlot>(&TenantSlot(tenant.slot), tenant);
}
