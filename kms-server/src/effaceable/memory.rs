//! A medium in memory, for crash tables: what a restart finds is a clone. Compiled for tests and with the feature `faults` only.

use std::{convert::Infallible, sync::Arc};

use kms_core::{canonical::Text, secret::EpochSecret};
use parking_lot::Mutex;

use super::{Effaceable, EffaceableClass, EffaceableError, Evidence, SLOTS, SecretId};

/// Secrets in memory, shared by all clones.
#[derive(Clone, Default)]
pub struct MemoryMedium(Arc<Mutex<Vec<(SecretId, EpochSecret)>>>);

impl Effaceable for MemoryMedium {
    fn class(&self) -> EffaceableClass {
        EffaceableClass::None
    }

    fn prepare(&mut self, id: SecretId, secret: &EpochSecret) -> Result<(), EffaceableError> {
        let mut slots = self.0.lock();
        if slots.iter().any(|(there, _)| *there == id) {
            return Err(EffaceableError::There(id));
        }
        if slots.len() == SLOTS {
            return Err(EffaceableError::Full);
        }
        slots.push((id, copy(secret)));
        Ok(())
    }

    fn read(&self, id: SecretId) -> Result<Option<EpochSecret>, EffaceableError> {
        Ok(self.0.lock().iter().find(|(there, _)| *there == id).map(|(_, secret)| copy(secret)))
    }

    fn list(&self) -> Result<Vec<SecretId>, EffaceableError> {
        let mut ids: Vec<_> = self.0.lock().iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn efface_except(&mut self, keep: SecretId) -> Result<Evidence, EffaceableError> {
        let mut slots = self.0.lock();
        if !slots.iter().any(|(id, _)| *id == keep) {
            return Err(EffaceableError::NothingKept(keep));
        }
        let effaced = slots.iter().map(|(id, _)| *id).filter(|id| *id != keep).collect();
        slots.retain(|(id, _)| *id == keep);
        let text = Text::lossy("forgotten");
        let (assurance, technique, media) =
            (Text::lossy("none claimed: a test"), text.clone(), Text::lossy("memory"));
        Ok(Evidence { effaced, class: self.class(), assurance, technique, media, verification: text })
    }
}

fn copy(secret: &EpochSecret) -> EpochSecret {
    let Ok(copy) = EpochSecret::filled(|bytes| {
        bytes.copy_from_slice(secret.expose_secret());
        Ok::<_, Infallible>(())
    });
    copy
}
