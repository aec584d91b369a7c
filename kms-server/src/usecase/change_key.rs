//! Changes a key's settings, suspends it, resumes it; and the way every change of a key goes.

use std::borrow::Borrow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kms_core::event::KeyState;
use kms_core::id::{TenantSlot, Uid};
use kms_core::state::LifecycleState;
use kms_proto::storage::{KeyRecord, OutcomeRecord, TenantRecord};

use super::change_tenant::{living, put};
use super::describe::{self, KeyView};
use super::mutation::Mutation;
use super::refused::Refused;
use super::revision;
use super::schedule::plan_rotation;
use crate::erasure::Change;
use crate::gate::permit::op;
use crate::gate::{Note, Op, Permit, Unrecorded};
use crate::keyring::{KeyEntry, Keyring};
use crate::records::{
    Keys, Table as _, TenantsBySlot, leave_settings, millis, name, state, state_number, take_settings, uid,
};

type Changed = Unrecorded<Result<KeyView, Refused>>;

/// What to change beside the purposes, which policy looks at; absent stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// How long clients may hold data keys; longer leases that run are not cut.
    pub lease: Option<Duration>,
    /// How often it is to be rotated.
    pub rotate_every: Option<Duration>,
}

/// Changes a key's settings, and its purposes to those that the permit is for.
pub async fn update(
    permit: Permit<op::UpdateKey>,
    keyring: &Keyring,
    update: Update,
    expected: Option<u64>,
    mutation: Mutation,
) -> Changed {
    let purposes = permit.target().purposes.clone();
    let of = permit.target().key.name.clone();
    change(permit, keyring, expected, mutation, Note::default(), move |change, key| {
        if of.subject().is_some() {
            let family = of.family();
            return Err(Refused::Invalid(format!(
                "a subject's key has its settings from its family; update `{family}`"
            )));
        }
        if let Some(lease) = update.lease {
            key.lease_ms = millis(lease);
            key.longest_lease_ms = key.longest_lease_ms.max(key.lease_ms);
            raise_longest_lease(change, key)?;
        }
        if let Some(period) = update.rotate_every {
            key.rotate_every_ms = millis(period);
            plan_rotation(change, key)?;
        }
        if let Some(purposes) = purposes {
            key.purposes = purposes.iter().map(|purpose| purpose.to_string()).collect();
        }
        Ok(OutcomeRecord::default())
    })
    .await
}

/// Stops a key: it neither seals nor opens.
pub async fn suspend(
    permit: Permit<op::SuspendKey>,
    keyring: &Keyring,
    expected: Option<u64>,
    mutation: Mutation,
) -> Changed {
    change(permit, keyring, expected, mutation, Note::default(), |_, key| {
        key.state = state_number(LifecycleState::Suspended);
        Ok(OutcomeRecord::default())
    })
    .await
}

/// Undoes that.
pub async fn resume(
    permit: Permit<op::ResumeKey>,
    keyring: &Keyring,
    expected: Option<u64>,
    mutation: Mutation,
) -> Changed {
    change(permit, keyring, expected, mutation, Note::default(), |_, key| {
        key.state = state_number(match key.destroy_due_ms {
            0 => unscheduled_state(key),
            _ => LifecycleState::DestroyScheduled,
        });
        Ok(OutcomeRecord::default())
    })
    .await
}

/// The state of a key that is neither suspended nor to be destroyed.
pub(super) fn unscheduled_state(key: &KeyRecord) -> LifecycleState {
    match key.active_version {
        0 if !key.family => LifecycleState::Deactivated,
        _ => LifecycleState::Active,
    }
}

/// Changes a key that is not destroyed, in one durable commit, at the revision that was expected.
pub(super) async fn change<O: Op<Target: Borrow<Arc<KeyEntry>>>>(
    permit: Permit<O>,
    keyring: &Keyring,
    expected: Option<u64>,
    mutation: Mutation,
    note: Note,
    edit: impl FnOnce(&mut Change<'_>, &mut KeyRecord) -> Result<OutcomeRecord, Refused> + Send + 'static,
) -> Changed {
    let entry = Arc::clone(permit.target().borrow());
    let written = Written::default();
    let write = written.clone();
    let changed = mutation.run(keyring.writer(), move |change| {
        let mut key = living_key(change, &entry, expected)?;
        let before = (key.state, key.versions, key.destroy_due_ms, key.scheduled_versions.len());
        let outcome = edit(change, &mut key)?;
        // A rotation has an entry of its own, and so has a destruction that is called off.
        let others = (key.versions, key.destroy_due_ms, key.scheduled_versions.len());
        if key.state != before.0 && others == (before.1, before.2, before.3) {
            let (tenant_uid, state) = (tenant_uid(change, &key)?, state(key.state)?);
            change.log(KeyState { tenant_uid, key: entry.name.logged(), key_uid: entry.uid, state });
        }
        write.put(change, &entry, key);
        Ok(outcome)
    });
    let result = match changed.await {
        Ok(_) => written.describe(keyring, permit.target().borrow()),
        Err(refused) => Err(refused),
    };
    let mut note = Note { state: result.as_ref().ok().map(|key| key.state), ..note };
    note.versions = result.iter().filter_map(KeyView::active_version).collect();
    permit.finish(result, note)
}

/// The record that a change wrote: what it left can be told even where nothing can be read any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<OnceLock<KeyRecord>>);

impl Written {
    pub(super) fn put(&self, change: &mut Change<'_>, entry: &KeyEntry, key: KeyRecord) {
        put_key(change, entry, key.clone());
        self.0.get_or_init(|| key);
    }

    /// The key after its change became durable, which is never answered with an error: then its versions are left out.
    pub(super) fn describe(&self, keyring: &Keyring, entry: &KeyEntry) -> Result<KeyView, Refused> {
        let described = describe::key(&keyring.writer().snapshot(), &entry.tenant.name, &entry.name);
        match (described, self.0.get()) {
            (Err(error), Some(record)) => {
                tracing::warn!(%error, "a key cannot be read after its change, which is durable");
                Ok(KeyView {
                    tenant: entry.tenant.name.clone(),
                    name: entry.name.clone(),
                    class: entry.class,
                    state: state(record.state)?,
                    record: record.clone(),
                    versions: Vec::new(),
                })
            }
            // Nothing was written where the same request was done before.
            (described, _) => described,
        }
    }
}

/// Writes the record of a key: a subject's without the settings that are its family's.
pub(super) fn put_key(change: &mut Change<'_>, entry: &KeyEntry, mut key: KeyRecord) {
    if entry.name.subject().is_some() {
        leave_settings(&mut key);
    }
    change.put::<Keys>(&entry.place(), &key);
}

/// The uid of the tenant that owns a key.
pub(super) fn tenant_uid(change: &Change<'_>, key: &KeyRecord) -> Result<Uid, Refused> {
    Ok(uid(&owner(change, key)?.uid)?)
}

/// A tenant remembers the longest lease of its keys: so long after its destruction a client may still hold a data key.
fn raise_longest_lease(change: &mut Change<'_>, key: &KeyRecord) -> Result<(), Refused> {
    let mut tenant = owner(change, key)?;
    if tenant.longest_lease_ms < key.longest_lease_ms {
        tenant.longest_lease_ms = key.longest_lease_ms;
        put(change, &name(&tenant.name)?, &tenant);
    }
    Ok(())
}

pub(super) fn owner(change: &Change<'_>, key: &KeyRecord) -> Result<TenantRecord, Refused> {
    let tenant = change.get::<TenantsBySlot>(&TenantSlot(key.tenant_slot))?;
    tenant.ok_or_else(|| Refused::damaged(TenantsBySlot::NAME))
}

/// The record of a key that is not destroyed, its revision raised.
pub(super) fn living_key(
    change: &Change<'_>,
    entry: &KeyEntry,
    expected: Option<u64>,
) -> Result<KeyRecord, Refused> {
    let tenant = living(change, &entry.tenant.name)?;
    let key = change.get::<Keys>(&entry.place())?;
    // Decided again on the writer: since policy allowed it the key may have been destroyed, even made anew.
    let mut key = key
        .filter(|key| tenant.slot == entry.tenant.slot.0 && key.uid == entry.uid.0)
        .ok_or_else(|| Refused::KeyDestroyed(entry.name.clone()))?;
    if state(key.state)?.is_destroyed() {
        return Err(Refused::KeyDestroyed(entry.name.clone()));
    }
    if entry.name.subject().is_some() {
        let family = change.get::<Keys>(&(entry.tenant.slot, entry.name.family().clone().into()))?;
        take_settings(&mut key, &family.ok_or_else(|| Refused::damaged(Keys::NAME))?);
    }
    revision::advance(&mut key.revision, expected)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effaceable::memory::MemoryMedium;
    use crate::erasure::{ChangeError, Options, Writer};
    use crate::records::{Tenants, class_number};
    use crate::running::RunningTime;
    use crate::store::memory::MemoryStore;
    use kms_core::id::InstanceId;
    use kms_core::names::TenantName;
    use kms_core::secret::SealSecret;
    use kms_core::state::KeyClass;

    #[tokio::test]
    async fn a_durable_change_is_never_answered_with_an_error_though_nothing_can_be_read_any_more() {
        let (store, mut medium) = (Arc::new(MemoryStore::default()), MemoryMedium::default());
        let seal = || SealSecret::copied_from(&[7; 32]).unwrap();
        Writer::create(&*store, &mut medium, &seal(), InstanceId([7; 16])).unwrap();
        let redo = tempfile::tempdir().unwrap();
        let (writer, _) = Writer::start(store, Box::new(medium), seal(), Options::new(redo.path())).unwrap();
        let (acme, name): (TenantName, _) = ("acme".parse().unwrap(), "attendance".parse().unwrap());
        let active = state_number(LifecycleState::Active);
        let record = KeyRecord {
            uid: Uid([2; 16]).0.to_vec(),
            key_class: class_number(KeyClass::L2),
            state: active,
            revision: 7,
            ..KeyRecord::default()
        };
        let place = (TenantSlot(0), name);
        let made = writer.commit({
            let (place, record) = (place.clone(), record.clone());
            move |change| {
                let tenant = TenantRecord { uid: vec![1; 16], state: active, ..TenantRecord::default() };
                change.put::<Tenants>(&acme, &tenant);
                change.put::<Keys>(&place, &record);
                Ok::<_, ChangeError>(())
            }
        });
        made.await.unwrap();
        let keyring = Keyring::new(writer.clone(), Arc::new(RunningTime::resume(None)), 8 << 20);
        let entry = keyring.key("acme", "attendance").unwrap();
        let written = Written::default();
        written.0.set(record).unwrap();
        assert_eq!(Written::default().describe(&keyring, &entry).unwrap().record.revision, 7);
        writer.stop();
        assert!(Written::default().describe(&keyring, &entry).is_err(), "the control: nothing can be read");
        let told = written.describe(&keyring, &entry).unwrap();
        assert_eq!((told.record.revision, told.state), (7, LifecycleState::Active));
    }
}
