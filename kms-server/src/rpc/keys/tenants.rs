//! Tenants: made, looked at, changed, suspended and destroyed.

use kms_core::names::TenantName;
use kms_proto::v1;

use super::request::{label, mutation, ticket};
use crate::gate::Caller;
use crate::gate::target::{System, TenantDestruction};
use crate::operation::Operation;
use crate::rpc::page::PageToken;
use crate::rpc::status::Failure;
use crate::rpc::{Core, convert};
use crate::usecase::{change_tenant, create_tenant, describe, destroy_key, destroy_tenant, schedule_tenant};

impl Core {
    pub(super) async fn create_tenant(
        &self,
        caller: &Caller,
        message: v1::CreateTenantRequest,
    ) -> Result<v1::Tenant, Failure> {
        let mutation = mutation(caller, Operation::CreateTenant, &message.request_id, &message)?;
        let label = label(message.label)?;
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let made = create_tenant::create_tenant(permit, &self.keyring, label, mutation).await;
        Ok(convert::tenant_to_wire(self.gate.record(made).await??))
    }

    pub(super) async fn describe_tenant(
        &self,
        caller: &Caller,
        message: v1::DescribeTenantRequest,
    ) -> Result<v1::Tenant, Failure> {
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let tenant = describe::describe_tenant(permit, &self.keyring);
        Ok(convert::tenant_to_wire(self.gate.record(tenant).await??))
    }

    pub(super) async fn list_tenants(
        &self,
        caller: &Caller,
        message: v1::ListTenantsRequest,
    ) -> Result<v1::ListTenantsResponse, Failure> {
        let limit = convert::page_size(message.page_size);
        let after = PageToken::read("tenants", &message.page_token)?;
        let after = after.map(|after| TenantName::try_from(&*after)).transpose()?;
        let permit = self.gate.authorize(caller, System, None).await?;
        let listed = describe::list_tenants(permit, &self.keyring, after, limit);
        let listed = self.gate.record(listed).await??;
        let next_page_token = PageToken::after("tenants", &listed, limit, |tenant| tenant.name.to_string());
        Ok(v1::ListTenantsResponse {
            tenants: listed.into_iter().map(convert::tenant_to_wire).collect(),
            next_page_token,
        })
    }

    pub(super) async fn update_tenant(
        &self,
        caller: &Caller,
        message: v1::UpdateTenantRequest,
    ) -> Result<v1::Tenant, Failure> {
        let mutation = mutation(caller, Operation::UpdateTenant, &message.request_id, &message)?;
        let label = message.label.map(label).transpose()?;
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let changed =
            change_tenant::update(permit, &self.keyring, label, message.expected_revision, mutation).await;
        Ok(convert::tenant_to_wire(self.gate.record(changed).await??))
    }

    pub(super) async fn suspend_tenant(
        &self,
        caller: &Caller,
        message: v1::SuspendTenantRequest,
    ) -> Result<v1::Tenant, Failure> {
        let mutation = mutation(caller, Operation::SuspendTenant, &message.request_id, &message)?;
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let changed =
            change_tenant::suspend(permit, &self.keyring, message.expected_revision, mutation).await;
        Ok(convert::tenant_to_wire(self.gate.record(changed).await??))
    }

    pub(super) async fn resume_tenant(
        &self,
        caller: &Caller,
        message: v1::ResumeTenantRequest,
    ) -> Result<v1::Tenant, Failure> {
        let mutation = mutation(caller, Operation::ResumeTenant, &message.request_id, &message)?;
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let changed = change_tenant::resume(permit, &self.keyring, message.expected_revision, mutation).await;
        Ok(convert::tenant_to_wire(self.gate.record(changed).await??))
    }

    pub(super) async fn destroy_tenant(
        &self,
        caller: &Caller,
        message: v1::DestroyTenantRequest,
    ) -> Result<v1::DestroyTenantResponse, Failure> {
        let mutation = mutation(caller, Operation::DestroyTenant, &message.request_id, &message)?;
        let window = convert::window(message.window)?;
        let request = destroy_key::Request {
            reason: convert::destroy_reason(message.reason)?,
            ticket: ticket(&message.ticket)?,
            expected_revision: message.expected_revision,
        };
        let target = TenantDestruction { tenant: TenantName::try_from(&*message.tenant)?, window };
        let permit = self.gate.authorize(caller, target, None).await?;
        let destroyed = match window.is_zero() {
            true => destroy_tenant::destroy_tenant(permit, &self.keyring, request, mutation).await,
            false => {
                let (keyring, running) = (&self.keyring, &self.running);
                schedule_tenant::schedule_tenant(permit, keyring, running, request, mutation).await
            }
        };
        let destroy_tenant::Destroyed { tenant, epoch, effaced } = self.gate.record(destroyed).await??;
        Ok(v1::DestroyTenantResponse {
            tenant: Some(convert::tenant_to_wire(tenant)),
            epoch: epoch.0,
            effaced,
        })
    }

    pub(super) async fn cancel_destroy_tenant(
        &self,
        caller: &Caller,
        message: v1::CancelDestroyTenantRequest,
    ) -> Result<v1::Tenant, Failure> {
        let mutation = mutation(caller, Operation::CancelDestroyTenant, &message.request_id, &message)?;
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let expected = message.expected_revision;
        let cancelled =
            schedule_tenant::cancel_destroy_tenant(permit, &self.keyring, expected, mutation).await;
        Ok(convert::tenant_to_wire(self.gate.record(cancelled).await??))
    }
}
