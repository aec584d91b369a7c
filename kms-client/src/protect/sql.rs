//! Sealed columns as values of sqlx, whichever the database; and whole rows.
//!
//! ```no_run
//! # use kms_client::protect::{sql::{self, BindRow}, SealedRow};
//! # async fn example<S: BindRow<sqlx::Sqlite>>(pool: sqlx::SqlitePool, rows: Vec<S>) -> Result<(), sqlx::Error> {
//! for rows in rows.chunks(1_000) {
//!     sql::insert(rows)?.execute(&pool).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Reading is `sqlx::query_as::<_, SealedCheckIn>("SELECT * FROM checkins")`. The values only move bytes: nothing is sealed or opened
//! here, for the hooks of a database library cannot wait for a key.

use sqlx::{
    Arguments as _, AssertSqlSafe, Database, Decode, Encode, Error, IntoArguments, Type, ValueRef as _,
    encode::IsNull,
    error::{BoxDynError, UnexpectedNullError},
    query::Query,
};

use super::{BlindIndexValue, Protect, Sealed, SealedRow, SealedText};

macro_rules! stored_as {
    ($($name:ty as $inner:ty;)*) => {$(
        impl<DB: Database> Type<DB> for $name
        where
            $inner: Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <$inner as Type<DB>>::type_info()
            }

            fn compatible(ty: &DB::TypeInfo) -> bool {
                <$inner as Type<DB>>::compatible(ty)
            }
        }

        impl<'q, DB: Database> Encode<'q, DB> for $name
        where
            $inner: Encode<'q, DB>,
        {
            fn encode_by_ref(&self, buffer: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
                self.inner().encode_by_ref(buffer)
            }
        }

        impl<'r, DB: Database> Decode<'r, DB> for $name
        where
            $inner: Decode<'r, DB>,
        {
            fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
                // SQLite would make an empty value of NULL.
                if value.is_null() {
                    return Err(UnexpectedNullError.into());
                }
                <$inner as Decode<'r, DB>>::decode(value).map(Self::from)
            }
        }
    )*};
}

stored_as! {
    Sealed as Vec<u8>;
    SealedText as String;
    BlindIndexValue as Vec<u8>;
}

/// So that probes are an array: `WHERE phone_index = ANY($1)`.
#[cfg(feature = "postgres")]
impl sqlx::postgres::PgHasArrayType for BlindIndexValue {
    fn array_type_info() -> sqlx::postgres::PgTypeInfo {
        <Vec<u8> as sqlx::postgres::PgHasArrayType>::array_type_info()
    }
}

/// A twin whose fields a database takes. Implemented by the derive.
pub trait BindRow<DB: Database>: SealedRow {
    /// Hands over the values, in the order of [`SealedRow::COLUMNS`].
    ///
    /// # Errors
    /// Where the database has no form for a value.
    fn bind(&self, values: &mut Values<'_, DB>) -> Result<(), Error>;
}

/// Where a row's values go.
#[expect(missing_debug_implementations, reason = "a database's arguments show what they hold")]
pub struct Values<'a, DB: Database> {
    arguments: &'a mut DB::Arguments,
    sql: &'a mut String,
    first: bool,
}

impl<DB: Database> Values<'_, DB> {
    /// The next value.
    ///
    /// # Errors
    /// Where the database has no form for it.
    pub fn push<T>(&mut self, value: &T) -> Result<(), Error>
    where
        T: for<'q> Encode<'q, DB> + Type<DB>,
    {
        self.arguments.add(value).map_err(Error::Encode)?;
        if !std::mem::take(&mut self.first) {
            self.sql.push_str(", ");
        }
        self.arguments.format_placeholder(self.sql).map_err(|error| Error::Encode(error.into()))
    }
}

/// `INSERT INTO table (columns) VALUES (..), (..)`. A statement takes 32,766 values in SQLite and 65,535 in PostgreSQL, so hand it a
/// thousand rows or so at a time, and at least one.
///
/// # Errors
/// Where the database has no form for a value.
pub fn insert<'q, DB, S>(rows: &[S]) -> Result<Query<'q, DB, DB::Arguments>, Error>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    S: BindRow<DB>,
{
    let table = quoted(&<S::Plain as Protect>::SCHEMA.stored_as);
    let columns: Vec<_> = S::COLUMNS.iter().map(|column| quoted(column)).collect();
    let mut sql = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
    let mut arguments = DB::Arguments::default();
    for (at, row) in rows.iter().enumerate() {
        sql.push_str(if at == 0 { "(" } else { ", (" });
        row.bind(&mut Values { arguments: &mut arguments, sql: &mut sql, first: true })?;
        sql.push(')');
    }
    // Names come from the derive and are quoted; values are arguments.
    Ok(sqlx::query_with(AssertSqlSafe(sql), arguments))
}

/// As standard SQL quotes names; a table may be given with its schema.
fn quoted(name: &str) -> String {
    let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}
