//! Connections: TLS 1.3 with a client certificate, several HTTP/2 connections, new ones when the certificates change.
//!
//! # Layout
//! - `tls`: what the profile's files say, read again when they change.
//! - `dial`: one connection, made and confirmed.
//! - `pool`: several of them, the least loaded first.

mod dial;
mod pool;
mod tls;

#[cfg(test)]
mod tests;

pub use dial::{ConnectProblem, Seen};
pub(crate) use pool::{Pool, problem_of};
