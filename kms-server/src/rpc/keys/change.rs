//! Changes of a key that can be taken back: settings, a new version, suspension.

use kms_proto::v1;

use super::request::purposes;
use crate::gate::Caller;
use crate::gate::target::KeyUpdate;
use crate::operation::Operation;
use crate::rpc::status::Failure;
use crate::rpc::{Core, convert};
use crate::usecase::{change_key, rotate_key};

impl Core {
    pub(super) async fn update_key(
        &self,
        caller: &Caller,
        message: v1::UpdateKeyRequest,
    ) -> Result<v1::Key, Failure> {
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

    pub(super) async fn rotate_key(
        &self,
        caller: &Caller,
        message: v1::RotateKeyRequest,
    ) -> Result<v1::Key, Failure> {
        let mutation = self.key_mutation(caller, Operation::RotateKey, &message)?;
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let (deterministic, expected) = (message.deterministic, message.expected_revision);
        let changed = rotate_key::rotate_key(permit, &self.keyring, deterministic, expected, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(changed).await??))
    }

    pub(super) async fn suspend_key(
        &self,
        caller: &Caller,
        message: v1::SuspendKeyRequest,
    ) -> Result<v1::Key, Failure> {
        let mutation = self.key_mutation(caller, Operation::SuspendKey, &message)?;
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let changed = change_key::suspend(permit, &self.keyring, message.expected_revision, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(changed).await??))
    }

    pub(super) async fn resume_key(
        &self,
        caller: &Caller,
        message: v1::ResumeKeyRequest,
    ) -> Result<v1::Key, Failure> {
        let mutation = self.key_mutation(caller, Operation::ResumeKey, &message)?;
        let permit = self.permit(caller, (&message.tenant, &message.key), None).await?;
        let changed = change_key::resume(permit, &self.keyring, message.expected_revision, mutation).await;
        Ok(convert::key_to_wire(self.gate.record(changed).await??))
    }
}
