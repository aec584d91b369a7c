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

    /// The purpose that policy sees: what the value is bound to, or else what the caller states; empty for none.
    pub fn purpose_or<'a>(&'a self, stated: &'a str) -> Option<&'a str> {
        self.purpose().or((!stated.is_empty()).then_some(stated))
    }

    /// Which column the value stands in: of a context the pairs `table` and `column`, with which clients bind what the server seals
    /// for them. Authenticated either way: a value does not open with another.
    pub fn column(&self) -> Option<(TableName, ColumnName)> {
        match self {
            Self::Direct(context) => {
                let text = |name| std::str::from_utf8(context.value(name)?).ok();
                Some((text("table")?.parse().ok()?, text("column")?.parse().ok()?))
            }
            Self::Field(FieldBinding { table, column, .. }) => Some((table.clone(), column.clone())),
        }
    }
}
