//! What an operation is done to, as policy and audit see it.

use std::sync::Arc;

use kms_core::names::{KeyName, TenantName};
use kms_core::state::KeyClass;

use crate::keyring::{KeyEntry, TenantEntry};
use crate::policy::Resource;

/// Something that policy can decide about.
pub trait Target {
    /// What policy sees.
    fn resource(&self) -> Resource<'_>;
    /// Tenant named in the audit.
    fn tenant(&self) -> Option<&TenantName>;
    /// Key named in the audit.
    fn key(&self) -> Option<&KeyName>;
    /// Class that decides the durability of the line.
    fn class(&self) -> Option<KeyClass>;
}

/// The key centre as a whole.
#[derive(Debug, Clone, Copy)]
pub struct System;

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Where.
    pub tenant: Arc<TenantEntry>,
    /// Its name.
    pub name: KeyName,
    /// Its class.
    pub class: KeyClass,
    /// What it may be used for.
    pub purposes: Arc<[Arc<str>]>,
}

impl Target for System {
    fn resource(&self) -> Resource<'_> {
        Resource::System
    }
    fn tenant(&self) -> Option<&TenantName> {
        None
    }
    fn key(&self) -> Option<&KeyName> {
        None
    }
    fn class(&self) -> Option<KeyClass> {
        None
    }
}

impl Target for TenantName {
    fn resource(&self) -> Resource<'_> {
        Resource::Tenant { name: self }
    }
    fn tenant(&self) -> Option<&TenantName> {
        Some(self)
    }
    fn key(&self) -> Option<&KeyName> {
        None
    }
    fn class(&self) -> Option<KeyClass> {
        None
    }
}

impl Target for NewKey {
    fn resource(&self) -> Resource<'_> {
        Resource::Key {
            tenant: &self.tenant.name,
            name: &self.name,
            class: self.class,
            purposes: &self.purposes,
            key_revision: 0,
        }
    }
    fn tenant(&self) -> Option<&TenantName> {
        Some(&self.tenant.name)
    }
    fn key(&self) -> Option<&KeyName> {
        Some(&self.name)
    }
    fn class(&self) -> Option<KeyClass> {
        Some(self.class)
    }
}

impl Target for Arc<KeyEntry> {
    fn resource(&self) -> Resource<'_> {
        Resource::Key {
            tenant: &self.tenant.name,
            name: &self.name,
            class: self.class,
            purposes: &self.purposes,
            key_revision: self.revision,
        }
    }
    fn tenant(&self) -> Option<&TenantName> {
        Some(&self.tenant.name)
    }
    fn key(&self) -> Option<&KeyName> {
        Some(&self.name)
    }
    fn class(&self) -> Option<KeyClass> {
        Some(self.class)
    }
}
