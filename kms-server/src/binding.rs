//! What a ciphertext is bound to, parsed. Vocabulary.

use kms_core::names::{ColumnName, Context, RecordId, TableName};

/// The context or the place that a value was sealed for; it opens nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// A context of names and values.
    Direct(Context),
    /// A column of a row.
    Field(FieldBinding),
}

/// A column of a row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldBinding {
    /// The table's cryptographic name.
    pub table: TableName,
    /// The column's cryptographic name.
    pub column: ColumnName,
    /// The row.
    pub record: RecordId,
}

impl Binding {
    /// The policy attribute `purpose`: a context pair of that name, where its value is UTF-8.
    pub fn purpose(&self) -> Option<&str> {
        match self {
            Self::Direct(context) => std::str::from_utf8(context.value("purpose")?).ok(),
            Self::Field(_) => None,
        }
    }
}
