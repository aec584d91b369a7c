//! Batches to open: each value says which data key opens it; all that are missing come in one call.

use std::sync::Arc;

use kms_core::{
    field::Header,
    id::{DataKeyId, VersionId},
    names::KeyName,
    secret::Plaintext,
};

use super::{
    FRUITLESS, NO_RESULT, Records, STRETCH,
    column::{ToOpenField, open_error},
    grouped::Grouped,
    remote::Bound,
    seal::OVER,
    stretch::Stretch,
    values::{Listed, Results, Under, Values, fail, listed, room},
};
use crate::{
    error::Error,
    lease::{Lease, Stop, Want, What},
};

type Address = (VersionId, DataKeyId);
/// A data key, and the subject's key in whose name it opens, if it is one of a subject.
type Wanted<'a> = (Address, Option<&'a KeyName>);

/// A batch by who opens it.
#[derive(Default)]
struct Sorted<'a> {
    local: Vec<(Wanted<'a>, Vec<usize>)>,
    remote: Vec<(&'a KeyName, Vec<usize>)>,
}

impl Records {
    /// Opens values; results in order. Makes at most one call for data keys that are not at hand, 10,000 of them at a time, and
    /// none where all are.
    ///
    /// Values that only the server opens are sent to it, a thousand a call.
    pub async fn open_batch(&self, items: &[ToOpenField<'_>]) -> Vec<Result<Plaintext, Error>> {
        self.open_each(items, Under::One(&self.key)).await
    }

    /// As [`Self::open_batch`], each item in the name of a key of its own.
    pub(crate) async fn open_each(
        &self,
        items: &[ToOpenField<'_>],
        under: Under<'_>,
    ) -> Vec<Result<Plaintext, Error>> {
        let mut results = room(items.len());
        self.open_values(&Listed { items, under }, 0..items.len(), &mut results).await;
        listed(results)
    }

    /// The same of values where they stand. Each of those `wanted` that is there has a result afterwards.
    pub(crate) async fn open_values<'a>(
        &self,
        values: &impl Values<'a, ToOpenField<'a>>,
        wanted: impl Iterator<Item = usize>,
        results: &mut Results<Plaintext>,
    ) {
        let sorted = sort(values, wanted, |at, error| results[at] = Some(Err(error)));
        let wants: Vec<Want> = sorted.local.iter().map(|(wanted, _)| self.want_to_open_of(*wanted)).collect();
        let leases = self.leases(&wants).await;
        for ((want, (_, wanted)), leased) in wants.iter().zip(&sorted.local).zip(leases) {
            self.open_group(values, (want, wanted), leased, results).await;
        }
        for (key, wanted) in sorted.remote {
            // Apart: the state of a call, which is kilobytes, is not carried by batches that make none.
            Box::pin(self.under(key).open_remotely(values, &wanted, results)).await;
        }
    }

    /// Has the data keys come that [`Self::open_values`] will ask for. What fails here fails there again, and says so.
    pub(crate) async fn warm_to_open<'a>(
        &self,
        values: &impl Values<'a, ToOpenField<'a>>,
        wanted: impl Iterator<Item = usize>,
    ) {
        let sorted = sort(values, wanted, |_, _| ());
        let wants: Vec<Want> = sorted.local.iter().map(|(wanted, _)| self.want_to_open_of(*wanted)).collect();
        drop(self.leases(&wants).await);
    }

    async fn open_group<'a>(
        &self,
        values: &impl Values<'a, ToOpenField<'a>>,
        (want, wanted): (&Want, &[usize]),
        mut leased: Result<Arc<Lease>, Error>,
        results: &mut Results<Plaintext>,
    ) {
        let (mut left, mut fruitless) = (wanted, 0);
        while !left.is_empty() {
            let lease = match leased {
                Ok(lease) if fruitless < FRUITLESS => lease,
                Ok(_) => return fail(left, &OVER, results),
                Err(error) => return fail(left, &error, results),
            };
            let (done, stop) = open_stretch(&lease, self.moves, values, left, results);
            left = &left[done..];
            fruitless = if done == 0 { fruitless + 1 } else { 0 };
            leased = match stop {
                Some(_) => self.kms.lease_after(want, &lease).await,
                None => Ok(lease),
            };
            if !left.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether the data key that a value names is at hand, and is known to be one of this key. Asks nobody.
    pub(crate) fn has_at_hand(&self, header: &Header, key: &KeyName) -> bool {
        let want = self.want_to_open_of(((header.version, header.data_key), own_subject(key)));
        let lease = self.kms.shared.leases.peek(&want);
        lease.is_some_and(|lease| lease.is_live() && lease.key() == key)
    }

    fn want_to_open_of(&self, (address, subject): Wanted<'_>) -> Want {
        let Some(key) = subject else { return self.want_to_open(address) };
        let what = What::OpenNamed { key: key.clone(), version: address.0, data_key: address.1 };
        Want { scope: self.scope.clone(), what }
    }

    pub(super) fn want_to_open(&self, (version, data_key): Address) -> Want {
        Want { scope: self.scope.clone(), what: What::Open { version, data_key } }
    }
}

/// Finds out who opens each value, and says which values nobody does.
fn sort<'a>(
    values: &impl Values<'a, ToOpenField<'a>>,
    wanted: impl Iterator<Item = usize>,
    mut settle: impl FnMut(usize, Error),
) -> Sorted<'a> {
    let (mut local, mut remote) = (Grouped::with_room(wanted.size_hint().0), Grouped::with_room(0));
    for at in wanted {
        let Some((item, key)) = values.value(at) else { continue };
        match Header::parse(item.ciphertext) {
            Ok(header) if Bound::of(&header).is_some() => remote.push(&key, at),
            Ok(header) => {
                local.push(&((header.version, header.data_key), own_subject(key)), at);
            }
            Err(error) => {
                settle(at, open_error(&error.into()));
                continue;
            }
        }
        settle(at, NO_RESULT);
    }
    Sorted { local: local.into_vec(), remote: remote.into_vec() }
}

/// The key, if it is one of a subject.
fn own_subject(key: &KeyName) -> Option<&KeyName> {
    Some(key).filter(|key| key.subject().is_some())
}

/// Opens until the stretch is done or the lease stops; says how many results there are.
fn open_stretch<'a>(
    lease: &Lease,
    moves: bool,
    values: &impl Values<'a, ToOpenField<'a>>,
    wanted: &[usize],
    results: &mut Results<Plaintext>,
) -> (usize, Option<Stop>) {
    let (mut stretch, mut same) = (Stretch::new(lease).moving(moves), lease.key());
    for (done, at) in wanted.iter().take(STRETCH).enumerate() {
        let Some((ToOpenField { column, record, ciphertext }, key)) = values.value(*at) else { continue };
        // ATTACK: a value of another key of the tenant is not opened in the name of this one.
        if !std::ptr::eq(same, key) && same != key {
            results[*at] = Some(Err(other_key(lease, key)));
            continue;
        }
        same = key;
        match stretch.open(column, record, ciphertext) {
            Ok(opened) => results[*at] = Some(opened.map_err(|error| open_error(&error))),
            Err(stop) => return (done, Some(stop)),
        }
    }
    (wanted.len().min(STRETCH), None)
}

/// Says which key it is: the server leased it, so the caller may know.
pub(super) fn other_key(lease: &Lease, named: &KeyName) -> Error {
    Error::OtherKey { sealed_under: lease.key().clone().into(), named: named.clone().into() }
}
