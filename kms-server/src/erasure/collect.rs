//! Collects records that nothing reaches any more, a few a commit. Erasure does not rest on it: such records are noise already.

use prost::Message;

use super::{state::State, view::RecordError, writes};
use crate::{
    records::{
        Table, key_bytes, parse_key,
        tree::{Garbage, Staged},
    },
    store::Batch,
};
use kms_proto::storage::GarbageRecord;

/// Most removals that ride in one commit.
const SOME: usize = 48;

/// Adds removals to a batch. Never in an epoch: what its own redo repeats must not change what another commit wrote.
pub(super) fn some(state: &mut State, batch: &mut Batch) -> Result<(), RecordError> {
    if state.garbage {
        state.garbage = one::<Garbage>(state, batch)?;
    } else if state.abandoned {
        state.abandoned = one::<Staged>(state, batch)?;
    }
    Ok(())
}

/// Works on the first record of a table; `false` where there is none.
fn one<T: Table<Key = (u64, u32), Value = GarbageRecord>>(
    state: &State,
    batch: &mut Batch,
) -> Result<bool, RecordError> {
    let store = &*state.published.store;
    let Some((key, value)) = store.range(&[T::PREFIX], None, 1)?.pop() else { return Ok(false) };
    let key = parse_key::<T>(&key).ok_or(RecordError::Damaged(T::NAME))?;
    let mut record = GarbageRecord::decode(value.as_slice()).map_err(|_| RecordError::Damaged(T::NAME))?;
    let mut left = SOME;
    while let Some(prefix) = record.prefixes.last() {
        let pairs = store.range(prefix, None, left)?;
        left -= pairs.len();
        pairs.into_iter().for_each(|(key, _)| batch.remove(key));
        if left == 0 {
            break;
        }
        record.prefixes.pop();
    }
    // INVARIANT: a staged address leaves this list in the commit that removes its record, so no live record is ever listed.
    match record.prefixes.is_empty() {
        true => batch.remove(key_bytes::<T>(&key)),
        false => writes::put::<T>(&key, &record, batch),
    }
    Ok(true)
}
