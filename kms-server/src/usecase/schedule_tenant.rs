//! Schedules the destruction of a tenant, and calls it off. Until then its keys open and do not seal.

use std::sync::Arc;

use kms_core::canonical::{Instant, Text};
use kms_core::event::{CancelTenant, ScheduleTenant};
use kms_core::id::Epoch;
use kms_core::state::LifecycleState;
use kms_proto::storage::{DueRecord, OutcomeRecord};

use super::change_tenant::{living, put};
use super::describe::{self, TenantView};
use super::destroy_key::Request;
use super::destroy_tenant::Destroyed;
use super::mutation::Mutation;
use super::refused::Refused;
use super::revision;
use super::schedule;
use super::schedule_key::{NOTHING, scheduled_already};
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::records::{Work, reason_number, state, state_number, uid};
use crate::running::RunningTime;

/// Has the tenant that the permit names destroyed at the end of its window.
pub async fn schedule_tenant(
    permit: Permit<op::DestroyTenant>,
    keyring: &Keyring,
    running: &Arc<RunningTime>,
    request: Request,
    mutation: Mutation,
) -> Unrecorded<Result<Destroyed, Refused>> {
    let (name, window) = (permit.target().tenant.clone(), permit.target().window);
    let (running, by) = (Arc::clone(running), mutation.by());
    let mut note = request.note();
    let scheduled = mutation.run(keyring.writer(), move |change| {
        let mut tenant = living(change, &name)?;
        revision::advance(&mut tenant.revision, request.expected_revision)?;
        if tenant.destroy_due_ms != 0 {
            return Err(scheduled_already(format!("tenant `{name}`")));
        }
        let (when, tenant_uid) = (schedule::after(change, &running, window), uid(&tenant.uid)?);
        tenant.destroy_due_ms = when.at_ms;
        if state(tenant.state)? != LifecycleState::Suspended {
            tenant.state = state_number(LifecycleState::DestroyScheduled);
        }
        let due = DueRecord {
            tenant: name.to_string(),
            uid: tenant.uid.clone(),
            running_ms: when.running_ms,
            by,
            reason: reason_number(request.reason),
            ticket: request.ticket(),
            ..DueRecord::default()
        };
        schedule::add(change, when.at_ms, Work::DestroyTenant, tenant_uid, &due);
        change.log(ScheduleTenant {
            tenant_uid,
            due: Instant::from_millis(when.at_ms),
            reason: request.reason,
            ticket: Text::lossy(&due.ticket),
        });
        put(change, &name, &tenant);
        Ok(OutcomeRecord::default())
    });
    let result = match scheduled.await {
        Ok(_) => describe::tenant(&keyring.writer().snapshot(), &permit.target().tenant)
            .map(|tenant| Destroyed { tenant, epoch: Epoch(0), effaced: false }),
        Err(refused) => Err(refused),
    };
    note.state = result.as_ref().ok().map(|scheduled| scheduled.tenant.state);
    permit.finish(result, note)
}

/// Calls that off.
pub async fn cancel_destroy_tenant(
    permit: Permit<op::CancelDestroyTenant>,
    keyring: &Keyring,
    expected: Option<u64>,
    mutation: Mutation,
) -> Unrecorded<Result<TenantView, Refused>> {
    let name = permit.target().clone();
    let cancelled = mutation.run(keyring.writer(), move |change| {
        let mut tenant = living(change, &name)?;
        revision::advance(&mut tenant.revision, expected)?;
        let now = state(tenant.state)?;
        if tenant.destroy_due_ms == 0 {
            return Err(Refused::State { what: format!("tenant `{name}`"), state: now, todo: NOTHING });
        }
        let tenant_uid = uid(&tenant.uid)?;
        schedule::remove(change, tenant.destroy_due_ms, Work::DestroyTenant, tenant_uid);
        tenant.destroy_due_ms = 0;
        if now == LifecycleState::DestroyScheduled {
            tenant.state = state_number(LifecycleState::Active);
        }
        change.log(CancelTenant { tenant_uid });
        put(change, &name, &tenant);
        Ok(OutcomeRecord::default())
    });
    let result = match cancelled.await {
        Ok(_) => describe::tenant(&keyring.writer().snapshot(), permit.target()),
        Err(refused) => Err(refused),
    };
    let note = Note { state: result.as_ref().ok().map(|tenant| tenant.state), ..Note::default() };
    permit.finish(result, note)
}
