//! What a line of the audit may hold: names, numbers and codes, each of its own type.
//!
//! There is no field for a plaintext, a key or a context value, and none for free text: what a caller made up reaches a line only
//! after it was parsed into a type with a rule. A subject's name is personal and never enters; its uid does (erasure.md).

use std::{
    fmt,
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use kms_core::{
    id::{CommitNumber, Epoch, Uid, VersionId},
    names::{FamilyName, TenantName},
    state::{DestroyReason, KeyClass, LifecycleState},
};
use kms_proto::reason::Reason;
use uuid::Uuid;

use crate::{identity::Identity, operation::Operation};

/// One thing that was asked of the server, and what came of it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Names the call in errors, logs and audit.
    pub request_id: &'a RequestId,
    /// Who asked: name, certificate fingerprint and key-exchange group are recorded.
    pub identity: &'a Identity,
    /// What was asked.
    pub operation: Operation,
    /// The tenant, where the call named one that parses.
    pub tenant: Option<&'a TenantName>,
    /// The key, where the call named one that parses; of `FAMILY/SUBJECT` the family.
    pub key: Option<&'a FamilyName>,
    /// The subject whose key it is, by its id.
    pub uid: Option<Uid>,
    /// The key's class, where it was resolved.
    pub class: Option<KeyClass>,
    /// Tenant and key that a `ReEncrypt` seals under.
    pub destination: Option<(&'a TenantName, &'a FamilyName)>,
    /// The key versions used, made or destroyed.
    pub versions: &'a [VersionId],
    /// What came of it.
    pub outcome: Outcome,
    /// Ids of the policies that decided, as the policy engine names them.
    pub rules: &'a [&'a str],
    /// How many items a batch had.
    pub counts: Option<Counts>,
    /// Denials of the same identity that came before this one, so fast that they were not recorded.
    pub suppressed: u64,
    /// An alarm: what was used is to be destroyed soon, and somebody still needs it.
    pub alarm: bool,
    /// What a call of the control plane changed.
    pub change: Option<Change<'a>>,
}

impl<'a> Entry<'a> {
    /// An entry that names no tenant, key, version or rule; fill in what is known.
    pub fn new(
        request_id: &'a RequestId,
        identity: &'a Identity,
        operation: Operation,
        outcome: Outcome,
    ) -> Self {
        Self {
            request_id,
            identity,
            operation,
            tenant: None,
            key: None,
            uid: None,
            class: None,
            destination: None,
            versions: &[],
            outcome,
            rules: &[],
            counts: None,
            suppressed: 0,
            alarm: false,
            change: None,
        }
    }
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Policy allowed it and it was done.
    Allowed,
    /// Policy or identity did not allow it; nothing was done.
    Denied(Reason),
    /// It was allowed, and failed.
    Failed(Reason),
}

impl Outcome {
    /// The word in the line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied(_) => "denied",
            Self::Failed(_) => "failed",
        }
    }

    /// Why not, where it was not allowed or failed.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Allowed => None,
            Self::Denied(reason) | Self::Failed(reason) => Some(reason),
        }
    }
}

/// Items of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// How many the call had.
    pub items: u32,
    /// How many of them failed.
    pub failed: u32,
}

/// What a call of the control plane changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change<'a> {
    /// The state it left the tenant, key or version in.
    pub state: Option<LifecycleState>,
    /// The epoch that committed it.
    pub epoch: Option<Epoch>,
    /// The store commit that carried it.
    pub revision: Option<CommitNumber>,
    /// Number of the key version it is about, counted from 1.
    pub version: Option<u32>,
    /// Why something was destroyed.
    pub reason: Option<DestroyReason>,
    /// The operator's ticket.
    pub ticket: Option<&'a Ticket>,
}

/// Something the server did by itself, or an operator did to it outside the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEvent {
    /// It began to serve.
    Started,
    /// It stopped in order.
    Stopped,
    /// Policies were read again and took effect.
    PoliciesReloaded,
    /// Policies on disk did not validate; the old ones stay.
    PoliciesRefused,
    /// Certificates, CAs or CRLs were read again and took effect.
    CertificatesReloaded,
    /// Those on disk do not load; the old ones stay.
    CertificatesRefused,
    /// A destruction that the last process had begun was brought to its end at the start. Its own line may be missing.
    RolledForward {
        /// The epoch that it made.
        epoch: Epoch,
        /// The store commit that ended it.
        revision: CommitNumber,
    },
    /// A destruction that was scheduled fell due and was done.
    DestructionDue {
        /// The version, key or tenant.
        uid: Uid,
        /// The epoch that destroyed it.
        epoch: Epoch,
    },
    /// A destruction that was scheduled fell due and could not be done; it is tried again.
    DestructionFailed {
        /// The version, key or tenant.
        uid: Uid,
    },
    /// A key was rotated because its period had passed.
    RotationDue {
        /// The key.
        uid: Uid,
        /// Number of its new version.
        version: u32,
    },
    /// A key whose period had passed could not be rotated; that is tried again after another period.
    RotationFailed {
        /// The key.
        uid: Uid,
    },
    /// The wall clock went forward without time passing: what is scheduled waits until somebody confirms it.
    ClockForward {
        /// How far, in milliseconds.
        forward_ms: u64,
    },
}

impl ServerEvent {
    /// The word in the line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::PoliciesReloaded => "policies-reloaded",
            Self::PoliciesRefused => "policies-refused",
            Self::CertificatesReloaded => "certificates-reloaded",
            Self::CertificatesRefused => "certificates-refused",
            Self::RolledForward { .. } => "rolled-forward",
            Self::DestructionDue { .. } => "destruction-due",
            Self::DestructionFailed { .. } => "destruction-failed",
            Self::RotationDue { .. } => "rotation-due",
            Self::RotationFailed { .. } => "rotation-failed",
            Self::ClockForward { .. } => "clock-forward",
        }
    }

    /// Whether somebody should look at it.
    pub fn is_alarm(self) -> bool {
        matches!(
            self,
            Self::DestructionFailed { .. } | Self::RotationFailed { .. } | Self::ClockForward { .. }
        )
    }
}

/// A word that breaks the rule of request ids or tickets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to 64 of {allowed}")]
pub struct BadReference {
    what: &'static str,
    allowed: &'static str,
}

macro_rules! reference {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $punctuation:pat) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// As it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = BadReference;
            fn try_from(word: &str) -> Result<Self, BadReference> {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, $punctuation);
                match word.len() {
                    1..=64 if word.bytes().all(fits) => Ok(Self(word.into())),
                    _ => Err(BadReference { what: $what, allowed: $allowed }),
                }
            }
        }

        impl FromStr for $name {
            type Err = BadReference;
            fn from_str(word: &str) -> Result<Self, BadReference> {
                Self::try_from(word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

reference!(
    /// `x-request-id`: names any call. 1 to 64 of `A-Z a-z 0-9 . _ -`.
    RequestId,
    "a request id",
    "`A-Z a-z 0-9 . _ -`",
    b'.' | b'_' | b'-'
);
reference!(
    /// A reference into the operator's ticket system. 1 to 64 of `A-Z a-z 0-9 . _ # / -`.
    Ticket,
    "a ticket",
    "`A-Z a-z 0-9 . _ # / -`",
    b'.' | b'_' | b'-' | b'#' | b'/'
);

impl RequestId {
    /// A new one, for a call that brought none: a version 7 UUID, so that they sort by time.
    pub fn fresh() -> Self {
        // One draw from the operating system a process, counted up: ids must differ, nobody needs to be unable to guess them.
        static NEXT: OnceLock<AtomicU64> = OnceLock::new();
        let seed = || AtomicU64::new(Uuid::new_v4().as_u64_pair().0);
        let number = NEXT.get_or_init(seed).fetch_add(1, Ordering::Relaxed);
        let mut tail = [0; 10];
        tail[2..].copy_from_slice(&number.to_be_bytes());
        tail[..2].copy_from_slice(&std::process::id().to_be_bytes()[2..]);
        let millis = u64::try_from(super::line::unix_millis(SystemTime::now())).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid();
        Self(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_short_word_and_never_a_text() {
        for good in ["a", "0190-ab.c_d", &"x".repeat(64), RequestId::fresh().as_str()] {
            assert!(RequestId::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "a\"", "ä", "a/b", &"x".repeat(65)] {
            assert!(RequestId::try_from(bad).is_err(), "{bad}");
        }
        assert!(Ticket::try_from("OPS-17/3#a").is_ok());
        assert!(Ticket::try_from("see above").is_err());
    }
}
