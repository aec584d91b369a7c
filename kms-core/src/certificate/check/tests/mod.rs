//! The verifier against vectors, against certificates that were changed, and against logs.

mod mutations;
mod policies;
mod vectors;

use std::{fs, path::PathBuf};

use sha2::{Digest as _, Sha256};

use super::*;
use crate::transparency::Note;

fn read(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/certificate_vectors");
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn key(name: &str) -> VerifierKey {
    String::from_utf8(read(name)).unwrap().trim_end().parse().unwrap()
}

fn pin(name: &str) -> Note {
    Note::parse(&read(name)).unwrap()
}

fn named(name: &str, salt: &str) -> given::Named {
    let salt = String::from_utf8(read(salt)).unwrap();
    let salt = hex::decode(salt.trim_end()).unwrap().try_into().unwrap();
    given::Named { name: name.parse().unwrap(), salt }
}

/// Signs as the log of the vectors does; its seed is fixed (`make.py`).
fn sign(message: &[u8]) -> [u8; 64] {
    use ed25519_dalek::Signer;
    let name = key("key.vkey").name().to_string();
    let seed: [u8; 32] = Sha256::digest(format!("certificate vectors/seed of {name}")).into();
    ed25519_dalek::SigningKey::from_bytes(&seed).sign(message).to_bytes()
}

/// The checks that failed, by name.
fn failed(outcome: &Outcome) -> Vec<&'static str> {
    outcome.failures().map(|check| check.name.as_str()).collect()
}
