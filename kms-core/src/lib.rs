//! Names, cryptography, byte formats and the erasure tree of the key centre: pure functions and types.
//!
//! An auditor who reads this crate alone knows what a ciphertext and a destruction rest on. It does no input or output
//! and runs no task; one file, [`nonce`], reads a clock and says why.
//!
//! # Layout
//! - [`names`], [`id`], [`state`]: the vocabulary, parsed once.
//! - [`secret`]: keys by role; [`data_key`]: what a version derives.
//! - [`field`]: KF1, sealed values: randomized, deterministic, direct, and their text form; [`nonce`]: where nonces come from.
//! - [`file`](mod@file): sealed files (kind 04), chunk by chunk; [`encoding`]: what plaintext bytes stand for a value.
//! - [`mask`]: what somebody sees of a value who may not see it.
//! - [`blind_index`]: finding equal values beside randomized columns; [`subject_index`]: finding subjects without storing their names.
//! - [`tree`]: the erasure tree; [`commitment`]: the public commitment to its leaves.
//! - [`certificate`]: certificates of destruction.
//! - [`event`]: what the transparency log says of a key's life; [`canonical`]: the one spelling of it.
//! - [`transparency`]: the public log: its tree, proofs, signed heads and tiles.
//! - [`record`]: KMR1, wrapped records; [`root`]: the key that wraps the root.
//! - `aead`, `kdf`: AES-256-GCM from two libraries behind one trait, and HKDF; `stack`: stack that is wiped after use.

// The fuzz targets' file, which the tests include, names this crate from outside.
#[cfg(test)]
extern crate self as kms_core;

mod aead;
pub mod blind_index;
pub mod canonical;
pub mod certificate;
pub mod commitment;
pub mod data_key;
pub mod encoding;
pub mod event;
pub mod field;
pub mod file;
pub mod id;
mod kdf;
pub mod mask;
pub mod names;
pub mod nonce;
pub mod record;
pub mod root;
pub mod secret;
mod stack;
pub mod state;
pub mod subject_index;
pub mod transparency;
pub mod tree;
#[cfg(test)]
mod vectors;
