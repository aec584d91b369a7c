//! `kms reseal --database`, against a real server and real databases.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "where a test's setting up fails, the test has failed"
)]

mod census;
mod classes;
mod indexes;
mod killed;
mod moved;
mod overtaken;
mod people;
mod purposes;
mod refusals;
mod scene;
mod searched;
mod speed;
mod subjects;
mod walk;
