//! Makes the keys of subjects: many at once for those that have none ([`ensure`]), or one by an operator's word ([`create`]), which alone
//! makes a subject again whose key was destroyed.
//!
//! No name of a subject reaches a record: what is handed to the writer is the keyed hash that it is found by.

use std::sync::Arc;

use futures_util::future::try_join_all;
use kms_core::canonical::Text;
use kms_core::commitment::Hash;
use kms_core::id::{LeafSlot, Uid, VersionId};
use kms_core::names::{FamilyName, SubjectName};
use kms_core::state::LifecycleState;
use kms_proto::storage::{KeyRecord, OutcomeRecord, SubjectRecord, TenantRecord};

use super::create_key::{add_version, open_to_new_keys};
use super::describe::{self, KeyView};
use super::mutation::{Mutation, now_ms};
use super::refused::Refused;
use crate::audit::Counts;
use crate::erasure::{Change, Snapshot};
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::{KeyEntry, Keyring};
use crate::records::{
    KeyRef, Keys, Subjects, Table as _, VersionNumbers, leave_settings, state, state_number, take_settings,
    uid,
};

/// Subjects that one change of the store makes at most: some 2 KiB each, so that several such changes share a commit and none fills it.
const TOGETHER: usize = 128;

/// A subject that has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ensured {
    /// The subject's id.
    pub id: Uid,
    /// Address of the version that seals; none where none does.
    pub version: Option<VersionId>,
    /// Whether its key was made by this call.
    pub created: bool,
}

type Each = Vec<Result<Ensured, Refused>>;

/// Sees that each of these subjects of the family has a key, but those whose key was destroyed. Doing it again changes nothing.
pub async fn ensure(
    permit: Permit<op::EnsureSubjects>,
    keyring: &Arc<Keyring>,
    subjects: Vec<SubjectName>,
) -> Unrecorded<Result<Each, Refused>> {
    let items = subjects.len();
    let family = Arc::clone(permit.target());
    let by = Text::lossy(&permit.caller().identity.name.to_string());
    let result = ensure_all(keyring, &family, subjects, by).await;
    let failed = match &result {
        Ok(each) => each.iter().filter(|subject| subject.is_err()).count(),
        Err(_) => items,
    };
    let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
    let counts = Some(Counts { items: count(items), failed: count(failed) });
    permit.finish(result, Note { counts, ..Note::default() })
}

async fn ensure_all(
    keyring: &Arc<Keyring>,
    family: &Arc<KeyEntry>,
    subjects: Vec<SubjectName>,
    by: Text,
) -> Result<Each, Refused> {
    if !family.is_family {
        return Err(Refused::KeyIsNoFamily(family.name.clone()));
    }
    family.check_opens()?;
    let found = keyring.read_many(subjects.len(), {
        let family = Arc::clone(family);
        move |keyring| find_all(keyring, &family, &subjects)
    });
    let found = found.await??;
    let missing: Vec<Hash> =
        found.iter().filter_map(|(hash, known)| known.is_none().then_some(*hash)).collect();
    // All of them are queued before the first is waited for, so that those that fit share a commit.
    let made = missing.chunks(TOGETHER).map(|hashes| {
        let (family, hashes, by) = (Arc::clone(family), hashes.to_vec(), by.clone());
        keyring.writer().commit(move |change| make_all(change, &family, &hashes, by))
    });
    let mut made = try_join_all(made).await?.into_iter().flat_map(|committed| committed.value);
    let mut answer = |(_, known): (Hash, Option<Result<Ensured, Refused>>)| {
        known.or_else(|| made.next()).unwrap_or_else(|| Err(Refused::damaged(Subjects::NAME)))
    };
    Ok(found.into_iter().map(&mut answer).collect())
}

type Found = Vec<(Hash, Option<Result<Ensured, Refused>>)>;

/// The hash of each name, and what is known of those that are there.
fn find_all(keyring: &Keyring, family: &KeyEntry, subjects: &[SubjectName]) -> Result<Found, Refused> {
    let snapshot = keyring.writer().snapshot();
    let find = |subject| {
        let hash = keyring.index_of(&family.tenant, family.name.family(), subject)?;
        let known = snapshot.get::<Subjects>(&(family.tenant.slot, hash))?;
        let known = known.map(|record| found(&snapshot, family, &record)).transpose()?;
        Ok((hash, known))
    };
    subjects.iter().map(find).collect()
}

fn found(
    snapshot: &Snapshot,
    family: &KeyEntry,
    record: &SubjectRecord,
) -> Result<Result<Ensured, Refused>, Refused> {
    let (id, slot) = (uid(&record.id)?, family.tenant.slot);
    let name = KeyRef::of_subject(family.name.family().clone(), id);
    let key = snapshot.get::<Keys>(&(slot, name.clone()))?.ok_or_else(|| Refused::damaged(Keys::NAME))?;
    if state(key.state)?.is_destroyed() {
        return Ok(Err(Refused::KeyDestroyed(name)));
    }
    let pointer = snapshot.get::<VersionNumbers>(&(slot, name, key.active_version))?;
    let version = pointer.map(|pointer| VersionId::new(slot, LeafSlot(pointer.leaf_slot)));
    Ok(Ok(Ensured { id, version, created: false }))
}

/// Makes those that are still missing: since they were looked for another call may have made them.
fn make_all(change: &mut Change<'_>, family: &KeyEntry, hashes: &[Hash], by: Text) -> Result<Each, Refused> {
    let (owner, settings) = open_family(change, family)?;
    change.act_as(by);
    let mut made = Vec::with_capacity(hashes.len());
    for hash in hashes {
        let place = (family.tenant.slot, *hash);
        let known = change.get::<Subjects>(&place)?;
        made.push(match known {
            Some(record) => known_to(change, family, &record)?,
            None => {
                let id = Uid::random().map_err(Refused::internal)?;
                change.put_new::<Subjects>(&place, &SubjectRecord { id: id.0.to_vec() });
                let version = make(change, family, id, (&owner, &settings), 0)?;
                Ok(Ensured { id, version: Some(version), created: true })
            }
        });
    }
    Ok(made)
}

fn known_to(
    change: &Change<'_>,
    family: &KeyEntry,
    record: &SubjectRecord,
) -> Result<Result<Ensured, Refused>, Refused> {
    let (id, slot) = (uid(&record.id)?, family.tenant.slot);
    let name = KeyRef::of_subject(family.name.family().clone(), id);
    let key = change.get::<Keys>(&(slot, name.clone()))?.ok_or_else(|| Refused::damaged(Keys::NAME))?;
    if state(key.state)?.is_destroyed() {
        return Ok(Err(Refused::KeyDestroyed(name)));
    }
    let pointer = change.get::<VersionNumbers>(&(slot, name, key.active_version))?;
    let version = pointer.map(|pointer| VersionId::new(slot, LeafSlot(pointer.leaf_slot)));
    Ok(Ok(Ensured { id, version, created: false }))
}

/// The tenant and the family as they are now, where subjects may be made.
fn open_family(change: &Change<'_>, family: &KeyEntry) -> Result<(TenantRecord, KeyRecord), Refused> {
    let owner = open_to_new_keys(change, &family.tenant.name)?;
    let settings = change.get::<Keys>(&family.place())?.filter(|key| key.uid == family.uid.0);
    let settings = settings.ok_or_else(|| Refused::KeyDestroyed(family.name.clone()))?;
    match state(settings.state)? {
        LifecycleState::Suspended => Err(Refused::KeySuspended(family.name.clone())),
        _ => Ok((owner, settings)),
    }
}

/// Makes the key of a subject; version numbers go on after `versions`.
fn make(
    change: &mut Change<'_>,
    family: &KeyEntry,
    id: Uid,
    (owner, settings): (&TenantRecord, &KeyRecord),
    versions: u32,
) -> Result<VersionId, Refused> {
    let place = (family.tenant.slot, KeyRef::of_subject(family.name.family().clone(), id));
    // A name that led to a destroyed key leads to another one now, with a uid of its own.
    let key_uid = if versions == 0 { id } else { Uid::random().map_err(Refused::internal)? };
    let mut key = KeyRecord {
        uid: key_uid.0.to_vec(),
        tenant_slot: place.0.0,
        state: state_number(LifecycleState::Active),
        revision: 1,
        created_ms: now_ms(),
        first_version: versions + 1,
        versions,
        deterministic_version: versions + 1,
        rotations: settings.rotations,
        ..KeyRecord::default()
    };
    take_settings(&mut key, settings);
    key.created_entry = add_version(change, &place, &mut key, uid(&owner.uid)?)?;
    leave_settings(&mut key);
    let pointer = change.get::<VersionNumbers>(&(place.0, place.1.clone(), key.active_version))?;
    match versions {
        0 => change.put_new::<Keys>(&place, &key),
        _ => change.put::<Keys>(&place, &key),
    }
    let pointer = pointer.ok_or_else(|| Refused::damaged(VersionNumbers::NAME))?;
    Ok(VersionId::new(place.0, LeafSlot(pointer.leaf_slot)))
}

/// Makes the key of one subject, which the permit names; again, too, where its key was destroyed.
pub async fn create(
    permit: Permit<op::CreateKey>,
    keyring: &Arc<Keyring>,
    family: Arc<KeyEntry>,
    mutation: Mutation,
) -> Unrecorded<Result<KeyView, Refused>> {
    let result = create_one(&permit, keyring, family, mutation).await;
    let mut note = Note { state: Some(LifecycleState::Active), ..Note::default() };
    note.versions = result.iter().filter_map(KeyView::active_version).collect();
    permit.finish(result, note)
}

async fn create_one(
    permit: &Permit<op::CreateKey>,
    keyring: &Arc<Keyring>,
    family: Arc<KeyEntry>,
    mutation: Mutation,
) -> Result<KeyView, Refused> {
    let new = permit.target();
    let subject = new.name.subject().ok_or_else(|| Refused::KeyIsFamily(family.name.clone()))?;
    if !family.is_family {
        return Err(Refused::KeyIsNoFamily(family.name.clone()));
    }
    let hash = keyring.index_of(&family.tenant, new.name.family(), subject)?;
    let place = (family.tenant.slot, hash);
    mutation
        .run(keyring.writer(), move |change| {
            let of_family = open_family(change, &family)?;
            let (id, versions) = match change.get::<Subjects>(&place)? {
                None => (Uid::random().map_err(Refused::internal)?, 0),
                Some(record) => destroyed_before(change, &family, uid(&record.id)?)?,
            };
            change.put::<Subjects>(&place, &SubjectRecord { id: id.0.to_vec() });
            make(change, &family, id, (&of_family.0, &of_family.1), versions)?;
            Ok(OutcomeRecord { versions: vec![versions + 1], ..OutcomeRecord::default() })
        })
        .await?;
    let snapshot = keyring.writer().snapshot();
    let record = snapshot.get::<Subjects>(&place)?.ok_or_else(|| Refused::damaged(Subjects::NAME))?;
    let name = KeyRef::of_subject(FamilyName::clone(new.name.family()), uid(&record.id)?);
    describe::key(&snapshot, &new.tenant, &name)
}

/// The id of a subject whose key is destroyed, and how many versions it had.
fn destroyed_before(change: &Change<'_>, family: &KeyEntry, id: Uid) -> Result<(Uid, u32), Refused> {
    let name = KeyRef::of_subject(family.name.family().clone(), id);
    let key = change.get::<Keys>(&(family.tenant.slot, name.clone()))?;
    let key = key.ok_or_else(|| Refused::damaged(Keys::NAME))?;
    match state(key.state)?.is_destroyed() {
        true => Ok((id, key.versions)),
        false => Err(Refused::AlreadyExists { what: "key", name: name.to_string() }),
    }
}

#[cfg(test)]
mod tests;
