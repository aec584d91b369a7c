//! Which columns a run keeps current: sealed ones, and the blind indexes beside them.

use kms_core::{field::Kind, names::KeyName, secret::Plaintext, state::KeyClass};
use time::{Date, OffsetDateTime};

use super::row::{Cell, Row};
use crate::{
    index::{IndexedColumn, Normalizer},
    protect::Storage,
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

/// Where and how values are sealed, or were.
#[derive(Debug, Clone)]
pub(super) struct Scheme {
    pub(super) column: Column,
    /// The key, or the family of the subjects' keys.
    pub(super) key: KeyName,
    /// Whether the key is everybody's, also where rows have a subject.
    pub(super) shared: bool,
}

/// A sealed column.
#[derive(Debug, Clone)]
pub(super) struct SealedColumn {
    /// As the database names it.
    pub(super) stored_as: String,
    /// How its values are to be sealed.
    pub(super) now: Scheme,
    /// What its schema says of them besides, where there is one.
    pub(super) described: Option<Described>,
}

/// What a schema says of a column's values.
#[derive(Debug, Clone)]
pub(super) struct Described {
    /// How they were sealed before, the newest first.
    pub(super) older: Vec<Scheme>,
    /// The last day, UTC, on which a value that was never sealed is taken.
    pub(super) plaintext_until: Option<Date>,
    /// The class that the present key should be of.
    pub(super) class: Option<KeyClass>,
    /// In what form the application reads them.
    pub(super) storage: Storage,
    /// The most that the column holds.
    pub(super) max_len: Option<u32>,
}

/// The same as the database sees them: names.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnNames {
    pub(super) sealed: Vec<String>,
    /// Of each of those the form, where a schema says it.
    pub(super) storage: Vec<Option<Storage>>,
    pub(super) indexes: Vec<String>,
    /// Whether rows that are written are of several kinds.
    pub(super) counts_apart: bool,
}

impl ColumnNames {
    pub(super) fn of(sealed: &[SealedColumn], indexes: &[IndexColumn]) -> Self {
        Self {
            sealed: sealed.iter().map(|column| column.stored_as.clone()).collect(),
            storage: sealed.iter().map(|column| Some(column.described.as_ref()?.storage)).collect(),
            indexes: indexes.iter().map(|index| index.stored_as.clone()).collect(),
            counts_apart: !indexes.is_empty() || sealed.iter().any(SealedColumn::is_migrating),
        }
    }

    /// Sealed columns first, in the order of a row's cells.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.sealed.iter().chain(&self.indexes)
    }
}

impl Scheme {
    /// The key that it seals a row's value under; `None` where the row names no subject that has one.
    pub(super) fn key_of(&self, row: &Row) -> Option<KeyName> {
        if self.shared { Some(self.key.clone()) } else { row.key_under(&self.key) }
    }

    pub(super) fn has_key_of(&self, other: &Self) -> bool {
        (&self.key, self.shared) == (&other.key, other.shared)
    }
}

impl SealedColumn {
    fn older(&self) -> impl Iterator<Item = &Scheme> {
        self.described.iter().flat_map(|described| &described.older)
    }

    /// The schemes in which a value of this kind may have been sealed, the present one first. Where nothing describes the column, its
    /// mode may have changed.
    // ATTACK: a deterministic value is bound to no row. Sealed anew for the row in which it was put it would pass for that row's: where
    // the schema can say that there are such values, it has to.
    pub(super) fn schemes(&self, kind: Kind) -> impl Iterator<Item = &Scheme> {
        let deterministic = kind == Kind::Deterministic;
        let takes_any = self.described.is_none();
        let all = std::iter::once(&self.now).chain(self.older());
        all.filter(move |scheme| takes_any || scheme.column.is_deterministic() == deterministic)
    }

    /// Whether its values may be of an older scheme, or never sealed.
    pub(super) fn is_migrating(&self) -> bool {
        let takes_plaintext = |described: &Described| described.plaintext_until.is_some();
        self.older().next().is_some() || self.described.as_ref().is_some_and(takes_plaintext)
    }

    /// Whether a value of an older scheme can have the header of a current one: sealed under the same key, for other names.
    pub(super) fn header_says_too_little(&self) -> bool {
        let mode = self.now.column.is_deterministic();
        self.older().any(|older| older.has_key_of(&self.now) && older.column.is_deterministic() == mode)
    }

    /// Whether a value may be under another key than the present one.
    pub(super) fn had_another_key(&self) -> bool {
        self.older().any(|older| self.is_under_another_key(older))
    }

    /// Whether that is so of the values of this scheme.
    pub(super) fn is_under_another_key(&self, scheme: &Scheme) -> bool {
        !scheme.has_key_of(&self.now)
    }

    /// Whether a value that was never sealed is taken today; where it was once, the last day on which it was.
    // ATTACK: whoever writes to the database can write plaintext; until the date it is believed, and sealed as if it had been so ever.
    pub(super) fn takes_plaintext(&self) -> Result<bool, Date> {
        match self.described.as_ref().and_then(|described| described.plaintext_until) {
            None => Ok(false),
            Some(until) if OffsetDateTime::now_utc().date() <= until => Ok(true),
            Some(until) => Err(until),
        }
    }

    /// In what form a value is written that takes the place of this cell's.
    pub(super) fn form(&self, cell: &Cell) -> Storage {
        match (&self.described, cell) {
            (Some(described), _) => described.storage,
            (None, Cell::Text(_)) => Storage::Text,
            (None, _) => Storage::Bytes,
        }
    }

    /// The most that it holds, where a value of this length is more.
    pub(super) fn holds_less_than(&self, len: usize) -> Option<u32> {
        let most = self.described.as_ref()?.max_len?;
        (len > usize::try_from(most).unwrap_or(usize::MAX)).then_some(most)
    }
}

impl IndexColumn {
    /// A value as its index is made of it. What is no text has one form already.
    pub(super) fn normalized(&self, value: &[u8]) -> Plaintext {
        self.normalizer.normalize_bytes(value)
    }
}
