//! Data keys under lease: held no longer than the server said, fetched once however many ask, renewed ahead of their end.
//!
//! # Layout
//! - `held`: one lease, its key; what it may still do. `columns`: the ciphers prepared from it. `index`: the same of blind indexes.
//! - `revocable`: keys and ciphers, used by many threads without a lock and taken away from all by one.
//! - `budget`: how many seals a field key may still make.
//! - `store`: the leases at hand, and the one fetch that all who miss one wait for.
//! - `fetch`: the call that brings leases; nothing enters that is not exactly what was asked for.
//! - `keeper`: renews what is in use, wipes what has ended.
//! - `class`: which classes keys are of.
//! - `setback`: how long to leave a server alone that did not answer.
//! - `watch`: hears what becomes of keys; `purge`: wipes what that ends, and keeps it from coming back.
//! - `report`: how many seals were made, told to the server with the next fetch.
//!
//! Denials are never remembered. A renewal that the server denies ends the lease at once; one that merely fails does not.

mod budget;
mod class;
mod columns;
#[cfg(test)]
mod counted;
mod fetch;
mod held;
mod index;
mod keeper;
#[cfg(test)]
mod outage;
mod purge;
mod report;
mod revocable;
mod setback;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use kms_core::{
    id::{DataKeyId, VersionId},
    names::{KeyName, TenantName},
};

pub(crate) use columns::{Ciphers, Prepared};
pub(crate) use held::{Lease, Stop};
pub(crate) use index::IndexKeys;
pub(crate) use keeper::keep;
pub(crate) use store::Leases;

/// What every lease of one fetch has in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) tenant: TenantName,
    /// Policy attribute; empty for none.
    pub(crate) purpose: Arc<str>,
}

/// A lease that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Want {
    pub(crate) scope: Scope,
    pub(crate) what: What,
}

/// To seal or to open: policy tells them apart, so one is never used for the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// The current data key of a named key.
    Seal { key: KeyName, deterministic: bool },
    /// The data key that a ciphertext names.
    Open { version: VersionId, data_key: DataKeyId },
    /// The same of a subject's key, which is named: from a version alone the server does not know whose it is.
    OpenNamed { key: KeyName, version: VersionId, data_key: DataKeyId },
    /// Every live version of a named index key.
    Index { key: KeyName },
}
