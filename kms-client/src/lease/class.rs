//! Which classes keys are of, as the server said it last; and which release no data keys. Bounded, as all that is kept of keys.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use kms_core::{
    names::{FamilyName, KeyName, TenantName},
    state::KeyClass,
};
use quick_cache::sync::Cache;

use super::Leases;
use crate::clock::BootTime;

/// How long it is remembered that a key releases no data keys; a class never changes, but a name can be used again.
const REMEMBERED: Duration = Duration::from_secs(300);

/// What is known of keys' classes.
#[derive(Debug)]
pub(super) struct Classes {
    /// By family: subjects have its class.
    said: Cache<(TenantName, FamilyName), KeyClass>,
    releases_none: Cache<(TenantName, KeyName), BootTime>,
    /// Whether that was ever said of any key: mostly not, and then nobody needs to look.
    some_release_none: AtomicBool,
}

impl Classes {
    pub(super) fn keeping(most: usize) -> Self {
        let (said, releases_none) = (Cache::new(most), Cache::new(most));
        Self { said, releases_none, some_release_none: AtomicBool::new(false) }
    }

    fn of(&self, tenant: &TenantName, key: &KeyName) -> Option<KeyClass> {
        self.said.get(&(tenant.clone(), key.family().clone()))
    }

    /// Notes what came with a lease, if something did.
    pub(super) fn note(&self, tenant: &TenantName, key: &KeyName, class: Option<KeyClass>) {
        // Subjects come by the thousand.
        if let Some(class) = class.filter(|class| self.of(tenant, key) != Some(*class)) {
            self.said.insert((tenant.clone(), key.family().clone()), class);
        }
    }

    /// Notes that the server leases nothing of a key, for its class.
    pub(super) fn note_none_released(&self, tenant: &TenantName, key: &KeyName, now: BootTime) {
        self.note(tenant, key, Some(KeyClass::L4));
        self.releases_none.insert((tenant.clone(), key.clone()), now.after(REMEMBERED));
        self.some_release_none.store(true, Relaxed);
    }
}

impl Leases {
    /// The class of a key; none where it was never said.
    pub(crate) fn class_of(&self, tenant: &TenantName, key: &KeyName) -> Option<KeyClass> {
        self.classes.of(tenant, key)
    }

    /// Whether the server has said that the key's values are sealed and opened by the server only.
    pub(crate) fn releases_none(&self, tenant: &TenantName, key: &KeyName) -> bool {
        if !self.classes.some_release_none.load(Relaxed) {
            return false;
        }
        let said = self.classes.releases_none.get(&(tenant.clone(), key.clone()));
        said.is_some_and(|until| self.now() < until)
    }
}
