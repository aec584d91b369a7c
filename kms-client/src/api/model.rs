//! Tenants, keys and versions as the server describes them.

use std::time::{Duration, SystemTime};

use kms_core::{
    id::{TenantSlot, Uid, VersionId},
    names::{KeyName, TenantName},
    state::{KeyClass, LifecycleState},
};
use uuid::Uuid;

/// What every change can carry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// Makes the change happen once, however often it is asked for; made where absent.
    pub request_id: Option<Uuid>,
    /// Refuses the change where the revision is another by now.
    pub expected_revision: Option<u64>,
}

impl Change {
    pub(super) fn id(self) -> String {
        self.request_id.unwrap_or_else(Uuid::new_v4).to_string()
    }
}

/// A tenant, the unit of isolation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The name; it never changes.
    pub name: TenantName,
    /// Where it stands in its life.
    pub state: LifecycleState,
    /// Rises with each change.
    pub revision: u64,
    /// When it was made.
    pub created: SystemTime,
    /// When it was destroyed, if it is.
    pub destroyed: Option<SystemTime>,
    /// Names it for ever, also after another takes its name.
    pub uid: Uid,
    /// Its place in the erasure tree.
    pub slot: TenantSlot,
    /// A label for people.
    pub label: String,
    /// When it will be destroyed at the earliest, if that is scheduled.
    pub destroy_due: Option<SystemTime>,
}

/// A key: a name with a class, and its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whose key it is.
    pub tenant: TenantName,
    /// Its name.
    pub name: KeyName,
    /// How sensitive the data under it is.
    pub class: KeyClass,
    /// Where it stands in its life.
    pub state: LifecycleState,
    /// What it may be used for, as policy sees it.
    pub purposes: Vec<String>,
    /// How long a client may hold a data key.
    pub lease: Option<Duration>,
    /// How often it is to be rotated.
    pub rotate_every: Option<Duration>,
    /// Rises with each change.
    pub revision: u64,
    /// When it was made.
    pub created: SystemTime,
    /// Number of the version that seals.
    pub active_version: u32,
    /// Number of the version that seals deterministic columns.
    pub deterministic_version: u32,
    /// Oldest first; lists leave it empty.
    pub versions: Vec<KeyVersion>,
    /// Whether it is a family of subjects.
    pub family: bool,
    /// Names it for ever.
    pub uid: Uid,
    /// When every version will be destroyed at the earliest, if that is scheduled.
    pub destroy_due: Option<SystemTime>,
    /// When it will be rotated, if it has a period.
    pub rotate_due: Option<SystemTime>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// 1, 2, 3, … in order of creation.
    pub version: u32,
    /// Its address, as it stands in every ciphertext.
    pub id: VersionId,
    /// Where it stands in its life.
    pub state: LifecycleState,
    /// When it was made.
    pub created: SystemTime,
    /// When it was destroyed, if it is.
    pub destroyed: Option<SystemTime>,
    /// Names it for ever.
    pub uid: Uid,
    /// When it will be destroyed at the earliest, if that is scheduled.
    pub destroy_due: Option<SystemTime>,
}
