//! An attacker who has every byte the product ever wrote, and every secret it holds today.
//!
//! For tests that ask whether destroyed keys are gone. Shares no code with the product: formats are read as
//! `tests/vectors/reference_vectors.py` and the documentation describe them, so that one misunderstanding does not hide another.
//! Authentication tags are not looked at: an attacker takes what decrypts.
//!
//! # Layout
//! - [`archive`]: what was copied, each stretch once. [`record`]: wrapped records carved out of it; [`payload`]: what they hold.
//! - [`medium`]: epoch secrets out of an effaceable file. [`attacker`]: everything that follows from the secrets at hand.
//! - [`windows`]: every 32 bytes that might be a key; [`brute`]: each of them tried on each record.
//! - [`sealed`]: ciphertexts that users kept. [`search`]: needles in files and in the memory of a process.
//! - [`hkdf`], [`stream`]: the cryptography, over one compression function and one block cipher.

pub mod archive;
pub mod attacker;
pub mod brute;
pub mod hkdf;
pub mod medium;
pub mod payload;
pub mod record;
pub mod sealed;
pub mod search;
pub mod stream;
pub mod windows;

pub use self::{archive::Archive, attacker::Attacker, medium::EpochSecret, record::Record, search::Search};

/// Any 32 bytes that open something.
pub type Secret = [u8; 32];
