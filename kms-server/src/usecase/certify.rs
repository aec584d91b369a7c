//! Certificates of destruction, and waiting until an erasure is complete.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kms_core::certificate::body::SaltedName;
use kms_core::commitment::{NameSalt, salted_name};
use kms_core::id::{Epoch, LeafSlot, TenantSlot, Uid, VersionId};
use kms_core::names::{SubjectName, TenantName};
use kms_core::state::LifecycleState;
use kms_proto::storage::{TenantRecord, VersionRecord};

use super::refused::Refused;
use crate::erasure::Snapshot;
use crate::gate::permit::op;
use crate::gate::{Note, Op, Permit, Unrecorded};
use crate::keyring::{KeyEntry, Keyring};
use crate::records::{KeyRef, Keys, Table as _, Tenants, TenantsBySlot, VersionNumbers, Versions, state};
use crate::transparency::Transparency;
use crate::transparency::certificate::{Certified, CertifyError};

/// A certificate.
#[derive(Debug)]
pub struct Certificate {
    /// The file.
    pub file: Vec<u8>,
    /// Whether the erasure is complete.
    pub erased: bool,
    /// With which the subject's name that it carries was salted; where it carries none, none.
    pub salt: Option<NameSalt>,
}

type Answer = Unrecorded<Result<Certificate, Refused>>;

/// Certifies that a version of the key that the permit names is destroyed, or every version that it had where none is named.
pub async fn certify_key(
    permit: Permit<op::CertifyKey>,
    log: &Arc<Transparency>,
    version: Option<u32>,
    earlier: BTreeSet<u64>,
) -> Answer {
    let entry = Arc::clone(permit.target());
    let mut note = Note { version, ..Note::default() };
    // Whoever gives the id does not want the name to be in it, or does not know it.
    let name = entry.subject.clone();
    let result = certify(log, earlier, name, move |snapshot| versions(snapshot, &entry, version)).await;
    note.state = result.as_ref().ok().map(Certificate::state);
    permit.finish(result, note)
}

/// Certifies that the tenant that the permit names is destroyed; or the one of this uid, which had the name once.
pub async fn certify_tenant(
    permit: Permit<op::CertifyTenant>,
    log: &Arc<Transparency>,
    former: Option<Uid>,
    earlier: BTreeSet<u64>,
) -> Answer {
    let name = permit.target().clone();
    let result = certify(log, earlier, None, move |snapshot| tenant(snapshot, &name, former)).await;
    let note = Note { state: result.as_ref().ok().map(Certificate::state), ..Note::default() };
    permit.finish(result, note)
}

impl Certificate {
    fn state(&self) -> LifecycleState {
        if self.erased { LifecycleState::Erased } else { LifecycleState::Destroyed }
    }
}

async fn certify(
    log: &Arc<Transparency>,
    earlier: BTreeSet<u64>,
    name: Option<SubjectName>,
    find: impl FnOnce(&Snapshot) -> Result<(TenantRecord, Certified), Refused> + Send + 'static,
) -> Result<Certificate, Refused> {
    let log = Arc::clone(log);
    let made = tokio::task::spawn_blocking(move || {
        let (tenant, certified) = find(&log.snapshot())?;
        let salt = name.map(|name| salted(&name)).transpose()?;
        let (salt, name) = salt.unzip();
        let (file, erased) = log.certify(&tenant, &certified, name, &earlier)?;
        Ok(Certificate { file, erased, salt })
    });
    made.await.unwrap_or_else(|error| Err(Refused::internal(error)))
}

// ATTACK: a salt that two certificates share would let whoever has one of both test names on the other.
fn salted(name: &SubjectName) -> Result<(NameSalt, SaltedName), Refused> {
    let mut salt = NameSalt::default();
    getrandom::fill(&mut salt).map_err(Refused::internal)?;
    Ok((salt, SaltedName { subject_name: salted_name(&salt, name) }))
}

fn tenant(
    snapshot: &Snapshot,
    name: &TenantName,
    former: Option<Uid>,
) -> Result<(TenantRecord, Certified), Refused> {
    let record = match former {
        None => snapshot.get::<Tenants>(name)?,
        Some(uid) => by_uid(snapshot, name, uid)?,
    };
    let record = record.ok_or_else(|| Refused::TenantNotAccessible(name.clone()))?;
    let state = state(record.state)?;
    if !state.is_destroyed() {
        return Err(alive(format!("tenant `{name}`"), state));
    }
    Ok((record, Certified::Tenant))
}

/// A tenant that had the name once. Tenants are few beside their keys, and this is asked seldom.
fn by_uid(snapshot: &Snapshot, name: &TenantName, uid: Uid) -> Result<Option<TenantRecord>, Refused> {
    let mut after = None;
    loop {
        let page = snapshot.range::<TenantsBySlot>(&(), after.as_ref(), 256)?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        after = Some(*last);
        let found = page.into_iter().find(|(_, tenant)| tenant.uid == uid.0 && tenant.name == name.as_str());
        if let Some((_, found)) = found {
            return Ok(Some(found));
        }
    }
}

fn versions(
    snapshot: &Snapshot,
    entry: &KeyEntry,
    number: Option<u32>,
) -> Result<(TenantRecord, Certified), Refused> {
    let tenant = snapshot.get::<TenantsBySlot>(&entry.tenant.slot)?;
    let tenant = tenant.ok_or_else(|| Refused::damaged(TenantsBySlot::NAME))?;
    let key = snapshot.get::<Keys>(&entry.place())?.ok_or_else(|| Refused::damaged(Keys::NAME))?;
    let numbers = match number {
        Some(number) => number..=number,
        None => key.first_version..=key.versions,
    };
    let versions = numbers.map(|number| version(snapshot, entry, number)).collect::<Result<_, _>>()?;
    Ok((tenant, Certified::Versions { key: number.is_none(), versions }))
}

fn version(snapshot: &Snapshot, entry: &KeyEntry, number: u32) -> Result<VersionRecord, Refused> {
    let (slot, name): (TenantSlot, &KeyRef) = (entry.tenant.slot, &entry.name);
    let pointer = snapshot.get::<VersionNumbers>(&(slot, name.clone(), number))?;
    let not_found = || Refused::VersionNotFound { key: name.clone(), version: number };
    let id = VersionId::new(slot, LeafSlot(pointer.ok_or_else(not_found)?.leaf_slot));
    let record = snapshot.get::<Versions>(&id)?.ok_or_else(|| Refused::damaged(Versions::NAME))?;
    let state = state(record.state)?;
    if !state.is_destroyed() && !entry.tenant.state.is_destroyed() {
        return Err(alive(format!("version {number} of key `{name}`"), state));
    }
    Ok(record)
}

fn alive(what: String, state: LifecycleState) -> Refused {
    Refused::State { what, state, todo: "only what is destroyed is certified" }
}

/// Waits until what is destroyed is erased, or the time is over; gives its state then. What is not destroyed is refused at once.
pub async fn wait_for_key(
    permit: Permit<op::CertifyKey>,
    keyring: &Keyring,
    version: Option<u32>,
    timeout: Duration,
) -> Unrecorded<Result<LifecycleState, Refused>> {
    let entry = Arc::clone(permit.target());
    wait(permit, keyring, timeout, |snapshot| {
        let tenant = snapshot.get::<TenantsBySlot>(&entry.tenant.slot)?;
        let tenant = tenant.ok_or_else(|| Refused::damaged(TenantsBySlot::NAME))?.destroyed_epoch;
        let own = match version {
            Some(number) => self::version(snapshot, &entry, number)?.destroyed_epoch,
            None => {
                let key = snapshot.get::<Keys>(&entry.place())?;
                let key = key.ok_or_else(|| Refused::damaged(Keys::NAME))?;
                if key.destroyed_epoch == 0 && tenant == 0 {
                    return Err(alive(format!("key `{}`", entry.name), state(key.state)?));
                }
                key.destroyed_epoch
            }
        };
        Ok(Epoch(if own == 0 { tenant } else { own }))
    })
    .await
}

/// As [`wait_for_key`], for a tenant.
pub async fn wait_for_tenant(
    permit: Permit<op::CertifyTenant>,
    keyring: &Keyring,
    former: Option<Uid>,
    timeout: Duration,
) -> Unrecorded<Result<LifecycleState, Refused>> {
    let name = permit.target().clone();
    wait(permit, keyring, timeout, |snapshot| Ok(Epoch(tenant(snapshot, &name, former)?.0.destroyed_epoch)))
        .await
}

/// Waits for the epoch that destroyed it, which `find` looks up once.
async fn wait<O: Op>(
    permit: Permit<O>,
    keyring: &Keyring,
    timeout: Duration,
    find: impl FnOnce(&Snapshot) -> Result<Epoch, Refused>,
) -> Unrecorded<Result<LifecycleState, Refused>> {
    let mut commits = keyring.writer().commits();
    let erased = async {
        let epoch = find(&keyring.writer().snapshot())?;
        loop {
            commits.borrow_and_update();
            if keyring.writer().snapshot().erased(epoch)? {
                return Ok(LifecycleState::Erased);
            }
            if commits.changed().await.is_err() {
                return Ok(LifecycleState::Destroyed);
            }
        }
    };
    let result = tokio::time::timeout(timeout, erased).await.unwrap_or(Ok(LifecycleState::Destroyed));
    let note = Note { state: result.as_ref().ok().copied(), ..Note::default() };
    permit.finish(result, note)
}

impl From<CertifyError> for Refused {
    fn from(error: CertifyError) -> Self {
        match error {
            CertifyError::Log(error) => error.into(),
            CertifyError::WithTenant | CertifyError::NoSuchSize(_) => Self::Invalid(error.to_string()),
            CertifyError::State(error) => Self::internal(error),
        }
    }
}
