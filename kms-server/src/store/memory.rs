//! A store that forgets: for tests, and as the model the other engines are compared with. Never behind a served key.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use kms_core::id::CommitNumber;
use parking_lot::RwLock;

use super::{Batch, CommitError, Pair, ReadError, Store, check};

/// Records in memory. A clone of the `Arc` around it is what a restart finds.
#[derive(Debug, Default)]
pub struct MemoryStore(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    committed: CommitNumber,
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.read().records.get(key).cloned())
    }

    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError> {
        let from = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        let state = self.0.read();
        let records = state.records.range::<[u8], _>((from, Unbounded));
        let inside = records.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(inside.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError> {
        let end = match after_prefix(prefix) {
            Some(end) => Excluded(end),
            None => Unbounded,
        };
        let state = self.0.read();
        let last = state.records.range::<Vec<u8>, _>((Included(prefix.to_vec()), end)).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn committed(&self) -> CommitNumber {
        self.0.read().committed
    }

    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError> {
        let mut state = self.0.write();
        check(state.committed, number, &batch)?;
        for (key, value) in batch.writes {
            match value {
                Some(value) => state.records.insert(key, value),
                None => state.records.remove(&key),
            };
        }
        state.committed = number;
        Ok(())
    }
}

/// The least key greater than every key with this prefix; `None` where there is none.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}
