//! Bad input and failure: each gets a clear error and loses nothing.
//!
//! - `messages`: oversize and malformed. `ciphertexts`: cut, flipped, moved, another's. `files`: seal, store, medium, redo and audit
//!   that do not belong together or were cut. `disks`: full, read-only. `hogs`: one identity that takes all it can. `processes`: two
//!   servers, policies.
//!
//! Certificates are in `tls.rs`, a port in use in `daemon.rs`, request ids and revisions in `api/idempotence.rs`. The wall clock
//! cannot be set back for one process without help from outside; that leases and intervals do not follow it, what the audit makes of it
//! and how it is noticed is tested where they are.

#![expect(clippy::unwrap_used, reason = "where a test's setting up fails, the test has failed")]

mod ciphertexts;
mod disks;
mod files;
mod hogs;
mod messages;
mod processes;
