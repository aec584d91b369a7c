//! Where values stand and how they are sealed.

use kms_core::{
    field,
    names::{ColumnName, Context, NameError, RecordId, TableName},
};
use kms_proto::reason::Reason;

use crate::{api::Binding, error::Error};

/// A column, and how new values of it are sealed. How a value is opened stands in the value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    table: TableName,
    column: ColumnName,
    deterministic: bool,
}

/// One value to seal.
#[derive(Clone, Copy)]
pub struct ToSealField<'a> {
    /// Of which column.
    pub column: &'a Column,
    /// Of which row.
    pub record: &'a RecordId,
    /// The value.
    pub plaintext: &'a [u8],
}

/// One value to open.
#[derive(Debug, Clone, Copy)]
pub struct ToOpenField<'a> {
    /// Of which column.
    pub column: &'a Column,
    /// Of which row.
    pub record: &'a RecordId,
    /// KF1, not its text form.
    pub ciphertext: &'a [u8],
}

impl std::fmt::Debug for ToSealField<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, record, plaintext } = self;
        f.debug_struct("ToSealField")
            .field("column", column)
            .field("record", record)
            .field("plaintext", &format_args!("<{} bytes>", plaintext.len()))
            .finish()
    }
}

impl Column {
    /// Two seals of one value differ, and a value opens in its own row only.
    ///
    /// # Errors
    /// Where a name is empty or longer than 128 bytes.
    pub fn randomized(table: &str, column: &str) -> Result<Self, NameError> {
        Ok(Self { table: table.parse()?, column: column.parse()?, deterministic: false })
    }

    /// Equal values stay equal, for search and joins: whoever reads the column sees which rows are equal.
    ///
    /// # Errors
    /// Where a name is empty or longer than 128 bytes.
    pub fn deterministic(table: &str, column: &str) -> Result<Self, NameError> {
        Ok(Self { deterministic: true, ..Self::randomized(table, column)? })
    }

    /// The table.
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// The column.
    pub fn column(&self) -> &ColumnName {
        &self.column
    }

    /// Whether equal values stay equal.
    pub fn is_deterministic(&self) -> bool {
        self.deterministic
    }

    /// What the server binds a value to that it seals itself.
    pub(super) fn direct(&self, record: &RecordId) -> Result<Binding, Error> {
        let pairs = [
            ("table", self.table.as_str().as_bytes()),
            ("column", self.column.as_str().as_bytes()),
            ("record", record.as_bytes()),
        ];
        Ok(Binding::Direct(Context::new(pairs)?))
    }

    /// What a value is bound to that was sealed in this place.
    pub(super) fn field(&self, record: &RecordId) -> Binding {
        Binding::Field { table: self.table.clone(), column: self.column.clone(), record: record.clone() }
    }
}

pub(super) fn seal_error(error: &field::SealError) -> Error {
    match error {
        field::SealError::TooLong => Error::Value { reason: Reason::PayloadTooLarge },
        field::SealError::Random(_) => Error::Local("the operating system gave no randomness"),
        field::SealError::DataKey(_) => Error::Local("the leased data key seals no values of this kind"),
    }
}

pub(super) fn open_error(error: &field::OpenError) -> Error {
    match error {
        field::OpenError::Format(_) => Error::Value { reason: Reason::CiphertextMalformed },
        field::OpenError::DoesNotOpen => Error::Value { reason: Reason::CiphertextRejected },
    }
}
