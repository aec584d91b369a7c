//! What is to be done by itself later: rows in order of time, so that what is due next is found without a look at every key.

use std::time::Duration;

use kms_core::id::Uid;
use kms_proto::storage::{DueRecord, KeyRecord};

use super::change_key::owner;
use super::mutation::now_ms;
use super::refused::Refused;
use crate::erasure::Change;
use crate::records::{Due, DueKey, RunningTimes, Work, millis, uid};
use crate::running::RunningTime;

/// The end of a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// By the wall clock, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// By running time.
    pub(super) running_ms: u64,
}

/// The end of a window that begins now.
pub(super) fn after(change: &mut Change<'_>, running: &RunningTime, window: Duration) -> When {
    let now = running.read();
    // What is not on record would be lost by a restart, and the window would be longer by that.
    change.put::<RunningTimes>(&(), &now.record());
    let at_ms = i64::try_from(now.wall_ms.saturating_add(millis(window))).unwrap_or(i64::MAX);
    When { at_ms, running_ms: now.running_ms.saturating_add(millis(window)) }
}

/// Has something done then.
pub(super) fn add(change: &mut Change<'_>, at_ms: i64, work: Work, uid: Uid, record: &DueRecord) {
    change.put::<Due>(&place(at_ms, work, uid), record);
}

/// Forgets it. Nothing is there where `at_ms` is 0.
pub(super) fn remove(change: &mut Change<'_>, at_ms: i64, work: Work, uid: Uid) {
    if at_ms != 0 {
        change.delete::<Due>(&place(at_ms, work, uid));
    }
}

fn place(at_ms: i64, work: Work, uid: Uid) -> DueKey {
    DueKey { at_ms: at_ms.max(0).unsigned_abs(), work, uid }
}

/// Plans the next rotation of a key that was made, rotated, or given another period.
pub(super) fn plan_rotation(change: &mut Change<'_>, key: &mut KeyRecord) -> Result<(), Refused> {
    let key_uid = uid(&key.uid)?;
    remove(change, key.rotate_due_ms, Work::RotateKey, key_uid);
    key.rotate_due_ms = 0;
    if key.rotate_every_ms == 0 {
        return Ok(());
    }
    // Up to a tenth sooner, so that keys that were made together are not rotated together.
    let sooner = getrandom::u64().map_err(Refused::internal)? % (key.rotate_every_ms / 10 + 1);
    let period = i64::try_from(key.rotate_every_ms - sooner).unwrap_or(i64::MAX);
    key.rotate_due_ms = now_ms().saturating_add(period);
    let tenant = owner(change, key)?.name;
    let record = DueRecord { tenant, key: key.name.clone(), uid: key.uid.clone(), ..DueRecord::default() };
    add(change, key.rotate_due_ms, Work::RotateKey, key_uid, &record);
    Ok(())
}
