//! Where records live: get, range, and one atomic commit that returns only when the batch would survive power loss.
//!
//! # Layout
//! - this file: the trait and its errors, which every engine keeps to the letter (`contract.rs` tests them alike).
//! - [`open`]: a directory's lock and the doubts to settle before an engine may touch a file; [`sidecar`]: notices loss that an
//!   engine does not.
//! - [`sled`]: the embedded default; [`redb`]: the embedded way out; [`memory`]: for tests.
//! - [`deadline`]: ends the process where an engine does not come back.
//! - `fault.rs`: a store and a medium that fail where a test says, with the feature `faults` only.
//!
//! # What an engine promises
//! - A commit is seen whole or not at all, and only once it would survive power loss: while it is under way, readers see what was
//!   there before.
//! - Where the outcome of a commit is unknown, so is that of every later one: nothing more is written until a restart has decided.
//! - Two processes never have one directory open.

use std::{collections::BTreeMap, sync::Arc};

use kms_core::id::CommitNumber;

pub mod deadline;
#[cfg(any(test, feature = "faults"))]
pub mod fault;
pub mod memory;
pub mod open;
pub mod redb;
pub mod sidecar;
pub mod sled;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod doubt;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod power;

/// One record as stored.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Longest key an engine must take. No key is empty.
pub const MAX_KEY: usize = 1024;

/// Largest value an engine must take.
pub const MAX_VALUE: usize = 64 * 1024;

/// Most bytes of keys and values that one batch may hold.
pub const MAX_BATCH: usize = 1024 * 1024;

/// Most writes that one batch may hold.
pub const MAX_WRITES: usize = 4096;

/// Writes that take effect together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Records to write, later ones winning; `None` removes.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What stands under some of their keys, as the one who writes has read it or knows: an engine need not read it again.
    pub before: Arc<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl Batch {
    /// Writes a record.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push((key.into(), Some(value.into())));
    }

    /// Removes a record, if it is there.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.writes.push((key.into(), None));
    }
}

/// A store of records, ordered by key as bytes. Calls block.
pub trait Store: Send + Sync + 'static {
    /// The record under a key.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// Records whose key starts with `prefix` and is greater than `after` (all of them where `after` is `None`), ascending, at most `limit`.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError>;

    /// The record with the greatest key that starts with `prefix`.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError>;

    /// Number of the last durable commit; 0 in a new store.
    fn committed(&self) -> CommitNumber;

    /// Writes a batch as commit `number`, which must be `committed() + 1`; returns once it would survive power loss.
    ///
    /// # Errors
    /// [`CommitError::NotWritten`] where the engine was never handed the batch; [`CommitError::Unknown`] where it was, and only a
    /// restart can tell what became of it. After that every commit answers `Unknown`.
    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError>;
}

/// A foreign error, kept for the developer.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct ReadError(#[source] pub Cause);

/// A batch was not durably written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it was written.
    #[error("the store refused the commit, nothing was written: {0}")]
    NotWritten(#[source] Cause),
    /// All, some or nothing of it may be on disk. The process must stop; the restart decides.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(#[source] Cause),
}

/// A batch that no engine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// The number is not the next one.
    #[error("commit {asked} does not follow commit {committed}")]
    Number {
        /// What the caller said.
        asked: CommitNumber,
        /// The last one here.
        committed: CommitNumber,
    },
    /// A key is empty or longer than [`MAX_KEY`].
    #[error("a key of {0} bytes: keys have 1 to {MAX_KEY}")]
    Key(usize),
    /// A value is longer than [`MAX_VALUE`].
    #[error("a value of {0} bytes: values have at most {MAX_VALUE}")]
    Value(usize),
    /// The batch has more writes than [`MAX_WRITES`].
    #[error("a batch of {0} writes: split it in commits of at most {MAX_WRITES}")]
    Writes(usize),
    /// The batch is larger than [`MAX_BATCH`].
    #[error("a batch of {0} bytes: split it in commits of at most {MAX_BATCH}")]
    Size(usize),
}

/// What every engine checks before it is handed a batch.
fn check(committed: CommitNumber, asked: CommitNumber, batch: &Batch) -> Result<(), BadBatch> {
    if asked.0 == 0 || committed.0 != asked.0 - 1 {
        return Err(BadBatch::Number { asked, committed });
    }
    if batch.writes.len() > MAX_WRITES {
        return Err(BadBatch::Writes(batch.writes.len()));
    }
    let mut size = 0;
    for (key, value) in &batch.writes {
        let value = value.as_ref().map_or(0, Vec::len);
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(BadBatch::Key(key.len()));
        }
        if value > MAX_VALUE {
            return Err(BadBatch::Value(value));
        }
        size += key.len() + value;
    }
    if size > MAX_BATCH { Err(BadBatch::Size(size)) } else { Ok(()) }
}

impl From<BadBatch> for CommitError {
    fn from(bad: BadBatch) -> Self {
        Self::NotWritten(bad.into())
    }
}
