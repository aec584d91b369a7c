//! Service `kms.v1.Keys`.
//!
//! # Layout
//! - this file: the service; `request`: which request it is, and what several of its messages say alike.
//! - `tenants`: calls about tenants, to their destruction.
//! - `create`, `describe`, `change`, `destroy`: calls about keys, families and subjects.

mod change;
mod create;
mod describe;
mod destroy;
mod request;
mod tenants;

use kms_proto::v1;
use kms_proto::v1::keys_server::Keys;
use tonic::{Request, Response, Status};

use super::status::Failure;
use super::{Core, changes, convert, run_to_end};
use crate::gate::Caller;
use crate::gate::target::System;
use crate::operation::Operation;
use crate::usecase::confirm_clock;
use request::mutation;

/// The service.
pub struct KeysService(pub Core);

impl Core {
    async fn confirm_clock(
        &self,
        caller: &Caller,
        message: v1::ConfirmClockRequest,
    ) -> Result<v1::ConfirmClockResponse, Failure> {
        let mutation = mutation(caller, Operation::ConfirmClock, &message.request_id, &message)?;
        let permit = self.gate.authorize(caller, System, None).await?;
        let confirmed = confirm_clock::confirm_clock(permit, &self.keyring, &self.running, mutation).await;
        let forward = self.gate.record(confirmed).await??;
        Ok(v1::ConfirmClockResponse { forward: Some(convert::duration_to_wire(forward)) })
    }
}

changes! {
    KeysService: Keys {
        create_tenant(CreateTenantRequest) -> v1::Tenant;
        describe_tenant(DescribeTenantRequest) -> v1::Tenant;
        list_tenants(ListTenantsRequest) -> v1::ListTenantsResponse;
        update_tenant(UpdateTenantRequest) -> v1::Tenant;
        suspend_tenant(SuspendTenantRequest) -> v1::Tenant;
        resume_tenant(ResumeTenantRequest) -> v1::Tenant;
        destroy_tenant(DestroyTenantRequest) -> v1::DestroyTenantResponse;
        cancel_destroy_tenant(CancelDestroyTenantRequest) -> v1::Tenant;
        create_key(CreateKeyRequest) -> v1::Key;
        ensure_subjects(EnsureSubjectsRequest) -> v1::EnsureSubjectsResponse;
        describe_key(DescribeKeyRequest) -> v1::Key;
        list_keys(ListKeysRequest) -> v1::ListKeysResponse;
        list_versions(ListVersionsRequest) -> v1::ListVersionsResponse;
        census(CensusRequest) -> v1::CensusResponse;
        update_key(UpdateKeyRequest) -> v1::Key;
        rotate_key(RotateKeyRequest) -> v1::Key;
        suspend_key(SuspendKeyRequest) -> v1::Key;
        resume_key(ResumeKeyRequest) -> v1::Key;
        destroy_key(DestroyKeyRequest) -> v1::DestroyKeyResponse;
        cancel_destroy_key(CancelDestroyKeyRequest) -> v1::Key;
        confirm_clock(ConfirmClockRequest) -> v1::ConfirmClockResponse;
    }
}
