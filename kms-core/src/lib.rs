//! Names, cryptography, byte formats and the erasure tree of the key centre: pure functions and types.
//!
//! An auditor who reads this crate alone knows what a ciphertext and a destruction rest on. It does no input or output, reads
//! no clock and runs no task.
//!
//! # Layout
//! - [`names`], [`id`], [`state`]: the vocabulary, parsed once.
//! - [`secret`]: keys by role.

pub mod id;
pub mod names;
pub mod secret;
pub mod state;
