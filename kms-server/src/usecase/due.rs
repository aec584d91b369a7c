//! Carries out what fell due: destructions whose window has passed, and rotations by period.

use std::sync::Arc;

use kms_core::canonical::Text;
use kms_core::id::Epoch;
use kms_core::names::TenantName;
use kms_proto::storage::{DueRecord, OutcomeRecord};

use super::change_key::{living_key, put_key};
use super::destroy_key::{self, Request, SealingLeases, Which};
use super::destroy_tenant;
use super::refused::Refused;
use super::rotate_key::rotate;
use super::schedule::plan_rotation;
use crate::audit::Ticket;
use crate::erasure::Change;
use crate::keyring::{KeyEntry, Keyring, LookupError};
use crate::records::{Due, DueKey, Tenants, Work, name, reason};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was destroyed, in this epoch.
    Destroyed(Epoch),
    /// The key has a new version of this number.
    Rotated(u32),
    /// It cannot be rotated in its state; that is looked at again after another period.
    NotRotated,
    /// It was gone, or that was called off.
    Moot,
}

/// Carries out what a row asks for, and removes the row in the same commit.
///
/// # Errors
/// Where it could not be done: the row is still there.
pub async fn carry_out(keyring: &Arc<Keyring>, at: DueKey, row: DueRecord) -> Result<Done, Refused> {
    match at.work {
        Work::DestroyTenant => destroy_tenant(keyring, at, row).await,
        Work::DestroyVersion | Work::DestroyKey => match entry(keyring, &row)? {
            Some(entry) => destroy_key(keyring, at, row, entry).await,
            None => forget(keyring, at).await,
        },
        Work::RotateKey => match entry(keyring, &row)? {
            Some(entry) => rotate_key(keyring, at, entry).await,
            None => forget(keyring, at).await,
        },
    }
}

/// The key, unless its name was given away again.
fn entry(keyring: &Keyring, row: &DueRecord) -> Result<Option<Arc<KeyEntry>>, Refused> {
    match keyring.key(&row.tenant, &row.key) {
        Ok(entry) => Ok(Some(entry).filter(|entry| entry.uid.0 == *row.uid)),
        Err(LookupError::NotThere | LookupError::Destroyed { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the row still asks for it; it is removed.
fn take(change: &mut Change<'_>, at: DueKey) -> Result<bool, Refused> {
    let asked = change.get::<Due>(&at)?.is_some();
    change.delete::<Due>(&at);
    Ok(asked)
}

async fn forget(keyring: &Keyring, at: DueKey) -> Result<Done, Refused> {
    keyring.writer().commit(move |change| take(change, at).map(drop)).await?;
    Ok(Done::Moot)
}

fn request(row: &DueRecord) -> Result<Request, Refused> {
    Ok(Request {
        reason: reason(row.reason)?,
        ticket: Ticket::try_from(&*row.ticket).ok(),
        expected_revision: None,
    })
}

async fn destroy_key(
    keyring: &Arc<Keyring>,
    at: DueKey,
    row: DueRecord,
    entry: Arc<KeyEntry>,
) -> Result<Done, Refused> {
    let request = request(&row)?;
    // What clients seal is decided when it is scheduled: since then no lease to seal was given.
    let which = match at.work {
        Work::DestroyVersion => Which::Version { number: row.version, force: true },
        _ => Which::All,
    };
    let leases = SealingLeases::of(keyring);
    let reopening = leases.reopening();
    let done = keyring.writer().destroy(move |change| {
        if !take(change, at)? {
            return Ok(OutcomeRecord::default());
        }
        let mut key = match living_key(change, &entry, None) {
            Err(Refused::KeyDestroyed(_) | Refused::TenantDestroyed(_)) => {
                return Ok(OutcomeRecord::default());
            }
            key => key?,
        };
        change.act_as(Text::lossy(&row.by));
        let outcome = match destroy_key::destroy(change, &mut key, &entry, which, &request, &leases) {
            Err(Refused::VersionDestroyed { .. }) => return Ok(OutcomeRecord::default()),
            outcome => outcome?,
        };
        put_key(change, &entry, key);
        Ok(outcome)
    });
    let done = done.await.inspect_err(|_| reopening.reopen())?;
    Ok(destroyed(done.value.epoch))
}

fn destroyed(epoch: u64) -> Done {
    if epoch == 0 { Done::Moot } else { Done::Destroyed(Epoch(epoch)) }
}

async fn destroy_tenant(keyring: &Keyring, at: DueKey, row: DueRecord) -> Result<Done, Refused> {
    let (request, tenant): (_, TenantName) = (request(&row)?, name(&row.tenant)?);
    let done = keyring.writer().destroy(move |change| {
        let same = |stored: &kms_proto::storage::TenantRecord| stored.uid == row.uid;
        if !take(change, at)? || !change.get::<Tenants>(&tenant)?.as_ref().is_some_and(same) {
            return Ok(OutcomeRecord::default());
        }
        change.act_as(Text::lossy(&row.by));
        match destroy_tenant::destroy(change, &tenant, &request) {
            Err(Refused::TenantDestroyed(_)) => Ok(OutcomeRecord::default()),
            outcome => outcome,
        }
    });
    Ok(destroyed(done.await?.value.epoch))
}

async fn rotate_key(keyring: &Keyring, at: DueKey, entry: Arc<KeyEntry>) -> Result<Done, Refused> {
    let running = Arc::clone(keyring.running());
    let done = keyring.writer().commit(move |change| {
        if !take(change, at)? {
            return Ok(Done::Moot);
        }
        let mut key = match living_key(change, &entry, None) {
            Err(Refused::KeyDestroyed(_) | Refused::TenantDestroyed(_)) => return Ok(Done::Moot),
            key => key?,
        };
        let done = match rotate(change, &mut key, &entry.name, false, &running) {
            Ok(()) => Done::Rotated(key.active_version),
            Err(Refused::State { .. } | Refused::TenantScheduled(_) | Refused::TenantSuspended(_)) => {
                plan_rotation(change, &mut key)?;
                Done::NotRotated
            }
            Err(error) => return Err(error),
        };
        put_key(change, &entry, key);
        Ok(done)
    });
    Ok(done.await?.value)
}
