//! Batches to seal: leases for all of it first, then no waiting but for budgets and ends of leases.

use std::{collections::HashMap, sync::Arc};

use kms_core::names::KeyName;

use super::{
    FRUITLESS, NO_RESULT, Records, STRETCH,
    column::{ToSealField, seal_error},
    stretch::Stretch,
};
use crate::{
    error::Error,
    lease::{Lease, Stop, Want, What},
};

type Results = Vec<Result<Vec<u8>, Error>>;

/// Which key each item of a batch is sealed under.
#[derive(Clone, Copy)]
pub(crate) enum Under<'a> {
    One(&'a KeyName),
    Each(&'a [&'a KeyName]),
}

impl<'a> Under<'a> {
    pub(super) fn key(&self, at: usize) -> &'a KeyName {
        match self {
            Self::One(key) => key,
            Self::Each(keys) => keys[at],
        }
    }
}

/// Items that one lease seals.
struct Group<'a> {
    key: &'a KeyName,
    deterministic: bool,
    wanted: Vec<usize>,
}

impl Records {
    /// Seals values; results in order. Makes at most one call, and none where the leases are at hand.
    ///
    /// Under a key of class L4 the server seals each value itself, a thousand a call.
    pub async fn seal_batch(&self, items: &[ToSealField<'_>]) -> Results {
        self.seal_each(items, Under::One(&self.key)).await
    }

    /// As [`Self::seal_batch`], each item under a key of its own: the leases of all of them come in one call, 10,000 at a time.
    pub(crate) async fn seal_each(&self, items: &[ToSealField<'_>], under: Under<'_>) -> Results {
        let mut results: Results = std::iter::repeat_with(|| Err(NO_RESULT)).take(items.len()).collect();
        let kept_by_server =
            |group: &Group<'_>| self.kms.shared.leases.releases_none(&self.scope.tenant, group.key);
        let (remote, local): (Vec<_>, Vec<_>) = groups(items, under).into_iter().partition(kept_by_server);
        for Group { key, wanted, .. } in remote {
            self.under(key).seal_remotely(items, &wanted, &mut results).await;
        }
        let want = |group: &Group<'_>| {
            let what = What::Seal { key: group.key.clone(), deterministic: group.deterministic };
            Want { scope: self.scope.clone(), what }
        };
        let wants: Vec<Want> = local.iter().map(want).collect();
        let leases = self.leases(&wants).await;
        for ((group, want), leased) in local.iter().zip(&wants).zip(leases) {
            self.seal_group(items, want, group, leased, &mut results).await;
        }
        results
    }

    async fn seal_group(
        &self,
        items: &[ToSealField<'_>],
        want: &Want,
        Group { key, wanted, .. }: &Group<'_>,
        mut leased: Result<Arc<Lease>, Error>,
        results: &mut Results,
    ) {
        let (mut left, mut fruitless) = (wanted.as_slice(), 0);
        while !left.is_empty() {
            let lease = match leased {
                Ok(lease) if fruitless < FRUITLESS => lease,
                Ok(_) => return fail(left, &OVER, results),
                Err(error) if releases_none(&error) => {
                    return self.under(key).seal_remotely(items, left, results).await;
                }
                Err(error) => return fail(left, &error, results),
            };
            let (done, stop) = seal_stretch(&lease, items, left, results);
            left = &left[done..];
            fruitless = if done == 0 { fruitless + 1 } else { 0 };
            self.kms.after_use(want, &lease);
            leased = match stop {
                Some(_) => self.kms.lease_after(want, &lease).await,
                None => Ok(lease),
            };
            if !left.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn groups<'a>(items: &[ToSealField<'_>], under: Under<'a>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places: HashMap<(&KeyName, bool), usize> = HashMap::new();
    // Columns of two kinds take turns, so that one of each kind is remembered.
    let mut last: [Option<(&KeyName, usize)>; 2] = [None; 2];
    for (at, item) in items.iter().enumerate() {
        let (key, deterministic) = (under.key(at), item.column.is_deterministic());
        let place = match last[usize::from(deterministic)] {
            Some((known, place)) if std::ptr::eq(known, key) => place,
            _ => *places.entry((key, deterministic)).or_insert_with(|| {
                groups.push(Group { key, deterministic, wanted: Vec::new() });
                groups.len() - 1
            }),
        };
        last[usize::from(deterministic)] = Some((key, place));
        groups[place].wanted.push(at);
    }
    groups
}

pub(super) const OVER: Error =
    Error::Local("leases end before they can be used; is the server's lease time too short?");

pub(super) fn releases_none(error: &Error) -> bool {
    error.reason() == Some(kms_proto::reason::Reason::ClassReleasesNoDataKeys)
}

pub(super) fn fail<T>(wanted: &[usize], error: &Error, results: &mut [Result<T, Error>]) {
    for at in wanted {
        results[*at] = Err(error.clone());
    }
}

/// Seals until the stretch is done or the lease stops; says how many results there are.
fn seal_stretch(
    lease: &Lease,
    items: &[ToSealField<'_>],
    wanted: &[usize],
    results: &mut Results,
) -> (usize, Option<Stop>) {
    let mut stretch = Stretch::new(lease);
    for (done, at) in wanted.iter().take(STRETCH).enumerate() {
        let ToSealField { column, record, plaintext } = items[*at];
        match stretch.seal(column, record, plaintext) {
            Ok(sealed) => results[*at] = sealed.map_err(|error| seal_error(&error)),
            Err(stop) => return (done, Some(stop)),
        }
    }
    (wanted.len().min(STRETCH), None)
}
