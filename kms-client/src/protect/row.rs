//! The traits that `#[derive(Protect)]` implements, and what passes through them: values in the order of the schema's columns.

use std::fmt;

use kms_core::secret::Plaintext;

use super::{
    BlindIndexValue, ColumnSchema, Encoded, FieldProblem, Layout, Place, ProtectError, Schema, Sealed,
    SealedText, codec::Codec,
};
use crate::{Error, records::Results};

/// A struct some of whose fields are protected. Implemented by `#[derive(Protect)]`.
pub trait Protect: Sized {
    /// What the database reads and writes in its place.
    type Sealed: SealedRow<Plain = Self>;
    /// The table.
    const SCHEMA: &'static Schema;

    /// The table made ready.
    fn layout() -> &'static Result<Layout, Error>;

    /// Whose row it is, and which.
    ///
    /// # Errors
    /// Where its fields cannot name that.
    fn place(&self) -> Result<Place, ProtectError>;

    /// Hands over the protected values.
    fn plaintexts<'a>(&'a self, values: &mut Plaintexts<'a>);

    /// The twin: the sealed values beside the fields that are not protected.
    ///
    /// # Errors
    /// Where a sealed value does not fit its column.
    fn sealed(&self, values: &mut SealedValues<'_>) -> Result<Self::Sealed, ProtectError>;
}

/// The sealed twin of a struct. Implemented by `#[derive(Protect)]`.
pub trait SealedRow: Sized {
    /// The struct.
    type Plain: Protect<Sealed = Self>;
    /// The columns of the table, in the order of the twin's fields.
    const COLUMNS: &'static [&'static str];

    /// Whose row it is, and which.
    ///
    /// # Errors
    /// Where its fields cannot name that.
    fn place(&self) -> Result<Place, ProtectError>;

    /// Hands over what stands in the protected columns.
    fn ciphertexts<'a>(&'a self, values: &mut Ciphertexts<'a, '_>);

    /// The struct: the opened values beside the fields that are not protected.
    ///
    /// # Errors
    /// Where an opened value is none of its field's type.
    fn opened(self, values: &mut OpenedRow<'_>) -> Result<Self::Plain, ProtectError>;
}

/// Values on their way to be sealed.
#[derive(Debug, Default)]
pub struct Plaintexts<'a> {
    /// Row after row, the columns of each; `None` is NULL, or a value that has a problem.
    pub(super) values: Vec<Option<Encoded<'a>>>,
    /// Where among the values, and which.
    pub(super) problems: Vec<(usize, FieldProblem)>,
}

impl<'a> Plaintexts<'a> {
    pub(super) fn with_capacity(values: usize) -> Self {
        Self { values: Vec::with_capacity(values), problems: Vec::new() }
    }

    /// The value of the next column.
    pub fn push(&mut self, value: Result<Encoded<'a>, FieldProblem>) {
        self.push_optional(Some(value));
    }

    /// The value of the next column, or NULL.
    pub fn push_optional(&mut self, value: Option<Result<Encoded<'a>, FieldProblem>>) {
        let value = value.transpose().unwrap_or_else(|problem| {
            self.problems.push((self.values.len(), problem));
            None
        });
        self.values.push(value);
    }
}

/// What a column holds.
#[derive(Clone, Copy)]
pub(crate) enum Stored<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
    Null,
}

/// Where values go that are to be opened.
pub struct Ciphertexts<'a, 't>(pub(super) &'t mut dyn FnMut(Stored<'a>));

impl fmt::Debug for Ciphertexts<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ciphertexts(..)")
    }
}

// Of a table that moves over from plaintext it may be a value that was never sealed.
impl fmt::Debug for Stored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "<{} bytes>", bytes.len()),
            Self::Text(text) => write!(f, "<{} characters>", text.len()),
            Self::Null => f.write_str("NULL"),
        }
    }
}

impl<'a> Ciphertexts<'a, '_> {
    /// The next column's value.
    pub fn push_bytes(&mut self, value: Option<&'a Sealed>) {
        (self.0)(value.map_or(Stored::Null, |value| Stored::Bytes(value.as_bytes())));
    }

    /// The next column's value.
    pub fn push_text(&mut self, value: Option<&'a SealedText>) {
        (self.0)(value.map_or(Stored::Null, |value| Stored::Text(value.as_str())));
    }
}

/// One row's sealed values and blind indexes, taken in the order of the columns.
pub struct SealedValues<'a> {
    schema: &'static Schema,
    values: std::slice::IterMut<'a, Option<Result<Vec<u8>, Error>>>,
    columns: std::slice::Iter<'static, ColumnSchema>,
    indexes: std::slice::IterMut<'a, Option<Vec<u8>>>,
}

impl fmt::Debug for SealedValues<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedValues").field("table", &self.schema.stored_as).finish_non_exhaustive()
    }
}

impl<'a> SealedValues<'a> {
    /// `indexes` has a place for each indexed column, `values` one for each column: nothing where the value is NULL.
    pub(super) fn new(
        schema: &'static Schema,
        values: &'a mut Results<Vec<u8>>,
        indexes: &'a mut [Option<Vec<u8>>],
    ) -> Self {
        Self {
            schema,
            values: values.iter_mut(),
            columns: schema.columns.iter(),
            indexes: indexes.iter_mut(),
        }
    }

    /// The next column's value.
    ///
    /// # Errors
    /// Where it was not sealed, or is longer than the column.
    pub fn bytes(&mut self) -> Result<Option<Sealed>, ProtectError> {
        let Some((value, column)) = self.next()? else { return Ok(None) };
        self.fits(column, value.len())?;
        Ok(Some(Sealed::from(value)))
    }

    /// The next column's value.
    ///
    /// # Errors
    /// Where it was not sealed, or is longer than the column.
    pub fn text(&mut self) -> Result<Option<SealedText>, ProtectError> {
        let Some((value, column)) = self.next()? else { return Ok(None) };
        let text = SealedText::of(&value);
        self.fits(column, text.as_str().len())?;
        Ok(Some(text))
    }

    /// The next index.
    pub fn index(&mut self) -> Option<BlindIndexValue> {
        self.indexes.next()?.take().map(BlindIndexValue::from)
    }

    /// For a column that is never NULL.
    ///
    /// # Errors
    /// Where there is nothing.
    pub fn required<T>(&self, value: Option<T>, column: &str) -> Result<T, ProtectError> {
        value.ok_or_else(|| ProtectError::new(&self.schema.stored_as, column, FieldProblem::Null))
    }

    fn next(&mut self) -> Result<Option<(Vec<u8>, &'static ColumnSchema)>, ProtectError> {
        let (Some(value), Some(column)) = (self.values.next(), self.columns.next()) else { return Ok(None) };
        let value = value.take().transpose().map_err(|error| self.wrong(column, error))?;
        Ok(value.map(|value| (value, column)))
    }

    fn fits(&self, column: &ColumnSchema, len: usize) -> Result<(), ProtectError> {
        match column.max_len {
            Some(max) if len > max as usize => Err(self.wrong(column, FieldProblem::TooLong { len, max })),
            _ => Ok(()),
        }
    }

    fn wrong(&self, column: &ColumnSchema, problem: impl Into<FieldProblem>) -> ProtectError {
        ProtectError::new(&self.schema.stored_as, &column.column, problem)
    }
}

/// One row's opened values, taken in the order of the columns.
#[derive(Debug)]
pub struct OpenedRow<'a> {
    schema: &'static Schema,
    values: std::slice::IterMut<'a, Option<Result<Plaintext, Error>>>,
    columns: std::slice::Iter<'static, ColumnSchema>,
}

impl<'a> OpenedRow<'a> {
    /// `values` has a place for each column: nothing where it is NULL.
    pub(super) fn new(schema: &'static Schema, values: &'a mut Results<Plaintext>) -> Self {
        Self { schema, values: values.iter_mut(), columns: schema.columns.iter() }
    }

    /// The next column's value.
    ///
    /// # Errors
    /// Where it does not open, is none of the field's type, or there is none.
    pub fn required<T>(&mut self, codec: impl Codec<T>) -> Result<T, ProtectError> {
        let (value, column) = (self.values.next().and_then(Option::take), self.columns.next());
        let value = value.ok_or(FieldProblem::Null).and_then(|value| codec.decode(value?));
        value.map_err(|problem| self.wrong(column, problem))
    }

    /// The next column's value, or NULL.
    ///
    /// # Errors
    /// Where it does not open, or is none of the field's type.
    pub fn optional<T>(&mut self, codec: impl Codec<T>) -> Result<Option<T>, ProtectError> {
        let (value, column) = (self.values.next().and_then(Option::take), self.columns.next());
        let value = value.map(|value| codec.decode(value?)).transpose();
        value.map_err(|problem| self.wrong(column, problem))
    }

    fn wrong(&self, column: Option<&ColumnSchema>, problem: FieldProblem) -> ProtectError {
        ProtectError::new(&self.schema.stored_as, column.map_or("", |column| &column.column), problem)
    }
}
