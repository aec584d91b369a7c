//! Names, cryptography, byte formats and the erasure tree of the key centre: pure functions and types.
//!
//! An auditor who reads this crate alone knows what a ciphertext and a destruction rest on. It does no input or output, reads
//! no clock and runs no task.
//!
//! # Layout
//! - [`names`], [`id`], [`state`]: the vocabulary, parsed once.
//! - [`secret`]: keys by role; [`data_key`]: what a version derives.
//! - [`record`]: KMR1, wrapped records; [`root`]: the key that wraps the root.

mod aead;
pub mod data_key;
pub mod id;
mod kdf;
pub mod names;
pub mod record;
pub mod root;
pub mod secret;
pub mod state;
#[cfg(test)]
mod vectors;
