//! A key centre in memory, for tests of your own code. **Not for production: it protects nothing.**
//!
//! [`InMemoryKeyCentre`] answers a [`Kms`](crate::Kms) as the real server does: the same ciphertexts, the same refusals for the same
//! reasons, the same events that purge leases. One suite of tests runs against both. It has no network, no port, no TLS and no files: it
//! lives as long as the test, and what was sealed with it opens nowhere else. Time stands still until the test moves it.
//!
//! The cargo feature `testing` has it, which is off unless you ask for it, and brings no further dependency. It belongs under
//! `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! kms-client = { version = "0.1", features = ["testing"] }
//! ```
//!
//! ```
//! use std::time::Duration;
//! use kms_client::{Column, Reason, RecordId, testing::{InMemoryKeyCentre, Operation, Rights}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let centre = InMemoryKeyCentre::new();
//! centre.create_tenant("acme")?;
//! centre.create_key("acme", "attendance")?;
//!
//! // The client that your code takes.
//! let kms = centre.client("attendance");
//! let records = kms.records(&"acme".parse()?, &"attendance".parse()?);
//! let (phone, row) = (Column::randomized("checkins", "phone")?, RecordId::try_from(&b"row-17"[..])?);
//! let sealed = records.seal(&phone, &row, b"138 0013 8000").await?;
//!
//! // No call for each row.
//! let calls = centre.calls();
//! assert_eq!(records.open(&phone, &row, &sealed).await?.as_bytes(), b"138 0013 8000");
//! assert!(centre.calls() - calls <= 1);
//!
//! // Somebody without rights.
//! centre.restrict("portal", Rights::to([Operation::Reveal]).on_keys(["attendance"]));
//! let portal = centre.client("portal").records(&"acme".parse()?, &"attendance".parse()?);
//! let denied = portal.open(&phone, &row, &sealed).await.unwrap_err();
//! assert_eq!(denied.reason(), Some(Reason::KeyNotAccessible));
//!
//! // The key centre is away: keys at hand work on, until their lease ends.
//! centre.stop();
//! assert!(records.open(&phone, &row, &sealed).await.is_ok());
//! centre.advance(Duration::from_secs(300));
//! assert!(records.open(&phone, &row, &sealed).await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! What it does not do says so (`NOT_BUILT_YET`): audit, transparency log, certificates, the census, destructions that are put off.
//!
//! # Layout
//! - `centre`: what a test holds and turns; `rights`: who may do what; `masks`: which form is revealed of which column.
//! - `connection`: HTTP/2 over a pipe in memory; `service`: the calls of the API.
//! - `ledger`: tenants, keys, versions and subjects, and what may be done to them; `holders`: who was leased what, and is told.
//! - `refused`: why not.
//! - For the tests of this crate only: `scene`, what they begin with; `faults`, what goes wrong; `loopback` and `ca`, a real listener.

mod centre;
mod connection;
mod holders;
mod ledger;
mod masks;
mod refused;
mod rights;
mod service;

#[cfg(test)]
mod ca;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod loopback;
#[cfg(test)]
mod scene;

pub use centre::{InMemoryKeyCentre, MasksError};
pub(crate) use connection::Dialer;
pub use rights::{Operation, Rights};
#[cfg(test)]
pub(crate) use {ca::TestCa, loopback::Loopback, scene::*};

/// What [`Kms::endpoint`](crate::Kms::endpoint) says of a client of a key centre in memory. The name never resolves (RFC 6761).
pub(crate) const ENDPOINT: &str = "http://key-centre-in-memory.invalid";
