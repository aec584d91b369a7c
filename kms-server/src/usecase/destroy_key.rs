//! Destroys a version of a key, or all of them, now.

use std::sync::Arc;
use std::time::Duration;

use kms_core::canonical::Text;
use kms_core::event::{DestroyKey, DestroyVersion};
use kms_core::id::{Epoch, LeafSlot, TenantSlot, VersionId};
use kms_core::state::{DestroyReason, LifecycleState};
use kms_proto::storage::{KeyRecord, OutcomeRecord, VersionRecord};
use parking_lot::Mutex;

use super::census;
use super::change_key::{Written, living_key, tenant_uid};
use super::data_key_ids::handed_out;
use super::describe::KeyView;
use super::mutation::{Mutation, now_ms};
use super::refused::Refused;
use super::schedule;
use crate::audit::Ticket;
use crate::erasure::{Change, Destruction};
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::leases::ToSeal;
use crate::keyring::{KeyEntry, Keyring};
use crate::records::{DataKeyIds, VersionNumbers, Versions, Work, reason_number, state, state_number, uid};

/// Why, and on which revision it was decided.
#[derive(Debug, Clone)]
pub struct Request {
    /// The reason code.
    pub reason: DestroyReason,
    /// Reference into the operator's ticket system.
    pub ticket: Option<Ticket>,
    /// Revision that the operator saw.
    pub expected_revision: Option<u64>,
}

impl Request {
    /// The note of a destruction: why it was asked for.
    pub(super) fn note(&self) -> Note {
        Note { reason: Some(self.reason), ticket: self.ticket.clone(), ..Note::default() }
    }

    pub(super) fn ticket(&self) -> String {
        self.ticket.as_ref().map(|ticket| ticket.as_str().to_owned()).unwrap_or_default()
    }
}

/// What to destroy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// One version. One that seals, while sealing leases run, and one that clients said they need, only with `force`.
    Version {
        /// Its number.
        number: u32,
        /// What clients seal at this moment may be lost.
        force: bool,
    },
    /// Every version; what clients seal at this moment is lost, which is the point.
    All,
}

/// Destroyed versions.
#[derive(Debug)]
pub struct Destroyed {
    /// What is left of the key.
    pub key: KeyView,
    /// Numbers of the versions destroyed.
    pub versions: Vec<u32>,
    /// The epoch that destroyed them.
    pub epoch: Epoch,
    /// Every earlier epoch secret is unreadable: nothing the product wrote leads to the material any more.
    pub effaced: bool,
}

/// Destroys versions of the key that the permit names, now.
pub async fn destroy_key(
    permit: Permit<op::DestroyKey>,
    keyring: &Arc<Keyring>,
    which: Which,
    request: Request,
    mutation: Mutation,
) -> Unrecorded<Result<Destroyed, Refused>> {
    let entry = Arc::clone(&permit.target().key);
    let mut note = request.note();
    if let Which::Version { number, .. } = which {
        note.version = Some(number);
    }
    if let Which::Version { force: false, .. } = which {
        // What clients said in this minute counts too.
        keyring.census().flush(keyring.writer()).await;
    }
    let written = Written::default();
    let write = written.clone();
    let leases = SealingLeases::of(keyring);
    let reopening = leases.reopening();
    let destroyed = mutation.run_destruction(keyring.writer(), move |change| {
        let mut key = living_key(change, &entry, request.expected_revision)?;
        if key.family {
            return Err(Refused::KeyIsFamily(entry.name.clone()));
        }
        if let Which::Version { number, force: false } = which {
            census::refuse_if_used(change, &entry, number)?;
        }
        let outcome = destroy(change, &mut key, &entry, which, &request, &leases)?;
        write.put(change, &entry, key);
        Ok(outcome)
    });
    let result = match destroyed.await {
        Ok(committed) => {
            let OutcomeRecord { versions, epoch, .. } = committed.value;
            let epoch = Epoch(epoch);
            note.epoch = Some(epoch);
            let key = written.describe(keyring, &permit.target().key);
            key.map(|key| Destroyed { key, versions, epoch, effaced: committed.effaced })
        }
        Err(refused) => {
            reopening.reopen();
            Err(refused)
        }
    };
    note.state = result.as_ref().ok().map(|destroyed| destroyed.key.state);
    permit.finish(result, note)
}

/// The sealing leases of the versions to be destroyed; remembers what it closed, should the commit fail.
pub(super) struct SealingLeases {
    keyring: Arc<Keyring>,
    closed: Arc<Mutex<Vec<VersionId>>>,
}

pub(super) fn destroy(
    change: &mut Destruction<'_>,
    key: &mut KeyRecord,
    entry: &KeyEntry,
    which: Which,
    request: &Request,
    leases: &SealingLeases,
) -> Result<OutcomeRecord, Refused> {
    let numbers = match which {
        Which::Version { number, .. } => number..=number,
        Which::All => key.first_version..=key.versions,
    };
    let epoch = change.epoch();
    let (mut destroyed, mut versions) = (Vec::new(), Vec::new());
    for number in numbers {
        let Some(id) = version_id(change, entry, number)? else {
            return Err(Refused::VersionNotFound { key: entry.name.clone(), version: number });
        };
        let mut version = change.get::<Versions>(&id)?.ok_or_else(|| Refused::damaged("key version"))?;
        if state(version.state)?.is_destroyed() {
            match which {
                Which::All => continue,
                Which::Version { .. } => {
                    return Err(Refused::VersionDestroyed { key: entry.name.clone(), version: number });
                }
            }
        }
        if number == key.active_version || number == key.deterministic_version || entry.name.is_index() {
            leases.end(change, key, entry, which, (id, number))?;
        }
        let ids = change.get::<DataKeyIds>(&id)?.unwrap_or_default();
        version.data_keys_issued = handed_out(&ids);
        // Nobody holds a data key under a lease where none was leased.
        let leased = ids.leased > 0 || ids.deterministic;
        let lease_ms = if leased { key.longest_lease_ms } else { 0 };
        change.destroy_version(id, lease_ms);
        schedule::remove(change, version.destroy_due_ms, Work::DestroyVersion, uid(&version.uid)?);
        version.destroy_due_ms = 0;
        key.scheduled_versions.retain(|scheduled| *scheduled != number);
        version.state = state_number(LifecycleState::Destroyed);
        version.destroyed_ms = now_ms();
        version.destroyed_epoch = epoch.0;
        version.longest_lease_ms = lease_ms;
        version.destroy_reason = reason_number(request.reason);
        version.destroy_ticket = request.ticket();
        versions.push(number);
        destroyed.push((id, version));
        retire_number(key, number);
    }
    if key.live_versions == 0 {
        key.destroyed_epoch = epoch.0;
        schedule::remove(change, key.destroy_due_ms, Work::DestroyKey, entry.uid);
        schedule::remove(change, key.rotate_due_ms, Work::RotateKey, entry.uid);
        (key.destroy_due_ms, key.rotate_due_ms) = (0, 0);
    }
    let entry_index = log(change, key, entry, which, request, &destroyed)?;
    for (id, mut version) in destroyed {
        version.destroyed_entry = entry_index;
        change.put::<Versions>(&id, &version);
    }
    Ok(OutcomeRecord { versions, epoch: epoch.0, ..OutcomeRecord::default() })
}

/// Has the log say what is destroyed; gives the index of the entry.
fn log(
    change: &mut Change<'_>,
    key: &KeyRecord,
    entry: &KeyEntry,
    which: Which,
    request: &Request,
    destroyed: &[(VersionId, VersionRecord)],
) -> Result<u64, Refused> {
    let (tenant_uid, epoch) = (tenant_uid(change, key)?, change.epoch());
    let (key_uid, name, ticket) = (entry.uid, entry.name.logged(), Text::lossy(&request.ticket()));
    let (last, live, reason) = (key.versions, key.live_versions.into(), request.reason);
    match (which, destroyed) {
        (Which::Version { number, .. }, [(id, version)]) => {
            let (version_uid, slot) = (uid(&version.uid)?, id.leaf_slot());
            Ok(change.log(DestroyVersion {
                tenant_uid,
                key: name,
                key_uid,
                number,
                version_uid,
                slot,
                last,
                live,
                epoch,
                reason,
                ticket,
            }))
        }
        _ => Ok(change.log(DestroyKey { tenant_uid, key: name, key_uid, last, live, epoch, reason, ticket })),
    }
}

/// The key goes on without one of its versions.
fn retire_number(key: &mut KeyRecord, number: u32) {
    key.live_versions = key.live_versions.saturating_sub(1);
    stop_sealing(key, number);
    if key.live_versions == 0 {
        key.state = state_number(LifecycleState::Destroyed);
    }
}

/// One of its versions seals no more.
pub(super) fn stop_sealing(key: &mut KeyRecord, number: u32) {
    if key.active_version == number {
        key.active_version = 0;
        // ATTACK: a suspended key opens nothing; a deactivated one would. What is not active stays what it is.
        if key.state == state_number(LifecycleState::Active) {
            key.state = state_number(LifecycleState::Deactivated);
        }
    }
    if key.deterministic_version == number {
        key.deterministic_version = key.active_version;
    }
}

impl SealingLeases {
    pub(super) fn of(keyring: &Arc<Keyring>) -> Self {
        Self { keyring: Arc::clone(keyring), closed: Arc::default() }
    }

    /// The same, for the case that the commit fails.
    pub(super) fn reopening(&self) -> Self {
        Self { keyring: Arc::clone(&self.keyring), closed: Arc::clone(&self.closed) }
    }

    /// Nothing was destroyed: leases may be given again.
    pub(super) fn reopen(&self) {
        self.closed.lock().iter().for_each(|version| self.keyring.leases().reopen(*version));
    }

    /// Ends the leasing of a version that seals; where what runs may not be lost, only if nothing does.
    fn end(
        &self,
        change: &Change<'_>,
        key: &KeyRecord,
        entry: &KeyEntry,
        which: Which,
        (id, number): (VersionId, u32),
    ) -> Result<(), Refused> {
        let leases = self.keyring.leases();
        if let Which::Version { force: false, .. } = which {
            let longest = Duration::from_millis(key.longest_lease_ms);
            let ids = change.get::<DataKeyIds>(&id)?.unwrap_or_default();
            // What a version that was rotated out is leased for still is deterministic columns, or new rows of an index; randomized leases of it may run to their
            // end, and are lost with it: rotate, and wait for a lease's time.
            let (kinds, issued_ever): (&[_], _) = match number == key.active_version {
                true => (&[ToSeal::Randomized, ToSeal::Deterministic], ids.leased > 0 || ids.deterministic),
                false => (&[ToSeal::Deterministic], ids.deterministic),
            };
            let running = |_| Refused::SealingLeasesRun { key: entry.name.clone(), version: number };
            leases.close(id, kinds, issued_ever, longest).map_err(running)?;
        } else {
            leases.cut(id);
        }
        self.closed.lock().push(id);
        Ok(())
    }
}

pub(super) fn version_id(
    change: &Change<'_>,
    entry: &KeyEntry,
    number: u32,
) -> Result<Option<VersionId>, Refused> {
    let slot: TenantSlot = entry.tenant.slot;
    let pointer = change.get::<VersionNumbers>(&(slot, entry.name.clone(), number))?;
    Ok(pointer.map(|pointer| VersionId::new(slot, LeafSlot(pointer.leaf_slot))))
}
