//! The service as it is started by hand: a process with a key centre of its own, asked over HTTP and by a browser.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "where a test's setting up fails, the test has failed"
)]

mod dump;
mod page;
mod requests;
mod running;
mod starting;
