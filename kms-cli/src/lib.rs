//! The command line of the key centre: the binary `kms`.
//!
//! # Layout
//! - [`failure`]: exit codes, and errors in the words of the one who typed.
//! - [`columns`]: CSV and JSON Lines files.
//! - [`whole_file`]: output that is whole or absent.

pub mod columns;
pub mod failure;
pub mod whole_file;
