//! What an operation is done to, as policy and audit see it.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{Uid, VersionId};
use kms_core::names::{FamilyName, KeyName, TenantName};
use kms_core::state::KeyClass;

use crate::keyring::KeyEntry;
use crate::policy::{NamedKey, Resource, Subject};

/// Something that policy can decide about.
pub trait Target {
    /// What policy sees.
    fn resource(&self) -> Resource<'_>;
    /// What the operation makes of it, where that is another thing to policy: it must allow both.
    fn becomes(&self) -> Option<Resource<'_>> {
        None
    }
    /// Of a destruction: how long it can be called off.
    fn window(&self) -> Duration {
        Duration::ZERO
    }
    /// Whether what is used is to be destroyed soon: its use raises an alarm.
    fn is_scheduled(&self, _versions: &[VersionId]) -> bool {
        false
    }
    /// Tenant named in the audit.
    fn tenant(&self) -> Option<&TenantName>;
    /// Key named in the audit; of a subject's the family.
    fn key(&self) -> Option<&FamilyName>;
    /// The subject, by its id: its name is a person's.
    fn subject(&self) -> Option<Uid> {
        None
    }
    /// Class that decides the durability of the line.
    fn class(&self) -> Option<KeyClass>;
}

/// The key centre as a whole.
#[derive(Debug, Clone, Copy)]
pub struct System;

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Where. It may not be there: only who may make the key learns that.
    pub tenant: TenantName,
    /// Its name.
    pub name: KeyName,
    /// Its class.
    pub class: KeyClass,
    /// What it may be used for.
    pub purposes: Arc<[Arc<str>]>,
}

/// A key whose settings are to be changed.
#[derive(Debug, Clone)]
pub struct KeyUpdate {
    /// The key.
    pub key: Arc<KeyEntry>,
    /// What it may be used for from then on, where that is to change.
    pub purposes: Option<Arc<[Arc<str>]>>,
}

/// A key, or a version of one, that is to be destroyed.
#[derive(Debug, Clone)]
pub struct KeyDestruction {
    /// The key.
    pub key: Arc<KeyEntry>,
    /// How long that can be called off; zero for at once.
    pub window: Duration,
}

/// A tenant that is to be destroyed.
#[derive(Debug, Clone)]
pub struct TenantDestruction {
    /// Its name.
    pub tenant: TenantName,
    /// How long that can be called off; zero for at once.
    pub window: Duration,
}

impl Borrow<Arc<KeyEntry>> for KeyUpdate {
    fn borrow(&self) -> &Arc<KeyEntry> {
        &self.key
    }
}

impl Target for System {
    fn resource(&self) -> Resource<'_> {
        Resource::System
    }
    fn tenant(&self) -> Option<&TenantName> {
        None
    }
    fn key(&self) -> Option<&FamilyName> {
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
    fn key(&self) -> Option<&FamilyName> {
        None
    }
    fn class(&self) -> Option<KeyClass> {
        None
    }
}

impl Target for NewKey {
    fn resource(&self) -> Resource<'_> {
        Resource::Key {
            tenant: &self.tenant,
            name: (&self.name).into(),
            class: self.class,
            purposes: &self.purposes,
            key_revision: 0,
        }
    }
    fn tenant(&self) -> Option<&TenantName> {
        Some(&self.tenant)
    }
    fn key(&self) -> Option<&FamilyName> {
        Some(self.name.family())
    }
    fn class(&self) -> Option<KeyClass> {
        Some(self.class)
    }
}

impl KeyEntry {
    /// The key as far as the request named it.
    pub fn named(&self) -> NamedKey<'_> {
        let subject = match (self.name.subject(), &self.subject) {
            (None, _) => Subject::None,
            (Some(_), Some(name)) => Subject::Named(name),
            (Some(_), None) => Subject::Unnamed,
        };
        NamedKey { family: self.name.family(), subject }
    }
}

impl Target for Arc<KeyEntry> {
    fn resource(&self) -> Resource<'_> {
        Resource::Key {
            tenant: &self.tenant.name,
            name: self.named(),
            class: self.class,
            purposes: &self.purposes,
            key_revision: self.revision,
        }
    }
    fn tenant(&self) -> Option<&TenantName> {
        Some(&self.tenant.name)
    }
    fn key(&self) -> Option<&FamilyName> {
        Some(self.name.family())
    }
    fn subject(&self) -> Option<Uid> {
        self.name.subject()
    }
    fn class(&self) -> Option<KeyClass> {
        Some(self.class)
    }
    fn is_scheduled(&self, versions: &[VersionId]) -> bool {
        KeyEntry::is_scheduled(self, versions)
    }
}

impl Target for KeyDestruction {
    fn resource(&self) -> Resource<'_> {
        self.key.resource()
    }
    fn window(&self) -> Duration {
        self.window
    }
    fn tenant(&self) -> Option<&TenantName> {
        Some(&self.key.tenant.name)
    }
    fn key(&self) -> Option<&FamilyName> {
        Some(self.key.name.family())
    }
    fn subject(&self) -> Option<Uid> {
        self.key.name.subject()
    }
    fn class(&self) -> Option<KeyClass> {
        Some(self.key.class)
    }
}

impl Target for TenantDestruction {
    fn resource(&self) -> Resource<'_> {
        self.tenant.resource()
    }
    fn window(&self) -> Duration {
        self.window
    }
    fn tenant(&self) -> Option<&TenantName> {
        Some(&self.tenant)
    }
    fn key(&self) -> Option<&FamilyName> {
        None
    }
    fn class(&self) -> Option<KeyClass> {
        None
    }
}

impl Target for KeyUpdate {
    fn resource(&self) -> Resource<'_> {
        self.key.resource()
    }
    fn becomes(&self) -> Option<Resource<'_>> {
        let after = self.purposes.as_ref()?;
        match self.key.resource() {
            Resource::Key { tenant, name, class, key_revision, .. } => {
                Some(Resource::Key { tenant, name, class, purposes: after, key_revision })
            }
            _ => None,
        }
    }
    fn tenant(&self) -> Option<&TenantName> {
        Some(&self.key.tenant.name)
    }
    fn key(&self) -> Option<&FamilyName> {
        Some(self.key.name.family())
    }
    fn subject(&self) -> Option<Uid> {
        self.key.name.subject()
    }
    fn class(&self) -> Option<KeyClass> {
        Some(self.key.class)
    }
}
