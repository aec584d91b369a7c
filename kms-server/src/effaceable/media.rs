//! Every medium that may hold a secret of one instance: the one in use, and those that it passed from.
//!
//! What is listed and cannot be reached may hold a secret that leads to what was erased: then nothing is said to be effaced.

use std::fmt;

use kms_core::secret::EpochSecret;

use super::{Effaceable, EffaceableError, Evidence, SecretId};

/// What tells a medium from every other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediumName {
    /// Its kind: `file`, `pkcs11`.
    pub kind: String,
    /// What it is known by wherever it lies.
    pub id: String,
    /// Where it was last found.
    pub place: String,
}

impl MediumName {
    /// Whether both are of the same medium.
    pub fn is(&self, other: &Self) -> bool {
        self.kind == other.kind && self.id == other.id
    }
}

impl fmt::Display for MediumName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// That a medium was seen to hold the secret in force: only then may another be emptied.
pub struct KeptElsewhere(());

impl KeptElsewhere {
    fn shown_by(medium: &dyn Effaceable, keep: SecretId) -> Result<Self, EffaceableError> {
        medium.read(keep)?.map(|_| Self(())).ok_or(EffaceableError::NothingKept(keep))
    }
}

/// The media of one instance.
pub struct Media {
    current: Box<dyn Effaceable>,
    others: Vec<Box<dyn Effaceable>>,
    unreachable: Vec<MediumName>,
    /// The secret besides which nothing is left on the medium that has it.
    settled: Option<SecretId>,
}

impl Media {
    /// `current` is for new secrets. Of `others` only those count that are `listed`; what is listed and not given cannot be reached.
    pub fn new(
        current: Box<dyn Effaceable>,
        others: Vec<Box<dyn Effaceable>>,
        listed: &[MediumName],
    ) -> Self {
        let in_use = current.name();
        let is_listed = |name: &MediumName| listed.iter().any(|listed| listed.is(name)) && !name.is(&in_use);
        let others: Vec<_> = others.into_iter().filter(|other| is_listed(&other.name())).collect();
        let reached =
            |name: &MediumName| name.is(&in_use) || others.iter().any(|other| other.name().is(name));
        let unreachable = listed.iter().filter(|name| !reached(name)).cloned().collect();
        Self { current, others, unreachable, settled: None }
    }

    /// The one in use.
    pub fn current(&self) -> MediumName {
        self.current.name()
    }

    /// Those that may hold a secret, the one with this secret first.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn names(&self, holds: SecretId) -> Result<Vec<MediumName>, EffaceableError> {
        let mut names = vec![self.current()];
        if self.others.is_empty() && self.unreachable.is_empty() {
            return Ok(names);
        }
        for other in &self.others {
            let at = if other.list()?.contains(&holds) { 0 } else { names.len() };
            names.insert(at, other.name());
        }
        names.extend(self.unreachable.iter().cloned());
        Ok(names)
    }

    /// Whether the medium with this secret is known to hold no other, so that only another medium keeps an erasure pending.
    pub fn is_settled(&self, on: SecretId) -> bool {
        self.settled == Some(on)
    }

    /// Stores a secret on the medium in use. See [`Effaceable::prepare`].
    ///
    /// # Errors
    /// As there.
    pub fn prepare(&mut self, id: SecretId, secret: &EpochSecret) -> Result<(), EffaceableError> {
        self.settled = None;
        self.current.prepare(id, secret)
    }

    /// Reads a secret from the medium that has it.
    ///
    /// # Errors
    /// Where none has it, and one cannot be read.
    pub fn read(&self, id: SecretId) -> Result<Option<EpochSecret>, EffaceableError> {
        let found = self.current.read(id);
        if self.others.is_empty() || matches!(found, Ok(Some(_))) {
            return found;
        }
        for other in &self.others {
            if let Some(secret) = other.read(id)? {
                return Ok(Some(secret));
            }
        }
        found
    }

    /// The secrets on all media that can be reached.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn list(&self) -> Result<Vec<SecretId>, EffaceableError> {
        let mut ids = self.current.list()?;
        for other in &self.others {
            ids.extend(other.list()?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Makes every secret but one unreadable, on every medium. Media that hold nothing any more are no longer looked at.
    ///
    /// # Errors
    /// As [`Effaceable::efface_except`]; [`EffaceableError::Unreachable`] where a listed medium is not there, after all others were
    /// effaced.
    pub fn efface_except(&mut self, keep: SecretId) -> Result<Evidence, EffaceableError> {
        // Nothing that it could do again would help.
        if let Some(name) = self.unreachable.first().filter(|_| self.is_settled(keep)) {
            return Err(EffaceableError::Unreachable(name.clone()));
        }
        if self.others.is_empty() && self.unreachable.is_empty() {
            return self.current.efface_except(keep);
        }
        let mut all: Vec<_> = std::iter::once(&mut self.current).chain(&mut self.others).collect();
        let mut holder = None;
        for (at, medium) in all.iter().enumerate() {
            if holder.is_none() && medium.list()?.contains(&keep) {
                holder = Some(at);
            }
        }
        let holder = all.swap_remove(holder.ok_or(EffaceableError::NothingKept(keep))?);
        let mut evidence = holder.efface_except(keep)?;
        let kept = KeptElsewhere::shown_by(&**holder, keep)?;
        self.settled = Some(keep);
        let mut failed = None;
        for medium in all {
            match emptied(&mut **medium, &kept) {
                Ok(more) => evidence = evidence.and(more),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        // What was emptied stays listed until nothing is missing: only then is there evidence to record.
        if let Some(name) = self.unreachable.first() {
            return Err(EffaceableError::Unreachable(name.clone()));
        }
        for other in std::mem::take(&mut self.others) {
            if other.list()?.contains(&keep) {
                self.others.push(other);
            }
        }
        Ok(evidence)
    }
}

fn emptied(medium: &mut dyn Effaceable, kept: &KeptElsewhere) -> Result<Evidence, EffaceableError> {
    let evidence = medium.efface_all(kept)?;
    match medium.list()?.is_empty() {
        true => Ok(evidence),
        false => Err(EffaceableError::StillThere),
    }
}

#[cfg(test)]
mod tests;
