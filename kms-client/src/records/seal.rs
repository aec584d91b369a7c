//! Batches to seal: leases for all of it first, then no waiting but for budgets and ends of leases.

use std::sync::Arc;

use super::{
    Column, FRUITLESS, NO_RESULT, Records, STRETCH,
    column::{ToSealField, seal_error},
};
use crate::{
    error::Error,
    lease::{Lease, Prepared, Stop},
};

type Results = Vec<Result<Vec<u8>, Error>>;

impl Records {
    /// Seals values; results in order. Makes at most one call for each kind of column, and none where the lease is at hand.
    ///
    /// Under a key of class L4 the server seals each value itself, a thousand a call.
    pub async fn seal_batch(&self, items: &[ToSealField<'_>]) -> Results {
        let mut results: Results = std::iter::repeat_with(|| Err(NO_RESULT)).take(items.len()).collect();
        for deterministic in [false, true] {
            let of_kind = |at: &usize| items[*at].column.is_deterministic() == deterministic;
            let wanted: Vec<usize> = (0..items.len()).filter(of_kind).collect();
            if !wanted.is_empty() {
                self.seal_kind(items, &wanted, deterministic, &mut results).await;
            }
        }
        results
    }

    async fn seal_kind(
        &self,
        items: &[ToSealField<'_>],
        wanted: &[usize],
        deterministic: bool,
        results: &mut Results,
    ) {
        if self.kms.shared.leases.releases_none(&self.scope.tenant, &self.key) {
            return self.seal_remotely(items, wanted, results).await;
        }
        let want = self.want_to_seal(deterministic);
        let (mut left, mut fruitless) = (wanted, 0);
        let mut leased = self.kms.lease(&want).await;
        while !left.is_empty() {
            let lease = match leased {
                Ok(lease) if fruitless < FRUITLESS => lease,
                Ok(_) => return fail(left, &OVER, results),
                Err(error) if releases_none(&error) => return self.seal_remotely(items, left, results).await,
                Err(error) => return fail(left, &error, results),
            };
            let (done, stop) = seal_stretch(&lease, items, left, results);
            left = &left[done..];
            fruitless = if done == 0 { fruitless + 1 } else { 0 };
            self.kms.after_use(&want, &lease);
            leased = match stop {
                Some(_) => self.kms.lease_after(&want, &lease).await,
                None => Ok(lease),
            };
            if !left.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
}

const OVER: Error = Error::Local("leases end before they can be used; is the server's lease time too short?");

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
    let mut columns: Vec<(&Column, Arc<Prepared>)> = Vec::new();
    let mut done = 0;
    for at in wanted.iter().take(STRETCH) {
        let ToSealField { column, record, plaintext } = items[*at];
        let sealed = prepared(lease, &mut columns, column).and_then(|prepared| {
            lease.take_seals(prepared, 1)?;
            lease.seal_taken(prepared, record, plaintext)
        });
        match sealed {
            Ok(sealed) => results[*at] = sealed.map_err(|error| seal_error(&error)),
            Err(stop) => return (done, Some(stop)),
        }
        done += 1;
    }
    (done, None)
}

/// The cipher of a column, out of those that this stretch has met.
pub(super) fn prepared<'a, 'c>(
    lease: &Lease,
    met: &'a mut Vec<(&'c Column, Arc<Prepared>)>,
    column: &'c Column,
) -> Result<&'a Prepared, Stop> {
    let same = |other: &Column| {
        std::ptr::eq(other, column) || (other.table() == column.table() && other.column() == column.column())
    };
    let at = match met.iter().position(|(other, _)| same(other)) {
        Some(at) => at,
        None => {
            met.push((column, lease.prepared(column.table(), column.column())?));
            met.len() - 1
        }
    };
    Ok(&met[at].1)
}
