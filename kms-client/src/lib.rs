//! The key centre's client: connections, every call of the API, data keys under lease, and field encryption with them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kms_client::{Kms, Profile};
//!
//! let kms = Kms::connect(Profile::load("profiles/attendance.toml")?).await?;
//! for tenant in kms.list_tenants_page(Default::default()).await?.items {
//!     println!("{}", tenant.name);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - [`Profile`]: where the key centre is, whom to trust, the certificate to show.
//! - `connect`: TLS 1.3, several HTTP/2 connections, new ones when the certificates change.
//! - `call`: one call with its id, deadline and retries; [`Error`]: what can go wrong.
//! - [`api`]: every call of the API as a method of [`Kms`].
//! - `clock`: CLOCK_BOOTTIME, which leases are counted on.
//!
//! What this crate never does: decide policy, use a data key after its lease, put plaintext or keys into errors and logs.

pub mod api;
mod call;
mod clock;
mod connect;
mod error;
mod kms;
mod profile;

pub use connect::ConnectProblem;
pub use error::{Error, Refused};
pub use kms::{Builder, Kms};
pub use profile::{Profile, ProfileError};

pub use kms_core::{
    id::{CommitNumber, DataKeyId, TenantSlot, Uid, VersionId},
    names::{ColumnName, Context, ContextName, KeyName, NameError, RecordId, TableName, TenantName},
    secret::Plaintext,
    state::{DestroyReason, KeyClass, LifecycleState},
};
pub use kms_proto::reason::Reason;
