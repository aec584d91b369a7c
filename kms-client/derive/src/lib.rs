//! `#[derive(Protect)]`: of a struct, the sealed twin that a database reads and writes. Documented in `kms_client::protect`.
//!
//! # Layout
//! - `model`: what was asked for.
//! - `table`, `field`, `index`: read from the attributes; a mistake says what to write.
//! - `check`: what fits each by itself and not together; types that give a value away.
//! - `expand`: the twin and the impls; `schema`: its description; `sql`: for sqlx.

mod check;
mod expand;
mod field;
mod index;
mod model;
mod schema;
#[cfg(feature = "sqlx")]
mod sql;
mod table;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes the sealed twin of a struct. See `kms_client::protect` for what `#[protect(..)]` takes.
#[proc_macro_derive(Protect, attributes(protect))]
pub fn protect(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let expanded = table::read(&input).and_then(|table| {
        check::check(&table)?;
        Ok(expand::expand(&table))
    });
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}
