//! What a batch is made of: values where they stand, so that nobody has to line them up first.

use kms_core::names::KeyName;

use super::NO_RESULT;
use crate::error::Error;

/// Values to seal or to open, each known by a number.
pub(crate) trait Values<'a, Item>: Sync {
    /// One of them, and the key under which, or in whose name, that is done; nothing where there is no value.
    fn value(&self, at: usize) -> Option<(Item, &'a KeyName)>;
}

/// The result for each number; nothing where there is no value.
pub(crate) type Results<T> = [Option<Result<T, Error>>];

/// Which key each item of a list is sealed under, or opened in the name of.
#[derive(Clone, Copy)]
pub(crate) enum Under<'a> {
    One(&'a KeyName),
    Each(&'a [&'a KeyName]),
}

/// Values that are lined up.
pub(super) struct Listed<'a, Item> {
    pub(super) items: &'a [Item],
    pub(super) under: Under<'a>,
}

impl<'a, Item: Copy + Sync> Values<'a, Item> for Listed<'a, Item> {
    fn value(&self, at: usize) -> Option<(Item, &'a KeyName)> {
        let key = match self.under {
            Under::One(key) => key,
            Under::Each(keys) => keys[at],
        };
        Some((self.items[at], key))
    }
}

/// Room for the results of a list.
pub(super) fn room<T>(items: usize) -> Vec<Option<Result<T, Error>>> {
    std::iter::repeat_with(|| None).take(items).collect()
}

/// The results of a list, in order.
pub(super) fn listed<T>(results: Vec<Option<Result<T, Error>>>) -> Vec<Result<T, Error>> {
    results.into_iter().map(|result| result.unwrap_or(Err(NO_RESULT))).collect()
}

/// Gives all of these one error.
pub(super) fn fail<T>(wanted: &[usize], error: &Error, results: &mut Results<T>) {
    for at in wanted {
        results[*at] = Some(Err(error.clone()));
    }
}
