//! Whether what was destroyed is gone: an attacker with every file of the product, as it was after each step, against a real server.
//!
//! - `story`: tenants, keys, use, destruction; what the attacker took along meanwhile.
//! - `reach`: what follows from all copies, the seal's secret and today's epoch secret. `remnants`: it was cryptography, not luck.
//! - `canaries`: keys and plaintexts in files, logs, metrics and errors. `memory`: keys in the memory of the process.

#![expect(clippy::unwrap_used, reason = "where a test's setting up fails, the test has failed")]

mod canaries;
mod memory;
mod reach;
mod remnants;
mod story;
