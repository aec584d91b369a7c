//! What a caller learns of a failure: one `match` from facts to status, reason and words. No text of a dependency gets out.

use kms_core::names::NameError;
use kms_core::state::UnknownWord;
use kms_proto::reason::Reason;
use kms_proto::refusal;
use tonic::Status;

use crate::audit::Unavailable;
use crate::gate::Denied;
use crate::keyring::LookupError;
use crate::usecase::open::OpenRefused;
use crate::usecase::refused::Refused;

/// Why a call gets a status instead of a reply.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The message says something it may not.
    #[error("{message}")]
    Message {
        /// The code.
        reason: Reason,
        /// What is wrong and what to do.
        message: String,
    },
    /// The gate said no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The use case could not be done.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The result could not be recorded.
    #[error(transparent)]
    Audit(#[from] Unavailable),
}

impl Failure {
    /// A message that says something it may not.
    pub fn message(reason: Reason, message: impl Into<String>) -> Self {
        Self::Message { reason, message: message.into() }
    }

    /// A field that the call needs.
    pub fn required(field: &'static str) -> Self {
        Self::message(Reason::FieldRequired, format!("`{field}` is required"))
    }

    /// An item of a batch that no use case answered for: a fault of ours.
    pub(super) fn unanswered() -> Self {
        Self::message(Reason::Internal, Reason::Internal.words())
    }

    /// What the caller reads.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Audit(_) | Self::Denied(Denied::Audit(_)) => Reason::AuditUnavailable.words().to_owned(),
            other => other.to_string(),
        }
    }

    /// The code that programs may depend on.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Message { reason, .. } => *reason,
            Self::Denied(denied) => denied.reason(),
            Self::Audit(_) => Reason::AuditUnavailable,
            Self::Refused(refused) => refused.reason(),
        }
    }

    /// The status, with the reason and the request id in its details.
    pub fn status(&self, request_id: &str) -> Status {
        let reason = self.reason();
        let retry_after = match self {
            Self::Denied(Denied::RateLimited { retry_after }) => Some(*retry_after),
            _ => reason.is_retryable().then_some(super::RETRY_AFTER),
        };
        if matches!(reason, Reason::Internal | Reason::StoreUnavailable) {
            tracing::error!(request_id, reason = reason.as_str(), error = %Chain(self), "call failed");
        }
        refusal::status(reason, self.words(), Some(request_id), retry_after)
    }
}

/// An error with its sources, for the operator's log.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut error = self.0;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}

impl From<OpenRefused> for Failure {
    fn from(refused: OpenRefused) -> Self {
        match refused {
            OpenRefused::OtherKey => Self::Denied(Denied::KeyNotAccessible),
            OpenRefused::Refused(refused) => Self::Refused(refused),
        }
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NotThere => Self::Denied(Denied::KeyNotAccessible),
            other => Self::Refused(other.into()),
        }
    }
}

impl From<NameError> for Failure {
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
        Self::message(reason, error.to_string())
    }
}

impl From<UnknownWord> for Failure {
    fn from(error: UnknownWord) -> Self {
        Self::message(Reason::FieldInvalid, error.to_string())
    }
}
