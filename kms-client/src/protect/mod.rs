//! Whole structs sealed and opened: `#[derive(Protect)]` makes of a struct its *sealed twin*, which is what a database reads and
//! writes; [`Kms::seal_all`](crate::Kms::seal_all) and [`Kms::open_all`](crate::Kms::open_all) turn one into the other.
//!
//! # Layout
//! - `schema`: what a derive says of its table, as data: [`Schema`].
//! - `stored`: what stands in the columns: [`Sealed`], [`SealedText`], [`BlindIndexValue`]; `sql`: the same for sqlx.
//! - `value`, `codec`: the bytes that stand for a value.
//! - `row`: the traits that the derive implements, and what passes through them.
//! - `place`: whose row it is, and which.
//! - `seal`, `open`: batches, one call for all that is cold.
//! - `migrate`: plaintext and older schemes, while they last.
//! - `index`: equality search.
//! - `error`: what went wrong, with which column.

mod codec;
mod error;
mod index;
mod layout;
mod migrate;
mod open;
mod place;
mod row;
mod schema;
mod seal;
#[cfg(feature = "sqlx")]
pub mod sql;
mod stored;
#[cfg(test)]
mod tests;
mod value;

pub use error::{FieldProblem, ProtectError};
pub use index::Probes;
pub use layout::Layout;
pub use place::Place;
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
