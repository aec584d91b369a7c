//! The key centre's client: connections, every call of the API, data keys under lease, and field encryption with them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kms_client::{Column, Kms, Profile, RecordId};
//!
//! let kms = Kms::connect(Profile::load("profiles/attendance.toml")?).await?;
//! let records = kms.records(&"acme".parse()?, &"attendance".parse()?);
//! let (phone, row) = (Column::randomized("checkins", "phone")?, RecordId::try_from(&b"row-17"[..])?);
//! let sealed = records.seal(&phone, &row, b"138 0013 8000").await?;
//! assert_eq!(records.open(&phone, &row, &sealed).await?.as_bytes(), b"138 0013 8000");
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - [`Profile`]: where the key centre is, whom to trust, the certificate to show.
//! - `connect`: TLS 1.3, several HTTP/2 connections, new ones when the certificates change.
//! - `call`: one call with its id, deadline and retries; [`Error`]: what can go wrong.
//! - [`api`]: every call of the API as a method of [`Kms`].
//! - `lease`: data keys held under a lease: never past it, one fetch at a time, renewed ahead.
//! - [`Records`]: seals and opens values of (table, column, record id), singly and in batches.
//! - [`Indexes`]: blind indexes of values, to find equal ones by, under every live version of an index key.
//! - [`reseal`](mod@reseal): re-seals the columns of a table in place, so that an older version can be destroyed (features `sqlite`,
//!   `postgres`).
//! - [`protect`]: whole structs, with `#[derive(Protect)]`.
//! - `clock`: CLOCK_BOOTTIME, which leases are counted on.
//! - `testing`: a key centre in memory, for tests of your own code (feature `testing`).
//!
//! # Memory
//! Keys, data keys and opened values are wiped when they are dropped. A value on its way to or from the server (`Encrypt`,
//! `Decrypt`, class L4) is not: the messages are plain Protocol Buffers, and gRPC and TLS copy them into buffers of their own. A
//! service that wants none of it to stay behind in freed memory takes an allocator that wipes what it frees, as `kms` does:
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);
//! ```
//!
//! What this crate never does: decide policy, use a data key after its lease, put plaintext or keys into errors and logs.

// The derive names this crate from outside; the unit tests use it inside.
#[cfg(test)]
extern crate self as kms_client;

pub mod api;
mod call;
mod clock;
mod connect;
mod error;
mod index;
mod kms;
mod lease;
mod profile;
pub mod protect;
mod records;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod reseal;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use api::Masked;
pub use connect::{ConnectProblem, Seen};
pub use error::{Error, Refused};
pub use index::{IndexVersions, IndexedColumn, Indexes, Normalizer, ToIndex, UnknownNormalizer};
pub use kms::{Builder, Kms};
pub use profile::{Profile, ProfileError};
pub use records::{Column, ColumnSealer, DataKeyLease, Pause, Records, ToOpenField, ToSealField};

#[cfg(feature = "derive")]
pub use kms_client_derive::Protect;
pub use kms_core::{
    field::text,
    id::{CommitNumber, DataKeyId, TenantSlot, Uid, VersionId},
    mask::MaskForm,
    names::{
        ColumnName, Context, ContextName, FamilyName, KeyName, NameError, RecordId, SubjectName, TableName,
        TenantName,
    },
    secret::Plaintext,
    state::{DestroyReason, KeyClass, LifecycleState},
};
pub use kms_proto::reason::Reason;
