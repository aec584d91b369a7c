//! As what the census counts a version: by itself; or, of a subject's key, together with others, for subjects come by the million.

use kms_core::id::{Uid, VersionId};

use super::{KeyEntry, Keyring, LiveVersion};
use crate::records::Versions;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// One version.
    Version(VersionId),
    /// The versions of a family's subjects that were made after as many rotations of it: a subject's numbers say nothing of another's.
    Subjects {
        /// The family.
        family: Uid,
        /// How often it had been rotated.
        rotations: u64,
    },
}

impl Counted {
    /// As what a version of this key is counted.
    pub fn of(key: &KeyEntry, version: &LiveVersion) -> Self {
        Self::with(key, version.id(), version.rotations)
    }

    fn with(key: &KeyEntry, version: VersionId, rotations: u64) -> Self {
        match &key.family {
            Some(family) => Self::Subjects { family: family.uid, rotations },
            None => Self::Version(version),
        }
    }
}

impl Keyring {
    /// As what a version is counted; `None` where the tenant has no such version.
    // ATTACK: a version of another tenant is as good as none, and one that somebody invented takes no room.
    pub fn counted(&self, version: VersionId, tenant: &str) -> Option<Counted> {
        let key = self.key_of(version, tenant).ok()?;
        if key.family.is_none() {
            return Some(Counted::Version(version));
        }
        let rotations = match self.versions.get(&version) {
            Some(known) => known.version.rotations,
            None => self.writer.snapshot().get::<Versions>(&version).ok()??.rotations,
        };
        Some(Counted::with(&key, version, rotations))
    }
}
