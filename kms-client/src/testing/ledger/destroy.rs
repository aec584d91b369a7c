//! Versions, keys and tenants are destroyed: their material is wiped and gone.

use kms_core::{id::TenantSlot, names::KeyName, state::LifecycleState};
use kms_proto::reason::Reason;

use super::{
    super::{holders::Destroyed, refused::Refused},
    Ledger, Moment, Outcome, Place, Tenant,
    change::{check_living_key, check_revision},
    key::{Key, ToSeal},
    tenant::is_family,
};

/// What to destroy of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Which {
    /// One version; one that clients said to use, or that seals while sealing leases run, only with `force`.
    Version {
        number: u32,
        force: bool,
    },
    All,
}

impl Ledger {
    pub(in super::super) fn destroy_key(
        &mut self,
        place: &Place,
        which: Which,
        expected: Option<u64>,
        now: Moment,
    ) -> Result<Outcome, Refused> {
        let tenant = self.tenant_mut(place.tenant)?;
        check_living_key(tenant, &place.key, expected)?;
        let key = tenant.key_mut(&place.key)?;
        if key.is_family {
            return Err(is_family(&place.key));
        }
        let numbers = match which {
            Which::Version { number, force } => vec![destructible(key, number, force, now)?],
            Which::All => key.live().map(|version| version.number).collect(),
        };
        let epoch = self.epoch + 1;
        let key = self.tenant_mut(place.tenant)?.key_mut(&place.key)?;
        let mut destroyed = Vec::with_capacity(numbers.len());
        for number in &numbers {
            if let Some(version) = key.version_mut(*number) {
                version.destroy(epoch, now);
                destroyed.push(version.id);
            }
            key.stop_sealing(*number);
        }
        if key.live().next().is_none() {
            key.state = LifecycleState::Destroyed;
            key.destroyed_epoch = epoch;
        }
        key.revision += 1;
        let at = self.destroys(now);
        let Self { tenants, holders, .. } = self;
        let tenant = tenants.get(place.tenant.0 as usize).ok_or(Reason::Internal)?;
        holders.destroyed(&tenant.name, &place.key, &destroyed, at);
        Ok(Outcome { versions: numbers, epoch })
    }

    pub(in super::super) fn destroy_tenant(
        &mut self,
        slot: TenantSlot,
        expected: Option<u64>,
        now: Moment,
    ) -> Result<Outcome, Refused> {
        let tenant = self.tenant_mut(slot)?;
        tenant.check_living()?;
        check_revision(tenant.revision, expected)?;
        let at = self.destroys(now);
        let tenant = self.tenant_mut(slot)?;
        wipe(tenant, at.epoch, now);
        let name = tenant.name.clone();
        self.holders.tenant_destroyed(slot, &name, at);
        Ok(Outcome { versions: Vec::new(), epoch: at.epoch })
    }

    /// A destruction happens now.
    fn destroys(&mut self, now: Moment) -> Destroyed {
        self.revision += 1;
        self.epoch += 1;
        Destroyed { revision: self.revision, epoch: self.epoch, now }
    }
}

fn wipe(tenant: &mut Tenant, epoch: u64, now: Moment) {
    tenant.revision += 1;
    tenant.destroyed_epoch = epoch;
    tenant.state = LifecycleState::Destroyed;
    tenant.destroyed = Some(now.wall);
    tenant.subjects.clear();
    for key in tenant.keys.values_mut() {
        for version in key.versions.iter_mut().filter(|version| version.material.is_some()) {
            version.destroy(epoch, now);
        }
    }
}

/// The version, where it may be destroyed.
fn destructible(key: &Key, number: u32, force: bool, now: Moment) -> Result<u32, Refused> {
    let name: &KeyName = &key.name;
    let version = key.version(number).ok_or_else(|| {
        let words = format!("key `{name}` has no version {number}; describing it lists them");
        Refused::new(Reason::VersionNotFound, words)
    })?;
    if version.material.is_none() {
        return Err(version.destroyed(name));
    }
    if !force {
        version.uses.refuse_if_recent(name, number, now)?;
    }
    // What a version that was rotated out is leased for still is deterministic columns, or new rows of an index.
    let kinds: &[ToSeal] = match number {
        number if number == key.active => &[ToSeal::Randomized, ToSeal::Deterministic],
        number if number == key.deterministic || name.is_index() => &[ToSeal::Deterministic],
        _ => &[],
    };
    if !force && version.is_sealed_under(kinds, now) {
        let words = format!(
            "clients hold leases to seal under version {number} of key `{name}`; wait for their end, rotate first, or force"
        );
        return Err(Refused::new(Reason::SealingLeasesRun, words));
    }
    Ok(number)
}
