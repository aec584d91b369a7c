//! Which classes keys are of, as the server said it last. Bounded, as all that is kept of keys.

use kms_core::{
    names::{FamilyName, KeyName, TenantName},
    state::KeyClass,
};
use quick_cache::sync::Cache;

use super::Leases;

/// Classes by tenant and family: subjects have their family's.
#[derive(Debug)]
pub(super) struct Classes(Cache<(TenantName, FamilyName), KeyClass>);

impl Classes {
    pub(super) fn keeping(most: usize) -> Self {
        Self(Cache::new(most))
    }

    fn of(&self, tenant: &TenantName, key: &KeyName) -> Option<KeyClass> {
        self.0.get(&(tenant.clone(), key.family().clone()))
    }

    /// Notes what was said, if something was.
    pub(super) fn note(&self, tenant: &TenantName, key: &KeyName, class: Option<KeyClass>) {
        // Subjects come by the thousand.
        if let Some(class) = class.filter(|class| self.of(tenant, key) != Some(*class)) {
            self.0.insert((tenant.clone(), key.family().clone()), class);
        }
    }
}

impl Leases {
    /// The class of a key; none where it was never said.
    pub(crate) fn class_of(&self, tenant: &TenantName, key: &KeyName) -> Option<KeyClass> {
        self.classes.of(tenant, key)
    }
}
