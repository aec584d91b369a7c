//! Where records live: get, range, and one atomic commit that returns only when the batch would survive power loss.
//!
//! # Layout
//! - this file: the trait and its errors, which every engine keeps to the letter (`contract.rs` tests them alike).
//! - [`sled`]: the embedded default; [`redb`]: the embedded way out; [`memory`]: for tests.
//! - [`sidecar`]: notices loss that an engine does not.

use kms_core::id::CommitNumber;

/// One record as stored.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Largest value an engine must take.
pub const MAX_VALUE: usize = 64 * 1024;

/// Writes that take effect together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Records to write, later ones winning; `None` removes.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
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
    /// restart can tell what became of it.
    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError>;
}

/// A record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct ReadError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A batch was not durably written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it was written.
    #[error("the store refused the commit, nothing was written: {0}")]
    NotWritten(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// All, some or nothing of it may be on disk. The process must stop; the restart decides.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
}
