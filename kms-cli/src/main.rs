//! The binary `kms`.
fn main() {}
