//! A schema made ready once: names parsed, older schemes and dates looked at.

use kms_core::{
    field::{Header, Kind},
    names::KeyName,
    state::KeyClass,
};
use kms_proto::reason::Reason;
use time::Date;

use super::{ColumnSchema, FieldProblem, IndexSchema, Mode, Previous, ProtectError, Schema, migrate};
use crate::{Column, Error, IndexedColumn, Normalizer};

/// What sealing and opening need of a schema. The derive keeps one for each struct.
#[derive(Debug)]
pub struct Layout {
    pub(super) schema: &'static Schema,
    pub(super) columns: Vec<LaidColumn>,
    /// The keys and families that the columns name, each once; [`Scheme::key`] points here.
    pub(super) keys: Vec<KeyName>,
}

/// One protected column.
#[derive(Debug)]
pub(super) struct LaidColumn {
    pub(super) schema: &'static ColumnSchema,
    pub(super) now: Scheme,
    pub(super) older: Vec<Scheme>,
    pub(super) plaintext_until: Option<Date>,
    /// The class that its present key should be of.
    pub(super) class: Option<KeyClass>,
    pub(super) index: Option<LaidIndex>,
}

/// The index of a column.
#[derive(Debug)]
pub(super) struct LaidIndex {
    pub(super) column: IndexedColumn,
    pub(super) key: KeyName,
    pub(super) normalizer: Normalizer,
}

/// Where and how values are sealed, or were.
#[derive(Debug, Clone)]
pub(super) struct Scheme {
    pub(super) column: Column,
    /// Which of [`Layout::keys`].
    pub(super) key: usize,
    /// Whether the key is everybody's, also where rows have a subject.
    pub(super) shared: bool,
}

impl Layout {
    /// Parses a schema's names.
    ///
    /// # Errors
    /// Where a name breaks the rules of names, or there is no such index; a derive has checked both.
    pub fn new(schema: &'static Schema) -> Result<Self, Error> {
        let mut keys = Vec::new();
        let columns = schema.columns.iter().map(|column| LaidColumn::new(schema, column, &mut keys));
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, schema, keys })
    }

    pub(super) fn error(&self, column: usize, problem: impl Into<FieldProblem>) -> ProtectError {
        ProtectError::new(&self.schema.stored_as, &self.columns[column].schema.column, problem)
    }
}

impl Scheme {
    pub(super) fn has_key_of(&self, other: &Self) -> bool {
        (self.key, self.shared) == (other.key, other.shared)
    }
}

impl LaidColumn {
    fn new(
        schema: &'static Schema,
        column: &'static ColumnSchema,
        keys: &mut Vec<KeyName>,
    ) -> Result<Self, Error> {
        let mut scheme = |previous: &Previous| {
            let table = previous.table.as_ref().unwrap_or(&schema.table);
            let name = previous.column.as_ref().unwrap_or(&column.name);
            let key = previous.key.as_ref().or(column.key.as_ref()).unwrap_or(&schema.key);
            let column = match previous.mode.unwrap_or(column.mode) {
                Mode::Encrypt => Column::randomized(table, name),
                Mode::Deterministic => Column::deterministic(table, name),
            }?;
            let key: KeyName = key.parse()?;
            let place = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                keys.push(key);
                keys.len() - 1
            });
            Ok::<_, Error>(Scheme { column, key: place, shared: previous.shared })
        };
        let now = scheme(&Previous::default())?;
        let older = column.previous.iter().map(scheme).collect::<Result<_, _>>()?;
        let plaintext_until = column.allow_plaintext_until.as_deref().and_then(migrate::date);
        let unknown = |_| Error::Unsupported("a class that this release does not have");
        let class = column.class.as_ref().map(|class| class.parse().map_err(unknown)).transpose()?;
        let index = column.index.as_ref();
        let index = index.map(|index| LaidIndex::new(&schema.table, &column.name, index)).transpose()?;
        Ok(Self { schema: column, now, older, plaintext_until, class, index })
    }

    /// Whether a value was sealed deterministically, where the column takes values of its mode.
    // ATTACK: a deterministic value is not bound to its row; in a column whose values are, it would open anywhere.
    pub(super) fn mode_of(&self, ciphertext: &[u8]) -> Result<bool, FieldProblem> {
        let malformed = |_| Error::Value { reason: Reason::CiphertextMalformed };
        let deterministic = Header::parse(ciphertext).map_err(malformed)?.kind == Kind::Deterministic;
        match self.schemes(deterministic).next() {
            Some(_) => Ok(deterministic),
            None => Err(FieldProblem::OtherMode),
        }
    }

    /// The schemes in which a value may have been sealed, newest first, that are of its kind.
    pub(super) fn schemes(&self, deterministic: bool) -> impl Iterator<Item = &Scheme> {
        let all = std::iter::once(&self.now).chain(&self.older);
        all.filter(move |scheme| scheme.column.is_deterministic() == deterministic)
    }
}

impl LaidIndex {
    fn new(table: &str, column: &str, index: &IndexSchema) -> Result<Self, Error> {
        let unknown = |_| Error::Unsupported("an index with a normalizer that this release does not have");
        Ok(Self {
            column: IndexedColumn::new(table, column, &index.name, index.bits)?,
            key: index.key.parse()?,
            normalizer: index.normalize.parse().map_err(unknown)?,
        })
    }

    /// A value as its index is made of it.
    pub(super) fn normalized(&self, encoded: &[u8]) -> kms_core::secret::Plaintext {
        self.normalizer.normalize_bytes(encoded)
    }
}
