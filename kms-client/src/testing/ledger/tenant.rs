//! A tenant with its keys, and what the states of both allow.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use kms_core::{
    id::{LeafSlot, TenantSlot, Uid, VersionId},
    names::{FamilyName, KeyName, SubjectName, TenantName},
    state::LifecycleState,
};
use kms_proto::reason::Reason;

use super::{
    super::refused::Refused,
    key::{Key, ToSeal, Version},
};

/// A tenant.
#[derive(Debug)]
pub(in super::super) struct Tenant {
    pub(in super::super) name: TenantName,
    pub(super) slot: TenantSlot,
    pub(super) uid: Uid,
    pub(super) label: String,
    pub(super) state: LifecycleState,
    pub(super) revision: u64,
    pub(super) created: SystemTime,
    pub(super) destroyed: Option<SystemTime>,
    pub(super) destroyed_epoch: u64,
    pub(super) keys: BTreeMap<KeyName, Key>,
    /// Ids of subjects.
    pub(super) subjects: HashMap<(FamilyName, SubjectName), Uid>,
    /// Whose version stands in each leaf, and its number.
    pub(super) leaves: HashMap<LeafSlot, (KeyName, u32)>,
    pub(super) next_leaf: LeafSlot,
}

impl Tenant {
    /// The name of a subject's key, with its id.
    pub(super) fn subject(&self, family: &FamilyName, subject: &SubjectName) -> Option<KeyName> {
        let id = self.subjects.get(&(family.clone(), subject.clone()))?;
        Some(KeyName::of_subject_id(family.clone(), *id))
    }

    /// Whose version this is, and which.
    pub(super) fn leaf(&self, version: VersionId) -> Option<(&KeyName, u32)> {
        self.leaves.get(&version.leaf_slot()).map(|(key, number)| (key, *number))
    }

    pub(super) fn key(&self, name: &KeyName) -> Result<&Key, Refused> {
        self.keys.get(name).ok_or_else(|| Reason::KeyNotAccessible.into())
    }

    pub(super) fn key_mut(&mut self, name: &KeyName) -> Result<&mut Key, Refused> {
        self.keys.get_mut(name).ok_or_else(|| Reason::KeyNotAccessible.into())
    }

    /// The key that a key has its settings from: a subject's from its family, others from themselves.
    pub(super) fn settings(&self, name: &KeyName) -> Result<&Key, Refused> {
        self.key(&KeyName::from(name.family().clone()))
    }

    /// A version of this key; one of another is as good as none.
    pub(super) fn version_of(&self, name: &KeyName, id: VersionId) -> Result<&Version, Refused> {
        let of_key = self.leaf(id).filter(|(key, _)| *key == name && id.tenant_slot() == self.slot);
        let version = of_key.and_then(|(key, number)| self.keys.get(key)?.version(number));
        let version = version.ok_or(Reason::KeyNotAccessible)?;
        // Destroyed, whatever the states of key and tenant.
        version.material.as_ref().map(|_| version).ok_or_else(|| version.destroyed(name))
    }

    /// The state of a key: its own, or its family's where that stops it.
    pub(super) fn state_of(&self, name: &KeyName) -> Result<LifecycleState, Refused> {
        let (own, family) = (self.key(name)?.state, self.settings(name)?.state);
        match family {
            LifecycleState::Suspended if !own.is_destroyed() => Ok(LifecycleState::Suspended),
            _ => Ok(own),
        }
    }

    pub(in super::super) fn is_suspended(&self, name: &KeyName) -> bool {
        self.state == LifecycleState::Suspended || self.state_of(name) == Ok(LifecycleState::Suspended)
    }

    pub(in super::super) fn check_opens(&self, name: &KeyName) -> Result<(), Refused> {
        match self.state {
            state if state.is_destroyed() => return Err(self.destroyed_words()),
            LifecycleState::Suspended => return Err(self.suspended_words()),
            _ => {}
        }
        match self.state_of(name)? {
            state if state.opens() => Ok(()),
            LifecycleState::Suspended => Err(suspended(name)),
            _ => Err(destroyed(name)),
        }
    }

    /// The version that seals new values.
    pub(in super::super) fn sealing_version(&self, name: &KeyName) -> Result<u32, Refused> {
        if name.is_index() {
            let words =
                format!("key `{name}` makes blind indexes and seals nothing; create another key for values");
            return Err(Refused::new(Reason::KeyUseMismatch, words));
        }
        self.active_version(name)
    }

    /// The version that seals deterministic columns; rotation leaves it.
    pub(in super::super) fn deterministic_version(&self, name: &KeyName) -> Result<u32, Refused> {
        self.sealing_version(name)?;
        match self.key(name)?.deterministic {
            0 => Err(deactivated(name)),
            number => Ok(number),
        }
    }

    /// The version that a lease of this kind seals under now.
    pub(in super::super) fn sealing(&self, name: &KeyName, kind: ToSeal) -> Option<VersionId> {
        let number = match kind {
            ToSeal::Randomized => self.sealing_version(name),
            ToSeal::Deterministic => self.deterministic_version(name),
        };
        self.keys.get(name)?.version(number.ok()?).map(|version| version.id)
    }

    /// Names of its keys, in order.
    pub(in super::super) fn key_names(&self) -> impl Iterator<Item = &KeyName> {
        self.keys.keys()
    }

    pub(in super::super) fn slot(&self) -> TenantSlot {
        self.slot
    }

    /// The newest version, which of an index key indexes once it has settled.
    pub(super) fn active_version(&self, name: &KeyName) -> Result<u32, Refused> {
        self.check_opens(name)?;
        let key = self.key(name)?;
        if key.is_family {
            return Err(is_family(name));
        }
        match (key.active, self.state_of(name)?.seals()) {
            (0, _) | (_, false) => Err(deactivated(name)),
            (number, true) => Ok(number),
        }
    }

    pub(super) fn destroyed_words(&self) -> Refused {
        let words = format!("tenant `{}` is destroyed, and every key it had", self.name);
        Refused::new(Reason::TenantDestroyed, words)
    }

    pub(super) fn suspended_words(&self) -> Refused {
        let words = format!("tenant `{}` is suspended; an operator can resume it", self.name);
        Refused::new(Reason::TenantSuspended, words)
    }

    /// Whether it was not destroyed.
    pub(super) fn check_living(&self) -> Result<(), Refused> {
        if self.state.is_destroyed() { Err(self.destroyed_words()) } else { Ok(()) }
    }
}

pub(super) fn suspended(name: &KeyName) -> Refused {
    Refused::new(Reason::KeySuspended, format!("key `{name}` is suspended; an operator can resume it"))
}

pub(super) fn destroyed(name: &KeyName) -> Refused {
    Refused::new(Reason::KeyDestroyed, format!("key `{name}` is destroyed; nothing opens what it sealed"))
}

pub(super) fn deactivated(name: &KeyName) -> Refused {
    Refused::new(
        Reason::KeyDeactivated,
        format!("key `{name}` opens but no longer seals; rotate it to seal again"),
    )
}

pub(super) fn is_family(name: &KeyName) -> Refused {
    Refused::new(
        Reason::KeyIsFamily,
        format!(
            "key `{name}` is a family: it seals nothing itself and has no versions; name one of its subjects, `{name}/SUBJECT`"
        ),
    )
}

pub(super) fn is_no_family(name: &KeyName) -> Refused {
    Refused::new(
        Reason::KeyIsNoFamily,
        format!("key `{name}` is no family and has no subjects; create one with `family` set"),
    )
}
