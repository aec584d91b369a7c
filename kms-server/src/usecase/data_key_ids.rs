//! Data-key ids, assigned by the server, durable before use: an id that may have sealed is never handed out as new.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use kms_core::id::{DataKeyId, VersionId};
use kms_proto::storage::DataKeyIdsRecord;

use super::refused::Refused;
use crate::erasure::Change;
use crate::keyring::version::LeasedDataKeys;
use crate::keyring::{Keyring, LiveVersion};
use crate::records::{DataKeyIds, Table as _, TenantsBySlot, Versions, name, state};

/// Number of the day in UTC: a new data key comes with each.
pub(super) struct Today;

impl Today {
    pub(super) fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400)
    }
}

/// Versions that one change assigns data keys to at most: several such changes share a commit.
const TOGETHER: usize = 512;
/// Seals that one sealing lease allows under one field key.
pub(super) const BUDGET: u64 = 1 << 20;
/// Seals allowed under one field key with random nonces (SP 800-38D, 8.3).
const SEALS_PER_FIELD_KEY: u64 = 1 << 32;

/// Reserves a data key for the server's own seals, once for all that wait for it.
pub(super) async fn reserve_own(keyring: &Keyring, version: &LiveVersion, today: u64) -> Result<(), Refused> {
    let _one_at_a_time = version.reserve.lock().await;
    if version.own_data_key(today).is_some() {
        return Ok(());
    }
    let id = version.id();
    let number = reserve(keyring, id, |ids| {
        ids.own += 1;
        ids.own - 1
    })
    .await?;
    let data_key = DataKeyId::server_own(number).ok_or_else(used_up)?;
    version.install(data_key, today);
    Ok(())
}

/// The data key that clients are leased to seal with, a new one each day and before 2^32 seals can have been made under it.
pub(super) async fn leased(keyring: &Keyring, version: &LiveVersion) -> Result<DataKeyId, Refused> {
    let today = Today::now();
    let mut leased = version.reserve.lock().await;
    if let Some((id, day)) = leased.current
        && day == today
        && leased.allowed + BUDGET <= SEALS_PER_FIELD_KEY
    {
        leased.allowed += BUDGET;
        return Ok(id);
    }
    let number = reserve(keyring, version.id(), next_leased).await?;
    let data_key = DataKeyId::leased(number).ok_or_else(used_up)?;
    version.raise_leased_ids(number + 1);
    *leased = LeasedDataKeys { current: Some((data_key, today)), allowed: BUDGET };
    Ok(data_key)
}

/// Assigns a data key to each of these versions that has none for today, as [`leased`] would to each in a change of its own. What
/// another call is assigning one to is left to that; so is what fails, and nothing of a destroyed version is assigned.
pub(super) async fn assign(keyring: &Keyring, versions: &[Arc<LiveVersion>]) {
    let today = Today::now();
    let mut waiting: Vec<_> = versions
        .iter()
        .filter_map(|version| Some((version, version.reserve.try_lock().ok()?)))
        .filter(|(_, leased)| leased.current.is_none_or(|(_, day)| day != today))
        .collect();
    let ids: Vec<_> = waiting.iter().map(|(version, _)| version.id()).collect();
    // All of them are queued before the first is waited for, so that those that fit share a commit.
    let assigned = join_all(ids.chunks(TOGETHER).map(|ids| {
        let ids = ids.to_vec();
        keyring.writer().commit(move |change| {
            let next = |id: &VersionId| reserve_in(change, *id, next_leased).ok();
            Ok::<_, Refused>(ids.iter().map(next).collect::<Vec<_>>())
        })
    }));
    for (part, committed) in waiting.chunks_mut(TOGETHER).zip(assigned.await) {
        let numbers = committed.map(|committed| committed.value).unwrap_or_default();
        for ((version, leased), number) in part.iter_mut().zip(numbers) {
            let Some(number) = number else { continue };
            let Some(data_key) = DataKeyId::leased(number) else { continue };
            version.raise_leased_ids(number + 1);
            **leased = LeasedDataKeys { current: Some((data_key, today)), allowed: 0 };
        }
    }
}

fn next_leased(ids: &mut DataKeyIdsRecord) -> u32 {
    // Id 0 is the deterministic columns'.
    let number = ids.leased.max(1);
    ids.leased = number + 1;
    number
}

/// Puts on record that the data key of deterministic columns is leased: a destruction after a restart must know.
pub(super) async fn lease_deterministic(keyring: &Keyring, version: &LiveVersion) -> Result<(), Refused> {
    if version.leased_deterministic() {
        return Ok(());
    }
    let _one_at_a_time = version.reserve.lock().await;
    if !version.leased_deterministic() {
        reserve(keyring, version.id(), |ids| ids.deterministic = true).await?;
        version.set_leased_deterministic();
    }
    Ok(())
}

/// Puts on record that envelope keys leave the server: its certificate will not say that nothing did.
pub(super) async fn note_envelopes(keyring: &Keyring, version: &LiveVersion) -> Result<(), Refused> {
    if version.gave_envelopes() {
        return Ok(());
    }
    let _one_at_a_time = version.reserve.lock().await;
    if !version.gave_envelopes() {
        reserve(keyring, version.id(), |ids| ids.envelopes = true).await?;
        version.set_gave_envelopes();
    }
    Ok(())
}

/// Data keys that are known to have been handed out, at the least: of envelope keys, only that there were some.
pub(super) fn handed_out(ids: &DataKeyIdsRecord) -> u32 {
    ids.leased.saturating_sub(1) + u32::from(ids.deterministic) + u32::from(ids.envelopes)
}

async fn reserve<R: Send + 'static>(
    keyring: &Keyring,
    version: VersionId,
    next: impl FnOnce(&mut DataKeyIdsRecord) -> R + Send + 'static,
) -> Result<R, Refused> {
    let reserved = keyring.writer().commit(move |change: &mut Change<'_>| reserve_in(change, version, next));
    Ok(reserved.await?.value)
}

fn reserve_in<R>(
    change: &mut Change<'_>,
    version: VersionId,
    next: impl FnOnce(&mut DataKeyIdsRecord) -> R,
) -> Result<R, Refused> {
    refuse_destroyed(change, version)?;
    let mut ids = change.get::<DataKeyIds>(&version)?.unwrap_or_default();
    let reserved = next(&mut ids);
    change.put::<DataKeyIds>(&version, &ids);
    Ok(reserved)
}

/// ATTACK: who waited here while the version was destroyed must not go on with it.
fn refuse_destroyed(change: &Change<'_>, id: VersionId) -> Result<(), Refused> {
    let version = change.get::<Versions>(&id)?.ok_or_else(|| Refused::damaged(Versions::NAME))?;
    let tenant = change.get::<TenantsBySlot>(&id.tenant_slot())?;
    let tenant = tenant.ok_or_else(|| Refused::damaged(TenantsBySlot::NAME))?;
    if state(version.state)?.is_destroyed() || state(tenant.state)?.is_destroyed() {
        return Err(Refused::VersionDestroyed { key: name(&version.key)?, version: version.version });
    }
    Ok(())
}

fn used_up() -> Refused {
    Refused::Invalid("every data-key id of this version is used up; rotate the key".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::tests::Ground;

    #[tokio::test]
    async fn no_data_key_of_a_destroyed_version_is_reserved_and_of_another_one_is() {
        let ground = Ground::new(1 << 20).await;
        let (one, two) = (ground.version(1), ground.version(2));
        ground.destroy(1).await;
        for refused in [
            reserve_own(&ground.keyring, &one, 1).await,
            leased(&ground.keyring, &one).await.map(drop),
            lease_deterministic(&ground.keyring, &one).await,
        ] {
            assert!(matches!(refused, Err(Refused::VersionDestroyed { version: 1, .. })), "{refused:?}");
        }
        assert!(reserve_own(&ground.keyring, &two, 1).await.is_ok());
        ground.destroy_tenant().await;
        let refused = leased(&ground.keyring, &two).await;
        assert!(matches!(refused, Err(Refused::VersionDestroyed { version: 2, .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn many_are_assigned_data_keys_in_one_commit_each_once_and_a_destroyed_one_none() {
        let ground = Ground::new(1 << 20).await;
        let (one, two) = (ground.version(1), ground.version(2));
        ground.destroy(1).await;
        let before = ground.keyring.writer().revision().0;
        // Twice in the list: the second is left to the first.
        assign(&ground.keyring, &[Arc::clone(&one), Arc::clone(&two), Arc::clone(&two)]).await;
        assert_eq!(ground.keyring.writer().revision().0, before + 1);
        let ids = |version: &LiveVersion| {
            let record = ground.keyring.writer().snapshot().get::<DataKeyIds>(&version.id()).unwrap();
            record.unwrap_or_default().leased
        };
        assert_eq!((ids(&one), ids(&two)), (0, 2));
        assert!(two.was_leased(DataKeyId::from(1)) && !two.was_leased(DataKeyId::from(2)));
        assert_eq!(leased(&ground.keyring, &two).await.unwrap().get(), 1);
        assert_eq!(
            two.reserve.lock().await.allowed,
            BUDGET,
            "a budget for each lease, and none for the rest"
        );
        assign(&ground.keyring, &[Arc::clone(&two)]).await;
        assert_eq!(ids(&two), 2, "it has one for today");
        // While another call assigns it one, it is not waited for.
        *two.reserve.lock().await = LeasedDataKeys::default();
        let _held = two.reserve.lock().await;
        assign(&ground.keyring, &[Arc::clone(&two)]).await;
        assert_eq!(ids(&two), 2);
    }

    #[tokio::test]
    async fn a_first_deterministic_lease_is_on_record_and_assigns_no_other_data_key() {
        let ground = Ground::new(1 << 20).await;
        let version = ground.version(1);
        lease_deterministic(&ground.keyring, &version).await.unwrap();
        let ids = ground.keyring.writer().snapshot().get::<DataKeyIds>(&version.id()).unwrap().unwrap();
        assert!(ids.deterministic && version.leased_deterministic());
        assert!(!version.was_leased(DataKeyId::from(1)));
        assert_eq!(leased(&ground.keyring, &version).await.unwrap().get(), 1);
    }
}
