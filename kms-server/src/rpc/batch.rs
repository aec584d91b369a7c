//! Batches: a result for each item, in the order of the request; leave is asked once for each group of items that policy cannot
//! tell apart.

use std::collections::HashMap;
use std::hash::Hash;

use kms_proto::v1;

use super::status::Failure;

/// Items that policy cannot tell apart.
pub(super) struct Group<I, G> {
    /// What policy sees of them.
    pub(super) seen: G,
    /// The parsed items.
    pub(super) items: Vec<I>,
    /// Where each stands in the request.
    places: Vec<usize>,
}

/// A batch under way.
pub(super) struct Batch<I, G, T> {
    results: Vec<Option<Result<T, Failure>>>,
    groups: Vec<Group<I, G>>,
}

impl<I, G: Eq + Hash + Clone, T> Batch<I, G, T> {
    /// Sorts parsed items by what policy sees of them; an item that did not parse has its result already.
    pub(super) fn new(items: impl Iterator<Item = Result<I, Failure>>, seen: impl Fn(&I) -> G) -> Self {
        let mut batch = Self { results: Vec::with_capacity(items.size_hint().0), groups: Vec::new() };
        // ATTACK: a call may name 10,000 keys; looking for each among the groups before it would take the square of that.
        let mut known = HashMap::new();
        for (place, item) in items.enumerate() {
            match item {
                Err(failure) => batch.results.push(Some(Err(failure))),
                Ok(item) => {
                    batch.results.push(None);
                    batch.group(&mut known, seen(&item)).push(place, item);
                }
            }
        }
        batch
    }

    fn group(&mut self, known: &mut HashMap<G, usize>, seen: G) -> &mut Group<I, G> {
        let at = match known.get(&seen) {
            Some(at) => *at,
            None => {
                known.insert(seen.clone(), self.groups.len());
                self.groups.push(Group { seen, items: Vec::new(), places: Vec::new() });
                self.groups.len() - 1
            }
        };
        &mut self.groups[at]
    }

    /// Takes the groups out, to work on each.
    pub(super) fn take_groups(&mut self) -> Vec<Group<I, G>> {
        std::mem::take(&mut self.groups)
    }

    /// As [`Self::take_groups`], and at least one: where no item parsed, leave is asked all the same, and on record.
    pub(super) fn take_groups_to_ask(&mut self) -> Vec<Group<I, G>>
    where
        G: Default,
    {
        match self.take_groups() {
            none if none.is_empty() => {
                vec![Group { seen: G::default(), items: Vec::new(), places: Vec::new() }]
            }
            groups => groups,
        }
    }

    /// Takes what came of a group of a call that has `groups` of them: where it is the only one, its failure is the call's.
    pub(super) fn answer<E: Into<Failure>>(
        &mut self,
        groups: &[Group<I, G>],
        group: &Group<I, G>,
        outcome: Result<Vec<Result<T, E>>, Failure>,
    ) -> Result<(), Failure> {
        match outcome {
            Ok(results) => self.settle(group, results),
            Err(failure) if groups.len() > 1 => self.fail(group, &failure),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Puts the results of a group where they belong.
    fn settle<E: Into<Failure>>(&mut self, group: &Group<I, G>, results: Vec<Result<T, E>>) {
        for (place, result) in group.places.iter().zip(results) {
            self.results[*place] = Some(result.map_err(Into::into));
        }
    }

    /// The whole group failed, for one reason.
    pub(super) fn fail(&mut self, group: &Group<I, G>, failure: &Failure) {
        for place in &group.places {
            let (reason, message) = (failure.reason(), failure.words());
            self.results[*place] = Some(Err(Failure::Message { reason, message }));
        }
    }

    /// The answers, in the order of the request.
    pub(super) fn finish<A>(self, answer: impl Fn(Result<T, v1::ItemError>) -> A) -> Vec<A> {
        let settled = |result: Option<Result<T, Failure>>| match result {
            Some(Ok(value)) => answer(Ok(value)),
            Some(Err(failure)) => answer(Err(item_error(&failure))),
            None => answer(Err(item_error(&Failure::unanswered()))),
        };
        self.results.into_iter().map(settled).collect()
    }
}

impl<I, G> Group<I, G> {
    fn push(&mut self, place: usize, item: I) {
        self.items.push(item);
        self.places.push(place);
    }
}

fn item_error(failure: &Failure) -> v1::ItemError {
    let reason = failure.reason();
    v1::ItemError { code: reason.code() as i32, reason: reason.as_str().to_owned(), message: failure.words() }
}
