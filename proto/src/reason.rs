//! Why a call was refused, as one word that programs may depend on: `google.rpc.ErrorInfo.reason`, domain `kms`.
//!
//! The table below is the source; `reasons.golden` beside this crate is what the table said when it was last agreed, and a test
//! compares the two. Entries are only added: a reason never changes its status, its exit code or whether a retry helps.

use std::{fmt, str::FromStr};

use tonic::Code;

macro_rules! reasons {
    ($($name:ident $word:literal $status:ident $retry:ident $exit:literal $words:literal)*) => {
        /// Why a call was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason { $(#[doc = concat!("`", $word, "`: ", $words, ".")] $name),* }

        impl Reason {
            /// All of them, in the order of the golden file.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word that stands in `ErrorInfo`, in logs and in `-o json`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// The gRPC status that carries it.
            pub fn code(self) -> Code {
                match self { $(Self::$name => Code::$status),* }
            }

            /// Whether the same call, sent again after a while, can succeed without anybody changing anything.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$name => retry!($retry)),* }
            }

            /// What the command line exits with.
            pub fn exit_code(self) -> u8 {
                match self { $(Self::$name => $exit),* }
            }

            /// What it means, and what to do: one line, lower case, no full stop.
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words),* }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;
            fn from_str(word: &str) -> Result<Self, UnknownReason> {
                match word {
                    $($word => Ok(Self::$name),)*
                    _ => Err(UnknownReason),
                }
            }
        }
    };
}

macro_rules! retry {
    (retry) => {
        true
    };
    (final) => {
        false
    };
}

reasons! {
    // Who asks, and whether they may. One face for "no such" and "not yours".
    KeyNotAccessible "KEY_NOT_ACCESSIBLE" PermissionDenied final 5 "there is no such key, or policy does not let you use it this way"
    TenantNotAccessible "TENANT_NOT_ACCESSIBLE" PermissionDenied final 5 "there is no such tenant, or policy does not let you reach it"
    PolicyDenied "POLICY_DENIED" PermissionDenied final 5 "policy does not permit this; `kms policy explain` says what it looked at"
    IdentityMissing "IDENTITY_MISSING" Unauthenticated final 5 "the connection carries no verified identity; connect with a client certificate"

    // What was asked.
    NameInvalid "NAME_INVALID" InvalidArgument final 2 "a tenant, key, subject, table or column name breaks the rules of names"
    ContextInvalid "CONTEXT_INVALID" InvalidArgument final 2 "the context has too many pairs, a name twice, a bad name or a value that is too long"
    BindingInvalid "BINDING_INVALID" InvalidArgument final 2 "say what the value is bound to: a context, or a table, column and record id"
    FieldRequired "FIELD_REQUIRED" InvalidArgument final 2 "a field that the call needs is absent or unspecified"
    FieldInvalid "FIELD_INVALID" InvalidArgument final 2 "a field has a value that the call does not take"
    PayloadTooLarge "PAYLOAD_TOO_LARGE" InvalidArgument final 2 "a payload has more than 64 KiB, or those of one call more than 4 MiB"
    BatchTooLarge "BATCH_TOO_LARGE" InvalidArgument final 2 "the batch has more items than one call takes; split it"
    PageTokenInvalid "PAGE_TOKEN_INVALID" InvalidArgument final 2 "the page token was not made for this list; start from the first page"
    RequestIdInvalid "REQUEST_ID_INVALID" InvalidArgument final 2 "the request id of a changing call must be a UUID"
    NotBuiltYet "NOT_BUILT_YET" Unimplemented final 2 "this release does not do that yet"

    // Ciphertexts. One face for wrong key, wrong context and forged.
    CiphertextMalformed "CIPHERTEXT_MALFORMED" InvalidArgument final 1 "this is not a ciphertext of the key centre, or it was cut"
    CiphertextRejected "CIPHERTEXT_REJECTED" InvalidArgument final 1 "the ciphertext does not open: another key, another place or context, or it was changed"

    // Masked forms. Nothing of the value is shown.
    MaskNotDeclared "MASK_NOT_DECLARED" PermissionDenied final 5 "no mask is declared for the column, so nothing of it is revealed; who keeps the policies can declare one in `masks.toml`"
    MaskDoesNotFit "MASK_DOES_NOT_FIT" FailedPrecondition final 1 "the value is not what the mask of its column is for, so nothing of it is shown"

    // State of what was named.
    KeySuspended "KEY_SUSPENDED" FailedPrecondition final 1 "the key is suspended and neither seals nor opens; an operator can resume it"
    KeyDeactivated "KEY_DEACTIVATED" FailedPrecondition final 1 "the key version opens but no longer seals"
    KeyDestroyed "KEY_DESTROYED" FailedPrecondition final 1 "the key or key version is destroyed; nothing opens what it sealed"
    KeyIsFamily "KEY_IS_FAMILY" FailedPrecondition final 1 "the key is a family, which seals nothing itself and has no versions; name one of its subjects"
    KeyIsNoFamily "KEY_IS_NO_FAMILY" FailedPrecondition final 1 "the key has no subjects; an operator makes a family with `kms key create --family`"
    TenantSuspended "TENANT_SUSPENDED" FailedPrecondition final 1 "the tenant is suspended and none of its keys seal or open; an operator can resume it"
    TenantDestroyed "TENANT_DESTROYED" FailedPrecondition final 1 "the tenant is destroyed, and every key it had"
    VersionNotFound "VERSION_NOT_FOUND" NotFound final 1 "the key has no such version"
    AlreadyExists "ALREADY_EXISTS" AlreadyExists final 1 "the name is taken; choose another"
    RevisionMismatch "REVISION_MISMATCH" Aborted final 1 "somebody changed it since you read it; read it again, then decide"
    RequestIdReused "REQUEST_ID_REUSED" FailedPrecondition final 1 "the request id was used for another request; make a new one"
    StateForbids "STATE_FORBIDS" FailedPrecondition final 1 "its state does not allow this step"
    SealingLeasesRun "SEALING_LEASES_RUN" FailedPrecondition final 1 "clients hold leases to seal under this version; wait for their end, rotate first, or force"
    VersionInUse "VERSION_IN_USE" FailedPrecondition final 1 "clients said within eight days that values need this version, which die with it; reseal them first, or force"
    ClassReleasesNoDataKeys "CLASS_RELEASES_NO_DATA_KEYS" FailedPrecondition final 1 "keys of class L4 release no data keys; let the server seal and open each value"
    KeyUseMismatch "KEY_USE_MISMATCH" FailedPrecondition final 2 "keys named `*.index` make blind indexes and seal nothing, and other keys make none"
    ServerOwnDataKey "SERVER_OWN_DATA_KEY" FailedPrecondition final 1 "the server keeps this data key to itself; open the value with Decrypt"
    AuditNotExported "AUDIT_NOT_EXPORTED" FailedPrecondition final 1 "audit is deleted only after export; the head given is not the end of that segment"

    // Load, and the server's own troubles.
    RateLimited "RATE_LIMITED" ResourceExhausted retry 1 "you call faster than your limit; wait as long as the answer says"
    Overloaded "OVERLOADED" Unavailable retry 1 "the server has as many calls in hand as it takes; try again shortly"
    DeadlineExceeded "DEADLINE_EXCEEDED" DeadlineExceeded final 1 "the call was not done in time; what it changes may still happen, ask with the same request id"
    AuditUnavailable "AUDIT_UNAVAILABLE" Unavailable retry 1 "the audit cannot be written, so nothing is served; an operator must look at its disk"
    StoreUnavailable "STORE_UNAVAILABLE" Unavailable retry 1 "the store cannot be read or written; an operator must look at its disk"
    StorageFull "STORAGE_FULL" ResourceExhausted final 1 "the server's disk or the tenant's room is full; an operator must make room"
    ShuttingDown "SHUTTING_DOWN" Unavailable retry 6 "the server is stopping; connect again"
    Internal "INTERNAL" Internal final 1 "the server failed in a way it should not; its log names the request id"

    // Made by the client, never sent.
    ServerUnreachable "SERVER_UNREACHABLE" Unavailable retry 6 "no server answered at the endpoint; is it running, and do the certificates fit?"
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that this release does not know; a newer server may send one. Fall back on the status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownReason;

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reason is not one this release knows")
    }
}

impl std::error::Error for UnknownReason {}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> String {
        let mut table = String::from(
            "# Why a call was refused (`google.rpc.ErrorInfo.reason`, domain `kms`). Entries are only added.\n\
             # reason | gRPC status | retry of the same call helps | exit code of `kms` | in words\n",
        );
        for reason in Reason::ALL {
            let status = screaming(reason.code());
            let retry = if reason.is_retryable() { "retry" } else { "final" };
            let (exit, words) = (reason.exit_code(), reason.words());
            table += &format!("{reason:<27} | {status:<19} | {retry} | {exit} | {words}\n");
        }
        table
    }

    /// `PermissionDenied` as gRPC's documents write it: `PERMISSION_DENIED`.
    fn screaming(code: Code) -> String {
        let mut words = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_uppercase() && !words.is_empty() {
                words.push('_');
            }
            words.push(letter.to_ascii_uppercase());
        }
        words
    }

    #[test]
    fn the_golden_file_and_the_code_agree() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/reasons.golden");
        if std::env::var_os("KMS_REWRITE_GOLDEN").is_some() {
            std::fs::write(path, table()).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap();
        let hint = "set KMS_REWRITE_GOLDEN=1 to rewrite reasons.golden, and look at what changed";
        assert_eq!(golden, table(), "{hint}");
    }

    #[test]
    fn each_word_names_its_reason_and_no_other_word_does() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert_eq!("key_not_accessible".parse::<Reason>(), Err(UnknownReason));
    }

    #[test]
    fn exit_codes_are_those_of_the_command_line() {
        for reason in Reason::ALL {
            match reason.code() {
                Code::PermissionDenied | Code::Unauthenticated => assert_eq!(reason.exit_code(), 5),
                Code::Unavailable => assert!(matches!(reason.exit_code(), 1 | 6), "{reason}"),
                _ => assert!(matches!(reason.exit_code(), 1 | 2), "{reason}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_never_retried() {
        for reason in Reason::ALL {
            let passing = matches!(reason.code(), Code::Unavailable | Code::ResourceExhausted);
            assert!(passing || !reason.is_retryable(), "{reason}");
        }
    }
}
