//! Batches to open: each value says which data key opens it; all that are missing come in one call.

use std::{collections::HashMap, sync::Arc};

use kms_core::{
    field::{Header, Kind},
    id::{DataKeyId, VersionId},
    names::KeyName,
    secret::Plaintext,
};

use super::{
    FRUITLESS, NO_RESULT, Records, STRETCH,
    column::{ToOpenField, open_error},
    remote::Bound,
    seal::{OVER, Under, fail},
    stretch::Stretch,
};
use crate::{
    error::Error,
    lease::{Lease, Stop, Want, What},
};

pub(super) type Opened = Result<Plaintext, Error>;
type Address = (VersionId, DataKeyId);
/// A data key, and the subject's key in whose name it opens, if it is one of a subject.
type Wanted<'a> = (Address, Option<&'a KeyName>);

impl Records {
    /// Opens values; results in order. Makes at most one call for data keys that are not at hand, 10,000 of them at a time, and
    /// none where all are.
    ///
    /// Values that only the server opens are sent to it, a thousand a call.
    pub async fn open_batch(&self, items: &[ToOpenField<'_>]) -> Vec<Opened> {
        self.open_each(items, Under::One(&self.key)).await
    }

    /// As [`Self::open_batch`], each item in the name of a key of its own.
    pub(crate) async fn open_each(&self, items: &[ToOpenField<'_>], under: Under<'_>) -> Vec<Opened> {
        let mut results: Vec<Opened> = std::iter::repeat_with(|| Err(NO_RESULT)).take(items.len()).collect();
        let mut remote: HashMap<&KeyName, Vec<(usize, Bound)>> = HashMap::new();
        let mut local = Groups::default();
        for (at, item) in items.iter().enumerate() {
            let bound = match Header::parse(item.ciphertext) {
                Ok(Header { kind: Kind::Direct, .. }) => Bound::Directly,
                Ok(header) if header.data_key.is_server_own() => Bound::AsField,
                Ok(header) => {
                    let subject = Some(under.key(at)).filter(|key| key.subject().is_some());
                    local.push(((header.version, header.data_key), subject), at);
                    continue;
                }
                Err(error) => {
                    results[at] = Err(open_error(&error.into()));
                    continue;
                }
            };
            remote.entry(under.key(at)).or_default().push((at, bound));
        }
        self.open_locally(items, under, &local.groups, &mut results).await;
        for (key, wanted) in remote {
            self.under(key).open_remotely(items, &wanted, &mut results).await;
        }
        results
    }

    async fn open_locally(
        &self,
        items: &[ToOpenField<'_>],
        under: Under<'_>,
        groups: &[(Wanted<'_>, Vec<usize>)],
        results: &mut [Opened],
    ) {
        let wants: Vec<Want> = groups.iter().map(|(wanted, _)| self.want_to_open_of(*wanted)).collect();
        let leases = self.leases(&wants).await;
        for ((want, (_, wanted)), leased) in wants.iter().zip(groups).zip(leases) {
            self.open_group(items, under, (want, wanted), leased, results).await;
        }
    }

    async fn open_group(
        &self,
        items: &[ToOpenField<'_>],
        under: Under<'_>,
        (want, wanted): (&Want, &[usize]),
        mut leased: Result<Arc<Lease>, Error>,
        results: &mut [Opened],
    ) {
        let (mut left, mut fruitless) = (wanted, 0);
        while !left.is_empty() {
            let lease = match leased {
                Ok(lease) if fruitless < FRUITLESS => lease,
                Ok(_) => return fail(left, &OVER, results),
                Err(error) => return fail(left, &error, results),
            };
            let (done, stop) = open_stretch(&lease, items, under, left, results);
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

    fn want_to_open_of(&self, (address, subject): Wanted<'_>) -> Want {
        let Some(key) = subject else { return self.want_to_open(address) };
        let what = What::OpenNamed { key: key.clone(), version: address.0, data_key: address.1 };
        Want { scope: self.scope.clone(), what }
    }

    pub(super) fn want_to_open(&self, (version, data_key): Address) -> Want {
        Want { scope: self.scope.clone(), what: What::Open { version, data_key } }
    }
}

/// Items by the data key that opens them.
#[derive(Default)]
struct Groups<'a> {
    groups: Vec<(Wanted<'a>, Vec<usize>)>,
    places: HashMap<Wanted<'a>, usize>,
    last: Option<usize>,
}

impl<'a> Groups<'a> {
    fn push(&mut self, wanted: Wanted<'a>, at: usize) {
        // Neighbours mostly share a data key.
        let place = match self.last {
            Some(last) if self.groups[last].0 == wanted => last,
            _ => *self.places.entry(wanted).or_insert_with(|| {
                self.groups.push((wanted, Vec::new()));
                self.groups.len() - 1
            }),
        };
        self.last = Some(place);
        self.groups[place].1.push(at);
    }
}

/// Opens until the stretch is done or the lease stops; says how many results there are.
fn open_stretch(
    lease: &Lease,
    items: &[ToOpenField<'_>],
    under: Under<'_>,
    wanted: &[usize],
    results: &mut [Opened],
) -> (usize, Option<Stop>) {
    let mut stretch = Stretch::new(lease);
    for (done, at) in wanted.iter().take(STRETCH).enumerate() {
        let ToOpenField { column, record, ciphertext } = items[*at];
        // ATTACK: a value of another key of the tenant is not opened in the name of this one.
        if lease.key() != under.key(*at) {
            results[*at] = Err(other_key(lease, under.key(*at)));
            continue;
        }
        match stretch.open(column, record, ciphertext) {
            Ok(opened) => results[*at] = opened.map_err(|error| open_error(&error)),
            Err(stop) => return (done, Some(stop)),
        }
    }
    (wanted.len().min(STRETCH), None)
}

/// Says which key it is: the server leased it, so the caller may know.
pub(super) fn other_key(lease: &Lease, named: &KeyName) -> Error {
    Error::OtherKey { sealed_under: lease.key().clone().into(), named: named.clone().into() }
}
