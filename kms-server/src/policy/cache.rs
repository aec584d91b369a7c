//! Decisions already made, bounded by their weight in bytes, found again without an allocation.
//!
//! INVARIANT: an entry is found only for a request that equals the one it was made for in every attribute a policy can read,
//! save time and window. A decision that could depend on those is never put here. Each policy set has a cache of its own, so that a decision
//! of an older set cannot be found under a newer one, not even one that was being made while the set changed.

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

use super::request::{Decision, NamedKey, PolicyRequest, Resource, Subject};
use crate::{
    identity::{IdentityName, KeyExchangeGroup},
    operation::Operation,
};

pub(super) struct DecisionCache(Cache<Entry, Arc<Decision>, Weigh>);

impl DecisionCache {
    pub(super) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / TYPICAL).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(items, bytes, Weigh))
    }

    pub(super) fn find(&self, request: &PolicyRequest<'_>) -> Option<Arc<Decision>> {
        self.0.get(&Asked(request))
    }

    pub(super) fn keep(&self, request: &PolicyRequest<'_>, decision: Arc<Decision>) {
        self.0.insert(Entry::of(request), decision);
    }

    pub(super) fn weight(&self) -> u64 {
        self.0.weight()
    }
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
    purpose: Option<Box<str>>,
    group: KeyExchangeGroup,
}

enum OwnedResource {
    System,
    Tenant(TenantName),
    Key { tenant: TenantName, name: OwnedKey, class: KeyClass, purposes: Box<[Arc<str>]>, key_revision: u64 },
}

struct OwnedKey {
    family: FamilyName,
    subject: OwnedSubject,
}

enum OwnedSubject {
    None,
    Named(SubjectName),
    Unnamed,
}

impl OwnedKey {
    fn of(name: NamedKey<'_>) -> Self {
        let subject = match name.subject {
            Subject::None => OwnedSubject::None,
            Subject::Named(subject) => OwnedSubject::Named(subject.clone()),
            Subject::Unnamed => OwnedSubject::Unnamed,
        };
        Self { family: name.family.clone(), subject }
    }

    fn named(&self) -> NamedKey<'_> {
        let subject = match &self.subject {
            OwnedSubject::None => Subject::None,
            OwnedSubject::Named(subject) => Subject::Named(subject),
            OwnedSubject::Unnamed => Subject::Unnamed,
        };
        NamedKey { family: &self.family, subject }
    }
}

impl Entry {
    fn of(request: &PolicyRequest<'_>) -> Self {
        let PolicyRequest { principal, operation, resource, purpose, group, window: _ } = *request;
        let resource = match resource {
            Resource::System => OwnedResource::System,
            Resource::Tenant { name } => OwnedResource::Tenant(name.clone()),
            Resource::Key { tenant, name, class, purposes, key_revision } => OwnedResource::Key {
                tenant: tenant.clone(),
                name: OwnedKey::of(name),
                class,
                purposes: purposes.into(),
                key_revision,
            },
        };
        Self { principal: principal.clone(), operation, resource, purpose: purpose.map(Into::into), group }
    }

    fn as_request(&self) -> PolicyRequest<'_> {
        let resource = match &self.resource {
            OwnedResource::System => Resource::System,
            OwnedResource::Tenant(name) => Resource::Tenant { name },
            OwnedResource::Key { tenant, name, class, purposes, key_revision } => {
                let name = name.named();
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
        Asked(&self.as_request()).hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        same(&self.as_request(), &other.as_request())
    }
}

impl Eq for Entry {}

/// A borrowed request, which hashes and compares as the entry it would become.
struct Asked<'a>(&'a PolicyRequest<'a>);

impl Equivalent<Entry> for Asked<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        same(self.0, &entry.as_request())
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let PolicyRequest { principal, operation, resource, purpose, group, window: _ } = *self.0;
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
            name.subject.hash(state);
        }
        if let Some(purpose) = purpose {
            state.write(purpose.as_bytes());
        }
    }
}

/// Destructures without `..`, so that a new attribute breaks the build until it is compared.
fn same(left: &PolicyRequest<'_>, right: &PolicyRequest<'_>) -> bool {
    let PolicyRequest { principal, operation, resource, purpose, group, window: _ } = *left;
    let resource_same = match (resource, right.resource) {
        (Resource::System, Resource::System) => true,
        (Resource::Tenant { name }, Resource::Tenant { name: other }) => name == other,
        (
            Resource::Key { tenant, name, class, purposes, key_revision },
            Resource::Key {
                tenant: other_tenant,
                name: other_name,
                class: other_class,
                purposes: other_purposes,
                key_revision: other_revision,
            },
        ) => {
            key_revision == other_revision
                && class == other_class
                && tenant == other_tenant
                && name == other_name
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
