//! Which request it is, and the fields that several of the messages have.

use std::sync::Arc;
use std::time::Duration;

use kms_core::names::KeyName;
use kms_proto::reason::Reason;
use kms_proto::v1;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::audit::Ticket;
use crate::gate::Caller;
use crate::keyring::LookupError;
use crate::operation::Operation;
use crate::rpc::status::Failure;
use crate::rpc::{Core, convert};
use crate::usecase::mutation::Mutation;

/// Most bytes of a label.
const MAX_LABEL: usize = 256;
/// Most purposes of a key.
const MAX_PURPOSES: usize = 16;

/// A request that changes a key.
pub(super) trait ChangesKey: Message + Clone {
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
    /// A period between rotations that is not too short.
    pub(super) fn rotation_period(
        &self,
        wire: Option<prost_types::Duration>,
    ) -> Result<Option<Duration>, Failure> {
        match convert::duration("rotate_every", wire)? {
            Some(period) if period < self.least_rotation => {
                let least = self.least_rotation.as_secs();
                let message = format!("`rotate_every` must be at least {least} s (`limits.least_rotation`)");
                Err(Failure::message(Reason::FieldInvalid, message))
            }
            period => Ok(period),
        }
    }

    /// Which request this is, for one that names a key.
    // ATTACK: the digest is stored, and beside it the rest of what it was made of: a guess at a subject's name could be tested with it.
    // So the name goes in as what stands for it in the store.
    pub(super) fn key_mutation(
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
pub(super) fn mutation(
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

/// The ticket of a destruction, where one is named.
pub(super) fn ticket(text: &str) -> Result<Option<Ticket>, Failure> {
    let invalid =
        |error: crate::audit::entry::BadReference| Failure::message(Reason::FieldInvalid, error.to_string());
    (!text.is_empty()).then(|| Ticket::try_from(text).map_err(invalid)).transpose()
}

/// A tenant's label.
pub(super) fn label(label: String) -> Result<String, Failure> {
    if label.len() > MAX_LABEL || label.chars().any(char::is_control) {
        let message = format!("`label` takes at most {MAX_LABEL} bytes and no control characters");
        return Err(Failure::message(Reason::FieldInvalid, message));
    }
    Ok(label)
}

/// Purposes that a key may be used for.
pub(super) fn purposes(list: &[String]) -> Result<Arc<[Arc<str>]>, Failure> {
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
