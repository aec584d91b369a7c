//! Destroys a version of a key, or all of them, now.

use std::sync::Arc;
use std::time::Duration;

use kms_core::id::{Epoch, LeafSlot, TenantSlot, VersionId};
use kms_core::state::{DestroyReason, LifecycleState};
use kms_proto::storage::{KeyRecord, OutcomeRecord};
use parking_lot::Mutex;

use super::change_key::{Written, living_key};
use super::describe::KeyView;
use super::mutation::{Mutation, now_ms};
use super::refused::Refused;
use crate::audit::Ticket;
use crate::erasure::{Change, Destruction};
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::leases::ToSeal;
use crate::keyring::{KeyEntry, Keyring};
use crate::records::{DataKeyIds, VersionNumbers, Versions, reason_number, state, state_number};

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
    /// One version. One that seals, while sealing leases run, only with `force`.
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
    let entry = Arc::clone(permit.target());
    let mut note = request.note();
    if let Which::Version { number, .. } = which {
        note.version = Some(number);
    }
    let written = Written::default();
    let write = written.clone();
    let leases = SealingLeases { keyring: Arc::clone(keyring), closed: Arc::default() };
    let closed = Arc::clone(&leases.closed);
    let destroyed = mutation.run_destruction(keyring.writer(), move |change| {
        let mut key = living_key(change, &entry, request.expected_revision)?;
        let outcome = destroy(change, &mut key, &entry, which, &request, &leases)?;
        write.put(change, &entry, key);
        Ok(outcome)
    });
    let result = match destroyed.await {
        Ok(committed) => {
            let OutcomeRecord { versions, epoch } = committed.value;
            let epoch = Epoch(epoch);
            note.epoch = Some(epoch);
            let key = written.describe(keyring, permit.target());
            key.map(|key| Destroyed { key, versions, epoch, effaced: committed.effaced })
        }
        Err(refused) => {
            closed.lock().iter().for_each(|version| keyring.leases().reopen(*version));
            Err(refused)
        }
    };
    note.state = result.as_ref().ok().map(|destroyed| destroyed.key.state);
    permit.finish(result, note)
}

/// The sealing leases of the versions to be destroyed; remembers what it closed, should the commit fail.
struct SealingLeases {
    keyring: Arc<Keyring>,
    closed: Arc<Mutex<Vec<VersionId>>>,
}

fn destroy(
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
    let mut versions = Vec::new();
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
        if number == key.active_version || number == key.deterministic_version {
            leases.end(change, key, entry, which, (id, number))?;
        }
        change.destroy_version(id);
        version.state = state_number(LifecycleState::Destroyed);
        version.destroyed_ms = now_ms();
        version.destroyed_epoch = epoch.0;
        version.longest_lease_ms = key.longest_lease_ms;
        version.destroy_reason = reason_number(request.reason);
        version.destroy_ticket = request.ticket();
        change.put::<Versions>(&id, &version);
        versions.push(number);
        retire_number(key, number);
    }
    Ok(OutcomeRecord { versions, epoch: epoch.0 })
}

/// The key goes on without one of its versions.
fn retire_number(key: &mut KeyRecord, number: u32) {
    key.live_versions = key.live_versions.saturating_sub(1);
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
    if key.live_versions == 0 {
        key.state = state_number(LifecycleState::Destroyed);
    }
}

impl SealingLeases {
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
            // What a version that was rotated out goes on sealing is deterministic columns.
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

fn version_id(change: &Change<'_>, entry: &KeyEntry, number: u32) -> Result<Option<VersionId>, Refused> {
    let slot: TenantSlot = entry.tenant.slot;
    let pointer = change.get::<VersionNumbers>(&(slot, entry.name.clone(), number))?;
    Ok(pointer.map(|pointer| VersionId::new(slot, LeafSlot(pointer.leaf_slot))))
}
