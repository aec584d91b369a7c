//! The harness of the whole-system tests: a real server process in a temporary directory, callers with good and bad certificates,
//! and the means to end a process rudely.
//!
//! # Layout
//! - [`place`]: an installation as `kms-server dev` makes it, with an authority that issues what a test asks for.
//! - [`server`]: the process: started, signalled, killed; its log.
//! - [`cli`]: the command line as a process; [`services`]: programs of others.
//! - [`caller`]: certificates, good and bad.
//! - [`api`]: the calls, as a stub sees them; [`search`]: looks for secrets in files.
//! - [`postgres`]: a PostgreSQL of a test's own, where it is installed; [`browser`]: a headless Chromium.
//! - [`soft_token`]: a PKCS #11 token, where SoftHSM2 is installed.
//! - [`mod@knock`]: a TLS client that shows exactly the certificate it is given.

// Where a test's setting up fails, the test has failed: a panic with a line number is its message.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "harness of tests")]

pub mod api;
pub mod browser;
pub mod caller;
pub mod cli;
pub mod knock;
pub mod place;
pub mod postgres;
pub mod search;
pub mod server;
pub mod services;
pub mod soft_token;

pub use self::{
    api::Api,
    browser::Browser,
    caller::{Caller, Flaw},
    knock::{Session, knock},
    place::Place,
    postgres::PostgreSql,
    server::{Failed, Server},
};
