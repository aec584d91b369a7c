//! The call that brings leases. Nothing is taken from an answer that is not exactly what was asked for.

use std::{sync::Arc, time::Duration};

use kms_core::{
    id::{DataKeyId, VersionId},
    names::KeyName,
    secret::{DataKey, IndexKey},
    state::KeyClass,
};
use kms_proto::v1::{
    LeasedDataKey, LeasedIndex, OpenDataKeysRequest, open_data_keys_request as ask,
    open_data_keys_response::{Item, item::Outcome},
};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{
    Scope, Want, What,
    held::{Lease, Material, Terms},
    index::IndexKeys,
};
use crate::{
    api::{crypto_client, duration, key_class, key_name},
    call::Answered,
    clock::BootTime,
    error::Error,
    kms::Kms,
};

/// Most items of one call.
const MOST: usize = 10_000;
/// As how many the server counts an index: it may bring so many versions.
const INDEX_WEIGHT: usize = 100;

/// How many of the wants one call takes.
pub(super) fn fitting<'a>(wants: impl Iterator<Item = &'a Want>) -> usize {
    let mut room = MOST;
    wants
        .take_while(|want| {
            let weight = if matches!(want.what, What::Index { .. }) { INDEX_WEIGHT } else { 1 };
            let fits = weight <= room;
            room = room.saturating_sub(weight);
            fits
        })
        .count()
}

/// A lease, and when it was asked for.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) lease: Arc<Lease>,
    pub(super) sent: BootTime,
    /// Of the server's store, before anything was leased.
    pub(super) revision: u64,
    /// Events that had been heard when it was asked for.
    pub(super) purges: u64,
}

/// Asks for leases in one call; answers in order.
pub(super) async fn fetch(kms: &Kms, scope: &Scope, wants: &[Want]) -> Vec<Result<Fetched, Error>> {
    let leases = &kms.shared.leases;
    let (reports, uses) = (leases.reports_for(&scope.tenant), leases.uses_for(&scope.tenant));
    let message = OpenDataKeysRequest {
        tenant: scope.tenant.to_string(),
        items: wants.iter().map(item).collect(),
        reports: reports.clone(),
        uses: uses.clone(),
        purpose: scope.purpose.to_string(),
        client_instance: leases.instance().to_owned(),
    };
    let purges = leases.purges.count();
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
            leases.reports().put_back_uses(&scope.tenant, uses);
            return wants.iter().map(|_| Err(error.clone())).collect();
        }
    };
    let (sent, revision) = (*sent.lock(), answer.store_revision);
    let mut items = answer.items.into_iter();
    let unclear = |what| Error::Answer { what, request_id: request_id.clone() };
    let take = |(terms, material): (Terms, Material)| {
        let lease = Lease::new(terms, material, leases.clock().clone(), leases.reports().clone());
        if !lease.is_live() {
            return Err(unclear(OVER));
        }
        Ok(Fetched { lease: Arc::new(lease), sent, revision, purges })
    };
    let one = |want: &Want| match items.next() {
        Some(Item { outcome: Some(Outcome::Leased(leased)) }) => {
            accept(want, leased, sent).map_err(unclear).and_then(take)
        }
        Some(Item { outcome: Some(Outcome::Index(leased)) }) => {
            accept_index(want, leased, (sent, leases.now())).map_err(unclear).and_then(take)
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
    let existing = |version: VersionId, data_key: DataKeyId, key| {
        let (version_id, data_key_id) = (version.get(), data_key.get());
        ask::item::Item::Existing(ask::Existing { version_id, data_key_id, key })
    };
    let item = match &want.what {
        What::Seal { key, deterministic } => {
            ask::item::Item::Current(ask::Current { key: key.to_string(), deterministic: *deterministic })
        }
        What::Open { version, data_key } => existing(*version, *data_key, String::new()),
        // Policy may look at the subject, which the server does not know from a version.
        What::OpenNamed { key, version, data_key } => {
            let named = key.subject().map(|_| key.to_string());
            existing(*version, *data_key, named.unwrap_or_default())
        }
        What::Index { key } => ask::item::Item::Index(ask::Index { key: key.to_string() }),
    };
    ask::Item { item: Some(item) }
}

/// What every leased key says of itself.
struct Stated {
    key: KeyName,
    version: VersionId,
    data_key: DataKeyId,
    lease: Duration,
    class: Option<KeyClass>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Stated {
    fn of(leased: LeasedDataKey) -> Result<(Self, u64), &'static str> {
        let bytes = Zeroizing::new(leased.data_key);
        let key = key_name(&leased.key)?;
        let (version, data_key) = (VersionId::from(leased.version_id), DataKeyId::from(leased.data_key_id));
        let lease = duration(leased.lease.ok_or("a data key without a lease")?)?;
        let class = key_class(leased.key_class)?;
        Ok((Self { key, version, data_key, lease, class, bytes }, leased.budget))
    }
}

const NOT_32_BYTES: &str = "a data key that has not 32 bytes";

fn accept(want: &Want, leased: LeasedDataKey, sent: BootTime) -> Result<(Terms, Material), &'static str> {
    let (Stated { key, version, data_key, lease, class, bytes }, budget) = Stated::of(leased)?;
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
        What::Seal { .. } if budget == 0 => return Err("a sealing lease without a budget"),
        What::Seal { .. } => Some(budget),
        What::Open { version: asked, data_key: id }
        | What::OpenNamed { version: asked, data_key: id, .. }
            if (*asked, *id) == (version, data_key) =>
        {
            None
        }
        What::Open { .. } | What::OpenNamed { .. } => return Err("another data key than asked for"),
        What::Index { .. } => return Err("a data key in place of an index key"),
    };
    let deadline = sent.after(lease);
    let tenant = want.scope.tenant.clone();
    let terms = Terms { tenant, key, version, data_key, deadline, budget, class };
    Ok((terms, Material::DataKey(DataKey::copied_from(&bytes).ok_or(NOT_32_BYTES)?)))
}

fn accept_index(
    want: &Want,
    leased: LeasedIndex,
    (sent, received): (BootTime, BootTime),
) -> Result<(Terms, Material), &'static str> {
    // ORDER: every key is in memory that is wiped before the first is looked at.
    let stated: Vec<_> = leased.versions.into_iter().map(Stated::of).collect();
    let What::Index { key } = &want.what else { return Err("an index key in place of a data key") };
    let (mut deadline, mut class) = (None, None);
    let mut keys = Vec::with_capacity(stated.len());
    for one in stated {
        let (one, _) = one?;
        if one.key != *key {
            return Err("an index key of another key");
        }
        if one.data_key != DataKeyId::DETERMINISTIC {
            return Err("a data key that is not for indexes");
        }
        // All are used together, so the first to end ends all.
        let end = sent.after(one.lease);
        deadline = Some(deadline.map_or(end, |deadline: BootTime| deadline.min(end)));
        class = one.class;
        keys.push((one.version, IndexKey::copied_from(&one.bytes).ok_or(NOT_32_BYTES)?));
    }
    let tenant = want.scope.tenant.clone();
    // Counted from when the answer came: no row is written under the newest before others know of it.
    let settles = leased.settles_in.map(duration).transpose()?.map(|left| received.after(left));
    let settles = settles.map(|at| (at, leased.settles_under.map(VersionId::from)));
    let keys = IndexKeys::new(tenant.clone(), keys, leased.writes_under.map(VersionId::from), settles)?;
    let (version, data_key) = (keys.newest(), DataKeyId::DETERMINISTIC);
    let deadline = deadline.unwrap_or(sent);
    let terms = Terms { tenant, key: key.clone(), version, data_key, deadline, budget: None, class };
    Ok((terms, Material::Index(keys)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(what: What) -> Want {
        let scope = Scope { tenant: "acme".parse().unwrap(), purpose: "".into() };
        Want { scope, what }
    }

    #[test]
    fn a_call_takes_as_many_wants_as_the_server_counts_to_10_000() {
        let open = want(What::Open { version: 1.into(), data_key: 1.into() });
        let index = want(What::Index { key: "attendance.index".parse().unwrap() });
        let fits = |opens: usize, indexes: usize, then: &Want| {
            let wants = std::iter::repeat_n(&open, opens).chain(std::iter::repeat_n(&index, indexes));
            fitting(wants.chain([then]))
        };
        assert_eq!(fits(9_999, 0, &open), 10_000);
        assert_eq!(fits(10_000, 0, &open), 10_000);
        assert_eq!(fits(9_900, 0, &index), 9_901);
        assert_eq!(fits(9_901, 0, &index), 9_901);
        assert_eq!(fits(0, 100, &open), 100);
    }
}
