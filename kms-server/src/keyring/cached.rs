//! What stands in the caches, under which keys, and what it weighs.

use std::sync::Arc;

use kms_core::commitment::Hash;
use kms_core::id::{TenantSlot, VersionId};
use quick_cache::{Equivalent, Weighter};

use super::{KeyEntry, LiveVersion};

/// Bytes of a cached tenant.
pub(super) const TENANT_WEIGHT: u64 = 256;

/// How many entries of this weight fill a budget.
pub(super) fn items(budget: u64, each: u64) -> usize {
    usize::try_from(budget / each).unwrap_or(usize::MAX)
}

/// Key of the cache of keys; looked up by a borrowed name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyPlace {
    pub(super) tenant: TenantSlot,
    pub(super) key: Box<str>,
}

impl Equivalent<KeyPlace> for (TenantSlot, &str) {
    fn equivalent(&self, place: &KeyPlace) -> bool {
        self.0 == place.tenant && *self.1 == *place.key
    }
}

/// Where a subject is found: by what stands for its name in the store.
// ATTACK: the name itself is a person's. In a cache it would outlive the person's erasure, for who reads the server's memory.
pub(super) type SubjectPlace = (TenantSlot, Hash);

/// Bytes of a cached subject.
pub(super) const SUBJECT_WEIGHT: u64 = 96;

#[derive(Clone)]
pub(super) struct KeyWeight;

impl Weighter<KeyPlace, Arc<KeyEntry>> for KeyWeight {
    fn weight(&self, _: &KeyPlace, entry: &Arc<KeyEntry>) -> u64 {
        entry.weight()
    }
}

/// A version with what it weighed when it was cached.
// INVARIANT: the cache takes off what it put on, so the weight of an entry never changes while it is there.
#[derive(Clone)]
pub(super) struct Weighed {
    pub(super) version: Arc<LiveVersion>,
    weight: u64,
}

impl Weighed {
    pub(super) fn now(version: &Arc<LiveVersion>) -> Self {
        Self { version: Arc::clone(version), weight: version.weight() }
    }
}

#[derive(Clone)]
pub(super) struct VersionWeight;

impl Weighter<VersionId, Weighed> for VersionWeight {
    fn weight(&self, _: &VersionId, cached: &Weighed) -> u64 {
        cached.weight
    }
}
