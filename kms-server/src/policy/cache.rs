//! Decisions already made, bounded by their weight in bytes, found again without an allocation.
//!
//! INVARIANT: an entry is found only for a request that equals the one it was made for in every attribute a policy can read,
//! save time and window. A decision that could depend on those is never put here. Each policy set has a cache of its own, so that a decision
//! of an older set cannot be found under a newer one, not even one that was being made while the set changed.
//!
//! ATTACK: a subject's name is a person's, and a decision may lie here longer than that person's key. What lies here in its place is a
//! hash under a key that this process drew and nobody else knows.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use kms_core::{
    names::{FamilyName, SubjectName, TenantName},
    state::KeyClass,
};
use quick_cache::{Equivalent, Weighter, sync::Cache};
use sha2::{Digest, Sha256};

use super::request::{Decision, NamedKey, PolicyRequest, Resource, Subject};
use crate::{
    identity::{IdentityName, KeyExchangeGroup},
    operation::Operation,
};

pub(super) struct DecisionCache {
    decisions: Cache<Entry, Arc<Decision>, Weigh>,
    hash_key: HashKey,
}

impl DecisionCache {
    /// # Errors
    /// Where the system gives no random bytes.
    pub(super) fn new(bytes: u64) -> Result<Self, getrandom::Error> {
        let items = usize::try_from(bytes / TYPICAL).unwrap_or(usize::MAX);
        let decisions = Cache::with_weighter(items, bytes, Weigh);
        Ok(Self { decisions, hash_key: HashKey::random()? })
    }

    pub(super) fn find(&self, request: &PolicyRequest<'_>) -> Option<Arc<Decision>> {
        self.decisions.get(&Asked { request, subject: self.hash_key.subject_of(request) })
    }

    pub(super) fn keep(&self, request: &PolicyRequest<'_>, decision: Arc<Decision>) {
        self.decisions.insert(Entry::of(request, self.hash_key.subject_of(request)), decision);
    }

    pub(super) fn weight(&self) -> u64 {
        self.decisions.weight()
    }
}

/// Stands before a subject's name where that is hashed.
struct HashKey([u8; 32]);

impl HashKey {
    fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    fn subject_of(&self, request: &PolicyRequest<'_>) -> HashedSubject {
        match request.resource {
            Resource::Key { name: NamedKey { subject: Subject::Named(subject), .. }, .. } => {
                HashedSubject::Named(self.hash(subject))
            }
            Resource::Key { name: NamedKey { subject: Subject::Unnamed, .. }, .. } => HashedSubject::Unnamed,
            Resource::Key { .. } | Resource::Tenant { .. } | Resource::System => HashedSubject::None,
        }
    }

    /// `SHA-256(key || name)`. Nobody is shown it, so nobody can make a longer one of it.
    fn hash(&self, subject: &SubjectName) -> [u8; 32] {
        Sha256::new().chain_update(self.0).chain_update(subject.as_str()).finalize().into()
    }
}

/// A subject without its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum HashedSubject {
    None,
    Named([u8; 32]),
    Unnamed,
}

/// What an entry weighs beside its texts: the entry, its decision, the table's share.
const OVERHEAD: u64 = 320;
/// What an entry usually weighs.
const TYPICAL: u64 = 400;

#[derive(Clone)]
struct Weigh;

impl Weighter<Entry, Arc<Decision>> for Weigh {
    fn weight(&self, entry: &Entry, decision: &Arc<Decision>) -> u64 {
        // Names are shared with the caches they came from; they are counted here all the same, since they outlive those.
        let resource = match &entry.resource {
            OwnedResource::System => 0,
            OwnedResource::Tenant(_) => 64,
            OwnedResource::Key { purposes, .. } => 192 + purposes.iter().map(|p| p.len() + 16).sum::<usize>(),
        };
        let purpose = entry.purpose.as_ref().map_or(0, |purpose| purpose.len());
        OVERHEAD + (resource + purpose + 24 * decision.policies().len()) as u64
    }
}

/// A request that owns what it names.
struct Entry {
    principal: IdentityName,
    operation: Operation,
    resource: OwnedResource,
    subject: HashedSubject,
    purpose: Option<Box<str>>,
    group: KeyExchangeGroup,
}

enum OwnedResource {
    System,
    Tenant(TenantName),
    Key {
        tenant: TenantName,
        family: FamilyName,
        class: KeyClass,
        purposes: Box<[Arc<str>]>,
        key_revision: u64,
    },
}

impl Entry {
    fn of(request: &PolicyRequest<'_>, subject: HashedSubject) -> Self {
        let PolicyRequest { principal, operation, resource, purpose, group, window: _ } = *request;
        let resource = match resource {
            Resource::System => OwnedResource::System,
            Resource::Tenant { name } => OwnedResource::Tenant(name.clone()),
            Resource::Key { tenant, name, class, purposes, key_revision } => OwnedResource::Key {
                tenant: tenant.clone(),
                family: name.family.clone(),
                class,
                purposes: purposes.into(),
                key_revision,
            },
        };
        let (principal, purpose) = (principal.clone(), purpose.map(Into::into));
        Self { principal, operation, resource, subject, purpose, group }
    }

    /// All but the subject.
    fn as_request(&self) -> PolicyRequest<'_> {
        let resource = match &self.resource {
            OwnedResource::System => Resource::System,
            OwnedResource::Tenant(name) => Resource::Tenant { name },
            OwnedResource::Key { tenant, family, class, purposes, key_revision } => {
                let name = NamedKey { family, subject: Subject::None };
                Resource::Key { tenant, name, class: *class, purposes, key_revision: *key_revision }
            }
        };
        PolicyRequest {
            principal: &self.principal,
            operation: self.operation,
            resource,
            purpose: self.purpose.as_deref(),
            group: self.group,
            window: Duration::ZERO,
        }
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked { request: &self.as_request(), subject: self.subject }.hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.subject == other.subject && same(&self.as_request(), &other.as_request())
    }
}

impl Eq for Entry {}

/// A borrowed request, which hashes and compares as the entry it would become.
struct Asked<'a> {
    request: &'a PolicyRequest<'a>,
    subject: HashedSubject,
}

impl Equivalent<Entry> for Asked<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        self.subject == entry.subject && same(self.request, &entry.as_request())
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let PolicyRequest { principal, operation, resource, purpose, group, window: _ } = *self.request;
        match principal {
            IdentityName::Spiffe(id) => state.write(id.as_bytes()),
            IdentityName::Spki(hash) => state.write(hash),
        }
        // Class and purposes only tell apart what the revision tells apart already; they are compared, not hashed.
        let (revision, tenant, name) = match resource {
            Resource::System => (0, None, None),
            Resource::Tenant { name } => (0, Some(name), None),
            Resource::Key { tenant, name, key_revision, .. } => (key_revision, Some(tenant), Some(name)),
        };
        state.write_u64(revision << 16 | (operation as u64) << 8 | group as u64);
        if let Some(tenant) = tenant {
            state.write(tenant.as_str().as_bytes());
        }
        if let Some(name) = name {
            state.write(name.family.as_str().as_bytes());
        }
        self.subject.hash(state);
        if let Some(purpose) = purpose {
            state.write(purpose.as_bytes());
        }
    }
}

/// Whether all but the subject is the same. Destructures without `..`, so that a new attribute breaks the build until it is compared.
fn same(left: &PolicyRequest<'_>, right: &PolicyRequest<'_>) -> bool {
    let PolicyRequest { principal, operation, resource, purpose, group, window: _ } = *left;
    let resource_same = match (resource, right.resource) {
        (Resource::System, Resource::System) => true,
        (Resource::Tenant { name }, Resource::Tenant { name: other }) => name == other,
        (
            Resource::Key { tenant, name: NamedKey { family, subject: _ }, class, purposes, key_revision },
            Resource::Key {
                tenant: other_tenant,
                name: NamedKey { family: other_family, subject: _ },
                class: other_class,
                purposes: other_purposes,
                key_revision: other_revision,
            },
        ) => {
            key_revision == other_revision
                && class == other_class
                && tenant == other_tenant
                && family == other_family
                && purposes == other_purposes
        }
        _ => false,
    };
    operation == right.operation
        && group == right.group
        && purpose == right.purpose
        && principal == right.principal
        && resource_same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_for_one_subject_is_found_for_no_other_and_for_none_that_is_not_named() {
        let cache = DecisionCache::new(1 << 20).unwrap();
        let (principal, tenant) = (IdentityName::Spiffe("one".into()), "acme".parse().unwrap());
        let family: FamilyName = "attendance".parse().unwrap();
        let [one, other]: [SubjectName; 2] = ["one", "other"].map(|name| name.parse().unwrap());
        let request = |subject| PolicyRequest {
            principal: &principal,
            operation: Operation::Reveal,
            resource: Resource::Key {
                tenant: &tenant,
                name: NamedKey { family: &family, subject },
                class: KeyClass::L2,
                purposes: &[],
                key_revision: 0,
            },
            purpose: None,
            group: KeyExchangeGroup::X25519,
            window: Duration::ZERO,
        };
        let subjects = [Subject::Named(&one), Subject::Named(&other), Subject::Unnamed, Subject::None];
        for kept in subjects {
            let decision = Arc::new(Decision::Deny { policies: Vec::new(), errors: Vec::new() });
            let found = |subject| cache.find(&request(subject));
            assert!(found(kept).is_none(), "{kept:?}");
            cache.keep(&request(kept), Arc::clone(&decision));
            let same = |subject| found(subject).is_some_and(|found| Arc::ptr_eq(&found, &decision));
            assert!(subjects.into_iter().all(|subject| same(subject) == (subject == kept)), "{kept:?}");
        }
    }
}
