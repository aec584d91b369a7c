//! What is read of a row, and what is written back.

use std::fmt;

use kms_core::{
    encoding,
    names::{KeyName, RecordId},
};
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
#[derive(Clone, PartialEq, Eq)]
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
    /// What names its subject, where each has a key of its own.
    pub(super) subject: Option<Scalar>,
    /// Those of sealed columns, then those of indexes.
    pub(super) cells: Vec<Cell>,
}

/// A row to write: for each column that matters what it must still hold, and what it is to hold then.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) id: Scalar,
    /// What binds its values and what names its subject, as they were read: in the order of [`super::table::Table::read_too`].
    // INVARIANT: a row is written only while they are that. A value that was never sealed, or is under everybody's key, stays byte for
    // byte what it was when somebody gives the row to another person: compared alone it would be sealed under the key of the first.
    pub(super) read_too: Vec<Scalar>,
    pub(super) cells: Vec<Option<Swap>>,
    pub(super) what: What,
}

/// Compare and set.
#[derive(Debug, Clone)]
pub(super) struct Swap {
    pub(super) old: Cell,
    /// `None`: it stays as it is.
    pub(super) new: Option<Cell>,
}

/// What a change is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct What {
    pub(super) reseals: bool,
    pub(super) reindexes: bool,
    /// A value was of an older scheme.
    pub(super) from_previous: bool,
    /// A value was never sealed.
    pub(super) from_plaintext: bool,
}

/// Rows that were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) resealed: u64,
    pub(super) reindexed: u64,
    pub(super) from_previous: u64,
    pub(super) from_plaintext: u64,
}

impl Written {
    /// Counts rows of one kind.
    pub(super) fn add(&mut self, rows: u64, what: What) {
        let What { reseals, reindexes, from_previous, from_plaintext } = what;
        let those = |are: bool| if are { rows } else { 0 };
        self.rows += rows;
        self.resealed += those(reseals);
        self.reindexed += those(reindexes);
        self.from_previous += those(from_previous);
        self.from_plaintext += those(from_plaintext);
    }

    /// Takes in what another transaction wrote.
    pub(super) fn take_in(&mut self, more: Self) {
        let Self { rows, resealed, reindexed, from_previous, from_plaintext } = more;
        self.rows += rows;
        self.resealed += resealed;
        self.reindexed += reindexed;
        self.from_previous += from_previous;
        self.from_plaintext += from_plaintext;
    }
}

#[cfg(feature = "postgres")]
impl What {
    /// For a database that hands it back.
    pub(super) fn to_number(self) -> i16 {
        let bits = [self.reseals, self.reindexes, self.from_previous, self.from_plaintext];
        bits.iter().rev().fold(0, |number, bit| 2 * number + i16::from(*bit))
    }

    /// From what a database handed back.
    pub(super) fn from_number(number: i16) -> Self {
        Self {
            reseals: number & 1 != 0,
            reindexes: number & 2 != 0,
            from_previous: number & 4 != 0,
            from_plaintext: number & 8 != 0,
        }
    }
}

impl Change {
    /// Nothing yet, of a row with so many cells.
    pub(super) fn of(row: &Row) -> Self {
        Self {
            id: row.id.clone(),
            read_too: row.bound.iter().chain(&row.subject).cloned().collect(),
            cells: vec![None; row.cells.len()],
            what: What::default(),
        }
    }

    /// Writes a cell, if it still holds what was read.
    pub(super) fn set(&mut self, row: &Row, at: usize, new: Cell) {
        self.cells[at] = Some(Swap { old: row.cells[at].clone(), new: Some(new) });
    }

    /// Writes the row only if this cell, too, still holds what was read.
    pub(super) fn guard(&mut self, row: &Row, at: usize) {
        self.cells[at].get_or_insert_with(|| Swap { old: row.cells[at].clone(), new: None });
    }
}

impl Cell {
    /// Characters or bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Null | Self::Other => 0,
        }
    }
}

impl Row {
    /// From what was read beside its cells: what binds it and, last, what names its subject, if rows have one.
    pub(super) fn new(id: Scalar, mut bound: Vec<Scalar>, has_subject: bool, cells: Vec<Cell>) -> Self {
        let subject = if has_subject { bound.pop() } else { None };
        Self { id, bound, subject, cells }
    }

    /// The key that its values are under, by that of the column: its subject's, where each has one.
    pub(super) fn key_under(&self, key: &KeyName) -> Option<KeyName> {
        match &self.subject {
            Some(_) => self.key_of(key),
            None => Some(key.clone()),
        }
    }

    /// The key of its subject, by that of the family.
    fn key_of(&self, family: &KeyName) -> Option<KeyName> {
        let subject = self.subject.as_ref()?;
        subject.encoded()?;
        KeyName::try_from(format!("{family}/{subject}").as_str()).ok().filter(|key| key.subject().is_some())
    }

    /// What its values are bound to; `None` where that has no record id.
    pub(super) fn record(&self) -> Option<RecordId> {
        let bound = if self.bound.is_empty() { std::slice::from_ref(&self.id) } else { &self.bound };
        let scalars: Vec<_> = bound.iter().map(Scalar::encoded).collect::<Option<_>>()?;
        encoding::record_id(&scalars).ok()
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        64 + self.cells.iter().map(Cell::len).sum::<usize>()
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

// It may be a value that was never sealed.
impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Text(text) => write!(f, "Text(<{} bytes>)", text.len()),
            Self::Bytes(bytes) => write!(f, "Bytes(<{} bytes>)", bytes.len()),
            Self::Other => f.write_str("Other"),
        }
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
        let record = Row::new(id, bound, false, Vec::new()).record();
        record.map(|record| record.as_bytes().to_vec())
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn what_a_row_is_about_comes_back_as_it_went() {
        for number in 0..16 {
            assert_eq!(What::from_number(number).to_number(), number);
        }
        let what = What { reseals: true, from_plaintext: true, ..What::default() };
        assert_eq!(what.to_number(), 9);
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

    #[test]
    fn a_subject_is_named_by_the_canonical_text_of_its_column() {
        let family = "attendance".parse().unwrap();
        let key = |subject: Scalar| {
            let row =
                Row::new(Scalar::Integer(1), vec![Scalar::Text("acme".into()), subject], true, Vec::new());
            assert_eq!(row.bound.len(), 1);
            row.key_of(&family).map(|key| key.to_string())
        };
        assert_eq!(key(Scalar::Integer(-7)).unwrap(), "attendance/-7");
        assert_eq!(key(Scalar::Text("e-17".into())).unwrap(), "attendance/e-17");
        let uuid = "00000000-0000-0000-0000-00000000000a";
        assert_eq!(key(Scalar::Uuid(Uuid::from_u128(10))).unwrap(), format!("attendance/{uuid}"));
        assert_eq!(
            key(Scalar::Bytes(Uuid::from_u128(10).as_bytes().to_vec())).unwrap(),
            format!("attendance/{uuid}")
        );
        for none in [Scalar::Null, Scalar::Real(0.5), Scalar::Bytes(vec![1]), Scalar::Text(String::new())] {
            assert_eq!(key(none), None);
        }
        assert_eq!(key(Scalar::Text("/abc".into())), None, "an id is no name");
    }
}
