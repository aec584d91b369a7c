//! One instance of each version, wiped with its destruction wherever it is; and nothing else is wiped.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{DataKeyId, Epoch, InstanceId, TenantSlot, Uid, VersionId};
use kms_core::names::TenantName;
use kms_core::secret::SealSecret;
use kms_core::state::{KeyClass, LifecycleState};
use kms_proto::storage::{KeyRecord, TenantRecord, VersionPointer, VersionRecord};

use super::{KeyEntry, Keyring, LiveVersion, LookupError};
use crate::effaceable::memory::MemoryMedium;
use crate::erasure::{Change, ChangeError, Options, Writer};
use crate::records::{
    KeyRef, Keys, Tenants, TenantsBySlot, VersionNumbers, Versions, class_number, state_number,
};
use crate::running::RunningTime;
use crate::store::memory::MemoryStore;

const TENANT: &str = "acme";
pub(crate) const KEY: &str = "attendance";
const OTHER: &str = "payroll";

/// A tenant with two keys: one of two versions, another of one.
pub(crate) struct Ground {
    pub(crate) keyring: Arc<Keyring>,
    writer: Writer,
    slot: TenantSlot,
    _redo: tempfile::TempDir,
}

impl Ground {
    /// With a cache of so many bytes.
    pub(crate) async fn new(budget: u64) -> Self {
        let (store, mut medium) = (Arc::new(MemoryStore::default()), MemoryMedium::default());
        let seal = || SealSecret::copied_from(&[0x5E; 32]).unwrap();
        Writer::create(&*store, &mut medium, &seal(), InstanceId([7; 16])).unwrap();
        let redo = tempfile::tempdir().unwrap();
        let mut options = Options::new(redo.path());
        options.erasure_interval = Duration::ZERO;
        let (writer, _) = Writer::start(store, Box::new(medium), seal(), options).unwrap();
        let made = writer.commit(make).await.unwrap();
        let running = Arc::new(RunningTime::resume(None));
        Self { keyring: Keyring::new(writer.clone(), running, budget), writer, slot: made.value, _redo: redo }
    }

    pub(crate) fn key(&self, name: &str) -> Arc<KeyEntry> {
        self.keyring.key(TENANT, name).unwrap()
    }

    pub(crate) fn id(&self, number: u32) -> VersionId {
        let place = (self.slot, KeyRef::try_from(KEY).unwrap(), number);
        let pointer = self.writer.snapshot().get::<VersionNumbers>(&place).unwrap().unwrap();
        VersionId::new(self.slot, kms_core::id::LeafSlot(pointer.leaf_slot))
    }

    fn look_up(&self, number: u32) -> Result<Arc<LiveVersion>, LookupError> {
        self.keyring.version_of(&self.key(KEY), self.id(number))
    }

    pub(crate) fn version(&self, number: u32) -> Arc<LiveVersion> {
        self.look_up(number).unwrap()
    }

    pub(crate) async fn destroy(&self, number: u32) {
        self.destroy_leased(number, 0).await;
    }

    /// Destroys a version of which data keys were leased for so long; gives the epoch.
    pub(crate) async fn destroy_leased(&self, number: u32, lease_ms: u64) -> Epoch {
        let id = self.id(number);
        let destroyed = self.writer.destroy(move |change| -> Result<(), ChangeError> {
            change.destroy_version(id, lease_ms);
            let mut record = change.get::<Versions>(&id)?.unwrap_or_default();
            record.state = state_number(LifecycleState::Destroyed);
            change.put::<Versions>(&id, &record);
            Ok(())
        });
        destroyed.await.unwrap().epoch
    }

    pub(crate) async fn destroy_tenant(&self) {
        self.destroy_tenant_leased(0).await;
    }

    /// Destroys the tenant, of whose keys data keys were leased for so long; gives the epoch.
    pub(crate) async fn destroy_tenant_leased(&self, lease_ms: u64) -> Epoch {
        let slot = self.slot;
        let destroyed = self.writer.destroy(move |change| -> Result<(), ChangeError> {
            change.destroy_tenant(slot, lease_ms);
            let mut record = change.get::<TenantsBySlot>(&slot)?.unwrap_or_default();
            record.state = state_number(LifecycleState::Destroyed);
            put_tenant(change, slot, &record);
            Ok(())
        });
        destroyed.await.unwrap().epoch
    }

    /// Changes the record of a key.
    pub(crate) async fn turn(&self, key: &str, edit: impl FnOnce(&mut KeyRecord) + Send + 'static) {
        let place = (self.slot, KeyRef::try_from(key).unwrap());
        let turned = self.writer.commit(move |change| -> Result<(), ChangeError> {
            let mut record = change.get::<Keys>(&place)?.unwrap_or_default();
            edit(&mut record);
            change.put::<Keys>(&place, &record);
            Ok(())
        });
        turned.await.unwrap();
    }

    /// Makes a key a family, and gives it a subject whose key seals under a version of the one that it was.
    pub(crate) async fn give_subject(&self, family: &str, id: Uid) -> KeyRef {
        let family = KeyRef::try_from(family).unwrap();
        let subject = KeyRef::of_subject(family.family().clone(), id);
        let (place, slot) = ((self.slot, subject.clone()), self.slot);
        let given = self.writer.commit(move |change| -> Result<(), ChangeError> {
            let of = (slot, family);
            let mut settings = change.get::<Keys>(&of)?.unwrap_or_default();
            let pointer = change.get::<VersionNumbers>(&(of.0, of.1.clone(), 1))?.unwrap_or_default();
            settings.family = true;
            let record = KeyRecord { uid: id.0.to_vec(), active_version: 1, ..settings.clone() };
            let record = KeyRecord { family: false, state: state_number(LifecycleState::Active), ..record };
            change.put::<Keys>(&of, &settings);
            change.put::<Keys>(&place, &record);
            change.put::<VersionNumbers>(&(place.0, place.1.clone(), 1), &pointer);
            Ok(())
        });
        given.await.unwrap();
        subject
    }

    async fn label_tenant(&self) {
        let slot = self.slot;
        let labelled = self.writer.commit(move |change| -> Result<(), ChangeError> {
            let mut record = change.get::<TenantsBySlot>(&slot)?.unwrap_or_default();
            record.label = "another".into();
            put_tenant(change, slot, &record);
            Ok(())
        });
        labelled.await.unwrap();
    }
}

fn put_tenant(change: &mut Change<'_>, slot: TenantSlot, record: &TenantRecord) {
    change.put::<Tenants>(&TenantName::try_from(TENANT).unwrap(), record);
    change.put::<TenantsBySlot>(&slot, record);
}

fn make(change: &mut Change<'_>) -> Result<TenantSlot, ChangeError> {
    let slot = change.create_tenant_tree(Uid::random()?)?.slot;
    let active = state_number(LifecycleState::Active);
    let uid = Uid::random()?.0.to_vec();
    let tenant =
        TenantRecord { name: TENANT.into(), slot: slot.0, uid, state: active, ..TenantRecord::default() };
    put_tenant(change, slot, &tenant);
    for (key, versions) in [(KEY, 2), (OTHER, 1)] {
        let name = KeyRef::try_from(key).unwrap();
        for number in 1..=versions {
            let leaf = change.create_leaf(slot, Uid::random()?)?;
            let leaf_slot = leaf.version.leaf_slot().0;
            let record = VersionRecord {
                tenant_slot: slot.0,
                leaf_slot,
                key: key.into(),
                version: number,
                state: active,
                key_commitment: leaf.key_commitment.to_vec(),
                ..VersionRecord::default()
            };
            change.put::<Versions>(&leaf.version, &record);
            change.put::<VersionNumbers>(&(slot, name.clone(), number), &VersionPointer { leaf_slot });
        }
        let record = KeyRecord {
            name: key.into(),
            uid: Uid::random()?.0.to_vec(),
            tenant_slot: slot.0,
            key_class: class_number(KeyClass::L2),
            state: active,
            lease_ms: 60_000,
            versions,
            active_version: versions,
            deterministic_version: versions,
            live_versions: versions,
            first_version: 1,
            ..KeyRecord::default()
        };
        change.put::<Keys>(&(slot, name), &record);
    }
    Ok(slot)
}

const ROOMY: u64 = 1 << 20;

fn is_wiped(version: &LiveVersion) -> bool {
    version.data_key(DataKeyId::DETERMINISTIC).is_err()
}

#[tokio::test]
async fn two_requests_that_miss_together_get_one_instance() {
    let ground = Ground::new(ROOMY).await;
    let (key, id) = (ground.key(KEY), ground.id(1));
    let other = RefCell::new(None);
    let first = ground.keyring.load(
        |snapshot| {
            let read = LiveVersion::load(snapshot, &key.name, id).map(Arc::new);
            // Between the first request's read and its place in the cache, the second comes all the way.
            *other.borrow_mut() = Some(ground.version(1));
            read
        },
        |register, version| ground.keyring.keep(register, version),
    );
    let (first, other) = (first.unwrap(), other.into_inner().unwrap());
    assert!(Arc::ptr_eq(&first, &other));
    ground.destroy(1).await;
    assert!(is_wiped(&first) && is_wiped(&other));
    assert!(!is_wiped(&ground.version(2)));
}

#[tokio::test]
async fn a_version_evicted_while_in_use_is_found_again_and_wiped_with_its_destruction() {
    let ground = Ground::new(0).await;
    let held = ground.version(1);
    assert_eq!(ground.keyring.versions.len(), 0, "nothing fits this cache");
    assert!(Arc::ptr_eq(&held, &ground.version(1)));
    ground.destroy(1).await;
    assert!(is_wiped(&held));
    let again = ground.look_up(1).map(drop);
    assert!(matches!(again, Err(LookupError::Destroyed { version: 1, .. })), "{again:?}");
}

#[tokio::test]
async fn a_new_label_of_a_tenant_wipes_nothing_and_its_destruction_wipes_all() {
    let ground = Ground::new(ROOMY).await;
    let (one, two) = (ground.version(1), ground.version(2));
    ground.label_tenant().await;
    assert!(!is_wiped(&one) && Arc::ptr_eq(&one, &ground.version(1)));
    ground.destroy_tenant().await;
    assert!(is_wiped(&one) && is_wiped(&two));
    assert!(ground.key(KEY).check_opens().is_err(), "the entries say so too");
}

#[tokio::test]
async fn only_a_slot_that_was_read_is_looked_for_when_its_tenant_changes() {
    let ground = Ground::new(ROOMY).await;
    let next = TenantSlot(ground.slot.0 + 1);
    let may_hold = |slot| ground.keyring.register.lock().may_hold(slot);
    assert!(!may_hold(ground.slot) && !may_hold(next));
    ground.key(KEY);
    assert!(may_hold(ground.slot) && !may_hold(next));
    let before = ground.key(KEY);
    ground.label_tenant().await;
    assert!(!Arc::ptr_eq(&before, &ground.key(KEY)), "what was read is read again");
}

#[tokio::test]
async fn what_policy_is_asked_about_is_found_without_opening_its_material() {
    let ground = Ground::new(ROOMY).await;
    let id = ground.id(1);
    assert_eq!(ground.keyring.key_of(id, TENANT).unwrap().name.to_string(), KEY);
    let of_another = ground.keyring.version_of(&ground.key(OTHER), id).map(drop);
    assert!(matches!(of_another, Err(LookupError::NotThere)), "{of_another:?}");
    assert_eq!(ground.keyring.versions.len(), 0);
    let of_its_own = ground.keyring.version_of(&ground.key(KEY), id);
    assert!(of_its_own.is_ok() && ground.keyring.versions.len() == 1);
    let of_another = ground.keyring.version_of(&ground.key(OTHER), id).map(drop);
    assert!(matches!(of_another, Err(LookupError::NotThere)), "warm or cold: {of_another:?}");
}

#[tokio::test]
async fn many_cold_versions_are_made_warm_and_held_although_no_cache_holds_them() {
    let ground = Ground::new(0).await;
    let (key, one, two) = (ground.key(KEY), ground.id(1), ground.id(2));
    let many = [one, two].into_iter().cycle().take(64);
    let held = ground.keyring.warm(many.map(|id| (&key, id))).await;
    let register = ground.keyring.register.lock();
    let (first, second) = (register.get(one), register.get(two));
    assert!(first.is_some() && second.is_some());
    drop((register, first, second, held));
    assert!(ground.keyring.register.lock().get(one).is_none(), "and let go");
}
