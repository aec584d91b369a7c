//! Batches to open: each value says which data key opens it; all that are missing come in one call.

use std::{collections::HashMap, sync::Arc};

use kms_core::{
    field::{Header, Kind},
    id::{DataKeyId, VersionId},
    secret::Plaintext,
};

use super::{
    FRUITLESS, NO_RESULT, Records, STRETCH,
    column::{ToOpenField, open_error},
    remote::Bound,
    seal::{fail, prepared},
};
use crate::{
    error::Error,
    lease::{Lease, Stop, Want, What},
};

pub(super) type Opened = Result<Plaintext, Error>;
type Address = (VersionId, DataKeyId);

impl Records {
    /// Opens values; results in order. Makes at most one call for data keys that are not at hand, 10,000 of them at a time, and
    /// none where all are.
    ///
    /// Values that only the server opens are sent to it, a thousand a call.
    pub async fn open_batch(&self, items: &[ToOpenField<'_>]) -> Vec<Opened> {
        let mut results: Vec<Opened> = std::iter::repeat_with(|| Err(NO_RESULT)).take(items.len()).collect();
        let mut remote = Vec::new();
        let mut local: HashMap<Address, Vec<usize>> = HashMap::new();
        for (at, item) in items.iter().enumerate() {
            match Header::parse(item.ciphertext) {
                Ok(Header { kind: Kind::Direct, .. }) => remote.push((at, Bound::Directly)),
                Ok(header) if header.data_key.is_server_own() => remote.push((at, Bound::AsField)),
                Ok(header) => local.entry((header.version, header.data_key)).or_default().push(at),
                Err(error) => results[at] = Err(open_error(&error.into())),
            }
        }
        if !local.is_empty() {
            self.open_locally(items, local, &mut results).await;
        }
        if !remote.is_empty() {
            self.open_remotely(items, &remote, &mut results).await;
        }
        results
    }

    async fn open_locally(
        &self,
        items: &[ToOpenField<'_>],
        local: HashMap<Address, Vec<usize>>,
        results: &mut [Opened],
    ) {
        let (addresses, groups): (Vec<Address>, Vec<Vec<usize>>) = local.into_iter().unzip();
        let wants: Vec<Want> = addresses.into_iter().map(|address| self.want_to_open(address)).collect();
        let leases = match &wants[..] {
            [want] => vec![self.kms.lease(want).await],
            wants => self.kms.leases(&self.scope, wants).await,
        };
        for ((want, wanted), leased) in wants.iter().zip(&groups).zip(leases) {
            self.open_group(items, want, wanted, leased, results).await;
        }
    }

    async fn open_group(
        &self,
        items: &[ToOpenField<'_>],
        want: &Want,
        wanted: &[usize],
        mut leased: Result<Arc<Lease>, Error>,
        results: &mut [Opened],
    ) {
        let (mut left, mut fruitless) = (wanted, 0);
        while !left.is_empty() {
            let lease = match leased {
                // ATTACK: a value of another key of the tenant is not opened in the name of this one.
                Ok(lease) if *lease.key() != self.key => {
                    return fail(left, &self.other_key(&lease), results);
                }
                Ok(lease) if fruitless < FRUITLESS => lease,
                Ok(_) => return fail(left, &NO_RESULT, results),
                Err(error) => return fail(left, &error, results),
            };
            let (done, stop) = open_stretch(&lease, items, left, results);
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

    /// Says which key it is: the server leased it, so the caller may know.
    pub(super) fn other_key(&self, lease: &Lease) -> Error {
        Error::OtherKey { sealed_under: lease.key().clone().into(), named: self.key.clone().into() }
    }

    pub(super) fn want_to_open(&self, (version, data_key): Address) -> Want {
        Want { scope: self.scope.clone(), what: What::Open { version, data_key } }
    }
}

/// Opens until the stretch is done or the lease stops; says how many results there are.
fn open_stretch(
    lease: &Lease,
    items: &[ToOpenField<'_>],
    wanted: &[usize],
    results: &mut [Opened],
) -> (usize, Option<Stop>) {
    let mut columns = Vec::new();
    let mut done = 0;
    for at in wanted.iter().take(STRETCH) {
        let ToOpenField { column, record, ciphertext } = items[*at];
        let opened = prepared(lease, &mut columns, column)
            .and_then(|prepared| lease.open(prepared, record, ciphertext));
        match opened {
            Ok(opened) => results[*at] = opened.map_err(|error| open_error(&error)),
            Err(stop) => return (done, Some(stop)),
        }
        done += 1;
    }
    (done, None)
}
