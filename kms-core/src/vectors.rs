//! Reads the vectors that independent implementations wrote, for tests.

use serde_json::Value;

const REFERENCE: &str = include_str!("../../tests/vectors/reference_vectors.json");

/// One byte string of `reference_vectors.json`.
pub(crate) fn reference(name: &str) -> Vec<u8> {
    bytes(&parse(REFERENCE)[name])
}

pub(crate) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn bytes(hex: &Value) -> Vec<u8> {
    hex::decode(hex.as_str().unwrap()).unwrap()
}
