//! The call that brings leases. Nothing is taken from an answer that is not exactly what was asked for.

use std::sync::Arc;

use kms_core::{
    id::{DataKeyId, VersionId},
    secret::DataKey,
};
use kms_proto::v1::{
    LeasedDataKey, OpenDataKeysRequest, open_data_keys_request as ask,
    open_data_keys_response::{Item, item::Outcome},
};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{
    Scope, Want, What,
    held::{Lease, Terms},
};
use crate::{
    api::{crypto_client, duration, key_name},
    call::Answered,
    clock::BootTime,
    error::Error,
    kms::Kms,
};

/// Most items of one call.
pub(super) const MOST: usize = 10_000;

/// A lease, and when it was asked for.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) lease: Arc<Lease>,
    pub(super) sent: BootTime,
}

/// Asks for leases in one call; answers in order.
pub(super) async fn fetch(kms: &Kms, scope: &Scope, wants: &[Want]) -> Vec<Result<Fetched, Error>> {
    let leases = &kms.shared.leases;
    let reports = leases.reports_for(&scope.tenant);
    let message = OpenDataKeysRequest {
        tenant: scope.tenant.to_string(),
        items: wants.iter().map(item).collect(),
        reports: reports.clone(),
        purpose: scope.purpose.to_string(),
    };
    let sent = Mutex::new(leases.now());
    let called = kms.call(message, |channel, request| {
        // The lease runs from the moment the try that was answered was sent.
        *sent.lock() = leases.now();
        async move { crypto_client(channel).open_data_keys(request).await }
    });
    let Answered { answer, request_id } = match called.await {
        Ok(answered) => answered,
        Err(error) => {
            leases.reports().put_back(&scope.tenant, reports);
            return wants.iter().map(|_| Err(error.clone())).collect();
        }
    };
    let sent = *sent.lock();
    let mut items = answer.items.into_iter();
    let unclear = |what| Error::Answer { what, request_id: request_id.clone() };
    let one = |want: &Want| match items.next() {
        Some(Item { outcome: Some(Outcome::Leased(leased)) }) => {
            let (terms, data_key) = accept(want, leased, sent).map_err(unclear)?;
            let lease = Lease::new(terms, data_key, leases.clock().clone(), leases.reports().clone());
            if lease.is_live() { Ok(Fetched { lease: Arc::new(lease), sent }) } else { Err(unclear(OVER)) }
        }
        Some(Item { outcome: Some(Outcome::Error(error)) }) => Err(Error::item(error, &request_id)),
        Some(Item { outcome: None }) | None => Err(unclear("fewer data keys than asked for")),
    };
    wants.iter().map(one).collect()
}

const OVER: &str = "a lease that was over when it arrived";

/// Whether the lease had ended before the answer came.
pub(super) fn was_over(error: &Error) -> bool {
    matches!(error, Error::Answer { what: OVER, .. })
}

fn item(want: &Want) -> ask::Item {
    let item = match &want.what {
        What::Seal { key, deterministic } => {
            ask::item::Item::Current(ask::Current { key: key.to_string(), deterministic: *deterministic })
        }
        What::Open { version, data_key } => ask::item::Item::Existing(ask::Existing {
            version_id: version.get(),
            data_key_id: data_key.get(),
        }),
    };
    ask::Item { item: Some(item) }
}

fn accept(want: &Want, leased: LeasedDataKey, sent: BootTime) -> Result<(Terms, DataKey), &'static str> {
    let bytes = Zeroizing::new(leased.data_key);
    let key = key_name(&leased.key)?;
    let (version, data_key) = (VersionId::from(leased.version_id), DataKeyId::from(leased.data_key_id));
    let lease = duration(leased.lease.ok_or("a data key without a lease")?)?;
    let budget = match &want.what {
        What::Seal { key: asked, .. } if *asked != key => return Err("a data key of another key"),
        // AES-SIV draws no nonce, so a deterministic field key has no limit to keep.
        What::Seal { deterministic: true, .. } if data_key == DataKeyId::DETERMINISTIC => Some(u64::MAX),
        What::Seal { deterministic: true, .. } => {
            return Err("a data key that is not for deterministic columns");
        }
        What::Seal { deterministic: false, .. } if DataKeyId::leased(data_key.get()).is_none() => {
            return Err("a data key that is not for sealing");
        }
        What::Seal { .. } if leased.budget == 0 => return Err("a sealing lease without a budget"),
        What::Seal { .. } => Some(leased.budget),
        What::Open { version: asked, data_key: id } if (*asked, *id) == (version, data_key) => None,
        What::Open { .. } => return Err("another data key than asked for"),
    };
    let deadline = sent.after(lease);
    let terms = Terms { tenant: want.scope.tenant.clone(), key, version, data_key, deadline, budget };
    Ok((terms, DataKey::copied_from(&bytes).ok_or("a data key that has not 32 bytes")?))
}
