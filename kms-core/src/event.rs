//! The events of a key's life, as entries of the transparency log: objects of canonical JSON, hashed as written. See `docs/verifying.md`.
//!
//! Each event has exactly the members of its type; whatever else is no entry. Nothing in one is secret.

mod member;

pub use member::{Member, NoMember, Secrets};
use member::{put, take};

use crate::{
    canonical::{Instant, Malformed, Members, Text, Value},
    commitment::Hash,
    id::{Attempt, CommitNumber, Epoch, InstanceId, LeafSlot, TenantSlot, Uid},
    names::{KeyName, TenantName},
    state::{DestroyReason, KeyClass, LifecycleState},
};

/// Version of the entries' layout.
const VERSION: u64 = 1;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $word:literal $(/ $scope:literal)? {
        $($(#[$fdoc:meta])* $field:ident: $type:ty),* $(,)?
    })*) => {
        /// Something that happened.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $name($name),)* }

        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type,)* }

        impl From<$name> for Event {
            fn from(event: $name) -> Self {
                Self::$name(event)
            }
        })*

        impl Event {
            /// The `type` that its entry has.
            pub fn word(&self) -> &'static str {
                match self { $(Self::$name(_) => $word,)* }
            }

            fn put(&self, members: &mut Members) {
                match self { $(Self::$name(event) => {
                    $(put(members, "scope", &Text::lossy($scope));)?
                    $(put(members, stringify!($field), &event.$field);)*
                })* }
            }

            fn take(word: &str, members: &mut Members) -> Result<Self, NoMember> {
                let scope = match members.get("scope") {
                    Some(Value::Text(scope)) => scope.as_str().to_owned(),
                    _ => String::new(),
                };
                let wanted = |wanted: &[&str]| wanted == [scope.as_str()] || wanted.is_empty() && !members.contains_key("scope");
                $(if word == $word && wanted(&[$($scope)?]) {
                    members.remove("scope");
                    return Ok(Self::$name($name { $($field: take(members, stringify!($field))?,)* }));
                })*
                Err(NoMember("type"))
            }
        }
    };
}

events! {
    /// The instance was made.
    Genesis = "GENESIS" {
        /// Whose log it is.
        instance: InstanceId,
        /// The first epoch.
        epoch: Epoch,
        /// Its attempt.
        attempt: Attempt,
        /// Commitment to an empty tree.
        state_root: Hash,
    }
    /// A tenant was made.
    TenantCreate = "TENANT_CREATE" {
        /// Its name.
        tenant: TenantName,
        /// Its uid.
        tenant_uid: Uid,
        /// Its slot in the top tree.
        tenant_slot: TenantSlot,
        /// Uid of the leaf at its slot 0, the subject index key.
        index_uid: Uid,
        /// Commitment to that key.
        index_kc: Hash,
    }
    /// A tenant was suspended or resumed.
    TenantState = "TENANT_STATE" {
        /// Its name.
        tenant: TenantName,
        /// Its uid.
        tenant_uid: Uid,
        /// What it is now.
        state: LifecycleState,
    }
    /// A tenant was destroyed, with every version it had.
    TenantDestroy = "TENANT_DESTROY" {
        /// Its name.
        tenant: TenantName,
        /// Its uid.
        tenant_uid: Uid,
        /// Its slot in the top tree.
        tenant_slot: TenantSlot,
        /// Live versions destroyed with it.
        live: u64,
        /// The epoch that destroyed it.
        epoch: Epoch,
        /// Why.
        reason: DestroyReason,
        /// Reference into the operator's ticket system; empty where none was given.
        ticket: Text,
    }
    /// A key was made, with its first version.
    KeyCreate = "KEY_CREATE" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// Its class.
        class: KeyClass,
        /// Number of the version.
        number: u32,
        /// Uid of the version.
        version_uid: Uid,
        /// Its slot in the tenant's tree.
        slot: LeafSlot,
        /// Its algorithm.
        alg: u16,
        /// Commitment to its material.
        kc: Hash,
        /// Where the material came from.
        origin: Origin,
    }
    /// A key got a new version.
    KeyRotate = "KEY_ROTATE" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// Its class.
        class: KeyClass,
        /// Number of the version.
        number: u32,
        /// Uid of the version.
        version_uid: Uid,
        /// Its slot in the tenant's tree.
        slot: LeafSlot,
        /// Its algorithm.
        alg: u16,
        /// Commitment to its material.
        kc: Hash,
        /// Where the material came from.
        origin: Origin,
    }
    /// A key was suspended or resumed.
    KeyState = "KEY_STATE" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// What it is now.
        state: LifecycleState,
    }
    /// One version was destroyed.
    DestroyVersion = "DESTROY" / "version" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// Number of the version.
        number: u32,
        /// Uid of the version.
        version_uid: Uid,
        /// Its slot in the tenant's tree.
        slot: LeafSlot,
        /// Number of the key's newest version.
        last: u32,
        /// Versions of the key that live on.
        live: u64,
        /// The epoch that destroyed it.
        epoch: Epoch,
        /// Why.
        reason: DestroyReason,
        /// Reference into the operator's ticket system; empty where none was given.
        ticket: Text,
    }
    /// Every version of a key that lived was destroyed.
    DestroyKey = "DESTROY" / "key" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// Number of the key's newest version.
        last: u32,
        /// Versions of the key that live on: 0.
        live: u64,
        /// The epoch that destroyed them.
        epoch: Epoch,
        /// Why.
        reason: DestroyReason,
        /// Reference into the operator's ticket system; empty where none was given.
        ticket: Text,
    }
    /// One version will be destroyed, unless that is cancelled.
    ScheduleVersion = "DESTROY_SCHEDULED" / "version" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// Number of the version.
        number: u32,
        /// When, at the earliest.
        due: Instant,
        /// Why.
        reason: DestroyReason,
        /// Reference into the operator's ticket system; empty where none was given.
        ticket: Text,
    }
    /// Every version of a key will be destroyed, unless that is cancelled.
    ScheduleKey = "DESTROY_SCHEDULED" / "key" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// When, at the earliest.
        due: Instant,
        /// Why.
        reason: DestroyReason,
        /// Reference into the operator's ticket system; empty where none was given.
        ticket: Text,
    }
    /// A tenant will be destroyed, unless that is cancelled.
    ScheduleTenant = "DESTROY_SCHEDULED" / "tenant" {
        /// Its uid.
        tenant_uid: Uid,
        /// When, at the earliest.
        due: Instant,
        /// Why.
        reason: DestroyReason,
        /// Reference into the operator's ticket system; empty where none was given.
        ticket: Text,
    }
    /// A version's destruction was cancelled.
    CancelVersion = "DESTROY_CANCELLED" / "version" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
        /// Number of the version.
        number: u32,
    }
    /// A key's destruction was cancelled.
    CancelKey = "DESTROY_CANCELLED" / "key" {
        /// Whose.
        tenant_uid: Uid,
        /// Its name.
        key: KeyName,
        /// Its uid.
        key_uid: Uid,
    }
    /// A tenant's destruction was cancelled.
    CancelTenant = "DESTROY_CANCELLED" / "tenant" {
        /// Its uid.
        tenant_uid: Uid,
    }
    /// An epoch was committed: what was to be destroyed in it stands in the committed state no more.
    EpochCommit = "EPOCH_COMMIT" {
        /// Its number.
        epoch: Epoch,
        /// The try at it that came to be.
        attempt: Attempt,
        /// The committed state before.
        state_root_before: Hash,
        /// The committed state after.
        state_root: Hash,
        /// Live versions of all tenants after.
        live: u64,
        /// Index of the epoch's first destruction; this entry's own where it has none.
        first: u64,
        /// Index of its last.
        last: u64,
    }
    /// The secrets of every other epoch and attempt were effaced.
    EpochEffaced = "EPOCH_EFFACED" {
        /// Epoch of the one secret that was kept.
        epoch: Epoch,
        /// Its attempt.
        attempt: Attempt,
        /// Those that were there and are no more.
        effaced: Secrets,
        /// What the medium's overwriting is worth.
        class: Text,
        /// What that rests on.
        assurance: Text,
        /// What was done.
        technique: Text,
        /// The media.
        media: Text,
        /// What was looked at afterwards.
        verification: Text,
    }
    /// How far the audit had come.
    AuditHead = "AUDIT_HEAD" {
        /// Number of lines.
        count: u64,
        /// Hash of the last.
        hash: Hash,
    }
    /// The audit had fewer lines than it had had.
    AuditGap = "AUDIT_GAP" {
        /// How many it should have had.
        count: u64,
    }
    /// The secrets lie in another medium from here on.
    MediumChange = "MEDIUM_CHANGE" {
        /// Where they lay.
        from: Text,
        /// Where they lie.
        to: Text,
    }
}

impl Event {
    /// Whether it destroys: such entries stand between `first` and `last` of their epoch's commit.
    pub fn destroys(&self) -> bool {
        matches!(self, Self::DestroyVersion(_) | Self::DestroyKey(_) | Self::TenantDestroy(_))
    }
}

/// Where a version's material came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Drawn by the key centre.
    Generated,
}

/// An event with what every entry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// Who asked for it; `kms` where nobody did.
    pub by: Text,
    /// The store commit that it is part of.
    pub commit: CommitNumber,
    /// What.
    pub event: Event,
}

/// Bytes that are no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// They are not canonical JSON.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They are no object.
    #[error("an entry is an object")]
    NoObject,
    /// A member is missing, or not of its form.
    #[error(transparent)]
    Member(#[from] NoMember),
    /// A member that its type does not have.
    #[error("an entry has a member `{0}` that its type does not have")]
    Unknown(String),
}

impl Entry {
    /// The entry as an object.
    pub fn to_value(&self) -> Value {
        let mut members = Members::new();
        put(&mut members, "v", &VERSION);
        put(&mut members, "type", &Text::lossy(self.event.word()));
        put(&mut members, "at", &self.at);
        put(&mut members, "by", &self.by);
        put(&mut members, "commit", &self.commit);
        self.event.put(&mut members);
        Value::Object(members)
    }

    /// The bytes that the log hashes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_value().compact().into_bytes()
    }

    /// Reads an object.
    ///
    /// # Errors
    /// Where it has not exactly the members of its type.
    pub fn from_value(value: Value) -> Result<Self, EntryError> {
        let Value::Object(mut members) = value else { return Err(EntryError::NoObject) };
        let members = &mut members;
        if take::<u64>(members, "v")? != VERSION {
            return Err(NoMember("v").into());
        }
        let word: Text = take(members, "type")?;
        let (at, by, commit) = (take(members, "at")?, take(members, "by")?, take(members, "commit")?);
        let event = Event::take(word.as_str(), members)?;
        match members.pop_first() {
            None => Ok(Self { at, by, commit, event }),
            Some((name, _)) => Err(EntryError::Unknown(name)),
        }
    }

    /// Reads the bytes that the log hashes.
    ///
    /// # Errors
    /// As [`Self::from_value`], and where they are not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        Self::from_value(Value::from_compact(bytes)?)
    }
}

#[cfg(test)]
mod tests;
