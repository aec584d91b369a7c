//! Leases data keys to clients: to seal with, or to open with. Never those of class L4, never the server's own.

use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{DataKeyId, VersionId};
use kms_core::names::KeyName;
use kms_core::secret::DataKey;
use kms_core::state::KeyClass;

use super::data_key_ids::{self, BUDGET};
use super::follow_family::up_to_date;
use super::refused::Refused;
use super::seal::destroyed;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::counted::Counted;
use crate::keyring::holders::{Client, Lease};
pub use crate::keyring::leases::ToSeal;
use crate::keyring::{KeyEntry, Keyring, LiveVersion};

/// What a client wants to open: named by a ciphertext's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToOpen {
    /// The version.
    pub version: VersionId,
    /// The data key.
    pub data_key: DataKeyId,
}

/// A data key and the terms of its lease.
#[derive(Debug)]
pub struct Leased {
    /// Address of the version.
    pub version_id: VersionId,
    /// Number of the version.
    pub version: u32,
    /// Which data key.
    pub data_key_id: DataKeyId,
    /// The data key.
    pub data_key: DataKey,
    /// How long the client may hold it.
    pub lease: Duration,
    /// Seals under one field key; 0 to open only.
    pub budget: u64,
    /// Revision of the key.
    pub revision: u64,
    /// The key, as it was asked for.
    pub key: KeyName,
    /// The key's class.
    pub class: KeyClass,
    /// As what the census counts it.
    pub counted: Counted,
}

type Leases = Unrecorded<Result<Vec<Result<Leased, Refused>>, Refused>>;

/// Leases data keys to seal with.
pub async fn to_seal(
    permit: Permit<op::LeaseToSeal>,
    keyring: &Keyring,
    items: &[ToSeal],
    client: Option<&Client>,
) -> Leases {
    let mut results = Vec::with_capacity(items.len());
    for kind in items {
        results.push(seal_with(keyring, permit.target(), *kind, client).await);
    }
    let note = Note::of_batch(&results, |leased| leased.version_id);
    permit.finish(Ok(results), note)
}

/// Leases data keys to open with.
pub fn to_open(
    permit: Permit<op::LeaseToOpen>,
    keyring: &Keyring,
    items: &[ToOpen],
    client: Option<&Client>,
) -> Leases {
    let results: Vec<_> =
        items.iter().map(|item| open_with(keyring, permit.target(), *item, client)).collect();
    let note = Note::of_batch(&results, |leased| leased.version_id);
    permit.finish(Ok(results), note)
}

/// Puts on record together what leases to seal under many keys would each put on record in a change of its own. What fails here is
/// met again by the lease itself.
pub async fn prepare(
    keyring: &Keyring,
    leases: impl Iterator<Item = (&Permit<op::LeaseToSeal>, ToSeal)>,
    client: Option<&Client>,
) {
    let randomized = leases.filter(|(_, kind)| *kind == ToSeal::Randomized);
    // One that is behind its family gets another version first.
    let ready = randomized.filter(|(permit, _)| !permit.target().is_behind_family());
    let begun = ready.filter_map(|(permit, kind)| begin(keyring, permit.target(), kind, client).ok());
    let versions: Vec<_> = begun.collect();
    data_key_ids::assign(keyring, &versions).await;
}

async fn seal_with(
    keyring: &Keyring,
    key: &Arc<KeyEntry>,
    kind: ToSeal,
    client: Option<&Client>,
) -> Result<Leased, Refused> {
    check_class(key)?;
    let asked = key.as_asked();
    let current = up_to_date(keyring, key).await?;
    let key = current.as_ref().unwrap_or(key);
    let version = begin(keyring, key, kind, client)?;
    let data_key_id = match kind {
        ToSeal::Randomized => data_key_ids::leased(keyring, &version).await?,
        ToSeal::Deterministic => {
            data_key_ids::lease_deterministic(keyring, &version).await?;
            DataKeyId::DETERMINISTIC
        }
    };
    let data_key = version.data_key(data_key_id).map_err(|_| destroyed(&key.name, version.number))?;
    Ok(Leased {
        version_id: version.id(),
        version: version.number,
        data_key_id,
        data_key,
        lease: key.lease,
        budget: BUDGET,
        revision: key.revision,
        key: asked,
        class: key.class,
        counted: Counted::of(key, &version),
    })
}

/// The version to seal under, with the lease noted that is about to begin.
fn begin(
    keyring: &Keyring,
    key: &Arc<KeyEntry>,
    kind: ToSeal,
    client: Option<&Client>,
) -> Result<Arc<LiveVersion>, Refused> {
    check_class(key)?;
    let version = match kind {
        ToSeal::Randomized => key.sealing_version()?,
        ToSeal::Deterministic => key.deterministic_version()?,
    };
    let version = keyring.version_of(key, version)?;
    // ORDER: noted before the key leaves: a destruction is either decided before, and this is refused, or it sees the lease.
    let noted = keyring.leases().note(version.id(), kind, key.lease);
    noted.map_err(|_| Refused::KeyDeactivated(key.name.clone()))?;
    note(keyring, key, &version, Some(kind), client)?;
    Ok(version)
}

fn open_with(
    keyring: &Keyring,
    key: &Arc<KeyEntry>,
    item: ToOpen,
    client: Option<&Client>,
) -> Result<Leased, Refused> {
    check_class(key)?;
    if key.name.is_index() {
        return Err(Refused::OnlyIndexes(key.name.clone()));
    }
    if item.data_key.is_server_own() {
        return Err(Refused::ServerOwnDataKey);
    }
    let version = keyring.version_of(key, item.version)?;
    key.check_opens()?;
    // ATTACK: a data key that was never assigned is not handed out ahead of its time.
    if !version.was_leased(item.data_key) {
        return Err(Refused::CiphertextRejected);
    }
    note(keyring, key, &version, None, client)?;
    let data_key = version.data_key(item.data_key).map_err(|_| destroyed(&key.name, version.number))?;
    Ok(Leased {
        version_id: version.id(),
        version: version.number,
        data_key_id: item.data_key,
        data_key,
        lease: key.lease,
        budget: 0,
        revision: key.revision,
        key: key.as_asked(),
        class: key.class,
        counted: Counted::of(key, &version),
    })
}

// ORDER: before the data key leaves, and before a first one is put on record; and then the key is looked at once more. A suspension
// that came since it was looked up is seen here, and a later one finds the lease and tells its holder.
pub(super) fn note(
    keyring: &Keyring,
    key: &Arc<KeyEntry>,
    version: &LiveVersion,
    to_seal: Option<ToSeal>,
    client: Option<&Client>,
) -> Result<(), Refused> {
    let issued_before = version.was_ever_leased();
    keyring.holders().note(Lease { key, version: version.id(), to_seal, issued_before, client });
    let now = keyring.key_at(&key.tenant, &key.name)?;
    if (now.tenant.slot, now.uid) != (key.tenant.slot, key.uid) {
        return Err(Refused::KeyDestroyed(key.name.clone()));
    }
    match to_seal {
        None => now.check_opens()?,
        // Which version seals now does not matter: what was rotated out meanwhile goes on for a lease's time.
        Some(ToSeal::Randomized) => drop(now.sealing_version()?),
        Some(ToSeal::Deterministic) => drop(now.deterministic_version()?),
    }
    Ok(())
}

pub(super) fn check_class(key: &KeyEntry) -> Result<(), Refused> {
    if key.class.releases_data_keys() { Ok(()) } else { Err(Refused::ReleasesNoDataKeys(key.name.clone())) }
}

#[cfg(test)]
mod tests {
    use kms_core::state::LifecycleState;

    use super::*;
    use crate::keyring::tests::{Ground, KEY};
    use crate::records::state_number;

    fn ways() -> [Option<ToSeal>; 3] {
        [None, Some(ToSeal::Randomized), Some(ToSeal::Deterministic)]
    }

    /// What a request that looked the key up before comes to, for each thing that it may want.
    fn noted(ground: &Ground, looked_up: &Arc<KeyEntry>) -> [Result<(), Refused>; 3] {
        let version = ground.version(2);
        ways().map(|to_seal| note(&ground.keyring, looked_up, &version, to_seal, None))
    }

    #[tokio::test]
    async fn a_key_that_was_suspended_since_it_was_looked_up_is_not_leased() {
        let ground = Ground::new(1 << 20).await;
        let looked_up = ground.key(KEY);
        assert!(noted(&ground, &looked_up).iter().all(Result::is_ok));
        ground.turn(KEY, |key| key.state = state_number(LifecycleState::Suspended)).await;
        assert!(looked_up.check_opens().is_ok(), "that is what it was looked up as");
        for refused in noted(&ground, &looked_up) {
            assert!(matches!(refused, Err(Refused::KeySuspended(_))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn what_was_to_be_destroyed_since_opens_and_does_not_seal_and_what_was_rotated_does_both() {
        let ground = Ground::new(1 << 20).await;
        let looked_up = ground.key(KEY);
        ground.turn(KEY, |key| (key.active_version, key.deterministic_version) = (1, 1)).await;
        assert!(noted(&ground, &looked_up).iter().all(Result::is_ok), "for a lease's time");
        ground.turn(KEY, |key| key.state = state_number(LifecycleState::DestroyScheduled)).await;
        let [open, randomized, deterministic] = noted(&ground, &looked_up);
        assert!(open.is_ok());
        for refused in [randomized, deterministic] {
            assert!(matches!(refused, Err(Refused::KeyDeactivated(_))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn a_key_that_was_made_anew_under_its_name_is_another_one() {
        let ground = Ground::new(1 << 20).await;
        let looked_up = ground.key(KEY);
        ground.turn(KEY, |key| key.uid = vec![9; 16]).await;
        for refused in noted(&ground, &looked_up) {
            assert!(matches!(refused, Err(Refused::KeyDestroyed(_))), "{refused:?}");
        }
    }
}
