//! A medium in memory, for crash tables: what a restart finds is a clone. Compiled for tests and with the feature `faults` only.

use std::{convert::Infallible, sync::Arc};

use kms_core::{canonical::Text, secret::EpochSecret};
use parking_lot::Mutex;

use super::{
    Effaceable, EffaceableClass, EffaceableError, Evidence, KeptElsewhere, MediumName, SLOTS, SecretId,
};

/// Secrets in memory, shared by all clones.
#[derive(Clone, Default)]
pub struct MemoryMedium {
    slots: Arc<Mutex<Vec<(SecretId, EpochSecret)>>>,
    name: &'static str,
}

impl MemoryMedium {
    /// One that is told from others by this name.
    pub fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn evidence(&self, effaced: Vec<SecretId>) -> Evidence {
        let (technique, verification) = (Text::lossy("forgotten"), Text::lossy("forgotten"));
        let (assurance, media) =
            (Text::lossy("none claimed: a test"), Text::lossy(&format!("memory {}", self.name)));
        Evidence { effaced, class: self.class(), assurance, technique, media, verification }
    }
}

impl Effaceable for MemoryMedium {
    fn class(&self) -> EffaceableClass {
        EffaceableClass::None
    }

    fn name(&self) -> MediumName {
        MediumName { kind: "memory".into(), id: self.name.into(), place: "memory".into() }
    }

    fn prepare(&mut self, id: SecretId, secret: &EpochSecret) -> Result<(), EffaceableError> {
        let mut slots = self.slots.lock();
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
        Ok(self.slots.lock().iter().find(|(there, _)| *there == id).map(|(_, secret)| copy(secret)))
    }

    fn list(&self) -> Result<Vec<SecretId>, EffaceableError> {
        let mut ids: Vec<_> = self.slots.lock().iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn efface_except(&mut self, keep: SecretId) -> Result<Evidence, EffaceableError> {
        let mut slots = self.slots.lock();
        if !slots.iter().any(|(id, _)| *id == keep) {
            return Err(EffaceableError::NothingKept(keep));
        }
        let effaced = slots.iter().map(|(id, _)| *id).filter(|id| *id != keep).collect();
        slots.retain(|(id, _)| *id == keep);
        drop(slots);
        Ok(self.evidence(effaced))
    }

    fn efface_all(&mut self, _: &KeptElsewhere) -> Result<Evidence, EffaceableError> {
        let effaced = self.list()?;
        self.slots.lock().clear();
        Ok(self.evidence(effaced))
    }
}

fn copy(secret: &EpochSecret) -> EpochSecret {
    let Ok(copy) = EpochSecret::filled(|bytes| {
        bytes.copy_from_slice(secret.expose_secret());
        Ok::<_, Infallible>(())
    });
    copy
}
