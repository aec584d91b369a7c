//! The operations that policy decides and the audit names: one word each, the same in proto, policy, audit and command line.

use std::{fmt, str::FromStr};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a caller wants done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation { $($(#[$doc])* $name),* }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The operation's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }

        impl FromStr for Operation {
            type Err = UnknownOperation;
            fn from_str(word: &str) -> Result<Self, UnknownOperation> {
                match word {
                    $(stringify!($name) => Ok(Self::$name),)*
                    _ => Err(UnknownOperation(word.into())),
                }
            }
        }
    };
}

operations!(
    /// Seal a value; batches too.
    Encrypt,
    /// Open a value; batches too.
    Decrypt,
    /// Open under one binding and seal under another, never shown. The destination key is authorized as `Encrypt`.
    ReEncrypt,
    /// Make an envelope key.
    GenerateDataKey,
    /// Be leased data keys to seal with.
    LeaseToSeal,
    /// Be leased data keys to open with.
    LeaseToOpen,
    /// Random bytes.
    GenerateRandom,
    /// See a masked form; batches too.
    Reveal,
    /// Create a tenant.
    CreateTenant,
    /// See one tenant.
    DescribeTenant,
    /// See the names of tenants.
    ListTenants,
    /// Change a tenant's label.
    UpdateTenant,
    /// Stop every key of a tenant.
    SuspendTenant,
    /// Undo that.
    ResumeTenant,
    /// Destroy a tenant with all its keys, now or after a window.
    DestroyTenant,
    /// Call that off.
    CancelDestroyTenant,
    /// Create a key.
    CreateKey,
    /// See that subjects of a family have keys.
    EnsureSubjects,
    /// See one key and its versions.
    DescribeKey,
    /// See the names of a tenant's keys.
    ListKeys,
    /// Change a key's lease, rotation period, purposes.
    UpdateKey,
    /// Make a new active version.
    RotateKey,
    /// Stop a key.
    SuspendKey,
    /// Undo that.
    ResumeKey,
    /// Destroy a version or all, now or after a window.
    DestroyKey,
    /// Call that off.
    CancelDestroyKey,
    /// Say that the server's clock is right although it went forward.
    ConfirmClock,
    /// Read the audit; export too.
    ReadAudit,
    /// Delete exported audit segments.
    DeleteAudit,
    /// Read the transparency log: checkpoints, proofs, entries.
    ReadLog,
    /// Hand in what witnesses say of the transparency log.
    CosignLog,
    /// Get the certificate of a key's destruction, or of one of its versions.
    CertifyKey,
    /// Get the certificate of a tenant's destruction.
    CertifyTenant,
    /// Ask what policy would decide.
    ExplainPolicy,
    /// Describe the API by gRPC reflection.
    Reflect,
);

impl Operation {
    /// Whether it changes tenants, keys or the audit: the control plane, whose lines are always synced.
    pub fn is_control_plane(self) -> bool {
        use Operation as Op;
        !matches!(
            self,
            Op::Encrypt
                | Op::Decrypt
                | Op::ReEncrypt
                | Op::GenerateDataKey
                | Op::LeaseToSeal
                | Op::LeaseToOpen
                | Op::GenerateRandom
                | Op::Reveal
                | Op::Reflect
        )
    }
}

/// A word that names no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an operation; `kms policy explain --help` lists them")]
pub struct UnknownOperation(Box<str>);

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
