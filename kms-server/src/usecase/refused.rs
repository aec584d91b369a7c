//! Why a use case was not done: facts, each with its reason code. `rpc/status.rs` makes statuses of them.

use kms_core::mask::{MaskError, MaskForm};
use kms_core::names::{ColumnName, FamilyName, TableName, TenantName};
use kms_core::state::LifecycleState;
use kms_proto::reason::Reason;

use crate::erasure::{ChangeError, CommitFailed, RecordError};
use crate::keyring::{LookupError, Unusable};
use crate::records::{Damaged, KeyRef};

/// A permitted operation that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The key neither seals nor opens.
    #[error("key `{0}` is suspended; an operator can resume it")]
    KeySuspended(KeyRef),
    /// Its tenant neither seals nor opens.
    #[error("tenant `{0}` is suspended; an operator can resume it")]
    TenantSuspended(TenantName),
    /// Nothing seals under it any more.
    #[error("key `{0}` opens but no longer seals; rotate it to seal again")]
    KeyDeactivated(KeyRef),
    /// Every version is gone.
    #[error("key `{0}` is destroyed; nothing opens what it sealed")]
    KeyDestroyed(KeyRef),
    /// It has subjects, which are used in its place.
    #[error(
        "key `{0}` is a family: it seals nothing itself and has no versions; name one of its subjects, `{0}/SUBJECT`"
    )]
    KeyIsFamily(KeyRef),
    /// It has none.
    #[error("key `{0}` is no family and has no subjects; create one with `kms key create --family`")]
    KeyIsNoFamily(KeyRef),
    /// The version is gone.
    #[error("version {version} of key `{key}` is destroyed; nothing opens what it sealed")]
    VersionDestroyed {
        /// Its key.
        key: KeyRef,
        /// Its number.
        version: u32,
    },
    /// There never was one of that number.
    #[error("key `{key}` has no version {version}; `kms key describe` lists them")]
    VersionNotFound {
        /// The key.
        key: KeyRef,
        /// The number asked for.
        version: u32,
    },
    /// Its tenant is to be destroyed.
    #[error(
        "tenant `{0}` is to be destroyed: its keys open but no longer seal; an operator can call that off"
    )]
    TenantScheduled(TenantName),
    /// The tenant is gone.
    #[error("tenant `{0}` is destroyed, and every key it had")]
    TenantDestroyed(TenantName),
    /// No such tenant.
    #[error("there is no tenant `{0}`, or policy does not let you reach it")]
    TenantNotAccessible(TenantName),
    /// Wrong key, wrong binding or forged.
    #[error("the ciphertext does not open: another key, another place or context, or it was changed")]
    CiphertextRejected,
    /// Not a ciphertext of ours.
    #[error("this is not a ciphertext of the key centre, or it was cut")]
    CiphertextMalformed,
    /// Nothing of the column is revealed.
    #[error(
        "no mask is declared for column `{column}` of table `{table}` under key `{family}`, so nothing of it is revealed"
    )]
    NoMask {
        /// The key, or its family.
        family: FamilyName,
        /// The table.
        table: TableName,
        /// The column.
        column: ColumnName,
    },
    /// Nobody knows which mask it would be.
    #[error(
        "the context has no pairs `table` and `column`, so no mask is declared for the value and nothing of it is revealed"
    )]
    NoColumn,
    /// Nothing of the value is shown.
    #[error("the mask `{form}` of the column does not fit: {error}")]
    MaskDoesNotFit {
        /// What the column's mask is for.
        form: MaskForm,
        /// What the value is not.
        error: MaskError,
    },
    /// The name is taken.
    #[error("{what} `{name}` exists already; choose another name")]
    AlreadyExists {
        /// `tenant` or `key`.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// Somebody changed it first.
    #[error("it is at revision {found}, not {expected}: somebody changed it; read it again, then decide")]
    RevisionMismatch {
        /// What the caller read.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// The request id stands for another request.
    #[error("this request id was used for another request; make a new one")]
    RequestIdReused,
    /// Its state does not allow this step.
    #[error("{what} is {state}; {todo}")]
    State {
        /// What is in that state.
        what: String,
        /// The state.
        state: LifecycleState,
        /// What can be done.
        todo: &'static str,
    },
    /// Destroying now would lose what clients seal at this moment.
    #[error(
        "clients may hold leases to seal under version {version} of `{key}`; rotate and wait for their end, or use force"
    )]
    SealingLeasesRun {
        /// The key.
        key: KeyRef,
        /// Its active version, or that of its deterministic columns.
        version: u32,
    },
    /// Values that clients used not long ago would be lost.
    #[error(
        "version {version} of `{key}` is in use: {dying}; what is still sealed under it dies with it: reseal it first (`kms reseal`), \
         and where that has said that nothing is left, or nothing shall be, use force"
    )]
    VersionInUse {
        /// The key.
        key: KeyRef,
        /// The version.
        version: u32,
        /// Which columns, and when last.
        dying: String,
    },
    /// Class L4.
    #[error("key `{0}` is of class L4 and releases no data keys; use Encrypt and Decrypt")]
    ReleasesNoDataKeys(KeyRef),
    /// Asked to seal.
    #[error("key `{0}` makes blind indexes and seals nothing; use a key that is not named `*.index`")]
    OnlyIndexes(KeyRef),
    /// Asked for a blind index.
    #[error("key `{0}` makes no blind indexes; create one named `*.index` for them")]
    MakesNoIndexes(KeyRef),
    /// A data key that the server keeps.
    #[error("the server keeps this data key to itself; open the value with Decrypt")]
    ServerOwnDataKey,
    /// A value a field may not have.
    #[error("{0}")]
    Invalid(String),
    /// The export does not reach as far as the deletion.
    #[error("{0}")]
    AuditNotExported(String),
    /// The disk is.
    #[error("the server's disk is full; an operator must make room")]
    StorageFull,
    /// The store failed.
    #[error("the store cannot be used now")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something that should not be.
    #[error("the server failed; its log names the request id")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Refused {
    /// The code that programs may depend on.
    pub fn reason(&self) -> Reason {
        match self {
            Self::KeySuspended(_) => Reason::KeySuspended,
            Self::KeyIsFamily(_) => Reason::KeyIsFamily,
            Self::KeyIsNoFamily(_) => Reason::KeyIsNoFamily,
            Self::TenantSuspended(_) => Reason::TenantSuspended,
            Self::KeyDeactivated(_) | Self::TenantScheduled(_) => Reason::KeyDeactivated,
            Self::KeyDestroyed(_) | Self::VersionDestroyed { .. } => Reason::KeyDestroyed,
            Self::VersionNotFound { .. } => Reason::VersionNotFound,
            Self::TenantDestroyed(_) => Reason::TenantDestroyed,
            Self::TenantNotAccessible(_) => Reason::TenantNotAccessible,
            Self::CiphertextRejected => Reason::CiphertextRejected,
            Self::CiphertextMalformed => Reason::CiphertextMalformed,
            Self::NoMask { .. } | Self::NoColumn => Reason::MaskNotDeclared,
            Self::MaskDoesNotFit { .. } => Reason::MaskDoesNotFit,
            Self::AlreadyExists { .. } => Reason::AlreadyExists,
            Self::RevisionMismatch { .. } => Reason::RevisionMismatch,
            Self::RequestIdReused => Reason::RequestIdReused,
            Self::State { .. } => Reason::StateForbids,
            Self::SealingLeasesRun { .. } => Reason::SealingLeasesRun,
            Self::VersionInUse { .. } => Reason::VersionInUse,
            Self::ReleasesNoDataKeys(_) => Reason::ClassReleasesNoDataKeys,
            Self::OnlyIndexes(_) | Self::MakesNoIndexes(_) => Reason::KeyUseMismatch,
            Self::ServerOwnDataKey => Reason::ServerOwnDataKey,
            Self::Invalid(_) => Reason::FieldInvalid,
            Self::AuditNotExported(_) => Reason::AuditNotExported,
            Self::StorageFull => Reason::StorageFull,
            Self::Store(_) => Reason::StoreUnavailable,
            Self::Internal(_) => Reason::Internal,
        }
    }

    /// A record that another record says must be there is not.
    pub(super) fn damaged(table: &'static str) -> Self {
        RecordError::Damaged(table).into()
    }

    /// Something that should not be.
    pub(crate) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<&Refused> for Reason {
    fn from(refused: &Refused) -> Self {
        refused.reason()
    }
}

impl From<Unusable> for Refused {
    fn from(state: Unusable) -> Self {
        match state {
            Unusable::KeySuspended(key) => Self::KeySuspended(key),
            Unusable::KeyDeactivated(key) => Self::KeyDeactivated(key),
            Unusable::OnlyIndexes(key) => Self::OnlyIndexes(key),
            Unusable::MakesNoIndexes(key) => Self::MakesNoIndexes(key),
            Unusable::KeyDestroyed(key) => Self::KeyDestroyed(key),
            Unusable::KeyIsFamily(key) => Self::KeyIsFamily(key),
            Unusable::TenantSuspended(tenant) => Self::TenantSuspended(tenant),
            Unusable::TenantScheduled(tenant) => Self::TenantScheduled(tenant),
            Unusable::TenantDestroyed(tenant) => Self::TenantDestroyed(tenant),
        }
    }
}

impl From<Damaged> for Refused {
    fn from(damaged: Damaged) -> Self {
        RecordError::from(damaged).into()
    }
}

impl From<RecordError> for Refused {
    fn from(error: RecordError) -> Self {
        LookupError::from(error).into()
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Record(error) => error.into(),
            ChangeError::Full => {
                Self::Invalid("no slot is left in the erasure tree; a slot is never used twice".into())
            }
            other => Self::internal(other),
        }
    }
}

impl From<CommitFailed<Refused>> for Refused {
    fn from(failed: CommitFailed<Refused>) -> Self {
        match failed {
            CommitFailed::Change(refused) => refused,
            CommitFailed::Write(why) if why.is_full() => Self::StorageFull,
            CommitFailed::TooLarge => {
                Self::Invalid("it changes more than one commit takes; ask for less at a time".into())
            }
            other => Self::Store(Box::new(other)),
        }
    }
}

impl From<LookupError> for Refused {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Destroyed { key, version, .. } => Self::VersionDestroyed { key, version },
            LookupError::Store(error) => Self::Store(error),
            // A permitted key whose own version cannot be found or read: the store is not what it was.
            other @ (LookupError::NotThere | LookupError::Damaged(_)) => Self::internal(other),
        }
    }
}
