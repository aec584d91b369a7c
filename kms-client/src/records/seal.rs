//! Batches to seal: leases for all of it first, then no waiting but for budgets and ends of leases.

use std::sync::Arc;

use kms_core::names::KeyName;

use super::{
    FRUITLESS, NO_RESULT, Records, STRETCH,
    column::{ToSealField, seal_error},
    grouped::Grouped,
    stretch::Stretch,
    values::{Listed, Results, Under, Values, fail, listed, room},
};
use crate::{
    error::Error,
    lease::{Lease, Stop, Want, What},
};

/// The key that seals some items, and whether deterministically; and which these are.
type Group<'a> = ((&'a KeyName, bool), Vec<usize>);

impl Records {
    /// Seals values; results in order. Makes at most one call, and none where the leases are at hand.
    ///
    /// Under a key of class L4 the server seals each value itself, a thousand a call.
    pub async fn seal_batch(&self, items: &[ToSealField<'_>]) -> Vec<Result<Vec<u8>, Error>> {
        self.seal_each(items, Under::One(&self.key)).await
    }

    /// As [`Self::seal_batch`], each item under a key of its own: the leases of all of them come in one call, 10,000 at a time.
    pub(crate) async fn seal_each(
        &self,
        items: &[ToSealField<'_>],
        under: Under<'_>,
    ) -> Vec<Result<Vec<u8>, Error>> {
        let mut results = room(items.len());
        self.seal_values(&Listed { items, under }, 0..items.len(), &mut results).await;
        listed(results)
    }

    /// The same of values where they stand. Each of those `wanted` that is there has a result afterwards.
    pub(crate) async fn seal_values<'a>(
        &self,
        values: &impl Values<'a, ToSealField<'a>>,
        wanted: impl Iterator<Item = usize>,
        results: &mut Results<Vec<u8>>,
    ) {
        let mut groups = Grouped::with_room(wanted.size_hint().0);
        for at in wanted {
            let Some((item, key)) = values.value(at) else { continue };
            results[at] = Some(Err(NO_RESULT));
            groups.push(&(key, item.column.is_deterministic()), at);
        }
        let kept_by_server =
            |((key, _), _): &Group<'_>| self.kms.shared.leases.releases_none(&self.scope.tenant, key);
        let (remote, local): (Vec<_>, Vec<_>) = groups.into_vec().into_iter().partition(kept_by_server);
        for ((key, _), wanted) in remote {
            // Apart: the state of a call, which is kilobytes, is not carried by batches that make none.
            Box::pin(self.under(key).seal_remotely(values, &wanted, results)).await;
        }
        let want = |((key, deterministic), _): &Group<'_>| {
            let what = What::Seal { key: KeyName::clone(key), deterministic: *deterministic };
            Want { scope: self.scope.clone(), what }
        };
        let wants: Vec<Want> = local.iter().map(want).collect();
        let leases = self.leases(&wants).await;
        for ((group, want), leased) in local.iter().zip(&wants).zip(leases) {
            self.seal_group(values, want, group, leased, results).await;
        }
    }

    async fn seal_group<'a>(
        &self,
        values: &impl Values<'a, ToSealField<'a>>,
        want: &Want,
        ((key, _), wanted): &Group<'_>,
        mut leased: Result<Arc<Lease>, Error>,
        results: &mut Results<Vec<u8>>,
    ) {
        let (mut left, mut fruitless) = (wanted.as_slice(), 0);
        while !left.is_empty() {
            let lease = match leased {
                Ok(lease) if fruitless < FRUITLESS => lease,
                Ok(_) => return fail(left, &OVER, results),
                Err(error) if releases_none(&error) => {
                    return Box::pin(self.under(key).seal_remotely(values, left, results)).await;
                }
                Err(error) => return fail(left, &error, results),
            };
            let (done, stop) = seal_stretch(&lease, values, left, results);
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

pub(super) const OVER: Error =
    Error::Local("leases end before they can be used; is the server's lease time too short?");

pub(super) fn releases_none(error: &Error) -> bool {
    error.reason() == Some(kms_proto::reason::Reason::ClassReleasesNoDataKeys)
}

/// Seals until the stretch is done or the lease stops; says how many results there are.
fn seal_stretch<'a>(
    lease: &Lease,
    values: &impl Values<'a, ToSealField<'a>>,
    wanted: &[usize],
    results: &mut Results<Vec<u8>>,
) -> (usize, Option<Stop>) {
    let mut stretch = Stretch::new(lease);
    for (done, at) in wanted.iter().take(STRETCH).enumerate() {
        let Some((ToSealField { column, record, plaintext }, _)) = values.value(*at) else { continue };
        match stretch.seal(column, record, plaintext) {
            Ok(sealed) => results[*at] = Some(sealed.map_err(|error| seal_error(&error))),
            Err(stop) => return (done, Some(stop)),
        }
    }
    (wanted.len().min(STRETCH), None)
}
