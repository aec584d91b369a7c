//! The transparency log as the writer keeps it: entries are appended by the commit of what they record, and by nothing else.
//!
//! Stored are the entries, and the hashes of complete subtrees at every eighth level: with these, any other takes at most 256 reads.

use std::time::{SystemTime, UNIX_EPOCH};

use kms_core::{
    canonical::{Instant, Text},
    commitment::{Hash, pair_hash},
    event::{Entry, Event},
    id::CommitNumber,
};
use kms_proto::storage::{HashRecord, LogEntryRecord};
use prost::Message;
use sha2::{Digest, Sha256};

use super::{
    head::Head,
    view::{self, RecordError},
    writes::Write,
};
use crate::{
    records::{
        Table, key_bytes,
        tree::{LogEntries, LogHashes},
    },
    store::Store,
};

/// Hashes of complete subtrees are stored at levels that are multiples of this.
const STORED_LEVELS: u8 = 8;

/// Who an entry names where nobody asked.
pub(super) const KMS: &str = "kms";

/// An event, and who asked for it.
pub(super) type Logged = (Text, Event);

/// The right edge of the log: roots of its complete subtrees, the largest first.
#[derive(Clone)]
pub(super) struct Log {
    size: u64,
    peaks: Vec<Hash>,
    last: Instant,
}

impl Log {
    pub(super) fn empty() -> Self {
        Self { size: 0, peaks: Vec::new(), last: Instant::from_millis(0) }
    }

    /// Reads the edge of the log that the last commit left.
    pub(super) fn read(store: &dyn Store, head: &Head) -> Result<Self, RecordError> {
        let mut log = Self { size: head.log_size, ..Self::empty() };
        for level in (0..u64::BITS as u8).rev().filter(|level| head.log_size >> level & 1 == 1) {
            let index = (head.log_size >> level) - 1;
            log.peaks.push(subtree(store, level, index)?);
        }
        if log.root() != head.log_root {
            return Err(RecordError::Damaged(LogEntries::NAME));
        }
        if let Some(last) = head.log_size.checked_sub(1) {
            let entry = Entry::from_bytes(&entry(store, last)?);
            log.last = entry.map_err(|_| RecordError::Damaged(LogEntries::NAME))?.at;
        }
        Ok(log)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// When the last entry was made.
    pub(super) fn last(&self) -> Instant {
        self.last
    }

    /// RFC 6962, 2.1: the tree over all entries.
    pub(super) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(last) = peaks.next() else { return Sha256::digest([]).into() };
        peaks.fold(last, |right, left| pair_hash(&left, &right))
    }

    /// The log with these events after it, and what is to be stored for them.
    pub(super) fn append(&self, commit: CommitNumber, events: &[Logged]) -> (Self, Vec<Write>) {
        let (mut log, mut writes) = (self.clone(), Vec::new());
        // A clock that was set back does not order entries anew.
        log.last = log.last.max(now());
        for (by, event) in events {
            let entry = Entry { at: log.last, by: by.clone(), commit, event: event.clone() };
            let entry = entry.to_bytes();
            log.push(leaf_hash(&entry), &mut writes);
            let record = LogEntryRecord { entry };
            writes.push((key_bytes::<LogEntries>(&(log.size - 1)), Some(record.encode_to_vec())));
        }
        (log, writes)
    }

    fn push(&mut self, leaf: Hash, writes: &mut Vec<Write>) {
        let (mut hash, mut level, mut index) = (leaf, 0u8, self.size);
        while index & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            (hash, level, index) = (pair_hash(&left, &hash), level + 1, index >> 1);
            if level.is_multiple_of(STORED_LEVELS) {
                let record = HashRecord { hash: hash.to_vec() };
                writes.push((key_bytes::<LogHashes>(&(level, index)), Some(record.encode_to_vec())));
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }
}

/// RFC 6962, 2.1: `SHA256(00 || entry)`.
fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// An entry as it was hashed.
pub(super) fn entry(store: &dyn Store, index: u64) -> Result<Vec<u8>, RecordError> {
    let record = view::stored::<LogEntries>(store, &index)?;
    record.map(|record| record.entry).ok_or(RecordError::Damaged(LogEntries::NAME))
}

/// The hash of 2^level entries from index·2^level on, all of which must be there.
pub(super) fn subtree(store: &dyn Store, level: u8, index: u64) -> Result<Hash, RecordError> {
    if level == 0 {
        return Ok(leaf_hash(&entry(store, index)?));
    }
    if level.is_multiple_of(STORED_LEVELS) {
        let record = view::stored::<LogHashes>(store, &(level, index))?;
        let hash = record.and_then(|record| record.hash.as_slice().try_into().ok());
        return hash.ok_or(RecordError::Damaged(LogHashes::NAME));
    }
    let below = |index| subtree(store, level - 1, index);
    Ok(pair_hash(&below(2 * index)?, &below(2 * index + 1)?))
}

/// The wall clock.
pub(super) fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
