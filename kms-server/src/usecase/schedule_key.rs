//! Schedules the destruction of a version of a key, or of the key, and calls it off.
//!
//! What is to be destroyed opens and does not seal until then, so that whoever still needs it is noticed.

use std::sync::Arc;
use std::time::Duration;

use kms_core::canonical::{Instant, Text};
use kms_core::event::{CancelKey, CancelVersion, ScheduleKey, ScheduleVersion};
use kms_core::id::{Epoch, VersionId};
use kms_core::state::LifecycleState;
use kms_proto::storage::{DueRecord, KeyRecord, OutcomeRecord, VersionRecord};

use super::census;
use super::change_key::{Written, change, living_key, owner, unscheduled_state};
use super::describe::KeyView;
use super::destroy_key::{Destroyed, Request, Which, stop_sealing, version_id};
use super::mutation::Mutation;
use super::refused::Refused;
use super::schedule::{self, When};
use crate::erasure::Change;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::{KeyEntry, Keyring};
use crate::records::{DataKeyIds, Versions, Work, millis, reason_number, state, state_number, uid};
use crate::running::RunningTime;

/// Has what the permit names destroyed at the end of its window.
pub async fn schedule_key(
    permit: Permit<op::DestroyKey>,
    keyring: &Arc<Keyring>,
    running: &Arc<RunningTime>,
    which: Which,
    request: Request,
    mutation: Mutation,
) -> Unrecorded<Result<Destroyed, Refused>> {
    let (entry, window) = (Arc::clone(&permit.target().key), permit.target().window);
    let mut note = request.note();
    if let Which::Version { number, .. } = which {
        note.version = Some(number);
    }
    if let Which::Version { force: false, .. } = which {
        // What clients said in this minute counts too.
        keyring.census().flush(keyring.writer()).await;
    }
    let (written, running) = (Written::default(), Arc::clone(running));
    let write = written.clone();
    let by = mutation.by();
    let scheduled = mutation.run(keyring.writer(), move |change| {
        let mut key = living_key(change, &entry, request.expected_revision)?;
        if key.family {
            return Err(Refused::KeyIsFamily(entry.name.clone()));
        }
        if let Which::Version { number, force: false } = which {
            census::refuse_if_used(change, &entry, number)?;
        }
        let when = schedule::after(change, &running, window);
        let due = DueRecord {
            tenant: entry.tenant.name.to_string(),
            key: entry.name.to_string(),
            uid: entry.uid.0.to_vec(),
            running_ms: when.running_ms,
            by,
            reason: reason_number(request.reason),
            ticket: request.ticket(),
            ..DueRecord::default()
        };
        let terms = Terms { entry: &entry, request: &request, window, when, due };
        match which {
            Which::Version { number, force } => version(change, &mut key, &terms, number, force)?,
            Which::All => whole(change, &mut key, &terms)?,
        }
        write.put(change, &entry, key);
        Ok(OutcomeRecord::default())
    });
    let result = match scheduled.await {
        Ok(_) => written.describe(keyring, &permit.target().key).map(|key| Destroyed {
            key,
            versions: Vec::new(),
            epoch: Epoch(0),
            effaced: false,
        }),
        Err(refused) => Err(refused),
    };
    note.state = result.as_ref().ok().map(|scheduled| scheduled.key.state);
    permit.finish(result, note)
}

/// On which terms something is to be destroyed.
struct Terms<'a> {
    entry: &'a KeyEntry,
    request: &'a Request,
    window: Duration,
    when: When,
    due: DueRecord,
}

impl Terms<'_> {
    fn due(&self) -> Instant {
        Instant::from_millis(self.when.at_ms)
    }
}

fn version(
    change: &mut Change<'_>,
    key: &mut KeyRecord,
    terms: &Terms<'_>,
    number: u32,
    force: bool,
) -> Result<(), Refused> {
    let (id, mut version) = living_version(change, terms.entry, number)?;
    if version.destroy_due_ms != 0 {
        return Err(scheduled_already(format!("version {number} of key `{}`", terms.entry.name)));
    }
    version.sealed_randomized = number == key.active_version;
    version.sealed_deterministic = number == key.deterministic_version;
    let ids = change.get::<DataKeyIds>(&id)?.unwrap_or_default();
    // What clients go on sealing under a lease would be lost at once.
    let indexes = terms.entry.name.is_index() || version.sealed_deterministic;
    let seals = version.sealed_randomized && ids.leased > 0 || indexes && ids.deterministic;
    if seals && !force && millis(terms.window) < key.longest_lease_ms {
        return Err(Refused::SealingLeasesRun { key: terms.entry.name.clone(), version: number });
    }
    stop_sealing(key, number);
    version.state = state_number(LifecycleState::DestroyScheduled);
    version.destroy_due_ms = terms.when.at_ms;
    key.scheduled_versions.push(number);
    let due = DueRecord { version: number, ..terms.due.clone() };
    schedule::add(change, terms.when.at_ms, Work::DestroyVersion, uid(&version.uid)?, &due);
    change.put::<Versions>(&id, &version);
    let tenant_uid = uid(&owner(change, key)?.uid)?;
    change.log(ScheduleVersion {
        tenant_uid,
        key: terms.entry.name.logged(),
        key_uid: terms.entry.uid,
        number,
        due: terms.due(),
        reason: terms.request.reason,
        ticket: Text::lossy(&terms.due.ticket),
    });
    Ok(())
}

fn whole(change: &mut Change<'_>, key: &mut KeyRecord, terms: &Terms<'_>) -> Result<(), Refused> {
    if key.destroy_due_ms != 0 {
        return Err(scheduled_already(format!("key `{}`", terms.entry.name)));
    }
    key.destroy_due_ms = terms.when.at_ms;
    if state(key.state)? != LifecycleState::Suspended {
        key.state = state_number(LifecycleState::DestroyScheduled);
    }
    schedule::add(change, terms.when.at_ms, Work::DestroyKey, terms.entry.uid, &terms.due);
    let tenant_uid = uid(&owner(change, key)?.uid)?;
    change.log(ScheduleKey {
        tenant_uid,
        key: terms.entry.name.logged(),
        key_uid: terms.entry.uid,
        due: terms.due(),
        reason: terms.request.reason,
        ticket: Text::lossy(&terms.due.ticket),
    });
    Ok(())
}

/// Calls the destruction of a version off, or without a number that of the key.
pub async fn cancel_destroy_key(
    permit: Permit<op::CancelDestroyKey>,
    keyring: &Keyring,
    number: Option<u32>,
    expected: Option<u64>,
    mutation: Mutation,
) -> Unrecorded<Result<KeyView, Refused>> {
    let entry = Arc::clone(permit.target());
    let note = Note { version: number, ..Note::default() };
    change(permit, keyring, expected, mutation, note, move |change, key| {
        let tenant_uid = uid(&owner(change, key)?.uid)?;
        let (name, key_uid) = (entry.name.clone(), entry.uid);
        match number {
            Some(number) => {
                let (id, mut version) = living_version(change, &entry, number)?;
                if version.destroy_due_ms == 0 {
                    let what = format!("version {number} of key `{name}`");
                    return Err(Refused::State { what, state: state(version.state)?, todo: NOTHING });
                }
                schedule::remove(change, version.destroy_due_ms, Work::DestroyVersion, uid(&version.uid)?);
                resume_sealing(key, &version);
                key.scheduled_versions.retain(|scheduled| *scheduled != number);
                version.destroy_due_ms = 0;
                version.state = state_number(LifecycleState::Active);
                change.put::<Versions>(&id, &version);
                change.log(CancelVersion { tenant_uid, key: name.logged(), key_uid, number });
            }
            None => {
                if key.destroy_due_ms == 0 {
                    let what = format!("key `{name}`");
                    return Err(Refused::State { what, state: state(key.state)?, todo: NOTHING });
                }
                schedule::remove(change, key.destroy_due_ms, Work::DestroyKey, key_uid);
                key.destroy_due_ms = 0;
                if state(key.state)? == LifecycleState::DestroyScheduled {
                    key.state = state_number(unscheduled_state(key));
                }
                change.log(CancelKey { tenant_uid, key: name.logged(), key_uid });
            }
        }
        Ok(OutcomeRecord::default())
    })
    .await
}

/// What calling off says where nothing is scheduled.
pub(super) const NOTHING: &str = "no destruction of it is scheduled that could be called off";

/// What was to be destroyed seals again what nothing else seals in its place since.
fn resume_sealing(key: &mut KeyRecord, version: &VersionRecord) {
    if version.sealed_randomized && key.active_version == 0 {
        key.active_version = version.version;
        if key.state == state_number(LifecycleState::Deactivated) {
            key.state = state_number(LifecycleState::Active);
        }
    }
    if version.sealed_deterministic && key.deterministic_version == 0 {
        key.deterministic_version = version.version;
    }
}

/// What scheduling a second time says.
pub(super) fn scheduled_already(what: String) -> Refused {
    let todo = "call that off first to choose another time, or destroy it now";
    Refused::State { what, state: LifecycleState::DestroyScheduled, todo }
}

fn living_version(
    change: &Change<'_>,
    entry: &KeyEntry,
    number: u32,
) -> Result<(VersionId, VersionRecord), Refused> {
    let Some(id) = version_id(change, entry, number)? else {
        return Err(Refused::VersionNotFound { key: entry.name.clone(), version: number });
    };
    let version = change.get::<Versions>(&id)?.ok_or_else(|| Refused::damaged("key version"))?;
    match state(version.state)?.is_destroyed() {
        true => Err(Refused::VersionDestroyed { key: entry.name.clone(), version: number }),
        false => Ok((id, version)),
    }
}
