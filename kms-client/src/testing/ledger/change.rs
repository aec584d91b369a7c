//! Tenants and keys are created, changed, suspended, resumed and rotated. Nothing is changed before all is checked.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use kms_core::{
    id::{LeafSlot, TenantSlot, Uid, VersionId},
    names::{KeyName, TenantName},
    secret::VersionMaterial,
    state::{KeyClass, LifecycleState},
};
use kms_proto::reason::Reason;

use super::{
    super::refused::Refused,
    Ledger, Moment, Place, Tenant,
    key::{Key, Version},
    tenant::{destroyed, suspended},
};

/// Most live versions of an index key.
pub(super) const MAX_INDEX_VERSIONS: usize = 100;
/// How long after a lease's time a new version of an index key takes rows.
const SETTLING_MARGIN: Duration = Duration::from_secs(2);

/// How a key is to be.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct NewKey {
    pub(in super::super) class: Option<KeyClass>,
    pub(in super::super) purposes: Vec<String>,
    pub(in super::super) lease: Option<Duration>,
    pub(in super::super) rotate_every: Option<Duration>,
    pub(in super::super) family: bool,
}

/// What becomes of a tenant.
#[derive(Debug, Clone)]
pub(in super::super) enum TenantChange {
    Label(Option<String>),
    Suspend,
    Resume,
}

/// What becomes of a key.
#[derive(Debug, Clone)]
pub(in super::super) enum KeyChange {
    Update { lease: Option<Duration>, rotate_every: Option<Duration>, purposes: Option<Vec<String>> },
    Suspend,
    Resume,
    Rotate { deterministic: bool },
}

impl Ledger {
    /// The name of a destroyed tenant may be used again; its slot never is.
    pub(in super::super) fn create_tenant(
        &mut self,
        name: TenantName,
        label: String,
        now: Moment,
    ) -> Result<(), Refused> {
        let existing = self.named.get(&name).map(|slot| self.tenant(*slot)).transpose()?;
        if existing.is_some_and(|tenant| !tenant.state.is_destroyed()) {
            return Err(exists("tenant", &name));
        }
        let slot = TenantSlot(u32::try_from(self.tenants.len()).map_err(|_| Reason::Internal)?);
        self.tenants.push(Tenant {
            name: name.clone(),
            slot,
            uid: Uid::random()?,
            label,
            state: LifecycleState::Active,
            revision: 1,
            created: now.wall,
            destroyed: None,
            destroyed_epoch: 0,
            keys: BTreeMap::new(),
            subjects: HashMap::new(),
            leaves: HashMap::new(),
            // Leaf 0 finds subjects, in the real server.
            next_leaf: LeafSlot(1),
        });
        self.named.insert(name, slot);
        self.revision += 1;
        Ok(())
    }

    pub(in super::super) fn change_tenant(
        &mut self,
        slot: TenantSlot,
        change: TenantChange,
        expected: Option<u64>,
        now: Moment,
    ) -> Result<(), Refused> {
        let tenant = self.tenant_mut(slot)?;
        tenant.check_living()?;
        check_revision(tenant.revision, expected)?;
        tenant.revision += 1;
        match change {
            TenantChange::Label(label) => tenant.label = label.unwrap_or(std::mem::take(&mut tenant.label)),
            TenantChange::Suspend => tenant.state = LifecycleState::Suspended,
            TenantChange::Resume => tenant.state = LifecycleState::Active,
        }
        self.revision += 1;
        if self.tenant(slot)?.state == LifecycleState::Suspended {
            self.holders.tenant_suspended(slot, &self.tenants[slot.0 as usize].name, self.revision, now);
        }
        Ok(())
    }

    /// The name of a destroyed key may be used again; version numbers go on.
    pub(in super::super) fn create_key(
        &mut self,
        tenant: &str,
        name: KeyName,
        how: NewKey,
        now: Moment,
    ) -> Result<Place, Refused> {
        let slot = self.named(tenant)?;
        let owner = self.tenant_mut(slot)?;
        check_open_to_new_keys(owner)?;
        let before = owner.keys.get(&name);
        if before.is_some_and(|key| !key.state.is_destroyed()) {
            return Err(exists("key", &name));
        }
        if how.family && before.is_some_and(|key| !key.versions.is_empty()) {
            let words = format!(
                "a key that was called `{name}` is destroyed; its ciphertexts are still told by its name; choose another for the family"
            );
            return Err(Refused::new(Reason::StateForbids, words));
        }
        let lease = how.lease.unwrap_or(KeyClass::DEFAULT_LEASE);
        let versions = owner.keys.remove(&name).map(|key| key.versions).unwrap_or_default();
        let first_version = u32::try_from(versions.len()).map_err(|_| Reason::Internal)? + 1;
        let key = Key {
            name: name.clone(),
            uid: Uid::random()?,
            class: how.class.unwrap_or(KeyClass::L2),
            purposes: how.purposes,
            lease,
            longest_lease: lease,
            rotate_every: how.rotate_every,
            state: LifecycleState::Active,
            revision: 1,
            created: now.wall,
            is_family: how.family,
            first_version: if how.family { 0 } else { first_version },
            versions,
            active: 0,
            deterministic: 0,
            rotations: 0,
            deterministic_rotation: 0,
            destroyed_epoch: 0,
        };
        owner.keys.insert(name.clone(), key);
        if !how.family {
            add_version(owner, &name, now)?;
        }
        self.revision += 1;
        Ok(Place { tenant: slot, key: name })
    }

    pub(in super::super) fn change_key(
        &mut self,
        place: &Place,
        change: KeyChange,
        expected: Option<u64>,
        now: Moment,
    ) -> Result<(), Refused> {
        let tenant = self.tenant_mut(place.tenant)?;
        check_living_key(tenant, &place.key, expected)?;
        match change {
            KeyChange::Update { .. } if place.key.subject_id().is_some() => {
                let family = place.key.family();
                return Err(Refused::invalid(format!(
                    "a subject's key has its settings from its family; update `{family}`"
                )));
            }
            KeyChange::Update { lease, rotate_every, purposes } => {
                let key = tenant.key_mut(&place.key)?;
                key.lease = lease.unwrap_or(key.lease);
                key.longest_lease = key.longest_lease.max(key.lease);
                key.rotate_every = rotate_every.or(key.rotate_every);
                key.purposes = purposes.unwrap_or(std::mem::take(&mut key.purposes));
            }
            KeyChange::Suspend => tenant.key_mut(&place.key)?.state = LifecycleState::Suspended,
            KeyChange::Resume => {
                let key = tenant.key_mut(&place.key)?;
                key.state = key.unsuspended();
            }
            KeyChange::Rotate { deterministic } => rotate(tenant, &place.key, deterministic, now)?,
        }
        tenant.key_mut(&place.key)?.revision += 1;
        self.told(place, now)
    }

    /// Gives a subject's key its next version where its family was rotated since the last, before it seals.
    pub(super) fn follow_family(&mut self, place: &Place, now: Moment) -> Result<(), Refused> {
        let tenant = self.tenant_mut(place.tenant)?;
        let is_behind = place.key.subject_id().is_some()
            && tenant.key(&place.key)?.rotations < tenant.settings(&place.key)?.rotations;
        if !is_behind || tenant.sealing_version(&place.key).is_err() {
            return Ok(());
        }
        rotate(tenant, &place.key, false, now)?;
        tenant.key_mut(&place.key)?.revision += 1;
        self.told(place, now)
    }

    /// The key has changed: those who hold something of it are told, where that means anything to them.
    fn told(&mut self, place: &Place, now: Moment) -> Result<(), Refused> {
        self.revision += 1;
        let Self { tenants, holders, revision, .. } = self;
        let tenant = tenants.get(place.tenant.0 as usize).ok_or(Reason::Internal)?;
        let versions: Vec<VersionId> = tenant.key(&place.key)?.live().map(|version| version.id).collect();
        holders.key_changed(tenant, &place.key, &versions, *revision, now);
        Ok(())
    }
}

/// Adds a version to a key and makes it the active one.
pub(super) fn add_version(tenant: &mut Tenant, name: &KeyName, now: Moment) -> Result<(), Refused> {
    let (leaf, longest) = (tenant.next_leaf, tenant.settings(name)?.longest_lease);
    let id = VersionId::new(tenant.slot, leaf);
    let key = tenant.key_mut(name)?;
    let number = u32::try_from(key.versions.len()).map_err(|_| Reason::Internal)? + 1;
    // Who holds a lease without this version would miss rows that are indexed under it.
    let settling = name.is_index() && key.live().next().is_some();
    key.versions.push(Version {
        number,
        id,
        uid: Uid::random()?,
        material: Some(VersionMaterial::random()?),
        created: now.wall,
        destroyed: None,
        destroyed_epoch: 0,
        indexes_from: settling.then(|| now.after(longest + SETTLING_MARGIN)),
        leased: false,
        leased_deterministic: false,
        sealing_until: HashMap::new(),
        uses: Default::default(),
    });
    key.active = number;
    if key.deterministic == 0 {
        key.deterministic = number;
    }
    tenant.leaves.insert(leaf, (name.clone(), number));
    tenant.next_leaf = leaf.next();
    Ok(())
}

fn rotate(tenant: &mut Tenant, name: &KeyName, deterministic: bool, now: Moment) -> Result<(), Refused> {
    let suspended_tenant = (tenant.state == LifecycleState::Suspended).then(|| tenant.suspended_words());
    let settings = tenant.settings(name)?;
    let (rotations, family) = (settings.rotations, settings.state);
    let deterministic_rotation = settings.deterministic_rotation;
    let key = tenant.key_mut(name)?;
    if !matches!(key.state, LifecycleState::Active | LifecycleState::Deactivated) {
        let words = format!("key `{name}` is {}; resume it before rotating", key.state);
        return Err(Refused::new(Reason::StateForbids, words));
    }
    if let Some(refused) = suspended_tenant {
        return Err(refused);
    }
    if family == LifecycleState::Suspended {
        return Err(suspended(&name.family().clone().into()));
    }
    if key.is_family {
        key.rotations += 1;
        if deterministic {
            key.deterministic_rotation = key.rotations;
        }
        return Ok(());
    }
    if name.is_index() && key.live().count() >= MAX_INDEX_VERSIONS {
        let words = format!(
            "index key `{name}` has {MAX_INDEX_VERSIONS} live versions; searches look through no more of them; rebuild its indexes, then destroy older versions"
        );
        return Err(Refused::new(Reason::StateForbids, words));
    }
    add_version(tenant, name, now)?;
    let key = tenant.key_mut(name)?;
    key.state = LifecycleState::Active;
    let follows = name.subject_id().is_some() && key.rotations < deterministic_rotation;
    if deterministic || follows {
        key.deterministic = key.active;
    }
    if name.subject_id().is_some() {
        key.rotations = rotations;
    }
    Ok(())
}

/// A tenant in which keys may be made.
pub(super) fn check_open_to_new_keys(tenant: &Tenant) -> Result<(), Refused> {
    tenant.check_living()?;
    match tenant.state {
        LifecycleState::Suspended => Err(tenant.suspended_words()),
        _ => Ok(()),
    }
}

/// A key that is not destroyed, at the revision that was expected.
pub(super) fn check_living_key(
    tenant: &Tenant,
    name: &KeyName,
    expected: Option<u64>,
) -> Result<(), Refused> {
    tenant.check_living()?;
    let key = tenant.key(name)?;
    if key.state.is_destroyed() {
        return Err(destroyed(name));
    }
    check_revision(key.revision, expected)
}

/// Two operators collide visibly.
pub(super) fn check_revision(found: u64, expected: Option<u64>) -> Result<(), Refused> {
    match expected {
        Some(expected) if expected != found => Err(Refused::new(
            Reason::RevisionMismatch,
            format!(
                "it is at revision {found}, not {expected}: somebody changed it; read it again, then decide"
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) fn exists(what: &str, name: &impl std::fmt::Display) -> Refused {
    Refused::new(Reason::AlreadyExists, format!("{what} `{name}` exists already; choose another name"))
}
