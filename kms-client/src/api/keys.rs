//! Keys and their versions: create, describe, list, change, rotate, destroy.

use std::time::Duration;

use kms_core::{
    id::Epoch,
    names::{KeyName, TenantName},
    state::{DestroyReason, KeyClass},
};
use kms_proto::v1;

use super::{
    convert,
    list::{self, Items, Page, PageRequest},
    model::{Change, Key, KeyVersion},
    tenants::client,
};
use crate::{error::Error, kms::Kms};

/// How a key is to be made.
#[derive(Debug, Clone, Default)]
pub struct CreateKey {
    /// `None`: L2.
    pub class: Option<KeyClass>,
    /// What it may be used for, as policy sees it.
    pub purposes: Vec<String>,
    /// How long a client may hold a data key; `None`: as the class says.
    pub lease: Option<Duration>,
    /// How often it is to be rotated.
    pub rotate_every: Option<Duration>,
    /// Whether it is a family of subjects.
    pub family: bool,
    /// Idempotency; the revision is not looked at.
    pub change: Change,
}

/// What is to change in a key; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct UpdateKey {
    /// How long a client may hold a data key.
    pub lease: Option<Duration>,
    /// How often it is to be rotated.
    pub rotate_every: Option<Duration>,
    /// Replaces the purposes.
    pub purposes: Option<Vec<String>>,
    /// Idempotency and revision.
    pub change: Change,
}

/// How a key is to be rotated.
#[derive(Debug, Clone, Copy, Default)]
pub struct RotateKey {
    /// Moves deterministic columns to the new version too; they then ask for a reseal.
    pub deterministic: bool,
    /// Idempotency and revision.
    pub change: Change,
}

/// What of a key is to be destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestroyTarget {
    /// One version, by number.
    Version(u32),
    /// Every version.
    All,
}

/// How a key is to be destroyed.
#[derive(Debug, Clone)]
pub struct DestroyKey {
    /// One version or all.
    pub target: DestroyTarget,
    /// Why.
    pub reason: DestroyReason,
    /// Reference into a ticket system; may be empty.
    pub ticket: String,
    /// Also where leases to seal under it run: what they sealed is lost.
    pub force: bool,
    /// `None`: now.
    pub window: Option<Duration>,
    /// Idempotency and revision.
    pub change: Change,
}

/// What a destruction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destroyed {
    /// The key as it is now.
    pub key: Key,
    /// Numbers of the versions that are gone.
    pub versions: Vec<u32>,
    /// The epoch whose commit destroyed them.
    pub epoch: Epoch,
    /// Whether no byte the product wrote leads to their material any more.
    pub effaced: bool,
}

impl Kms {
    /// Creates a key with its first version.
    pub async fn create_key(&self, tenant: &TenantName, key: &KeyName, how: CreateKey) -> Result<Key, Error> {
        let message = v1::CreateKeyRequest {
            request_id: how.change.id(),
            tenant: tenant.to_string(),
            key: key.to_string(),
            key_class: how.class.map_or(0, convert::class_number),
            purposes: how.purposes,
            lease: how.lease.map(convert::duration_message),
            rotate_every: how.rotate_every.map(convert::duration_message),
            family: how.family,
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).create_key(request).await });
        called.await?.convert(convert::key)
    }

    /// Describes a key with its versions.
    pub async fn describe_key(&self, tenant: &TenantName, key: &KeyName) -> Result<Key, Error> {
        let message = v1::DescribeKeyRequest { tenant: tenant.to_string(), key: key.to_string() };
        let called =
            self.call(message, |channel, request| async move { client(channel).describe_key(request).await });
        called.await?.convert(convert::key)
    }

    /// Keys of a tenant, in order of name, one after the other.
    pub fn list_keys(&self, tenant: &TenantName) -> Items<Key> {
        let (kms, tenant) = (self.clone(), tenant.clone());
        list::items(move |page| {
            let (kms, tenant) = (kms.clone(), tenant.clone());
            async move { kms.list_keys_page(&tenant, page).await }
        })
    }

    /// One page of a tenant's keys.
    pub async fn list_keys_page(&self, tenant: &TenantName, page: PageRequest) -> Result<Page<Key>, Error> {
        let message = v1::ListKeysRequest {
            tenant: tenant.to_string(),
            page_size: page.size,
            page_token: page.token,
            family: String::new(),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).list_keys(request).await });
        called.await?.convert(|page| Page::new(page.keys, convert::key, page.next_page_token))
    }

    /// Versions of a key, one after the other.
    pub fn list_versions(&self, tenant: &TenantName, key: &KeyName) -> Items<KeyVersion> {
        let (kms, tenant, key) = (self.clone(), tenant.clone(), key.clone());
        list::items(move |page| {
            let (kms, tenant, key) = (kms.clone(), tenant.clone(), key.clone());
            async move { kms.list_versions_page(&tenant, &key, page).await }
        })
    }

    /// One page of a key's versions.
    pub async fn list_versions_page(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        page: PageRequest,
    ) -> Result<Page<KeyVersion>, Error> {
        let message = v1::ListVersionsRequest {
            tenant: tenant.to_string(),
            key: key.to_string(),
            page_size: page.size,
            page_token: page.token,
        };
        let called = self
            .call(message, |channel, request| async move { client(channel).list_versions(request).await });
        called.await?.convert(|page| Page::new(page.versions, convert::version, page.next_page_token))
    }

    /// Changes lease, rotation period or purposes of a key.
    pub async fn update_key(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        what: UpdateKey,
    ) -> Result<Key, Error> {
        let message = v1::UpdateKeyRequest {
            request_id: what.change.id(),
            tenant: tenant.to_string(),
            key: key.to_string(),
            expected_revision: what.change.expected_revision,
            lease: what.lease.map(convert::duration_message),
            rotate_every: what.rotate_every.map(convert::duration_message),
            purposes: what.purposes.map(|purposes| v1::Purposes { purposes }),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).update_key(request).await });
        called.await?.convert(convert::key)
    }

    /// Makes a new active version; the ones before open on.
    pub async fn rotate_key(&self, tenant: &TenantName, key: &KeyName, how: RotateKey) -> Result<Key, Error> {
        let message = v1::RotateKeyRequest {
            request_id: how.change.id(),
            tenant: tenant.to_string(),
            key: key.to_string(),
            expected_revision: how.change.expected_revision,
            deterministic: how.deterministic,
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).rotate_key(request).await });
        called.await?.convert(convert::key)
    }

    /// Stops a key: it neither seals nor opens.
    pub async fn suspend_key(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        change: Change,
    ) -> Result<Key, Error> {
        let message = v1::SuspendKeyRequest {
            request_id: change.id(),
            tenant: tenant.to_string(),
            key: key.to_string(),
            expected_revision: change.expected_revision,
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).suspend_key(request).await });
        called.await?.convert(convert::key)
    }

    /// Lets a suspended key work again.
    pub async fn resume_key(&self, tenant: &TenantName, key: &KeyName, change: Change) -> Result<Key, Error> {
        let message = v1::ResumeKeyRequest {
            request_id: change.id(),
            tenant: tenant.to_string(),
            key: key.to_string(),
            expected_revision: change.expected_revision,
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).resume_key(request).await });
        called.await?.convert(convert::key)
    }

    /// Destroys one version or all; what they sealed never opens again.
    pub async fn destroy_key(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        how: DestroyKey,
    ) -> Result<Destroyed, Error> {
        use v1::destroy_key_request::Target;
        let message = v1::DestroyKeyRequest {
            request_id: how.change.id(),
            tenant: tenant.to_string(),
            key: key.to_string(),
            reason: convert::reason_number(how.reason),
            ticket: how.ticket,
            expected_revision: how.change.expected_revision,
            force: how.force,
            window: how.window.map(convert::duration_message),
            target: Some(match how.target {
                DestroyTarget::Version(version) => Target::Version(version),
                DestroyTarget::All => Target::All(true),
            }),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).destroy_key(request).await });
        called.await?.convert(|done| {
            let key = convert::key(done.key.ok_or("no key")?)?;
            let (versions, epoch) = (done.destroyed_versions, Epoch(done.epoch));
            Ok(Destroyed { key, versions, epoch, effaced: done.effaced })
        })
    }

    /// Calls off a destruction that is scheduled: of one version, or of the key as a whole.
    pub async fn cancel_destroy_key(
        &self,
        tenant: &TenantName,
        key: &KeyName,
        target: DestroyTarget,
        change: Change,
    ) -> Result<Key, Error> {
        use v1::cancel_destroy_key_request::Target;
        let message = v1::CancelDestroyKeyRequest {
            request_id: change.id(),
            tenant: tenant.to_string(),
            key: key.to_string(),
            expected_revision: change.expected_revision,
            target: Some(match target {
                DestroyTarget::Version(version) => Target::Version(version),
                DestroyTarget::All => Target::All(true),
            }),
        };
        let called = self.call(message, |channel, request| async move {
            client(channel).cancel_destroy_key(request).await
        });
        called.await?.convert(convert::key)
    }

    /// Says that the server's clock is right although it went forward; what is scheduled goes on. Gives how far it had gone.
    pub async fn confirm_clock(&self, change: Change) -> Result<Duration, Error> {
        let message = v1::ConfirmClockRequest { request_id: change.id() };
        let called = self
            .call(message, |channel, request| async move { client(channel).confirm_clock(request).await });
        called.await?.convert(|done| convert::duration(done.forward.unwrap_or_default()))
    }
}
