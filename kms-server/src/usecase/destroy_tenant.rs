//! Destroys a tenant with every key it ever had: one slot of the top tree, whatever the number of keys.

use kms_core::canonical::Text;
use kms_core::event::TenantDestroy;
use kms_core::id::{Epoch, TenantSlot};
use kms_core::names::TenantName;
use kms_core::state::LifecycleState;
use kms_proto::storage::OutcomeRecord;

use super::change_tenant::{living, put};
use super::describe::{self, TenantView};
use super::destroy_key::Request;
use super::mutation::{Mutation, now_ms};
use super::refused::Refused;
use super::revision;
use super::schedule;
use crate::erasure::{Change, Destruction, RecordError};
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::records::{DataKeyIds, Work, reason_number, state_number, uid};

/// A destroyed tenant.
#[derive(Debug)]
pub struct Destroyed {
    /// What is left of it.
    pub tenant: TenantView,
    /// The epoch that destroyed it.
    pub epoch: Epoch,
    /// Every earlier epoch secret is unreadable: nothing the product wrote leads to the material any more.
    pub effaced: bool,
}

/// Destroys the tenant that the permit names, now.
pub async fn destroy_tenant(
    permit: Permit<op::DestroyTenant>,
    keyring: &Keyring,
    request: Request,
    mutation: Mutation,
) -> Unrecorded<Result<Destroyed, Refused>> {
    let name = permit.target().tenant.clone();
    let mut note = Note { state: Some(LifecycleState::Destroyed), ..request.note() };
    let destroyed =
        mutation.run_destruction(keyring.writer(), move |change| destroy(change, &name, &request));
    let result = match destroyed.await {
        Ok(committed) => {
            let epoch = Epoch(committed.value.epoch);
            note.epoch = Some(epoch);
            let tenant = describe::tenant(&keyring.writer().snapshot(), &permit.target().tenant);
            tenant.map(|tenant| Destroyed { tenant, epoch, effaced: committed.effaced })
        }
        Err(refused) => Err(refused),
    };
    permit.finish(result, note)
}

/// Destroys it in the epoch of this change.
pub(super) fn destroy(
    change: &mut Destruction<'_>,
    name: &TenantName,
    request: &Request,
) -> Result<OutcomeRecord, Refused> {
    let mut tenant = living(change, name)?;
    revision::advance(&mut tenant.revision, request.expected_revision)?;
    let (epoch, tenant_slot, tenant_uid) = (change.epoch(), TenantSlot(tenant.slot), uid(&tenant.uid)?);
    let live = change.live_versions(tenant_slot)?;
    tenant.destroyed_entry = change.log(TenantDestroy {
        tenant: name.clone(),
        tenant_uid,
        tenant_slot,
        live,
        epoch,
        reason: request.reason,
        ticket: Text::lossy(&request.ticket()),
    });
    let lease_ms = if may_hold_data_keys(change, tenant_slot)? { tenant.longest_lease_ms } else { 0 };
    change.destroy_tenant(tenant_slot, lease_ms);
    schedule::remove(change, tenant.destroy_due_ms, Work::DestroyTenant, tenant_uid);
    tenant.destroy_due_ms = 0;
    tenant.state = state_number(LifecycleState::Destroyed);
    tenant.destroyed_ms = now_ms();
    tenant.destroyed_epoch = epoch.0;
    tenant.destroy_reason = reason_number(request.reason);
    tenant.destroy_ticket = request.ticket();
    put(change, name, &tenant);
    Ok(OutcomeRecord { epoch: epoch.0, ..OutcomeRecord::default() })
}

/// Versions that are looked at: a tenant with more is taken to have data keys out.
const LOOKED_AT: usize = 64;

/// Whether clients may hold data keys of a tenant.
fn may_hold_data_keys(change: &Change<'_>, tenant: TenantSlot) -> Result<bool, RecordError> {
    let ids = change.range::<DataKeyIds>(&tenant, None, LOOKED_AT)?;
    Ok(ids.len() == LOOKED_AT || ids.iter().any(|(_, ids)| ids.leased > 0 || ids.deterministic))
}
