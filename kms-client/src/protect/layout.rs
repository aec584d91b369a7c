//! A schema made ready once: names parsed, older schemes and dates looked at.

use kms_core::names::{KeyName, NameError};
use time::Date;

use super::{ColumnSchema, Mode, Previous, ProtectError, Schema, migrate};
use crate::Column;

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
}

/// Where and how values are sealed, or were.
#[derive(Debug, Clone)]
pub(super) struct Scheme {
    pub(super) column: Column,
    /// Which of [`Layout::keys`].
    pub(super) key: usize,
}

impl Layout {
    /// Parses a schema's names.
    ///
    /// # Errors
    /// Where a name breaks the rules of names; a derive has checked them.
    pub fn new(schema: &'static Schema) -> Result<Self, NameError> {
        let mut keys = Vec::new();
        let columns = schema.columns.iter().map(|column| LaidColumn::new(schema, column, &mut keys));
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, schema, keys })
    }

    pub(super) fn error(&self, column: usize, problem: impl Into<super::FieldProblem>) -> ProtectError {
        ProtectError::new(&self.schema.stored_as, &self.columns[column].schema.column, problem)
    }
}

impl LaidColumn {
    fn new(
        schema: &'static Schema,
        column: &'static ColumnSchema,
        keys: &mut Vec<KeyName>,
    ) -> Result<Self, NameError> {
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
            Ok(Scheme { column, key: place })
        };
        let now = scheme(&Previous::default())?;
        let older = column.previous.iter().map(scheme).collect::<Result<_, _>>()?;
        let plaintext_until = column.allow_plaintext_until.as_deref().and_then(migrate::date);
        Ok(Self { schema: column, now, older, plaintext_until })
    }

    /// The schemes in which a value may have been sealed, newest first, that are of its kind.
    pub(super) fn schemes(&self, deterministic: bool) -> impl Iterator<Item = &Scheme> {
        let all = std::iter::once(&self.now).chain(&self.older);
        all.filter(move |scheme| scheme.column.is_deterministic() == deterministic)
    }
}
