//! What a derive says of its table: names, modes, indexes, masks. Data, so that a review can read it and `kms` compare it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Text that a derive wrote, or that was read from JSON.
pub(super) type Text = Cow<'static, str>;

/// A table with protected columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Its name in key derivation and authenticated data, which outlives a rename. Masks mean this one.
    pub table: Text,
    /// Its name in the database.
    pub stored_as: Text,
    /// The key, or the family of the subjects' keys, under which its columns are sealed where they say nothing else.
    pub key: Text,
    /// The column that names the tenant.
    pub tenant: Text,
    /// The columns that tell a row from others, in the order in which they are bound.
    pub bind: Cow<'static, [Text]>,
    /// The column whose value names the subject, where each has a key of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Text>,
    /// The protected columns.
    pub columns: Cow<'static, [ColumnSchema]>,
}

/// A protected column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSchema {
    /// Its name in key derivation and authenticated data, which outlives a rename. Masks mean this one.
    pub name: Text,
    /// Its name in the database.
    pub column: Text,
    /// How new values are sealed.
    pub mode: Mode,
    /// What type of column holds it.
    pub storage: Storage,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Its key, where that is not the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text>,
    /// The class that its key has, as `L3`: under one of another class rows are not sealed, nor opened once the server said its class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Text>,
    /// The form that those see who may only reveal. The server's `policies/masks.toml` counts; `kms` compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Text>,
    /// The most that the column holds: characters of text, or bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_len: Option<u32>,
    /// Its index for equality search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexSchema>,
    /// The last day, UTC, on which a value that was never sealed is taken: `2027-01-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_plaintext_until: Option<Text>,
    /// How values were sealed before.
    #[serde(default, skip_serializing_if = "<[Previous]>::is_empty")]
    pub previous: Cow<'static, [Previous]>,
}

/// How values are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Two seals of one value differ, and a value opens in its own row only.
    Encrypt,
    /// Equal values stay equal, and open in every row of the column.
    Deterministic,
}

/// What type of column holds a sealed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// `BYTEA`, `BLOB`, `VARBINARY`.
    Bytes,
    /// `TEXT`, `VARCHAR`: `kf1.` and base64url.
    Text,
}

/// A blind-index column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSchema {
    /// Its name in the database.
    pub column: Text,
    /// Its name in key derivation.
    pub name: Text,
    /// The index key.
    pub key: Text,
    /// How many bits it keeps.
    pub bits: u16,
    /// What counts as equal: the name of a normalizer.
    pub normalize: Text,
}

/// An older scheme whose values still open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Previous {
    /// The table's name in key derivation; the present one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Text>,
    /// The column's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<Text>,
    /// The key, or family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text>,
    /// How they were sealed; as now where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Its key was everybody's, in a table whose subjects have a key each now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

impl Schema {
    /// The column of a name in the database.
    pub fn column(&self, column: &str) -> Option<&ColumnSchema> {
        self.columns.iter().find(|known| known.column == column)
    }
}
