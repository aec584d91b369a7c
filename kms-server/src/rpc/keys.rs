//! Service `kms.v1.Keys`.

use std::sync::Arc;
use std::time::Duration;

use kms_core::id::VersionId;
use kms_core::names::{FamilyName, KeyName, SubjectName, TenantName};
use kms_proto::reason::Reason;
use kms_proto::v1;
use kms_proto::v1::keys_server::Keys;
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use super::batch::Batch;
use super::convert::{self, MAX_IDS};
use super::page::PageToken;
use super::status::Failure;
use super::{Core, changes, run_to_end};
use crate::audit::Ticket;
use crate::gate::Caller;
use crate::gate::target::{KeyDestruction, KeyUpdate, NewKey, System, TenantDestruction};
use crate::keyring::LookupError;
use crate::operation::Operation;
use crate::records::KeyRef;
use crate::usecase::destroy_key::{self, Which};
use crate::usecase::mutation::Mutation;
use crate::usecase::{census, describe};
use crate::usecase::{
    change_key, change_tenant, confirm_clock, create_key, create_tenant, destroy_tenant, rotate_key,
    schedule_key, schedule_tenant, subjects,
};

/// The service.
pub struct KeysService(pub Core);

/// Most bytes of a label.
const MAX_LABEL: usize = 256;
/// Most purposes of a key.
const MAX_PURPOSES: usize = 16;

impl Core {
    fn rotation_period(&self, wire: Option<prost_types::Duration>) -> Result<Option<Duration>, Failure> {
        match convert::duration("rotate_every", wire)? {
            Some(period) if period < self.least_rotation => {
                let least = self.least_rotation.as_secs();
                let message = format!("`rotate_every` must be at least {least} s (`limits.least_rotation`)");
                Err(Failure::message(Reason::FieldInvalid, message))
            }
            period => Ok(period),
        }
    }

    async fn create_tenant(
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

    async fn describe_tenant(
        &self,
        caller: &Caller,
        message: v1::DescribeTenantRequest,
    ) -> Result<v1::Tenant, Failure> {
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let tenant = describe::describe_tenant(permit, &self.keyring);
        Ok(convert::tenant_to_wire(self.gate.record(tenant).await??))
    }

    async fn list_tenants(
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

    async fn update_tenant(
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

    async fn suspend_tenant(
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

    async fn resume_tenant(
        &self,
        caller: &Caller,
        message: v1::ResumeTenantRequest,
    ) -> Result<v1::Tenant, Failure> {
        let mutation = mutation(caller, Operation::ResumeTenant, &message.request_id, &message)?;
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let changed = change_tenant::resume(permit, &self.keyring, message.expected_revision, mutation).await;
        Ok(convert::tenant_to_wire(self.gate.record(changed).await??))
    }

    async fn destroy_tenant(
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

    async fn cancel_destroy_tenant(
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

    async fn create_key(&self, caller: &Caller, message: v1::CreateKeyRequest) -> Result<v1::Key, Failure> {
        let mutation = self.key_mutation(caller, Operation::CreateKey, &message)?;
        let name = KeyName::try_from(&*message.key)?;
        let tenant = TenantName::try_from(&*message.tenant)?;
        if name.subject_id().is_some() {
            let message = "a subject is created by its name: FAMILY/SUBJECT";
            return Err(Failure::message(Reason::NameInvalid, message));
        }
        if name.subject().is_some() {
            return self.create_subject(caller, tenant, name, message, mutation).await;
        }
        let class = convert::class(message.key_class)?;
        let purposes = purposes(&message.purposes)?;
        let settings = create_key::Settings {
            lease: convert::lease(message.lease)?,
            rotate_every: self.rotation_period(message.rotate_every)?,
            family: message.family,
        };
        let permit = self.gate.authorize(caller, NewKey { tenant, name, class, purposes }, None).await?;
        let made = create_key::create_key(permit, &self.keyring, settings, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(made).await??))
    }

    async fn create_subject(
        &self,
        caller: &Caller,
        tenant: TenantName,
        name: KeyName,
        message: v1::CreateKeyRequest,
        mutation: Mutation,
    ) -> Result<v1::Key, Failure> {
        let own = message.key_class != 0 || message.lease.is_some() || message.rotate_every.is_some();
        if own || message.family || !message.purposes.is_empty() {
            let message =
                "a subject's key has class, purposes, lease and period from its family; leave them out";
            return Err(Failure::message(Reason::FieldInvalid, message));
        }
        let family = match self.keyring.key(tenant.as_str(), name.family().as_str()) {
            Ok(family) => family,
            Err(LookupError::NotThere) => {
                let names = (tenant, name);
                return Err(self.gate.deny_unknown(caller, Operation::CreateKey, names, None).await.into());
            }
            Err(error) => return Err(error.into()),
        };
        let (class, purposes) = (family.class, Arc::clone(&family.purposes));
        let permit = self.gate.authorize(caller, NewKey { tenant, name, class, purposes }, None).await?;
        let made = subjects::create(permit, &self.keyring, family, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(made).await??))
    }

    async fn ensure_subjects(
        &self,
        caller: &Caller,
        message: v1::EnsureSubjectsRequest,
    ) -> Result<v1::EnsureSubjectsResponse, Failure> {
        use v1::ensure_subjects_response::{Item, Subject, item::Outcome};
        convert::batch(message.subjects.len(), MAX_IDS, std::iter::empty())?;
        let parsed = message.subjects.iter().map(|subject| Ok(SubjectName::try_from(&**subject)?));
        let mut batch = Batch::new(parsed, |_| ());
        let groups = batch.take_groups_to_ask();
        for group in &groups {
            let permit = self.permit(caller, (&message.tenant, &message.family), None).await?;
            let ensured = subjects::ensure(permit, &self.keyring, group.items.clone()).await;
            batch.answer(&groups, group, Ok(self.gate.record(ensured).await??))?;
        }
        let items = batch.finish(|result| Item {
            outcome: Some(result.map_or_else(Outcome::Error, |ensured: subjects::Ensured| {
                let version_id = ensured.version.map_or(0, VersionId::get);
                Outcome::Subject(Subject { id: ensured.id.0.to_vec(), version_id, created: ensured.created })
            })),
        });
        Ok(v1::EnsureSubjectsResponse { items, store_revision: self.revision() })
    }

    async fn describe_key(
        &self,
        caller: &Caller,
        message: v1::DescribeKeyRequest,
    ) -> Result<v1::Key, Failure> {
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let key = describe::describe_key(permit, &self.keyring);
        Ok(convert::key_to_wire(self.gate.record(key).await??))
    }

    async fn list_keys(
        &self,
        caller: &Caller,
        message: v1::ListKeysRequest,
    ) -> Result<v1::ListKeysResponse, Failure> {
        let limit = convert::page_size(message.page_size);
        let after = PageToken::read("keys", &message.page_token)?;
        let after = after.map(|after| KeyRef::try_from(&*after)).transpose()?;
        let family =
            (!message.family.is_empty()).then(|| FamilyName::try_from(&*message.family)).transpose()?;
        let permit = self.gate.authorize(caller, TenantName::try_from(&*message.tenant)?, None).await?;
        let listed = describe::list_keys(permit, &self.keyring, family, after, limit);
        let listed = self.gate.record(listed).await??;
        let next_page_token = PageToken::after("keys", &listed, limit, |key| key.name.to_string());
        Ok(v1::ListKeysResponse {
            keys: listed.into_iter().map(convert::key_to_wire).collect(),
            next_page_token,
        })
    }

    async fn list_versions(
        &self,
        caller: &Caller,
        message: v1::ListVersionsRequest,
    ) -> Result<v1::ListVersionsResponse, Failure> {
        let limit = convert::page_size(message.page_size);
        let after = match PageToken::read("versions", &message.page_token)? {
            Some(after) => after.parse().map_err(|_| PageToken::invalid())?,
            None => 0,
        };
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let listed = describe::list_versions(permit, &self.keyring, after, limit);
        let listed = self.gate.record(listed).await??;
        let next_page_token =
            PageToken::after("versions", &listed, limit, |version| version.record.version.to_string());
        Ok(v1::ListVersionsResponse {
            versions: listed.iter().map(convert::version_to_wire).collect(),
            next_page_token,
        })
    }

    async fn census(
        &self,
        caller: &Caller,
        message: v1::CensusRequest,
    ) -> Result<v1::CensusResponse, Failure> {
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let counted = census::census(permit, &self.keyring).await;
        let versions = self.gate.record(counted).await??;
        let versions = versions.into_iter().map(convert::use_to_wire).collect();
        Ok(v1::CensusResponse { versions, days_kept: census::DAYS_KEPT })
    }

    async fn update_key(&self, caller: &Caller, message: v1::UpdateKeyRequest) -> Result<v1::Key, Failure> {
        let mutation = self.key_mutation(caller, Operation::UpdateKey, &message)?;
        let update = change_key::Update {
            lease: convert::lease(message.lease)?,
            rotate_every: self.rotation_period(message.rotate_every)?,
        };
        let purposes = message.purposes.map(|list| purposes(&list.purposes)).transpose()?;
        let names = (&*message.tenant, &*message.key);
        let key = self.entry(caller, Operation::UpdateKey, names, None).await?;
        let permit = self.gate.authorize(caller, KeyUpdate { key, purposes }, None).await?;
        let changed =
            change_key::update(permit, &self.keyring, update, message.expected_revision, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(changed).await??))
    }

    async fn rotate_key(&self, caller: &Caller, message: v1::RotateKeyRequest) -> Result<v1::Key, Failure> {
        let mutation = self.key_mutation(caller, Operation::RotateKey, &message)?;
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let (deterministic, expected) = (message.deterministic, message.expected_revision);
        let changed = rotate_key::rotate_key(permit, &self.keyring, deterministic, expected, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(changed).await??))
    }

    async fn suspend_key(&self, caller: &Caller, message: v1::SuspendKeyRequest) -> Result<v1::Key, Failure> {
        let mutation = self.key_mutation(caller, Operation::SuspendKey, &message)?;
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let changed = change_key::suspend(permit, &self.keyring, message.expected_revision, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(changed).await??))
    }

    async fn resume_key(&self, caller: &Caller, message: v1::ResumeKeyRequest) -> Result<v1::Key, Failure> {
        let mutation = self.key_mutation(caller, Operation::ResumeKey, &message)?;
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let changed = change_key::resume(permit, &self.keyring, message.expected_revision, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(changed).await??))
    }

    async fn destroy_key(
        &self,
        caller: &Caller,
        message: v1::DestroyKeyRequest,
    ) -> Result<v1::DestroyKeyResponse, Failure> {
        use v1::destroy_key_request::Target;
        let mutation = self.key_mutation(caller, Operation::DestroyKey, &message)?;
        let window = convert::window(message.window)?;
        let which = match message.target {
            Some(Target::Version(number)) if number > 0 => Which::Version { number, force: message.force },
            Some(Target::All(true)) => Which::All,
            _ => return Err(Failure::message(Reason::FieldRequired, "name a version from 1, or set `all`")),
        };
        let request = destroy_key::Request {
            reason: convert::destroy_reason(message.reason)?,
            ticket: ticket(&message.ticket)?,
            expected_revision: message.expected_revision,
        };
        let names = (&*message.tenant, &*message.key);
        let key = self.entry(caller, Operation::DestroyKey, names, None).await?;
        let permit = self.gate.authorize(caller, KeyDestruction { key, window }, None).await?;
        let destroyed = match window.is_zero() {
            true => destroy_key::destroy_key(permit, &self.keyring, which, request, mutation).await,
            false => {
                let (keyring, running) = (&self.keyring, &self.running);
                schedule_key::schedule_key(permit, keyring, running, which, request, mutation).await
            }
        };
        let destroy_key::Destroyed { key, versions, epoch, effaced } = self.gate.record(destroyed).await??;
        Ok(v1::DestroyKeyResponse {
            key: Some(convert::key_to_wire(key)),
            destroyed_versions: versions,
            epoch: epoch.0,
            effaced,
        })
    }

    async fn cancel_destroy_key(
        &self,
        caller: &Caller,
        message: v1::CancelDestroyKeyRequest,
    ) -> Result<v1::Key, Failure> {
        use v1::cancel_destroy_key_request::Target;
        let mutation = self.key_mutation(caller, Operation::CancelDestroyKey, &message)?;
        let number = match message.target {
            Some(Target::Version(number)) if number > 0 => Some(number),
            Some(Target::All(true)) => None,
            _ => return Err(Failure::message(Reason::FieldRequired, "name a version from 1, or set `all`")),
        };
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let expected = message.expected_revision;
        let cancelled =
            schedule_key::cancel_destroy_key(permit, &self.keyring, number, expected, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(cancelled).await??))
    }

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

/// A request that changes a key.
trait ChangesKey: Message + Clone {
    fn request_id(&self) -> &str;
    fn tenant(&self) -> &str;
    fn key(&mut self) -> &mut String;
}

macro_rules! changes_key {
    ($($message:ident)+) => {$(
        impl ChangesKey for v1::$message {
            fn request_id(&self) -> &str {
                &self.request_id
            }
            fn tenant(&self) -> &str {
                &self.tenant
            }
            fn key(&mut self) -> &mut String {
                &mut self.key
            }
        }
    )+};
}

changes_key! {
    CreateKeyRequest UpdateKeyRequest RotateKeyRequest SuspendKeyRequest ResumeKeyRequest DestroyKeyRequest CancelDestroyKeyRequest
}

impl Core {
    /// Which request this is, for one that names a key.
    // ATTACK: the digest is stored, and beside it the rest of what it was made of: a guess at a subject's name could be tested with it.
    // So the name goes in as what stands for it in the store.
    fn key_mutation(
        &self,
        caller: &Caller,
        operation: Operation,
        message: &impl ChangesKey,
    ) -> Result<Mutation, Failure> {
        let mut message = message.clone();
        let name = KeyName::try_from(&**message.key());
        if let Ok(Some((family, subject))) = name.as_ref().map(|name| Some((name.family(), name.subject()?)))
        {
            let tenant = self.keyring.tenant(message.tenant());
            let hash = tenant.and_then(|tenant| self.keyring.index_of(&tenant, family, subject));
            *message.key() = match hash {
                Ok(hash) => format!("{family}/{}", hex::encode(hash)),
                // There is nothing to change.
                Err(LookupError::NotThere) => family.to_string(),
                Err(error) => return Err(error.into()),
            };
        }
        let request_id = message.request_id().to_owned();
        mutation(caller, operation, &request_id, &message)
    }
}

/// Which request this is: its id, and a digest of all it says.
fn mutation(
    caller: &Caller,
    operation: Operation,
    request_id: &str,
    message: &impl Message,
) -> Result<Mutation, Failure> {
    if request_id.is_empty() {
        return Err(Failure::required("request_id"));
    }
    let id = convert::request_id(request_id)?;
    Ok(Mutation::new(caller, operation, id, Sha256::digest(message.encode_to_vec()).into()))
}

fn ticket(text: &str) -> Result<Option<Ticket>, Failure> {
    let invalid =
        |error: crate::audit::entry::BadReference| Failure::message(Reason::FieldInvalid, error.to_string());
    (!text.is_empty()).then(|| Ticket::try_from(text).map_err(invalid)).transpose()
}

fn label(label: String) -> Result<String, Failure> {
    if label.len() > MAX_LABEL || label.chars().any(char::is_control) {
        let message = format!("`label` takes at most {MAX_LABEL} bytes and no control characters");
        return Err(Failure::message(Reason::FieldInvalid, message));
    }
    Ok(label)
}

fn purposes(list: &[String]) -> Result<Arc<[Arc<str>]>, Failure> {
    if list.len() > MAX_PURPOSES {
        let message = format!("a key takes at most {MAX_PURPOSES} purposes, not {}", list.len());
        return Err(Failure::message(Reason::FieldInvalid, message));
    }
    list.iter()
        .map(|purpose| match purpose.len() {
            1..=crate::policy::MAX_PURPOSE => Ok(Arc::from(purpose.as_str())),
            _ => Err(Failure::message(
                Reason::FieldInvalid,
                format!("a purpose has 1 to {} bytes", crate::policy::MAX_PURPOSE),
            )),
        })
        .collect()
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
