//! Gives a subject's key its next version, where its family was rotated since the last: when it is next to seal, not all at once.

use std::sync::Arc;

use super::change_key::{living_key, put_key};
use super::refused::Refused;
use super::rotate_key::rotate;
use crate::keyring::{KeyEntry, Keyring};

/// The key to seal with: the one given, or as it is after following its family.
pub(super) async fn up_to_date(keyring: &Keyring, key: &KeyEntry) -> Result<Option<Arc<KeyEntry>>, Refused> {
    // What does not seal is not rotated for it; that it does not is told where its version is asked for.
    if !key.is_behind_family() || key.sealing_version().is_err() {
        return Ok(None);
    }
    let (entry, running) = (key.clone(), Arc::clone(keyring.running()));
    let rotated = keyring.writer().commit(move |change| {
        let mut record = living_key(change, &entry, None)?;
        // Another seal of the same subject may have come first.
        let behind = entry.family.as_ref().is_some_and(|family| record.rotations < family.rotations());
        if behind {
            // Whether deterministic columns move too is the family's word.
            rotate(change, &mut record, &entry.name, false, &running)?;
            put_key(change, &entry, record);
        }
        Ok(())
    });
    rotated.await?;
    Ok(Some(keyring.key_at(&key.tenant, &key.name)?))
}
