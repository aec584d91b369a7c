//! What is read of a row, and what is written back.

use std::fmt;

use kms_core::{encoding, names::RecordId};
use uuid::Uuid;

/// A value that tells a row from others, or that binds values to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Integer(i64),
    Text(String),
    Uuid(Uuid),
    Boolean(bool),
    /// SQLite: a UUID where there are 16 of them.
    Bytes(Vec<u8>),
    /// SQLite only, and bound to nothing.
    Real(f64),
    Null,
}

/// A cell of a column that is to be resealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Text(String),
    Bytes(Vec<u8>),
    /// SQLite lets any value stand in any column.
    Other,
}

/// A row as it was read.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: Scalar,
    /// The columns it is bound to, where that is not the id.
    pub(super) bound: Vec<Scalar>,
    pub(super) cells: Vec<Cell>,
}

/// A row to write: for each column what it must still hold, and what it is to hold then.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) id: Scalar,
    pub(super) cells: Vec<Option<Swap>>,
}

/// Compare and set.
#[derive(Debug, Clone)]
pub(super) struct Swap {
    pub(super) old: Cell,
    pub(super) new: Cell,
}

impl Row {
    /// What its values are bound to; `None` where that has no record id.
    pub(super) fn record(&self) -> Option<RecordId> {
        let bound = if self.bound.is_empty() { std::slice::from_ref(&self.id) } else { &self.bound };
        let scalars: Vec<_> = bound.iter().map(Scalar::encoded).collect::<Option<_>>()?;
        encoding::record_id(&scalars).ok()
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let cell = |cell: &Cell| match cell {
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
            Cell::Null | Cell::Other => 0,
        };
        64 + self.cells.iter().map(cell).sum::<usize>()
    }
}

impl Scalar {
    /// In the encoding that record ids are made of.
    fn encoded(&self) -> Option<encoding::Scalar<'_>> {
        Some(match self {
            Self::Integer(number) => encoding::Scalar::Integer((*number).into()),
            Self::Text(text) => encoding::Scalar::Text(text),
            Self::Uuid(uuid) => encoding::Scalar::Uuid(*uuid.as_bytes()),
            Self::Boolean(boolean) => encoding::Scalar::Boolean(*boolean),
            Self::Bytes(bytes) => encoding::Scalar::Uuid(bytes.as_slice().try_into().ok()?),
            Self::Real(_) | Self::Null => return None,
        })
    }
}

/// As reports name a row.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
            Self::Bytes(bytes) => match <[u8; 16]>::try_from(bytes.as_slice()) {
                Ok(uuid) => Uuid::from_bytes(uuid).fmt(f),
                Err(_) => write!(f, "<{} bytes>", bytes.len()),
            },
            Self::Real(real) => real.fmt(f),
            Self::Null => f.write_str("NULL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: Scalar, bound: Vec<Scalar>) -> Option<Vec<u8>> {
        let record = Row { id, bound, cells: Vec::new() }.record();
        record.map(|record| record.as_bytes().to_vec())
    }

    #[test]
    fn a_record_id_is_the_canonical_text_of_the_id_or_of_all_that_binds() {
        let uuid = Uuid::from_u128(0xA);
        let text = b"00000000-0000-0000-0000-00000000000a".to_vec();
        assert_eq!(record(Scalar::Integer(-7), vec![]), Some(b"-7".to_vec()));
        assert_eq!(record(Scalar::Text(" é".into()), vec![]), Some(" é".into()));
        assert_eq!(record(Scalar::Uuid(uuid), vec![]), Some(text.clone()));
        assert_eq!(record(Scalar::Bytes(uuid.as_bytes().to_vec()), vec![]), Some(text));
        let two = vec![Scalar::Text("acme".into()), Scalar::Integer(5)];
        assert_eq!(record(Scalar::Integer(5), two), Some(b"\0\0\0\x04acme\0\0\0\x015".to_vec()));
        for other in [Scalar::Bytes(vec![1]), Scalar::Real(0.5), Scalar::Null, Scalar::Text(String::new())] {
            assert_eq!(record(other, vec![]), None);
        }
    }
}
