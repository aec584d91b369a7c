//! What the store holds: typed keys to and from bytes, one byte prefix a table, in one key space.
//!
//! Values are messages of `kms.storage.v1`. Keys order as bytes: numbers are big-endian, a name that is followed by more ends in a
//! zero byte, which no name contains.
//!
//! # Layout
//! - this file: what a table is, and what of a change caches must forget.
//! - `tenants`, `keys`, `versions`, [`uses`], `requests`, `due`: the tables; [`tree`]: those of the erasure tree, which only
//!   `erasure` writes.
//! - [`key_ref`]: what a key is called in all of them; [`value`]: fields of records to domain types and back.

mod due;
pub mod key_ref;
mod keys;
mod requests;
mod tenants;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod uses;
pub mod value;
mod versions;

use kms_core::id::{TenantSlot, VersionId};
use kms_core::names::TenantName;

pub use due::{Due, DueKey, RunningTimes, Work};
pub use key_ref::KeyRef;
pub use keys::{KeyGroup, Keys, Subjects, leave_settings, take_settings};
pub use requests::{RequestKey, RequestTimes, Requests};
pub use tenants::{Tenants, TenantsBySlot};
pub use value::{
    Damaged, class, class_number, millis, name, reason, reason_number, state, state_number, uid,
};
pub use versions::{DataKeyIds, VersionNumbers, Versions, version_id};

/// Layout of the records written by this version of the server.
pub const SCHEMA: u32 = 1;

/// A table: the records under one prefix.
pub trait Table: 'static {
    /// Names one record.
    type Key: Clone;
    /// Names records that are listed together, in order of their keys.
    type Group;
    /// The message stored.
    type Value: prost::Message + Default + 'static;
    /// First byte of every key.
    const PREFIX: u8;
    /// The table's name in errors.
    const NAME: &'static str;

    /// Appends the key without its prefix.
    fn write_key(key: &Self::Key, out: &mut Vec<u8>);
    /// Appends what every key of a group starts with, without the prefix.
    fn write_group(group: &Self::Group, out: &mut Vec<u8>);
    /// Reads a key without its prefix; `None` where it is none of this table.
    fn parse_key(bytes: &[u8]) -> Option<Self::Key>;
    /// What caches must forget when this record changes.
    fn touched(_key: &Self::Key) -> Option<Touched> {
        None
    }
}

/// A record with its key.
pub type Row<T> = (<T as Table>::Key, <T as Table>::Value);

/// The key of a record as stored.
pub fn key_bytes<T: Table>(key: &T::Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.push(T::PREFIX);
    T::write_key(key, &mut bytes);
    bytes
}

/// What the stored keys of a group start with.
pub fn group_bytes<T: Table>(group: &T::Group) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.push(T::PREFIX);
    T::write_group(group, &mut bytes);
    bytes
}

/// Reads a stored key back.
pub fn parse_key<T: Table>(bytes: &[u8]) -> Option<T::Key> {
    let (prefix, key) = bytes.split_first()?;
    (*prefix == T::PREFIX).then(|| T::parse_key(key)).flatten()
}

/// What a commit changed, for those who keep copies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Touched {
    /// What a tenant's name stands for.
    TenantName(TenantName),
    /// A tenant's record: its state, its label.
    Tenant(TenantSlot),
    /// A tenant that was destroyed, with everything it owned.
    DestroyedTenant(TenantSlot),
    /// A key: state, active version, lease, purposes.
    Key(TenantSlot, KeyRef),
    /// One version, made or destroyed; nothing else of one ever changes.
    Version(VersionId),
}
