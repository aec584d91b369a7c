//! Every call of the API, over mTLS, against a server process.
//!
//! - `grid`: the five identities × every call: decided as `policies/decisions.golden` says, with a line in the audit that says so.
//! - `strangers`: every call again, by somebody without rights, on what exists and what does not. `calls`: what both go through.
//! - `schedule`: destructions with a window, rotation by period.
//! - `crypto`, `leases`, `indexes`: sealing, opening, batches, data keys, index keys. `keys`: tenants, keys, versions. `idempotence`: request ids, revisions.
//! - `reveal`: masked forms; `reveal_subjects`: those of subjects' values.
//! - `watch`: key events, and what confirming them is worth.
//! - `subjects`, `many_subjects`: families, subjects ensured in batches, erased one by one, and their names found nowhere.
//! - `certificates`: what they say of a running server; `witnesses`: cosignatures and pins of the transparency log.
//! - `audit`: reading, tailing, exporting and deleting it; what it never holds. `surroundings`: health, reflection, explain.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "where a test's setting up fails, the test has failed"
)]

mod audit;
mod calls;
mod certificates;
mod crypto;
mod grid;
mod idempotence;
mod indexes;
mod keys;
mod leases;
mod many_subjects;
mod reveal;
mod reveal_subjects;
mod schedule;
mod strangers;
mod subject_ends;
mod subjects;
mod surroundings;
mod watch;
mod witnesses;
