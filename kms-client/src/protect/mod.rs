//! Whole structs sealed and opened: `#[derive(Protect)]` makes of a struct its *sealed twin*, which is what a database reads and
//! writes; [`Kms::seal_all`](crate::Kms::seal_all) and [`Kms::open_all`](crate::Kms::open_all) turn one into the other.
//!
//! ```no_run
//! use kms_client::{Kms, Protect};
//!
//! #[derive(Protect)]
//! #[protect(table = "checkins", key = "attendance", tenant = "company_id", bind("company_id", "id"))]
//! struct CheckIn {
//!     company_id: String,
//!     id: u64,
//!     #[protect(encrypt)]
//!     employee: String,
//!     #[protect(encrypt, index(eq, normalize = "phone", bits = 20), mask = "phone")]
//!     phone: Option<String>,
//! }
//!
//! # async fn example(kms: Kms, rows: Vec<CheckIn>) -> Result<(), Box<dyn std::error::Error>> {
//! let sealed: Vec<SealedCheckIn> = kms.seal_all(&rows).await.into_iter().collect::<Result<_, _>>()?;
//! let probes = CheckIn::phone_index(&kms, &"acme".parse()?, "138 0013 8000").await?;
//! let opened = kms.open_all(sealed).await;
//! # Ok(())
//! # }
//! ```
//!
//! # What `#[protect(..)]` takes
//! On the struct: `table`, the table's name; `key`, the key of its columns; `tenant`, the field that names the tenant; `bind(..)`, the
//! fields that tell a row from all others, which never change afterwards; `per`, the field that names the subject whose key seals the
//! row; `class`, the class that the keys should have; `name`, what the table is called in key derivation if it was renamed; `sealed`,
//! what the twin is called; `derive(..)`, what the twin derives.
//!
//! On a field: `encrypt` or `deterministic`; `text`, for a column of text; `json`, where a scalar is not to be sealed as one;
//! `index(eq, bits = 20, normalize = "phone", key = "..", name = "..", column = "..")`; `mask`; `class`; `key`; `name`, as above;
//! `column`, what the database calls it; `max_len`, what the column holds; `allow_plaintext(until = "2027-01-31")`;
//! `previous(table = "..", column = "..", key = "..", deterministic, shared)`; and for what the derive advises against
//! `low_entropy = "accepted"`, `equality = "within_subject"`, and in an index `long_index = "accepted"`.
//!
//! # Layout
//! - `schema`: what a derive says of its table, as data: [`Schema`].
//! - `stored`: what stands in the columns: [`Sealed`], [`SealedText`], [`BlindIndexValue`]; `sql`: the same for sqlx.
//! - `value`, `codec`: the bytes that stand for a value; `chrono`: those of chrono's times (feature `chrono`).
//! - `row`: the traits that the derive implements, and what passes through them.
//! - `place`: whose row it is, and which; `keys`: the keys of its columns.
//! - `seal`, `open`: batches, one call for all that is cold.
//! - `stream`: rows opened as they come.
//! - `masked`: for those who see masked forms only.
//! - `class`: the class that a column declares and that of its key; `migrate`: plaintext, while it lasts; `older`: older schemes.
//! - `index`: equality search.
//! - `error`: what went wrong, with which column.

#[cfg(feature = "chrono")]
mod chrono;
mod class;
mod codec;
mod error;
mod index;
mod keys;
mod layout;
mod masked;
mod migrate;
mod older;
mod open;
mod place;
mod row;
mod schema;
mod seal;
#[cfg(feature = "sqlx")]
pub mod sql;
mod stored;
mod stream;
#[cfg(test)]
mod tests;
mod value;

pub use error::{FieldProblem, ProtectError};
pub use index::Probes;
pub use layout::Layout;
pub use masked::MaskedRow;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use migrate::{Found, date, look};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use older::Older;
pub use place::{Names, Place};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use row::Stored;
pub use row::{Ciphertexts, OpenedRow, Plaintexts, Protect, SealedRow, SealedValues};
pub use schema::{ColumnSchema, IndexSchema, Mode, Previous, Schema, Storage};
pub use stored::{BlindIndexValue, Sealed, SealedText};
pub use value::{Encoded, FieldValue};

/// What derived code names. Not for others: it changes with the macro.
#[doc(hidden)]
pub mod derived {
    pub use std::{borrow::Cow, sync::LazyLock};

    pub use super::{
        codec::{ByJson, ByValue, Codec, Json, Via},
        *,
    };
    pub use crate::Kms;
    #[cfg(feature = "sqlx")]
    pub use sqlx;
}
