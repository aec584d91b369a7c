//! Makes keys, families, and the keys of subjects: by name, or for all of a list that have none.

use std::sync::Arc;

use kms_core::id::VersionId;
use kms_core::names::{KeyName, SubjectName, TenantName};
use kms_proto::reason::Reason;
use kms_proto::v1;

use super::request::purposes;
use crate::gate::Caller;
use crate::gate::target::NewKey;
use crate::keyring::LookupError;
use crate::operation::Operation;
use crate::rpc::Core;
use crate::rpc::batch::Batch;
use crate::rpc::convert::{self, MAX_IDS};
use crate::rpc::status::Failure;
use crate::usecase::mutation::Mutation;
use crate::usecase::{create_key, subjects};

impl Core {
    pub(super) async fn create_key(
        &self,
        caller: &Caller,
        message: v1::CreateKeyRequest,
    ) -> Result<v1::Key, Failure> {
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

    pub(super) async fn ensure_subjects(
        &self,
        caller: &Caller,
        message: v1::EnsureSubjectsRequest,
    ) -> Result<v1::EnsureSubjectsResponse, Failure> {
        use v1::ensure_subjects_response::{Item, Subject, item::Outcome};
        convert::batch(message.subjects.len(), MAX_IDS, std::iter::empty())?;
        let purpose = (!message.purpose.is_empty()).then_some(&*message.purpose);
        let parsed = message.subjects.iter().map(|subject| Ok(SubjectName::try_from(&**subject)?));
        let mut batch = Batch::new(parsed, |_| ());
        let groups = batch.take_groups_to_ask();
        for group in &groups {
            let permit = self.permit(caller, (&message.tenant, &message.family), purpose).await?;
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
}
