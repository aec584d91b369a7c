//! Connections: TLS 1.3 with a client certificate, several HTTP/2 connections, new ones when the certificates change.
//!
//! # Layout
//! - `tls`: what the profile's files say, read again when they change.
//! - `dial`: one connection, made and confirmed.
//! - `way`: how one is made: over TLS; in memory, in tests.
//! - `pool`: several of them, the least loaded first.

mod dial;
mod pool;
mod tls;
mod way;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "testing"))]
pub(crate) use dial::DialError;
pub use dial::{ConnectProblem, Seen};
pub(crate) use pool::{Pool, problem_of};
