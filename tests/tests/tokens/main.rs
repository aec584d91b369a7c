//! Epoch secrets in a PKCS #11 token: the medium, the writer on it, the whole server on it, and passing to it and back.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "where a test's setting up fails, the test has failed"
)]

mod change;
mod medium;
mod server;
mod writer;
