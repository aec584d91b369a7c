//! One index of one column.

use kms_core::{
    blind_index::Bits,
    names::{ColumnName, TableName},
};

use crate::error::Error;

/// One index of one column: its place, its name and its length. All four enter what it computes, for ever; names are those at creation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IndexedColumn {
    table: TableName,
    column: ColumnName,
    name: ColumnName,
    bits: Bits,
}

impl IndexedColumn {
    /// The index `name` of a column, of 1 to 256 bits. Fewer bits tell a thief of the database less and bring more rows that do not
    /// match: of R rows with distinct values a search brings R / 2^bits beside its own; good are 2 to √R.
    ///
    /// # Errors
    /// Where a name is empty or longer than 128 bytes, or no index has so many bits.
    pub fn new(table: &str, column: &str, name: &str, bits: u16) -> Result<Self, Error> {
        let bits = Bits::new(bits).map_err(|_| Error::Unsupported("a blind index has 1 to 256 bits"))?;
        Ok(Self { table: table.parse()?, column: column.parse()?, name: name.parse()?, bits })
    }

    /// The table.
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// The column.
    pub fn column(&self) -> &ColumnName {
        &self.column
    }

    /// The index's own name: a column can have several, which then tell nothing of each other.
    pub fn name(&self) -> &ColumnName {
        &self.name
    }

    /// How many bits it has.
    pub fn bits(&self) -> Bits {
        self.bits
    }
}
