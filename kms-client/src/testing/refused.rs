//! Why the key centre says no: a reason, and words for people.

use kms_core::names::NameError;
use kms_proto::{reason::Reason, refusal, v1};
use tonic::Status;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(super) fn required(field: &str) -> Self {
        Self::new(Reason::FieldRequired, format!("`{field}` is required"))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::FieldInvalid, message)
    }

    /// What only the real server does.
    pub(super) fn not_in_memory(what: &str) -> Self {
        let message = format!(
            "the in-memory key centre of `kms_client::testing` has no {what}; test that with `kms-server dev`"
        );
        Self::new(Reason::NotBuiltYet, message)
    }

    pub(super) fn status(&self, request_id: Option<&str>) -> Status {
        refusal::status(self.reason, &*self.message, request_id, None)
    }

    pub(super) fn item(self) -> v1::ItemError {
        let (code, reason) = (self.reason.code() as i32, self.reason.as_str().to_owned());
        v1::ItemError { code, reason, message: self.message }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::new(reason, reason.words())
    }
}

impl From<NameError> for Refused {
    fn from(error: NameError) -> Self {
        let reason = match error {
            NameError::TooManyPairs(_) | NameError::DuplicatePair(_) => Reason::ContextInvalid,
            NameError::Empty { what }
            | NameError::TooLong { what, .. }
            | NameError::Character { what, .. }
                if what.starts_with("context") =>
            {
                Reason::ContextInvalid
            }
            _ => Reason::NameInvalid,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<getrandom::Error> for Refused {
    fn from(_: getrandom::Error) -> Self {
        Reason::Internal.into()
    }
}
