//! Leases index keys to clients: every live version at once, since rows of each are looked for. Never those of class L4.
//!
//! The index key of a version is its data key number 0 (docs/decisions/0115). Keys that seal have no index keys and index keys seal
//! nothing, so that number is a deterministic column's or an index's, never both.

use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{DataKeyId, VersionId};

use super::data_key_ids;
use super::lease::{Leased, check_class, note};
use super::refused::Refused;
use super::seal::destroyed;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::counted::Counted;
use crate::keyring::holders::Client;
use crate::keyring::indexing::IndexVersions;
use crate::keyring::leases::ToSeal;
use crate::keyring::{KeyEntry, Keyring};

/// The versions of an index key under lease.
#[derive(Debug)]
pub struct LeasedIndex {
    /// The newest first.
    pub versions: Vec<Leased>,
    /// The one that new rows are indexed under; none where the key takes no new values.
    pub writes_under: Option<VersionId>,
    /// How long until that is the newest; none where it is, or will not be.
    pub settles_in: Option<Duration>,
    /// Which that is: new rows are indexed under it from then on.
    pub settles_under: Option<VersionId>,
}

type Leases = Unrecorded<Result<Vec<Result<LeasedIndex, Refused>>, Refused>>;

/// Leases an index key, `times` times. It is opening, to policy: who can index a guess can find the rows that it is true of.
pub async fn to_index(
    permit: Permit<op::LeaseToOpen>,
    keyring: &Keyring,
    times: usize,
    client: Option<&Client>,
) -> Leases {
    let mut results = Vec::with_capacity(times);
    for _ in 0..times {
        results.push(index_with(keyring, permit.target(), client).await);
    }
    let note = Note::of_batch_each(&results, |leased| {
        leased.versions.iter().map(|version| version.version_id).collect::<Vec<_>>()
    });
    permit.finish(Ok(results), note)
}

async fn index_with(
    keyring: &Keyring,
    key: &Arc<KeyEntry>,
    client: Option<&Client>,
) -> Result<LeasedIndex, Refused> {
    check_class(key)?;
    let IndexVersions { live, writes_under, settles_in, settles_under } =
        key.index_versions(&keyring.running().read())?;
    // Where the newest settles while the lease runs, rows are written under both, one after the other.
    let settles = settles_under.filter(|_| settles_in.is_some_and(|left| left < key.lease));
    for version in writes_under.into_iter().chain(settles) {
        // ORDER: noted before the key leaves, as a lease to seal is: rows indexed under a version that is destroyed meanwhile are found
        // no more until they are indexed again.
        let noted = keyring.leases().note(version, ToSeal::Deterministic, key.lease);
        noted.map_err(|_| Refused::KeyDeactivated(key.name.clone()))?;
    }
    let mut versions = Vec::with_capacity(live.len());
    for id in live {
        match lease_version(keyring, key, id, client).await {
            Ok(leased) => versions.push(leased),
            // Destroyed since the key was looked up: there is nothing to be found under it.
            Err(Refused::VersionDestroyed { .. }) if writes_under != Some(id) => {}
            Err(refused) => return Err(refused),
        }
    }
    if versions.is_empty() {
        return Err(Refused::KeyDestroyed(key.name.clone()));
    }
    Ok(LeasedIndex { versions, writes_under, settles_in, settles_under })
}

async fn lease_version(
    keyring: &Keyring,
    key: &Arc<KeyEntry>,
    id: VersionId,
    client: Option<&Client>,
) -> Result<Leased, Refused> {
    let version = keyring.version_of(key, id)?;
    note(keyring, key, &version, None, client)?;
    data_key_ids::lease_deterministic(keyring, &version).await?;
    let data_key_id = DataKeyId::DETERMINISTIC;
    let data_key = version.data_key(data_key_id).map_err(|_| destroyed(&key.name, version.number))?;
    Ok(Leased {
        version_id: id,
        version: version.number,
        data_key_id,
        data_key,
        lease: key.lease,
        budget: 0,
        revision: key.revision,
        key: key.as_asked(),
        class: key.class,
        counted: Counted::of(key, &version),
    })
}
