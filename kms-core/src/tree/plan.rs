//! What a commit changes in the trees: leaves and tenants made or destroyed, growth. [`Plan::finish`] says what to write.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    finish::Superseded,
    leaf::NewLeaf,
    node::{Child, Node, NodeError, fresh_key},
    payload::ChildKey,
    place::{MAX_HEIGHT, Place, TreeName, holds},
    work::Work,
};
use crate::{
    commitment::{self, ALG_INDEX_KEY, Hash, empty_subtree},
    id::{Epoch, InstanceId, KeyGen, LeafSlot, RecordVer, TenantSlot, Uid, VersionId},
    record::WrapError,
    secret::WrappingKey,
};

/// Shape of one tenant's tree. Nothing in it is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantShape {
    /// The tenant, for ever.
    pub uid: Uid,
    /// Levels of fan-out 32.
    pub height: u8,
    /// Slots below this one were given away, for ever.
    pub next_leaf: u32,
    /// Live key versions.
    pub live: u64,
    /// Which epoch destroyed it.
    pub destroyed: Option<Epoch>,
}

/// What every change starts from.
#[derive(Clone)]
pub struct Base {
    /// Whose trees.
    pub instance: InstanceId,
    /// The epoch in force; also the key generation of the top tree's root.
    pub epoch: Epoch,
    /// The root key: that of the top tree's root node.
    pub root: Arc<WrappingKey>,
    /// Levels of the top tree.
    pub top_height: u8,
    /// Live key versions of all tenants.
    pub live: u64,
}

/// Where a plan reads what stands. The one writer implements it over cache and store.
pub trait Source {
    /// Why it could not be read.
    type Error: From<PlanError>;

    /// The node at a place, opened with the key its parent names.
    ///
    /// # Errors
    /// Where it cannot be read, or is not what its parent says.
    fn node(&mut self, place: Place, key: &ChildKey) -> Result<Arc<Node>, Self::Error>;

    /// The shape of a tenant's tree; `None` where there never was one.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn shape(&mut self, tenant: TenantSlot) -> Result<Option<TenantShape>, Self::Error>;

    /// The last write that an abandoned epoch may have left under a generation that is about to be used; 0 where none did.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn abandoned(&mut self, place: Place, key_gen: KeyGen) -> Result<RecordVer, Self::Error>;
}

/// Why a change of the trees is not possible.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No such tenant, or no more.
    #[error("the tenant in slot {0} does not exist, or was destroyed")]
    NoTenant(TenantSlot),
    /// All slots were given away.
    #[error("the tree has no slot left")]
    Full,
    /// A node is not what its parent committed to.
    #[error("a tree node is not what its parent says")]
    Mismatch,
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Random(#[from] getrandom::Error),
    /// A record could not be wrapped.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// A record could not be read.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Changes of the trees that one commit will make.
pub struct Plan<'a, S> {
    pub(super) source: &'a mut S,
    pub(super) base: Base,
    /// Height of the top tree and live versions, as they were.
    pub(super) before: (u8, u64),
    pub(super) work: HashMap<Place, Work>,
    pub(super) shapes: BTreeMap<TenantSlot, TenantShape>,
    pub(super) leaves: BTreeMap<Place, NewLeaf>,
    pub(super) superseded: Vec<Superseded>,
    pub(super) gone_roots: Vec<(TenantSlot, Hash)>,
    pub(super) destroyed_versions: u64,
    pub(super) destroyed_tenants: u64,
}

impl<'a, S: Source> Plan<'a, S> {
    /// A plan that changes nothing yet.
    pub fn new(source: &'a mut S, base: Base) -> Self {
        let (work, shapes, leaves) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        let (before, superseded) = ((base.top_height, base.live), Vec::new());
        Self {
            source,
            base,
            before,
            work,
            shapes,
            leaves,
            superseded,
            gone_roots: Vec::new(),
            destroyed_versions: 0,
            destroyed_tenants: 0,
        }
    }

    /// Makes a tenant's tree, with its subject index key at slot 0.
    ///
    /// # Errors
    /// Where the top tree is full, or a record cannot be read.
    pub fn create_tenant(&mut self, slot: TenantSlot, uid: Uid, index_key: NewLeaf) -> Result<(), S::Error> {
        self.grow_for(TreeName::Top, slot.0)?;
        let key = fresh_key(KeyGen(1)).map_err(PlanError::Random)?;
        let above = self.descend(TreeName::Top, slot.0, true)?.ok_or(PlanError::Mismatch)?;
        self.set_child(
            above,
            slot_in(above, slot.0),
            Some(Child { key: key.clone(), hash: empty_subtree(0) }),
        );
        self.shapes.insert(slot, TenantShape { uid, height: 1, next_leaf: 0, live: 0, destroyed: None });
        self.work.insert(Place::root(TreeName::Tenant(slot), 1), Work::new(key, true));
        self.create_leaf(slot, LeafSlot(0), index_key)
    }

    /// Makes a leaf in a slot that was never used.
    ///
    /// # Errors
    /// Where there is no such tenant, its tree is full, or a record cannot be read.
    pub fn create_leaf(&mut self, tenant: TenantSlot, slot: LeafSlot, leaf: NewLeaf) -> Result<(), S::Error> {
        self.living(tenant)?;
        let tree = TreeName::Tenant(tenant);
        self.grow_for(tree, slot.0)?;
        let above = self.descend(tree, slot.0, true)?.ok_or(PlanError::NoTenant(tenant))?;
        let hash = commitment::leaf_hash(leaf.uid, slot, leaf.payload.alg, &leaf.key_commitment());
        let key = ChildKey { key_gen: KeyGen(1), key: leaf.key.clone() };
        self.set_child(above, slot_in(above, slot.0), Some(Child { key, hash }));
        let counted = u64::from(leaf.payload.alg != ALG_INDEX_KEY);
        self.base.live += counted;
        if let Some(shape) = self.shapes.get_mut(&tenant) {
            shape.live += counted;
            shape.next_leaf = shape.next_leaf.max(slot.0.saturating_add(1));
        }
        self.leaves.insert(Place::leaf(tenant, slot), leaf);
        Ok(())
    }

    /// Takes a leaf out; `false` where none stands there. Its ancestors get fresh keys at the end.
    ///
    /// # Errors
    /// Where a record cannot be read.
    pub fn destroy_leaf(&mut self, version: VersionId) -> Result<bool, S::Error> {
        let (tenant, slot) = (version.tenant_slot(), version.leaf_slot().0);
        let tree = TreeName::Tenant(tenant);
        match self.shape(tenant)? {
            Some(shape) if shape.destroyed.is_none() && holds(shape.height, slot) && slot != 0 => {}
            _ => return Ok(false),
        }
        let Some(above) = self.descend(tree, slot, false)? else { return Ok(false) };
        let Some(leaf) = self.set_child(above, slot_in(above, slot), None) else { return Ok(false) };
        let place = Place::leaf(tenant, version.leaf_slot());
        if self.leaves.remove(&place).is_none() {
            self.superseded.push(Superseded::Generation(place, leaf.key.key_gen));
        }
        self.base.live = self.base.live.saturating_sub(1);
        if let Some(shape) = self.shapes.get_mut(&tenant) {
            shape.live = shape.live.saturating_sub(1);
        }
        self.rekey_above(tree, slot);
        self.rekey_above(TreeName::Top, tenant.0);
        self.destroyed_versions += 1;
        Ok(true)
    }

    /// Takes a tenant's whole tree out; `false` where none stands there. Touches the top tree only.
    ///
    /// # Errors
    /// Where a record cannot be read.
    pub fn destroy_tenant(&mut self, tenant: TenantSlot) -> Result<bool, S::Error> {
        let Some(mut shape) = self.shape(tenant)?.filter(|shape| shape.destroyed.is_none()) else {
            return Ok(false);
        };
        let Some(above) = self.descend(TreeName::Top, tenant.0, false)? else { return Ok(false) };
        let Some(root) = self.set_child(above, slot_in(above, tenant.0), None) else { return Ok(false) };
        let tree = TreeName::Tenant(tenant);
        let top_of_it = Place::root(tree, shape.height);
        let before = match self.work.get(&top_of_it).map(|work| work.read.clone()) {
            Some(read) => read,
            None => Some(self.source.node(top_of_it, &root.key)?),
        };
        self.gone_roots.extend(before.map(|node| (tenant, node.hash)));
        self.work.retain(|place, _| place.tree != tree);
        self.leaves.retain(|place, _| place.tree != tree);
        self.superseded
            .push(Superseded::Generation(Place::above(TreeName::Top, 0, tenant.0), root.key.key_gen));
        self.superseded.push(Superseded::Tree(tenant));
        self.base.live = self.base.live.saturating_sub(shape.live);
        self.destroyed_versions += shape.live;
        self.destroyed_tenants += 1;
        (shape.live, shape.destroyed) = (0, Some(self.base.epoch.next()));
        self.shapes.insert(tenant, shape);
        self.rekey_above(TreeName::Top, tenant.0);
        Ok(true)
    }

    /// Reads the way to a slot, and changes nothing: what cannot be read fails here.
    ///
    /// # Errors
    /// Where there is no such tenant, or a record cannot be read.
    pub fn reach(&mut self, tenant: TenantSlot, slot: LeafSlot) -> Result<(), S::Error> {
        let shape = self.living(tenant)?;
        let slot = if holds(shape.height, slot.0) { slot.0 } else { 0 };
        self.descend(TreeName::Tenant(tenant), slot, false).map(|_| ())
    }

    /// Whether something is destroyed, so that the commit must be an epoch.
    pub fn destroys(&self) -> bool {
        self.destroyed_versions + self.destroyed_tenants > 0
    }

    /// The shape of a tenant's tree, as this plan leaves it.
    fn shape(&mut self, tenant: TenantSlot) -> Result<Option<TenantShape>, S::Error> {
        if let Some(shape) = self.shapes.get(&tenant) {
            return Ok(Some(*shape));
        }
        let shape = self.source.shape(tenant)?;
        if let Some(shape) = shape {
            self.shapes.insert(tenant, shape);
        }
        Ok(shape)
    }

    fn living(&mut self, tenant: TenantSlot) -> Result<TenantShape, S::Error> {
        let living = self.shape(tenant)?.filter(|shape| shape.destroyed.is_none());
        living.ok_or_else(|| PlanError::NoTenant(tenant).into())
    }

    pub(super) fn height(&self, tree: TreeName) -> u8 {
        match tree {
            TreeName::Top => self.base.top_height,
            TreeName::Tenant(slot) => self.shapes.get(&slot).map_or(1, |shape| shape.height),
        }
    }

    /// Adds levels until a slot fits. The node above takes over the key of the tree's root, so nothing above it changes.
    fn grow_for(&mut self, tree: TreeName, slot: u32) -> Result<(), S::Error> {
        while !holds(self.height(tree), slot) {
            let height = self.height(tree);
            if height == MAX_HEIGHT {
                return Err(PlanError::Full.into());
            }
            // Reads the root, along the way to the slot that is always there.
            self.descend(tree, 0, false)?;
            let (below, above) = (Place::root(tree, height), Place::root(tree, height + 1));
            let root = self.work.get_mut(&below).ok_or(PlanError::Mismatch)?;
            let fresh = fresh_key(root.key.key_gen.next()).map_err(PlanError::Random)?;
            let taken = std::mem::replace(&mut root.key, fresh.clone());
            let mut grown = Work::new(taken, root.fresh);
            (root.fresh, root.first_write, root.dirty) = (true, true, true);
            let hash = super::node::hash_of(&root.children, height);
            grown.rekey = root.rekey;
            grown.children[0] = Some(Child { key: fresh, hash });
            self.work.insert(above, grown);
            match tree {
                TreeName::Top => self.base.top_height += 1,
                TreeName::Tenant(tenant) => {
                    if let Some(shape) = self.shapes.get_mut(&tenant) {
                        shape.height += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the way from a tree's root to the node of level 1 above a slot, and makes what is missing if asked to.
    pub(super) fn descend(
        &mut self,
        tree: TreeName,
        slot: u32,
        make: bool,
    ) -> Result<Option<Place>, S::Error> {
        let mut place = Place::root(tree, self.height(tree));
        if !self.work.contains_key(&place) {
            let (key, hash) = match tree {
                TreeName::Top => {
                    let key_gen = KeyGen(self.base.epoch.0);
                    (ChildKey { key_gen, key: self.base.root.clone() }, None)
                }
                TreeName::Tenant(tenant) => {
                    let Some(above) = self.descend(TreeName::Top, tenant.0, false)? else { return Ok(None) };
                    match self.child(above, slot_in(above, tenant.0)) {
                        Some(child) => (child.key.clone(), Some(child.hash)),
                        None => return Ok(None),
                    }
                }
            };
            self.read(place, &key, hash)?;
        }
        while place.level > 1 {
            let below = Place::above(tree, place.level - 1, slot);
            if !self.work.contains_key(&below) {
                match self.child(place, below.child_slot()).cloned() {
                    Some(child) => self.read(below, &child.key, Some(child.hash))?,
                    None if make => {
                        let key = fresh_key(KeyGen(1)).map_err(PlanError::Random)?;
                        let hash = empty_subtree(super::node::binary_levels(below.level));
                        self.set_child(place, below.child_slot(), Some(Child { key: key.clone(), hash }));
                        self.work.insert(below, Work::new(key, true));
                    }
                    None => return Ok(None),
                }
            }
            place = below;
        }
        Ok(Some(place))
    }

    fn read(&mut self, place: Place, key: &ChildKey, committed: Option<Hash>) -> Result<(), S::Error> {
        let node = self.source.node(place, key)?;
        let expected = match (place.tree, committed) {
            // A parent commits to a tenant's root with its uid and height.
            (TreeName::Tenant(tenant), Some(_)) if place.level == self.height(place.tree) => {
                let shape = self.living(tenant)?;
                (committed, Some(commitment::tenant_hash(shape.uid, shape.height, &node.hash)))
            }
            _ => (committed, Some(node.hash)),
        };
        if expected.0.is_some() && expected.0 != expected.1 {
            return Err(PlanError::Mismatch.into());
        }
        self.work.insert(place, Work::read(node));
        Ok(())
    }

    fn child(&self, place: Place, slot: usize) -> Option<&Child> {
        self.work.get(&place)?.children[slot].as_ref()
    }

    fn set_child(&mut self, place: Place, slot: usize, child: Option<Child>) -> Option<Child> {
        let work = self.work.get_mut(&place)?;
        let changes = child.is_some() || work.children[slot].is_some();
        (work.dirty, work.stale) = (work.dirty || changes, work.stale || changes);
        std::mem::replace(&mut work.children[slot], child)
    }

    fn rekey_above(&mut self, tree: TreeName, slot: u32) {
        for level in 1..=self.height(tree) {
            if let Some(work) = self.work.get_mut(&Place::above(tree, level, slot)) {
                work.rekey = true;
            }
        }
    }
}

fn slot_in(place: Place, slot: u32) -> usize {
    Place::above(place.tree, place.level - 1, slot).child_slot()
}
