//! What the key centre knows: tenants, keys, versions and subjects. Key material is real and made with `kms-core`; it is kept in
//! ordinary memory and forgotten when it is destroyed.
//!
//! # Layout
//! - this file: what is found by name or by address. `tenant`, `key`: one of each, and what their states allow.
//! - `change`: created, suspended, rotated; `destroy`: destroyed; `subjects`: ensured.
//! - `cipher`: values sealed and opened; `lease`: data keys handed out; `census`: what clients say that they did with them.
//! - `once`: a change happens once, however often it is asked for. `view`: what describing shows.

mod census;
mod change;
mod cipher;
mod destroy;
pub(super) mod key;
mod lease;
mod once;
mod subjects;
mod tenant;
mod view;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use kms_core::{
    id::{TenantSlot, VersionId},
    names::{KeyName, TenantName},
};
use kms_proto::reason::Reason;

pub(super) use change::{KeyChange, NewKey, TenantChange};
pub(super) use cipher::{Bound, Resealed};
pub(super) use destroy::Which;
pub(super) use lease::Client;
pub(super) use once::{Once, Outcome};
pub(super) use subjects::Ensured;
pub(super) use tenant::Tenant;

use super::{holders::Holders, refused::Refused};
use crate::clock::BootTime;

/// A moment of the key centre's clock, which only tests move, and of the calendar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) boot: BootTime,
    pub(super) wall: SystemTime,
}

/// Where a key stands: its tenant's slot, and its name, a subject's with its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) tenant: TenantSlot,
    pub(super) key: KeyName,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By slot; destroyed ones too.
    tenants: Vec<Tenant>,
    /// The newest of each name.
    named: BTreeMap<TenantName, TenantSlot>,
    /// Rises with each change.
    pub(super) revision: u64,
    /// Rises with each destruction.
    pub(super) epoch: u64,
    pub(super) holders: Holders,
    pub(super) once: Once,
}

impl Ledger {
    /// A tenant that is or was.
    pub(super) fn tenant(&self, slot: TenantSlot) -> Result<&Tenant, Refused> {
        self.tenants.get(slot.0 as usize).ok_or_else(|| Reason::Internal.into())
    }

    fn tenant_mut(&mut self, slot: TenantSlot) -> Result<&mut Tenant, Refused> {
        self.tenants.get_mut(slot.0 as usize).ok_or_else(|| Reason::Internal.into())
    }

    /// The tenant that is called so, or was last.
    pub(super) fn slot(&self, tenant: &str) -> Option<TenantSlot> {
        self.named.get(&TenantName::try_from(tenant).ok()?).copied()
    }

    /// The same, where it must be there.
    pub(super) fn named(&self, tenant: &str) -> Result<TenantSlot, Refused> {
        self.slot(tenant).ok_or_else(|| {
            Refused::new(
                Reason::TenantNotAccessible,
                format!("there is no tenant `{tenant}`, or policy does not let you reach it"),
            )
        })
    }

    /// Tenants in order of their names, after one.
    pub(super) fn tenants_after(&self, after: Option<&str>) -> impl Iterator<Item = &Tenant> {
        let slots = self.named.values();
        let tenants = slots.filter_map(|slot| self.tenants.get(slot.0 as usize));
        tenants.filter(move |tenant| after.is_none_or(|after| tenant.name.as_str() > after))
    }

    /// Where the key stands that is called so, a subject's by name or by id.
    pub(super) fn place(&self, tenant: &str, key: &str) -> Option<Place> {
        let slot = self.slot(tenant)?;
        let tenant = self.tenant(slot).ok()?;
        let named = KeyName::try_from(key).ok()?;
        let key = match named.subject() {
            Some(subject) => tenant.subject(named.family(), subject)?,
            None => named,
        };
        tenant.keys.contains_key(&key).then_some(Place { tenant: slot, key })
    }

    /// Whether a key has subjects and seals nothing itself.
    pub(super) fn is_family(&self, place: &Place) -> Result<bool, Refused> {
        Ok(self.tenant(place.tenant)?.key(&place.key)?.is_family)
    }

    /// Whether a key is for this purpose: one that lists none is for all.
    pub(super) fn is_for(&self, place: &Place, purpose: Option<&str>) -> Result<bool, Refused> {
        let purposes = &self.tenant(place.tenant)?.settings(&place.key)?.purposes;
        Ok(purposes.is_empty() || purposes.iter().any(|own| Some(&**own) == purpose))
    }

    /// The key of this tenant that a version belongs to.
    // A version id of another tenant is as good as none.
    pub(super) fn place_of(&self, tenant: &str, version: VersionId) -> Option<Place> {
        let slot = self.slot(tenant).filter(|slot| *slot == version.tenant_slot())?;
        let (key, _) = self.tenant(slot).ok()?.leaf(version)?;
        Some(Place { tenant: slot, key: key.clone() })
    }
}

impl Moment {
    fn after(self, duration: Duration) -> BootTime {
        self.boot.after(duration)
    }
}
