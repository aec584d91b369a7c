//! What can go wrong for a caller of this crate, by whose turn it is to act.
//!
//! Never carries plaintext, keys or context values: only names, reasons and the request id.

use std::{sync::Arc, time::Duration};

use kms_core::{
    names::{KeyName, NameError},
    state::KeyClass,
};
use kms_proto::{reason::Reason, refusal, v1};
use tonic::Code;

use crate::{connect::ConnectProblem, profile::ProfileError};

/// Why a call did not do what it should.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The profile, or a file it names, is wrong.
    #[error(transparent)]
    Profile(Arc<ProfileError>),
    /// A name breaks the rules of names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No server answered, or none that could be trusted.
    #[error("{}", unreachable(endpoint, problem))]
    Unreachable {
        /// Where it should be.
        endpoint: Arc<str>,
        /// What happened.
        problem: Arc<ConnectProblem>,
        /// The call it happened to; empty where it happened before any.
        request_id: Arc<str>,
    },
    /// The server was reached but did not answer in time.
    #[error(
        "the key centre did not answer within {within:?} (request {request_id}); a change may still have happened"
    )]
    TimedOut {
        /// How long was waited.
        within: Duration,
        /// The call.
        request_id: Arc<str>,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(Arc<Refused>),
    /// One value, and only it, does not seal or open; found on this side.
    #[error("{}", reason.words())]
    Value {
        /// Why, in the words the server would use.
        reason: Reason,
    },
    /// The value was sealed under another key than was named. The caller may use that key, for the server says which it is only to
    /// those who may.
    #[error("it was sealed under key `{sealed_under}`, and not under `{named}`")]
    OtherKey {
        /// The key that opens it.
        sealed_under: Box<KeyName>,
        /// The key that was to open it.
        named: Box<KeyName>,
    },
    /// The column says in its derive that its key is of another class than the server says it is of.
    #[error(
        "the column declares class {declared}, and its key `{key}` is of class {actual}; declare {actual}, or name a key of class {declared} and the present one in `previous(key = ..)`"
    )]
    OtherClass {
        /// The key.
        key: Box<KeyName>,
        /// What the column declares.
        declared: KeyClass,
        /// What the key is of, for as long as it lives.
        actual: KeyClass,
    },
    /// The server answered something this release does not understand.
    #[error("the key centre's answer cannot be used: {what} (request {request_id})")]
    Answer {
        /// What is wrong with it.
        what: &'static str,
        /// The call.
        request_id: Arc<str>,
    },
    /// Asked for something that cannot be had together.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The operating system gave no randomness, or a cipher failed.
    #[error("sealing failed on this machine: {0}")]
    Local(&'static str),
}

/// A refusal by the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    reason: Option<Reason>,
    word: Box<str>,
    message: Box<str>,
    code: Code,
    request_id: Arc<str>,
    retry_after: Option<Duration>,
}

impl Refused {
    /// The gRPC status code.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl Error {
    /// Why, where this release knows the reason.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(refused) => refused.reason,
            Self::Value { reason } => Some(*reason),
            Self::OtherKey { .. } => Some(Reason::CiphertextRejected),
            Self::Name(_) => Some(Reason::NameInvalid),
            Self::Unreachable { problem, .. } if problem.is_about_us() => Some(Reason::IdentityMissing),
            Self::Unreachable { .. } => Some(Reason::ServerUnreachable),
            Self::TimedOut { .. } => Some(Reason::DeadlineExceeded),
            Self::OtherClass { .. }
            | Self::Profile(_)
            | Self::Answer { .. }
            | Self::Unsupported(_)
            | Self::Local(_) => None,
        }
    }

    /// The reason as a word for programs; never empty.
    pub fn reason_word(&self) -> &str {
        match self {
            Self::Refused(refused) => &refused.word,
            Self::Profile(_) => "PROFILE_INVALID",
            Self::OtherClass { .. } => "OTHER_CLASS",
            Self::Answer { .. } => "ANSWER_INVALID",
            Self::Unsupported(_) => "UNSUPPORTED",
            Self::Local(_) => "LOCAL_FAILURE",
            known => known.reason().map_or("UNKNOWN", Reason::as_str),
        }
    }

    /// The id under which the server's log and audit show the call; `None` where no call was made.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(&*refused.request_id),
            Self::Unreachable { request_id, .. }
            | Self::TimedOut { request_id, .. }
            | Self::Answer { request_id, .. } => Some(&**request_id),
            _ => None,
        }
        .filter(|id| !id.is_empty())
    }

    /// Whether the same call can succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { problem, .. } => problem.may_pass(),
            Self::Refused(refused) => match refused.reason {
                Some(reason) => reason.is_retryable(),
                None => refused.code == Code::Unavailable || refused.retry_after.is_some(),
            },
            Self::TimedOut { .. } => true,
            _ => false,
        }
    }

    /// Whether the server has decided, about us or about what was named, and not merely failed: what it had granted before ends.
    pub(crate) fn is_decision(&self) -> bool {
        use Reason as R;
        match (self.reason(), self) {
            // In place of an answer the server's TLS refused our certificate: revoked, expired.
            (Some(reason), Self::Refused(_) | Self::Unreachable { .. }) => matches!(
                reason,
                R::KeyNotAccessible
                    | R::TenantNotAccessible
                    | R::PolicyDenied
                    | R::IdentityMissing
                    | R::KeySuspended
                    | R::KeyDeactivated
                    | R::KeyDestroyed
                    | R::TenantSuspended
                    | R::TenantDestroyed
                    | R::VersionNotFound
                    | R::ClassReleasesNoDataKeys
                    | R::KeyUseMismatch
                    | R::ServerOwnDataKey
                    | R::CiphertextRejected
            ),
            // A newer server may have a reason that we do not know, but a state or a denial keeps its code.
            (None, Self::Refused(refused)) => matches!(
                refused.code,
                Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition | Code::NotFound
            ),
            _ => false,
        }
    }

    /// Whether there was no answer, or none in time, and another try can find one.
    pub(crate) fn is_setback(&self) -> bool {
        self.is_retryable() || self.reason() == Some(Reason::DeadlineExceeded)
    }

    /// How long the server asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) => refused.retry_after,
            _ => None,
        }
    }

    /// Whether this concerns one value only, so that others of the same batch can be fine.
    pub fn is_about_one_value(&self) -> bool {
        match self {
            Self::Value { .. } | Self::OtherKey { .. } => true,
            Self::Refused(_) => matches!(
                self.reason(),
                Some(
                    Reason::CiphertextMalformed
                        | Reason::CiphertextRejected
                        | Reason::KeyDestroyed
                        | Reason::KeyNotAccessible
                        | Reason::VersionNotFound
                        | Reason::PayloadTooLarge
                )
            ),
            _ => false,
        }
    }

    /// What the command line exits with.
    pub fn exit_code(&self) -> u8 {
        match (self.reason(), self) {
            (Some(reason), _) => reason.exit_code(),
            (None, Self::Refused(refused)) => exit_code_of(refused.code),
            (None, Self::Profile(_) | Self::Unsupported(_) | Self::OtherClass { .. }) => 2,
            (None, _) => 1,
        }
    }

    /// A refusal of one item of a batch.
    pub(crate) fn item(item: v1::ItemError, request_id: &Arc<str>) -> Self {
        let reason: Option<Reason> = item.reason.parse().ok();
        let code = Code::from(item.code);
        Self::Refused(Arc::new(Refused {
            message: in_words(reason, code, &item.message),
            word: word(reason, Some(item.reason), code),
            reason,
            code,
            request_id: request_id.clone(),
            retry_after: None,
        }))
    }

    /// A status that the server sent.
    pub(crate) fn refused(status: &tonic::Status, request_id: &Arc<str>) -> Self {
        let read = refusal::read(status);
        Self::Refused(Arc::new(Refused {
            message: in_words(read.reason, status.code(), status.message()),
            word: word(read.reason, read.word, status.code()),
            reason: read.reason,
            code: status.code(),
            request_id: read.request_id.map_or_else(|| request_id.clone(), Arc::from),
            retry_after: read.retry_after,
        }))
    }
}

impl From<ProfileError> for Error {
    fn from(error: ProfileError) -> Self {
        Self::Profile(Arc::new(error))
    }
}

/// Only where nobody answered was nobody reached.
fn unreachable(endpoint: &str, problem: &ConnectProblem) -> String {
    match problem.has_answered() {
        true => format!("the key centre at `{endpoint}`: {problem}"),
        false => format!("the key centre at `{endpoint}` cannot be reached: {problem}"),
    }
}

fn word(known: Option<Reason>, sent: Option<String>, code: Code) -> Box<str> {
    match (known, sent) {
        (Some(reason), _) => reason.as_str().into(),
        (None, Some(sent)) if !sent.is_empty() => sent.into(),
        _ => format!("GRPC_{code:?}").to_uppercase().into(),
    }
}

fn in_words(reason: Option<Reason>, code: Code, message: &str) -> Box<str> {
    match (reason, message) {
        (Some(reason), "") => reason.words().into(),
        (None, "") => code.description().into(),
        (_, message) => message.into(),
    }
}

fn exit_code_of(code: Code) -> u8 {
    match code {
        Code::PermissionDenied | Code::Unauthenticated => 5,
        Code::Unavailable => 6,
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_reason_request_id_and_wait() {
        let wait = Duration::from_millis(300);
        let status = refusal::status(Reason::RateLimited, "slow down", Some("id-9"), Some(wait));
        let error = Error::refused(&status, &"mine".into());
        assert_eq!(error.reason(), Some(Reason::RateLimited));
        assert_eq!((error.request_id(), error.retry_after()), (Some("id-9"), Some(wait)));
        assert!(error.is_retryable());
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("slow down", 1));
    }

    #[test]
    fn a_reason_of_a_newer_server_keeps_its_word_and_falls_back_on_the_code() {
        let details = tonic_types::ErrorDetails::with_error_info("TOO_EARLY", "kms", []);
        let status = <tonic::Status as tonic_types::StatusExt>::with_error_details(
            Code::PermissionDenied,
            "",
            details,
        );
        let error = Error::refused(&status, &"mine".into());
        assert_eq!((error.reason(), error.reason_word()), (None, "TOO_EARLY"));
        assert_eq!((error.exit_code(), error.request_id()), (5, Some("mine")));
        assert!(!error.is_retryable());
    }

    #[test]
    fn a_server_that_is_away_has_decided_nothing_and_one_that_takes_our_certificate_no_more_has() {
        let unreachable = |problem| Error::Unreachable {
            endpoint: "https://a:1".into(),
            problem: Arc::new(problem),
            request_id: "".into(),
        };
        assert!(unreachable(ConnectProblem::IdentityRefused("CertificateRevoked".into())).is_decision());
        for problem in [ConnectProblem::TimedOut, ConnectProblem::Lost, ConnectProblem::Network("x".into())] {
            assert!(!unreachable(problem).is_decision());
        }
        let timed_out = Error::TimedOut { within: Duration::ZERO, request_id: "".into() };
        assert!(!timed_out.is_decision() && timed_out.is_setback());
        assert!(!Error::Value { reason: Reason::CiphertextRejected }.is_decision(), "found on this side");
    }

    #[test]
    fn exit_codes_are_those_of_the_command_line() {
        let unreachable = Error::Unreachable {
            endpoint: "https://a:1".into(),
            problem: Arc::new(ConnectProblem::TimedOut),
            request_id: "".into(),
        };
        assert_eq!((unreachable.exit_code(), unreachable.request_id()), (6, None));
        assert!(unreachable.to_string().contains("cannot be reached: no connection"), "{unreachable}");
        let refused = Error::Unreachable {
            endpoint: "https://a:1".into(),
            problem: Arc::new(ConnectProblem::IdentityRefused("expired".into())),
            request_id: "".into(),
        };
        assert_eq!(refused.exit_code(), 5);
        assert!(refused.to_string().starts_with("the key centre at `https://a:1`: the server refuses our"));
        assert!(!refused.is_retryable());
        let profile = Error::from(ProfileError::Endpoint { endpoint: "x".into(), problem: "is not a URL" });
        assert_eq!((profile.exit_code(), profile.reason_word()), (2, "PROFILE_INVALID"));
    }
}
