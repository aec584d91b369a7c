//! Which columns a run keeps current: sealed ones, and the blind indexes beside them.

use kms_core::{names::KeyName, secret::Plaintext};

use crate::{
    index::{IndexedColumn, Normalizer},
    records::Column,
};

/// A blind-index column, which a run makes anew from the sealed column beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexColumn {
    /// As the database names it. It holds bytes.
    pub stored_as: String,
    /// The sealed column that it indexes, as the database names that; the run has to name that column too.
    pub of: String,
    /// The index key.
    pub key: KeyName,
    /// The index: its table, column, name and length.
    pub index: IndexedColumn,
    /// What counts as equal.
    pub normalizer: Normalizer,
}

/// A sealed column.
#[derive(Debug, Clone)]
pub(super) struct SealedColumn {
    /// As the database names it.
    pub(super) stored_as: String,
    pub(super) column: Column,
    /// The key, or the family of the subjects' keys.
    pub(super) key: KeyName,
}

/// The same as the database sees them: names.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnNames {
    pub(super) sealed: Vec<String>,
    pub(super) indexes: Vec<String>,
}

impl ColumnNames {
    /// Sealed columns first, in the order of a row's cells.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.sealed.iter().chain(&self.indexes)
    }
}

impl IndexColumn {
    /// A value as its index is made of it. What is no text has one form already.
    pub(super) fn normalized(&self, value: &[u8]) -> Plaintext {
        self.normalizer.normalize_bytes(value)
    }
}
