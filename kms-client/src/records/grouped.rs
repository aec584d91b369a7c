//! Items of a batch by what they have in common: mostly few groups, and neighbours mostly of one.

use std::{collections::HashMap, hash::Hash};

/// Up to so many groups are looked through; of more a map says where they are.
const FEW: usize = 8;

/// Groups in the order in which they were met, each with the places of its items.
pub(crate) struct Grouped<K> {
    groups: Vec<(K, Vec<usize>)>,
    /// Of the groups past the few.
    many: HashMap<K, usize>,
    last: usize,
    room: usize,
}

impl<K: Clone + Eq + Hash> Grouped<K> {
    /// No groups yet; the first will have room for so many items.
    pub(crate) fn with_room(items: usize) -> Self {
        Self { groups: Vec::new(), many: HashMap::new(), last: 0, room: items }
    }

    /// Adds an item to its group.
    pub(crate) fn push(&mut self, key: &K, at: usize) {
        self.last = self.place(key);
        self.groups[self.last].1.push(at);
    }

    fn place(&mut self, key: &K) -> usize {
        if self.groups.get(self.last).is_some_and(|(last, _)| last == key) {
            return self.last;
        }
        if let Some(known) = self.groups.iter().take(FEW).position(|(known, _)| known == key) {
            return known;
        }
        let next = self.groups.len();
        let place = if next < FEW { next } else { *self.many.entry(key.clone()).or_insert(next) };
        if place == next {
            let room = if next == 0 { self.room } else { 1 };
            self.groups.push((key.clone(), Vec::with_capacity(room)));
        }
        place
    }

    /// The groups.
    pub(crate) fn into_vec(self) -> Vec<(K, Vec<usize>)> {
        self.groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_in_the_group_of_its_key_however_many_there_are() {
        for groups in [1, 2, FEW, FEW + 1, 50] {
            let mut grouped = Grouped::with_room(300);
            (0..300).for_each(|at| grouped.push(&(at * 7 % groups), at));
            let grouped = grouped.into_vec();
            assert_eq!(grouped.len(), groups);
            for (key, items) in grouped {
                assert!(items.is_sorted() && items.iter().all(|at| at * 7 % groups == key));
                assert_eq!(items.len(), (0..300).filter(|at| at * 7 % groups == key).count());
            }
        }
    }
}
