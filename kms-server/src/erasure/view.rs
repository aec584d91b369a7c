//! Typed reads over bytes: what is stored, with writes that are not yet stored laid over it.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use prost::Message;

use crate::{
    records::{self, Row, Table, group_bytes, key_bytes, parse_key},
    store::{Pair, ReadError, Store},
};

/// A record could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The engine cannot read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is stored is not what this version writes there.
    #[error("a stored {0} record is damaged; restore the data directory from a copy")]
    Damaged(&'static str),
    /// The writer stopped after a commit whose outcome is unknown.
    #[error("the store is stopped until the process restarts")]
    Stopped,
}

impl From<records::Damaged> for RecordError {
    fn from(records::Damaged(what): records::Damaged) -> Self {
        Self::Damaged(what)
    }
}

/// Writes laid over a store: `None` is a removal.
pub(super) type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Decodes a stored value.
pub(super) fn decode<T: Table>(value: &[u8]) -> Result<T::Value, RecordError> {
    T::Value::decode(value).map_err(|_| RecordError::Damaged(T::NAME))
}

/// Reads one record from the store.
pub(super) fn stored<T: Table>(store: &dyn Store, key: &T::Key) -> Result<Option<T::Value>, RecordError> {
    store.get(&key_bytes::<T>(key))?.map(|value| decode::<T>(&value)).transpose()
}

/// One record, under the topmost overlay that knows it.
pub(super) fn get<T: Table>(
    store: &dyn Store,
    overlays: &[&Overlay],
    key: &T::Key,
) -> Result<Option<T::Value>, RecordError> {
    let bytes = key_bytes::<T>(key);
    let value = match overlays.iter().rev().find_map(|overlay| overlay.get(&bytes)) {
        Some(value) => value.clone(),
        None => store.get(&bytes)?,
    };
    value.map(|value| decode::<T>(&value)).transpose()
}

/// Records of a group after a key, at most `limit`, overlays applied.
pub(super) fn range<T: Table>(
    store: &dyn Store,
    overlays: &[&Overlay],
    group: &T::Group,
    after: Option<&T::Key>,
    limit: usize,
) -> Result<Vec<Row<T>>, RecordError> {
    let span = Span::new::<T>(group, after);
    let mut laid = Overlay::new();
    overlays.iter().for_each(|overlay| span.lay(overlay, &mut laid));
    // A removal laid over the store hides one record of it, so as many more are read.
    let pairs = store.range(&span.prefix, span.after.as_deref(), limit.saturating_add(laid.len()))?;
    merge(pairs, laid).take(limit).map(|(key, value)| entry::<T>(&key, &value)).collect()
}

/// As [`range`], with an overlay that is asked for after the store was read.
pub(super) fn range_then<T: Table>(
    store: &dyn Store,
    group: &T::Group,
    after: Option<&T::Key>,
    limit: usize,
    overlay: impl Fn() -> Arc<Overlay>,
) -> Result<Vec<Row<T>>, RecordError> {
    let span = Span::new::<T>(group, after);
    let mut spare = 0;
    loop {
        let pairs = store.range(&span.prefix, span.after.as_deref(), limit.saturating_add(spare))?;
        let mut laid = Overlay::new();
        span.lay(&overlay(), &mut laid);
        if laid.len() <= spare {
            return merge(pairs, laid).take(limit).map(|(key, value)| entry::<T>(&key, &value)).collect();
        }
        spare = laid.len();
    }
}

/// Keys with a prefix, after one of them.
struct Span {
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
}

impl Span {
    fn new<T: Table>(group: &T::Group, after: Option<&T::Key>) -> Self {
        Self { prefix: group_bytes::<T>(group), after: after.map(key_bytes::<T>) }
    }

    fn lay(&self, overlay: &Overlay, laid: &mut Overlay) {
        let after = self.after.as_ref().filter(|after| **after >= self.prefix);
        let start = after.map_or(Bound::Included(&self.prefix), Bound::Excluded);
        let from = overlay.range::<Vec<u8>, _>((start, Bound::Unbounded));
        let inside = from.take_while(|(key, _)| key.starts_with(&self.prefix));
        laid.extend(inside.map(|(key, value)| (key.clone(), value.clone())));
    }
}

fn merge(pairs: Vec<Pair>, laid: Overlay) -> impl Iterator<Item = Pair> {
    let mut merged: Overlay = pairs.into_iter().map(|(key, value)| (key, Some(value))).collect();
    merged.extend(laid);
    merged.into_iter().filter_map(|(key, value)| value.map(|value| (key, value)))
}

fn entry<T: Table>(key: &[u8], value: &[u8]) -> Result<Row<T>, RecordError> {
    let key = parse_key::<T>(key).ok_or(RecordError::Damaged(T::NAME))?;
    Ok((key, decode::<T>(value)?))
}
