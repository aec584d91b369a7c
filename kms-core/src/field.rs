//! KF1: what a sealed value looks like, in a database column or in a reply.
//!
//! ```text
//! randomized   4B 01 | version id u64 | data-key id u32 | nonce 12 | AES-256-GCM(32 zero bytes || plaintext) | tag 16   +74
//! deterministic 4B 02 | version id u64 | data-key id u32 = 0 | AES-256-SIV(plaintext)                                   +30
//! direct       4B 03 | version id u64 | data-key id u32, top bit | nonce 12 | as randomized | tag 16                    +74
//! ```
//!
//! The header is the key's address: opening never tries keys in turn. The 32 zero bytes make AES-GCM commit to its key (2^128).
//! They do not make it commit to the context, and AES-SIV commits to nothing. Each kind has a cipher of its own, prepared once
//! and shared by threads; none of them takes a nonce, or knows who may call it.

mod committing;
mod deterministic;
mod direct;
mod header;
mod randomized;
pub mod text;

pub use deterministic::DeterministicCipher;
pub use direct::DirectCipher;
pub use header::{FormatError, Header, Kind};
pub(crate) use header::{read, write};
pub use randomized::FieldCipher;

use crate::{
    id::DataKeyId,
    kdf::extend_length_prefixed,
    names::{ColumnName, TableName, TenantName},
};

/// Label of the data that is authenticated with a column's values.
const CONTEXT_LABEL: &[u8] = b"kms/field/v1";

/// Where a value lives, but for its row. These names enter key derivation for ever: a rename is a label elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    /// The tenant whose data it is.
    pub tenant: &'a TenantName,
    /// The table.
    pub table: &'a TableName,
    /// The column.
    pub column: &'a ColumnName,
}

impl Column<'_> {
    /// `LP(tenant) || LP(table) || LP(column)`
    pub(crate) fn length_prefixed(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for name in [self.tenant.as_str(), self.table.as_str(), self.column.as_str()] {
            extend_length_prefixed(&mut out, name.as_bytes());
        }
        out
    }
}

/// Why a value could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The operating system gave no randomness for a nonce.
    #[error("the operating system gave no random bytes for a nonce")]
    Random(#[source] getrandom::Error),
    /// A data-key id that this kind never has: what is sealed under it would not open.
    #[error("data-key id {0} does not seal values of this kind")]
    DataKey(DataKeyId),
    /// Longer than AES-GCM takes.
    #[error("the value is too long to seal as one; seal it as a file")]
    TooLong,
}

/// Why a value did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not sealed by this product, or cut.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Another key, another record, column, table or tenant, another context, or changed bytes.
    // ATTACK: one face for all of them: an error that told them apart would answer guesses.
    #[error("the value does not open here: another key or place, or changed bytes")]
    DoesNotOpen,
}

#[cfg(test)]
mod tests;
