//! Every call of the API as a method of [`Kms`](crate::Kms), with names and states as types.
//!
//! # Layout
//! - [`crypto`](self): seal, open, envelope keys, random bytes.
//! - [`reveal`](self): masked forms.
//! - [`keys`](self): tenants, keys, versions; [`subjects`](self): subjects of a family.
//! - [`audit`](self), [`policy`](self): what operators and compliance ask.
//! - [`transparency`](self): the log, and certificates of destruction.
//! - `convert`: messages into types and back; the only place that reads enum numbers.

mod audit;
mod batch;
mod binding;
mod census;
mod convert;
mod crypto;
mod health;
mod keys;
mod list;
mod model;
mod policy;
mod reveal;
mod subjects;
mod tenants;
#[cfg(test)]
mod tests;
mod transparency;

pub use audit::{AuditFilter, AuditLine, DeletedAudit, ExportedChunk};
pub use binding::Binding;
pub use census::{Census, ColumnUse, Holder, SubjectsUse, VersionUse};
pub use crypto::{EnvelopeKey, Opened, ReEncrypt, ReSealed, Sealed, ToOpen, ToReEncrypt, ToSeal};
pub use health::Health;
pub use keys::{CreateKey, DestroyKey, DestroyTarget, Destroyed, RotateKey, UpdateKey};
pub use list::{Items, Page, PageRequest};
pub use model::{Change, Key, KeyVersion, Tenant};
pub use policy::{Explain, Explained};
pub use reveal::{DeclaredMask, Masked};
pub use subjects::Subject;
pub use tenants::{CreateTenant, DestroyTenant, TenantDestroyed};
pub use transparency::{Certificate, Entries, Gone, SignedCheckpoint};

pub(crate) use convert::{duration, key_class, key_name};
pub(crate) use crypto::client as crypto_client;
