//! What a change may do: read, write typed records, make trees and leaves; a destruction may also destroy.
//!
//! A change works on an overlay of its own: if it fails, or panics, nothing of it was ever there.

use std::{
    collections::{BTreeMap, HashSet},
    ops::{Deref, DerefMut},
};

use kms_core::{
    canonical::Text,
    commitment::Hash,
    event::Event,
    id::{Epoch, LeafSlot, TenantSlot, Uid, VersionId},
    tree,
};
use prost::Message;

use super::{
    log::{KMS, Logged},
    view::{self, Overlay, RecordError},
};
use crate::{
    records::{Row, Table, Touched, key_bytes, tree::TenantTrees},
    store::Store,
};

/// A change cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A record cannot be had.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Random(#[from] getrandom::Error),
    /// No such tenant, or no more.
    #[error("the tenant in slot {0} does not exist, or was destroyed")]
    NoTenant(TenantSlot),
    /// Every slot was given away.
    #[error("no slot is left; a slot is never used twice")]
    Full,
}

/// A key version that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLeaf {
    /// Its address.
    pub version: VersionId,
    /// Public commitment to its material.
    pub key_commitment: Hash,
}

/// A tenant that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTenant {
    /// Its slot in the top tree.
    pub slot: TenantSlot,
    /// Uid of the subject index key, at slot 0 of its own tree.
    pub index_uid: Uid,
    /// Public commitment to that key.
    pub index_commitment: Hash,
}

/// What an epoch destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destroyed {
    /// What.
    pub what: What,
    /// The longest lease of a data key that led to it, in milliseconds; 0 where none was given.
    pub lease_ms: u64,
}

/// Something that can be destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A key version.
    Version(VersionId),
    /// A tenant, with every version it had.
    Tenant(TenantSlot),
}

/// One change of the trees.
pub(super) enum TreeOp {
    CreateTenant(TenantSlot, Uid, tree::NewLeaf),
    CreateLeaf(TenantSlot, LeafSlot, tree::NewLeaf),
    DestroyLeaf(VersionId),
    DestroyTenant(TenantSlot),
}

/// What one change, or several that share a commit, will write.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) writes: Overlay,
    /// Of these, the keys of records that nothing stood under before.
    pub(super) fresh: HashSet<Vec<u8>>,
    pub(super) trees: Vec<TreeOp>,
    /// The next slot of each tree that gave one away.
    pub(super) next_leaf: BTreeMap<TenantSlot, u32>,
    pub(super) next_tenant: Option<u32>,
    /// What is to be destroyed.
    pub(super) destroyed: Vec<Destroyed>,
    /// Tenants that are to be destroyed.
    pub(super) gone: HashSet<TenantSlot>,
    pub(super) touched: HashSet<Touched>,
    /// Versions made less versions destroyed.
    pub(super) live: BTreeMap<TenantSlot, i64>,
    /// What the log will say.
    pub(super) log: Vec<Logged>,
    /// The longest lease of a data key that led to what is destroyed, in milliseconds.
    pub(super) longest_lease_ms: u64,
    /// Whether it asks for a new epoch even where nothing is destroyed.
    pub(super) renew: bool,
}

impl Draft {
    /// Takes over what a later change wrote, but for its changes of the trees, which are in the plan by then.
    pub(super) fn absorb(&mut self, later: Self) {
        self.writes.extend(later.writes);
        self.fresh.extend(later.fresh);
        self.next_leaf.extend(later.next_leaf);
        self.next_tenant = later.next_tenant.or(self.next_tenant);
        self.destroyed.extend(later.destroyed);
        self.gone.extend(later.gone);
        self.touched.extend(later.touched);
        for (tenant, live) in later.live {
            *self.live.entry(tenant).or_default() += live;
        }
        self.log.extend(later.log);
        self.longest_lease_ms = self.longest_lease_ms.max(later.longest_lease_ms);
        self.renew |= later.renew;
    }
}

/// What a change starts from.
pub(super) struct Ground<'a> {
    pub(super) store: &'a dyn Store,
    /// What earlier changes of the same commit wrote.
    pub(super) group: &'a Draft,
    pub(super) next_tenant: u32,
    pub(super) epoch: Epoch,
    /// Index of the log's next entry, before those of the group.
    pub(super) next_entry: u64,
}

/// A change of the control plane, on the writer's thread: reads see its own writes.
pub struct Change<'a> {
    ground: &'a Ground<'a>,
    by: Text,
    pub(super) draft: Draft,
}

impl<'a> Change<'a> {
    pub(super) fn new(ground: &'a Ground<'a>) -> Self {
        Self { ground, by: Text::lossy(KMS), draft: Draft::default() }
    }

    /// One record.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, RecordError> {
        view::get::<T>(self.ground.store, &self.overlays(), key)
    }

    /// Records of a group after a key, in order, at most `limit`.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn range<T: Table>(
        &self,
        group: &T::Group,
        after: Option<&T::Key>,
        limit: usize,
    ) -> Result<Vec<Row<T>>, RecordError> {
        view::range::<T>(self.ground.store, &self.overlays(), group, after, limit)
    }

    /// Writes a record.
    pub fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) {
        self.draft.writes.insert(key_bytes::<T>(key), Some(value.encode_to_vec()));
        self.draft.touched.extend(T::touched(key));
    }

    /// Writes a record where there never was one, as one whose key is drawn at random or counted up: of that nobody keeps a copy, and
    /// nobody needs to look what it replaces.
    pub fn put_new<T: Table>(&mut self, key: &T::Key, value: &T::Value) {
        let bytes = key_bytes::<T>(key);
        self.draft.fresh.insert(bytes.clone());
        self.draft.writes.insert(bytes, Some(value.encode_to_vec()));
    }

    /// Removes a record.
    pub fn delete<T: Table>(&mut self, key: &T::Key) {
        self.draft.writes.insert(key_bytes::<T>(key), None);
        self.draft.touched.extend(T::touched(key));
    }

    /// Says that copies of something are stale. Writing a record of it says so too.
    pub fn touch(&mut self, touched: Touched) {
        self.draft.touched.insert(touched);
    }

    /// Says who asked for what is logged from here on; without it, nobody did.
    pub fn act_as(&mut self, by: Text) {
        self.by = by;
    }

    /// Has the transparency log say that something happened, in the commit that makes it so. Gives the index of the entry.
    pub fn log(&mut self, event: impl Into<Event>) -> u64 {
        self.draft.log.push((self.by.clone(), event.into()));
        self.ground.next_entry + (self.ground.group.log.len() + self.draft.log.len() - 1) as u64
    }

    /// Live versions of a tenant, as this change leaves them.
    ///
    /// # Errors
    /// Where there is no such tenant.
    pub fn live_versions(&self, tenant: TenantSlot) -> Result<u64, ChangeError> {
        let stored = self.get::<TenantTrees>(&tenant)?.map_or(0, |shape| shape.live_versions);
        let drafts = [&self.draft, self.ground.group].into_iter();
        let drafted: i64 = drafts.filter_map(|draft| draft.live.get(&tenant)).sum();
        Ok(stored.saturating_add_signed(drafted))
    }

    /// Epoch that the commit of this change will belong to; the next one, for a destruction that destroys something.
    pub fn epoch(&self) -> Epoch {
        self.ground.epoch
    }

    /// Makes a tenant's tree, with its subject index key.
    ///
    /// # Errors
    /// Where no slot is left, or the operating system has no randomness.
    pub fn create_tenant_tree(&mut self, uid: Uid) -> Result<NewTenant, ChangeError> {
        let group = self.ground.group.next_tenant.unwrap_or(self.ground.next_tenant);
        let slot = self.draft.next_tenant.unwrap_or(group);
        // The last slot is left out, so that the next one always has a number.
        let next = slot.checked_add(1).ok_or(ChangeError::Full)?;
        let index_key = tree::NewLeaf::index_key()?;
        let (index_uid, index_commitment) = (index_key.uid, index_key.key_commitment());
        self.draft.trees.push(TreeOp::CreateTenant(TenantSlot(slot), uid, index_key));
        self.draft.next_tenant = Some(next);
        self.draft.next_leaf.insert(TenantSlot(slot), 1);
        Ok(NewTenant { slot: TenantSlot(slot), index_uid, index_commitment })
    }

    /// Makes a key version: random material at the next slot of the tenant's tree.
    ///
    /// # Errors
    /// Where there is no such tenant, no slot is left, or the operating system has no randomness.
    pub fn create_leaf(&mut self, tenant: TenantSlot, uid: Uid) -> Result<NewLeaf, ChangeError> {
        let slot = self.next_leaf(tenant)?;
        let next = slot.checked_add(1).ok_or(ChangeError::Full)?;
        let leaf = tree::NewLeaf::version(uid)?;
        let key_commitment = leaf.key_commitment();
        self.draft.trees.push(TreeOp::CreateLeaf(tenant, LeafSlot(slot), leaf));
        self.draft.next_leaf.insert(tenant, next);
        *self.draft.live.entry(tenant).or_default() += 1;
        let version = VersionId::new(tenant, LeafSlot(slot));
        self.touch(Touched::Version(version));
        Ok(NewLeaf { version, key_commitment })
    }

    fn next_leaf(&self, tenant: TenantSlot) -> Result<u32, ChangeError> {
        let mut drafts = [&self.draft, self.ground.group].into_iter();
        if drafts.clone().any(|draft| draft.gone.contains(&tenant)) {
            return Err(ChangeError::NoTenant(tenant));
        }
        if let Some(next) = drafts.find_map(|draft| draft.next_leaf.get(&tenant)) {
            return Ok(*next);
        }
        let shape = self.get::<TenantTrees>(&tenant)?.filter(|shape| shape.destroyed_epoch == 0);
        shape.map(|shape| shape.next_leaf_slot).ok_or(ChangeError::NoTenant(tenant))
    }

    fn overlays(&self) -> [&Overlay; 2] {
        [&self.ground.group.writes, &self.draft.writes]
    }
}

/// A change that may destroy: its commit is an epoch of its own, shared with other destructions only.
pub struct Destruction<'a>(pub(super) Change<'a>);

impl Destruction<'_> {
    /// Destroys a key version. One that is gone already, or never was, changes nothing. `lease_ms` is the longest lease of a data key
    /// of it that may run.
    pub fn destroy_version(&mut self, version: VersionId, lease_ms: u64) {
        self.draft.trees.push(TreeOp::DestroyLeaf(version));
        *self.draft.live.entry(version.tenant_slot()).or_default() -= 1;
        self.draft.longest_lease_ms = self.draft.longest_lease_ms.max(lease_ms);
        self.draft.destroyed.push(Destroyed { what: What::Version(version), lease_ms });
        self.touch(Touched::Version(version));
    }

    /// Has the commit be an epoch even where nothing is destroyed: a new secret, a new root, and the secret before effaced.
    pub fn renew(&mut self) {
        self.draft.renew = true;
    }

    /// Destroys a tenant with every version it ever had: their records need not be touched, for their state follows from its own.
    pub fn destroy_tenant(&mut self, tenant: TenantSlot, lease_ms: u64) {
        self.draft.longest_lease_ms = self.draft.longest_lease_ms.max(lease_ms);
        self.draft.destroyed.push(Destroyed { what: What::Tenant(tenant), lease_ms });
        self.draft.trees.push(TreeOp::DestroyTenant(tenant));
        self.draft.gone.insert(tenant);
        self.touch(Touched::DestroyedTenant(tenant));
    }
}

impl<'a> Deref for Destruction<'a> {
    type Target = Change<'a>;
    fn deref(&self) -> &Change<'a> {
        &self.0
    }
}

impl DerefMut for Destruction<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
