//! The end of a version or key: now, or once a window has passed in which it can be called off.

use kms_proto::reason::Reason;
use kms_proto::v1;

use super::request::ticket;
use crate::gate::Caller;
use crate::gate::target::KeyDestruction;
use crate::operation::Operation;
use crate::rpc::status::Failure;
use crate::rpc::{Core, convert};
use crate::usecase::destroy_key::{self, Which};
use crate::usecase::schedule_key;

impl Core {
    pub(super) async fn destroy_key(
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

    pub(super) async fn cancel_destroy_key(
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
}
