//! Data-key ids, assigned by the server, durable before use: an id that may have sealed is never handed out as new.

use std::time::{SystemTime, UNIX_EPOCH};

use kms_core::id::{DataKeyId, VersionId};
use kms_proto::storage::DataKeyIdsRecord;

use super::refused::Refused;
use crate::erasure::Change;
use crate::keyring::{Keyring, LiveVersion};
use crate::records::DataKeyIds;

/// Number of the day in UTC: a new data key comes with each.
pub(super) struct Today;

impl Today {
    pub(super) fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400)
    }
}

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
    let id = version.id();
    let number = reserve(keyring, id, |ids| {
        // Id 0 is the deterministic columns'.
        let number = ids.leased.max(1);
        ids.leased = number + 1;
        number
    })
    .await?;
    let data_key = DataKeyId::leased(number).ok_or_else(used_up)?;
    version.raise_leased_ids(number + 1);
    *leased = crate::keyring::version::LeasedDataKeys { current: Some((data_key, today)), allowed: BUDGET };
    Ok(data_key)
}

async fn reserve(
    keyring: &Keyring,
    version: VersionId,
    next: impl FnOnce(&mut DataKeyIdsRecord) -> u32 + Send + 'static,
) -> Result<u32, Refused> {
    let reserved = keyring.writer().commit(move |change: &mut Change<'_>| -> Result<u32, Refused> {
        let mut ids = change.get::<DataKeyIds>(&version)?.unwrap_or_default();
        let number = next(&mut ids);
        change.put::<DataKeyIds>(&version, &ids);
        Ok(number)
    });
    Ok(reserved.await?.value)
}

fn used_up() -> Refused {
    Refused::Invalid("every data-key id of this version is used up; rotate the key".into())
}
