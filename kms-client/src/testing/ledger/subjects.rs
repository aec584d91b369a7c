//! Subjects of a family: ensured in batches, created one by one.

use kms_core::{
    id::{Uid, VersionId},
    names::{KeyName, SubjectName},
    state::LifecycleState,
};
use kms_proto::reason::Reason;

use super::{
    super::refused::Refused,
    Ledger, Moment, Place, Tenant,
    change::{add_version, check_open_to_new_keys, exists},
    key::Key,
    tenant::{destroyed, is_no_family, suspended},
};

/// A subject that has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Ensured {
    pub(in super::super) id: Uid,
    /// None where none seals.
    pub(in super::super) version: Option<VersionId>,
    pub(in super::super) created: bool,
}

impl Ledger {
    /// Whether subjects of this family may be ensured now.
    pub(in super::super) fn check_family(&self, family: &Place) -> Result<(), Refused> {
        let tenant = self.tenant(family.tenant)?;
        if !tenant.key(&family.key)?.is_family {
            return Err(is_no_family(&family.key));
        }
        tenant.check_opens(&family.key)
    }

    /// Sees that a subject has a key, unless its key was destroyed.
    pub(in super::super) fn ensure(
        &mut self,
        family: &Place,
        subject: &SubjectName,
        now: Moment,
    ) -> Result<Ensured, Refused> {
        let tenant = self.tenant_mut(family.tenant)?;
        let name = match tenant.subject(family.key.family(), subject) {
            Some(known) => known,
            None => {
                check_makes_subjects(tenant, family)?;
                let name = make(tenant, family, subject, None, now)?;
                self.revision += 1;
                return ensured(self.tenant(family.tenant)?, &name, true);
            }
        };
        ensured(tenant, &name, false)
    }

    /// Makes the key of a subject; again, too, where its key was destroyed.
    pub(in super::super) fn create_subject(
        &mut self,
        family: &Place,
        subject: &SubjectName,
        now: Moment,
    ) -> Result<Place, Refused> {
        let tenant = self.tenant_mut(family.tenant)?;
        if !tenant.key(&family.key)?.is_family {
            return Err(is_no_family(&family.key));
        }
        check_open_to_new_keys(tenant)?;
        check_makes_subjects(tenant, family)?;
        let known = tenant.subject(family.key.family(), subject);
        if let Some(known) = &known
            && !tenant.key(known)?.state.is_destroyed()
        {
            return Err(exists("key", known));
        }
        let key = make(tenant, family, subject, known, now)?;
        self.revision += 1;
        Ok(Place { tenant: family.tenant, key })
    }
}

fn check_makes_subjects(tenant: &Tenant, family: &Place) -> Result<(), Refused> {
    match tenant.key(&family.key)?.state {
        LifecycleState::Suspended => Err(suspended(&family.key)),
        _ => Ok(()),
    }
}

/// Makes the key, or makes it anew: version numbers go on.
fn make(
    tenant: &mut Tenant,
    family: &Place,
    subject: &SubjectName,
    before: Option<KeyName>,
    now: Moment,
) -> Result<KeyName, Refused> {
    let family_name = family.key.family().clone();
    let (id, again) = match before.as_ref().and_then(KeyName::subject_id) {
        Some(id) => (id, true),
        None => (Uid::random()?, false),
    };
    let name = KeyName::of_subject_id(family_name.clone(), id);
    let versions = tenant.keys.remove(&name).map(|key| key.versions).unwrap_or_default();
    let of = tenant.key(&family.key)?;
    let key = Key {
        name: name.clone(),
        // A name that led to a destroyed key leads to another one now.
        uid: if again { Uid::random()? } else { id },
        class: of.class,
        purposes: Vec::new(),
        lease: of.lease,
        longest_lease: of.longest_lease,
        rotate_every: None,
        state: LifecycleState::Active,
        revision: 1,
        created: now.wall,
        is_family: false,
        first_version: u32::try_from(versions.len()).map_err(|_| Reason::Internal)? + 1,
        versions,
        active: 0,
        deterministic: 0,
        rotations: of.rotations,
        deterministic_rotation: 0,
        destroyed_epoch: 0,
    };
    tenant.keys.insert(name.clone(), key);
    tenant.subjects.insert((family_name, subject.clone()), id);
    add_version(tenant, &name, now)?;
    Ok(name)
}

fn ensured(tenant: &Tenant, name: &KeyName, created: bool) -> Result<Ensured, Refused> {
    let key = tenant.key(name)?;
    if key.state.is_destroyed() {
        return Err(destroyed(name));
    }
    let id = name.subject_id().ok_or(Reason::Internal)?;
    Ok(Ensured { id, version: key.version(key.active).map(|version| version.id), created })
}
