//! Reads the transparency log: its signed head, entries, proofs; takes what witnesses say of it.

use std::sync::Arc;

use kms_core::commitment::Hash;
use kms_core::transparency::{SignedCheckpoint, prove_consistency, prove_inclusion};

use super::refused::Refused;
use crate::gate::permit::op;
use crate::gate::{Note, Op, Permit, Unrecorded};
use crate::transparency::witnessed::{Accepted, CosignError};
use crate::transparency::{LogError, Source, Transparency};

/// That an entry stands in the log.
#[derive(Debug)]
pub struct Inclusion {
    /// The entry as hashed.
    pub entry: Vec<u8>,
    /// Number of entries of the tree that is proven for.
    pub size: u64,
    /// The audit path.
    pub path: Vec<Hash>,
}

/// Entries in order.
#[derive(Debug)]
pub struct Entries {
    /// As hashed.
    pub entries: Vec<Vec<u8>>,
    /// How many the log has.
    pub size: u64,
}

/// The head, signed.
pub async fn checkpoint(
    permit: Permit<op::ReadLog>,
    log: &Arc<Transparency>,
) -> Unrecorded<Result<SignedCheckpoint, Refused>> {
    read(permit, log, |log| Ok(log.checkpoint()?)).await
}

/// Takes what witnesses cosigned.
pub async fn cosign(
    permit: Permit<op::CosignLog>,
    log: &Arc<Transparency>,
    note: String,
) -> Unrecorded<Result<Accepted, Refused>> {
    read(permit, log, move |log| Ok(log.accept_cosignatures(note.as_bytes())?)).await
}

/// That an entry stands in the tree of the first `size` entries; of the latest head, where none is named.
pub async fn inclusion(
    permit: Permit<op::ReadLog>,
    log: &Arc<Transparency>,
    index: u64,
    size: Option<u64>,
) -> Unrecorded<Result<Inclusion, Refused>> {
    read(permit, log, move |log| {
        let size = known(log, size)?;
        if index >= size {
            return Err(Refused::Invalid(format!("entry {index} is not among the first {size}")));
        }
        let snapshot = log.snapshot();
        let path = prove_inclusion(&Source(&snapshot), size, index).map_err(Refused::internal)?;
        Ok(Inclusion { entry: snapshot.log_entry(index)?, size, path })
    })
    .await
}

/// That the tree of the first `from` entries is a beginning of the one of the first `to`.
pub async fn consistency(
    permit: Permit<op::ReadLog>,
    log: &Arc<Transparency>,
    from: u64,
    to: Option<u64>,
) -> Unrecorded<Result<(u64, Vec<Hash>), Refused>> {
    read(permit, log, move |log| {
        let to = known(log, to)?;
        if from > to {
            return Err(Refused::Invalid(format!(
                "the log of {to} entries is no continuation of one of {from}"
            )));
        }
        let proof = prove_consistency(&Source(&log.snapshot()), from, to).map_err(Refused::internal)?;
        Ok((to, proof))
    })
    .await
}

/// Entries from an index on, at most `limit`.
pub async fn entries(
    permit: Permit<op::ReadLog>,
    log: &Arc<Transparency>,
    start: u64,
    limit: u64,
) -> Unrecorded<Result<Entries, Refused>> {
    read(permit, log, move |log| {
        let snapshot = log.snapshot();
        let size = snapshot.log().size;
        let end = size.min(start.saturating_add(limit));
        let entries = (start..end).map(|index| snapshot.log_entry(index)).collect::<Result<_, _>>()?;
        Ok(Entries { entries, size })
    })
    .await
}

/// A size that the log has, or had.
fn known(log: &Transparency, size: Option<u64>) -> Result<u64, Refused> {
    let now = log.snapshot().log().size;
    match size.unwrap_or(now) {
        size if size <= now => Ok(size),
        size => Err(Refused::Invalid(format!("the log has {now} entries, not {size}"))),
    }
}

async fn read<O: Op, R: Send + 'static>(
    permit: Permit<O>,
    log: &Arc<Transparency>,
    read: impl FnOnce(&Transparency) -> Result<R, Refused> + Send + 'static,
) -> Unrecorded<Result<R, Refused>> {
    let log = Arc::clone(log);
    let done = tokio::task::spawn_blocking(move || read(&log)).await;
    permit.finish(done.unwrap_or_else(|error| Err(Refused::internal(error))), Note::default())
}

impl From<CosignError> for Refused {
    fn from(error: CosignError) -> Self {
        match error {
            CosignError::Log(error) => error.into(),
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl From<LogError> for Refused {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Record(error) => error.into(),
            other => Self::Store(Box::new(other)),
        }
    }
}
