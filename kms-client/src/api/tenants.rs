//! Tenants: create, describe, list, change, destroy.

use std::time::Duration;

use kms_core::{id::Epoch, names::TenantName, state::DestroyReason};
use kms_proto::v1::{self, keys_client::KeysClient};
use tonic::transport::Channel;

use super::{
    convert,
    list::{self, Items, Page, PageRequest},
    model::{Change, Tenant},
};
use crate::{error::Error, kms::Kms};

/// How a tenant is to be made.
#[derive(Debug, Clone, Default)]
pub struct CreateTenant {
    /// A label for people.
    pub label: String,
    /// Idempotency; the revision is not looked at.
    pub change: Change,
}

/// How a tenant is to be destroyed.
#[derive(Debug, Clone)]
pub struct DestroyTenant {
    /// Why.
    pub reason: DestroyReason,
    /// Reference into a ticket system; may be empty.
    pub ticket: String,
    /// `None`: now.
    pub window: Option<Duration>,
    /// Idempotency and revision.
    pub change: Change,
}

/// What a destruction of a tenant did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantDestroyed {
    /// The tenant as it is now.
    pub tenant: Tenant,
    /// The epoch whose commit destroyed it.
    pub epoch: Epoch,
    /// Whether no byte the product wrote leads to its keys any more.
    pub effaced: bool,
}

pub(super) fn client(channel: Channel) -> KeysClient<Channel> {
    KeysClient::new(channel)
        .max_decoding_message_size(super::crypto::MAX_MESSAGE)
        .max_encoding_message_size(super::crypto::MAX_MESSAGE)
}

impl Kms {
    /// Creates a tenant.
    pub async fn create_tenant(&self, tenant: &TenantName, how: CreateTenant) -> Result<Tenant, Error> {
        let message = v1::CreateTenantRequest {
            request_id: how.change.id(),
            tenant: tenant.to_string(),
            label: how.label,
        };
        let called = self
            .call(message, |channel, request| async move { client(channel).create_tenant(request).await });
        called.await?.convert(convert::tenant)
    }

    /// Describes a tenant.
    pub async fn describe_tenant(&self, tenant: &TenantName) -> Result<Tenant, Error> {
        let message = v1::DescribeTenantRequest { tenant: tenant.to_string() };
        let called = self
            .call(message, |channel, request| async move { client(channel).describe_tenant(request).await });
        called.await?.convert(convert::tenant)
    }

    /// Tenants, in order of name, one after the other.
    pub fn list_tenants(&self) -> Items<Tenant> {
        let kms = self.clone();
        list::items(move |page| {
            let kms = kms.clone();
            async move { kms.list_tenants_page(page).await }
        })
    }

    /// One page of tenants.
    pub async fn list_tenants_page(&self, page: PageRequest) -> Result<Page<Tenant>, Error> {
        let message = v1::ListTenantsRequest { page_size: page.size, page_token: page.token };
        let called =
            self.call(message, |channel, request| async move { client(channel).list_tenants(request).await });
        called.await?.convert(|page| Page::new(page.tenants, convert::tenant, page.next_page_token))
    }

    /// Changes a tenant's label.
    pub async fn update_tenant(
        &self,
        tenant: &TenantName,
        label: Option<String>,
        change: Change,
    ) -> Result<Tenant, Error> {
        let message = v1::UpdateTenantRequest {
            request_id: change.id(),
            tenant: tenant.to_string(),
            expected_revision: change.expected_revision,
            label,
        };
        let called = self
            .call(message, |channel, request| async move { client(channel).update_tenant(request).await });
        called.await?.convert(convert::tenant)
    }

    /// Stops every key of a tenant: none seals, none opens.
    pub async fn suspend_tenant(&self, tenant: &TenantName, change: Change) -> Result<Tenant, Error> {
        let message = v1::SuspendTenantRequest {
            request_id: change.id(),
            tenant: tenant.to_string(),
            expected_revision: change.expected_revision,
        };
        let called = self
            .call(message, |channel, request| async move { client(channel).suspend_tenant(request).await });
        called.await?.convert(convert::tenant)
    }

    /// Lets the keys of a suspended tenant work again.
    pub async fn resume_tenant(&self, tenant: &TenantName, change: Change) -> Result<Tenant, Error> {
        let message = v1::ResumeTenantRequest {
            request_id: change.id(),
            tenant: tenant.to_string(),
            expected_revision: change.expected_revision,
        };
        let called = self
            .call(message, |channel, request| async move { client(channel).resume_tenant(request).await });
        called.await?.convert(convert::tenant)
    }

    /// Destroys a tenant with every key it ever had.
    pub async fn destroy_tenant(
        &self,
        tenant: &TenantName,
        how: DestroyTenant,
    ) -> Result<TenantDestroyed, Error> {
        let message = v1::DestroyTenantRequest {
            request_id: how.change.id(),
            tenant: tenant.to_string(),
            reason: convert::reason_number(how.reason),
            ticket: how.ticket,
            expected_revision: how.change.expected_revision,
            window: how.window.map(convert::duration_message),
        };
        let called = self
            .call(message, |channel, request| async move { client(channel).destroy_tenant(request).await });
        called.await?.convert(|done| {
            let tenant = convert::tenant(done.tenant.ok_or("no tenant")?)?;
            Ok(TenantDestroyed { tenant, epoch: Epoch(done.epoch), effaced: done.effaced })
        })
    }

    /// Calls off a destruction that is scheduled.
    pub async fn cancel_destroy_tenant(&self, tenant: &TenantName, change: Change) -> Result<Tenant, Error> {
        let message = v1::CancelDestroyTenantRequest {
            request_id: change.id(),
            tenant: tenant.to_string(),
            expected_revision: change.expected_revision,
        };
        let called = self.call(message, |channel, request| async move {
            client(channel).cancel_destroy_tenant(request).await
        });
        called.await?.convert(convert::tenant)
    }
}
