//! From changed nodes to records: fresh keys where something below was destroyed, hashes to the state root, everything wrapped.

use std::sync::Arc;

use super::{
    node::{Child, Children, Node, fresh_key, hash_of, payload_of, wrap_record},
    payload::ChildKey,
    place::{Address, FAN_OUT, Place, TreeName},
    plan::{Plan, PlanError, Source, TenantShape},
    work::Work,
};
use crate::{
    commitment::{Hash, state_root, tenant_hash},
    id::{Epoch, InstanceId, KeyGen, RecordVer, TenantSlot, Uid},
    secret::WrappingKey,
};

/// A record of the tree to be written.
#[derive(Debug)]
pub struct PlannedRecord {
    /// Where.
    pub address: Address,
    /// KMR1.
    pub wrapped: Vec<u8>,
    /// Of a node above leaves: the leaf hashes, in order of slots.
    pub leaf_hashes: Vec<u8>,
    /// Of a leaf: the uid of its version.
    pub uid: Option<Uid>,
    /// Nothing reaches it before the plan's last write does: it may be staged.
    pub unreachable: bool,
}

/// A hash to be written.
#[derive(Debug, Clone, Copy)]
pub struct PlannedHash {
    /// Of the slots below which place; level 0 of the top tree is a tenant.
    pub place: Place,
    /// Key generation of that place.
    pub key_gen: KeyGen,
    /// The hash.
    pub hash: Hash,
    /// As for a record.
    pub unreachable: bool,
}

/// Records that nothing reaches once the plan is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Superseded {
    /// One write of a node; a later write already stood before this plan, so it may go with it.
    Write(Address),
    /// Every write of a place under one key generation.
    Generation(Place, KeyGen),
    /// A tenant's whole tree.
    Tree(TenantSlot),
}

/// What stood below a node before a plan, and what stands there after: public hashes, for those who check the committed states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// The node.
    pub place: Place,
    /// Hashes of its children before; `None` where there was no such node.
    pub before: Option<[Option<Hash>; FAN_OUT]>,
    /// Hashes of its children after.
    pub after: [Option<Hash>; FAN_OUT],
}

/// What one commit writes.
pub struct Planned {
    /// The epoch it belongs to: the next one, if it destroys.
    pub epoch: Epoch,
    /// The root key from this commit on.
    pub root: Arc<WrappingKey>,
    /// Levels of the top tree.
    pub top_height: u8,
    /// Live key versions of all tenants.
    pub live: u64,
    /// Commitment to the state before; `None` where the top tree was not read.
    pub state_root_before: Option<Hash>,
    /// Commitment to the state after; `None` where the top tree was not read.
    pub state_root: Option<Hash>,
    /// Nodes and leaves.
    pub records: Vec<PlannedRecord>,
    /// Hashes of subtrees and tenants.
    pub hashes: Vec<PlannedHash>,
    /// Shapes of the tenants that changed.
    pub shapes: Vec<(TenantSlot, TenantShape)>,
    /// What may be collected afterwards.
    pub superseded: Vec<Superseded>,
    /// Nodes as they stand after the commit. Only then may a cache have them.
    pub nodes: Vec<(Place, Arc<Node>)>,
    /// Tenants that are gone.
    pub gone: Vec<TenantSlot>,
    /// What the trees of those came to, before.
    pub gone_roots: Vec<(TenantSlot, Hash)>,
    /// Of a plan that destroys: every node below which something changed.
    pub witnesses: Vec<Witness>,
    /// Levels of the top tree, and live key versions, before.
    pub before: (u8, u64),
    /// Key versions that are no longer live.
    pub destroyed_versions: u64,
    /// Tenants that are no longer live.
    pub destroyed_tenants: u64,
}

impl<S: Source> Plan<'_, S> {
    /// Says what to write. With `renew`, the root key is renewed although nothing is destroyed, as for a new seal.
    ///
    /// # Errors
    /// Where a record cannot be read or wrapped.
    pub fn finish(mut self, renew: bool) -> Result<Planned, S::Error> {
        let (before_height, before_live) = self.before;
        let top = Place::root(TreeName::Top, self.base.top_height);
        let destroys = self.destroys() || renew;
        if destroys {
            self.descend(TreeName::Top, 0, false)?;
            if let Some(root) = self.work.get_mut(&top) {
                root.rekey = true;
            }
        }
        let epoch = if destroys { self.base.epoch.next() } else { self.base.epoch };
        let before =
            self.work.get(&Place::root(TreeName::Top, before_height)).and_then(|work| work.read.as_ref());
        let state_root_before = before.map(|node| state_root(before_height, &node.hash, before_live));

        let mut out = Planned {
            epoch,
            root: self.base.root.clone(),
            top_height: self.base.top_height,
            live: self.base.live,
            state_root_before,
            state_root: None,
            records: Vec::new(),
            hashes: Vec::new(),
            shapes: self.shapes.iter().map(|(slot, shape)| (*slot, *shape)).collect(),
            superseded: std::mem::take(&mut self.superseded),
            nodes: Vec::new(),
            gone: self
                .shapes
                .iter()
                .filter(|(_, shape)| shape.destroyed.is_some())
                .map(|(slot, _)| *slot)
                .collect(),
            gone_roots: std::mem::take(&mut self.gone_roots),
            witnesses: Vec::new(),
            before: self.before,
            destroyed_versions: self.destroyed_versions,
            destroyed_tenants: self.destroyed_tenants,
        };
        self.finish_leaves(&mut out)?;
        // Tenants before the top tree, low levels before high ones: a child is finished before its parent.
        let mut places: Vec<_> = self.work.keys().copied().collect();
        places.sort_unstable();
        for place in places {
            if let Some(work) = self.work.remove(&place) {
                self.finish_node(place, work, &mut out)?;
            }
        }
        Ok(out)
    }

    fn finish_leaves(&mut self, out: &mut Planned) -> Result<(), S::Error> {
        for (place, leaf) in std::mem::take(&mut self.leaves) {
            let key = ChildKey { key_gen: KeyGen(1), key: leaf.key };
            let record_ver = self.source.abandoned(place, key.key_gen)?.next();
            let at = (self.base.instance, out.epoch);
            let wrapped =
                wrap_record(at, place, &key, record_ver, &leaf.payload.encode()).map_err(PlanError::Wrap)?;
            let address = Address { place, key_gen: key.key_gen, record_ver };
            let (leaf_hashes, uid) = (Vec::new(), Some(leaf.uid));
            out.records.push(PlannedRecord { address, wrapped, leaf_hashes, uid, unreachable: true });
        }
        Ok(())
    }

    fn finish_node(&mut self, place: Place, mut work: Work, out: &mut Planned) -> Result<(), S::Error> {
        // A key that was drawn in this plan has wrapped nothing that anyone has seen.
        if work.rekey && !work.fresh {
            work.key = fresh_key(work.key.key_gen.next()).map_err(PlanError::Random)?;
            (work.first_write, work.dirty) = (true, true);
        }
        let hash = match &work.read {
            Some(read) if !work.stale => read.hash,
            _ => hash_of(&work.children, place.level),
        };
        if work.stale || work.first_write {
            let (key_gen, unreachable) = (work.key.key_gen, work.first_write);
            out.hashes.push(PlannedHash { place, key_gen, hash, unreachable });
        }
        if work.stale && out.epoch != self.base.epoch {
            let before = work.read.as_ref().map(|read| hashes_of(&read.children));
            out.witnesses.push(Witness { place, before, after: hashes_of(&work.children) });
        }
        let record_ver = self.write_node(place, &work, out)?;
        self.tell_parent(place, &work, hash, out);
        let node = Node { key: work.key, record_ver, children: work.children, hash };
        out.nodes.push((place, Arc::new(node)));
        Ok(())
    }

    fn write_node(&mut self, place: Place, work: &Work, out: &mut Planned) -> Result<RecordVer, S::Error> {
        let key_gen = work.key.key_gen;
        let record_ver = match &work.read {
            Some(read) if !work.dirty => return Ok(read.record_ver),
            Some(read) if !work.first_write => read.record_ver.next(),
            _ => self.source.abandoned(place, key_gen)?.next(),
        };
        if let Some(read) = &work.read {
            let before = RecordVer(read.record_ver.0.saturating_sub(1));
            out.superseded.push(match read.key.key_gen == key_gen {
                false => Superseded::Generation(place, read.key.key_gen),
                true => Superseded::Write(Address { place, key_gen, record_ver: before }),
            });
        }
        let at = (self.base.instance, out.epoch);
        let wrapped = wrap_record(at, place, &work.key, record_ver, &payload_of(&work.children));
        let wrapped = wrapped.map_err(PlanError::Wrap)?;
        let leaf_hashes = match (place.tree, place.level) {
            (TreeName::Tenant(_), 1) => work.children.iter().flatten().flat_map(|leaf| leaf.hash).collect(),
            _ => Vec::new(),
        };
        let address = Address { place, key_gen, record_ver };
        let (uid, unreachable) = (None, work.first_write);
        out.records.push(PlannedRecord { address, wrapped, leaf_hashes, uid, unreachable });
        Ok(record_ver)
    }

    fn tell_parent(&mut self, place: Place, work: &Work, hash: Hash, out: &mut Planned) {
        let (parent, slot, hash) = match place.tree {
            tree if place.level < self.height(tree) => (place.parent(), place.child_slot(), hash),
            TreeName::Tenant(tenant) => {
                let at = Place::above(TreeName::Top, 0, tenant.0);
                let Some(shape) = self.shapes.get(&tenant) else { return };
                let hash = tenant_hash(shape.uid, shape.height, &hash);
                if work.stale || work.first_write {
                    let (key_gen, unreachable) = (work.key.key_gen, work.fresh || work.rekey);
                    out.hashes.push(PlannedHash { place: at, key_gen, hash, unreachable });
                }
                (at.parent(), at.child_slot(), hash)
            }
            TreeName::Top => {
                out.root = work.key.key.clone();
                out.state_root = Some(state_root(out.top_height, &hash, out.live));
                return;
            }
        };
        let Some(above) = self.work.get_mut(&parent) else { return };
        let key = work.key.clone();
        if let Some(child) = &above.children[slot] {
            let renewed = child.key.key_gen != key.key_gen;
            if renewed && place.tree != parent.tree {
                out.superseded.push(Superseded::Generation(parent.child(slot), child.key.key_gen));
            }
            above.dirty |= renewed;
            above.stale |= child.hash != hash;
        }
        above.children[slot] = Some(Child { key, hash });
    }
}

fn hashes_of(children: &Children) -> [Option<Hash>; FAN_OUT] {
    std::array::from_fn(|slot| children[slot].as_ref().map(|child| child.hash))
}

/// The first tree of an instance: an empty top node under a fresh root key, in epoch 1.
///
/// # Errors
/// Where the operating system has no randomness to give.
pub fn genesis(instance: InstanceId) -> Result<Planned, PlanError> {
    let (epoch, place) = (Epoch(1), Place::root(TreeName::Top, 1));
    let key = fresh_key(KeyGen(epoch.0))?;
    let children = [const { None }; FAN_OUT];
    let hash = hash_of(&children, place.level);
    let record_ver = RecordVer(1);
    let wrapped = wrap_record((instance, epoch), place, &key, record_ver, &payload_of(&children))?;
    let address = Address { place, key_gen: key.key_gen, record_ver };
    Ok(Planned {
        epoch,
        root: key.key.clone(),
        top_height: place.level,
        live: 0,
        state_root_before: None,
        state_root: Some(state_root(place.level, &hash, 0)),
        records: vec![PlannedRecord {
            address,
            wrapped,
            leaf_hashes: Vec::new(),
            uid: None,
            unreachable: true,
        }],
        hashes: vec![PlannedHash { place, key_gen: key.key_gen, hash, unreachable: true }],
        shapes: Vec::new(),
        superseded: Vec::new(),
        nodes: vec![(place, Arc::new(Node { key, record_ver, children, hash }))],
        gone: Vec::new(),
        gone_roots: Vec::new(),
        witnesses: Vec::new(),
        before: (place.level, 0),
        destroyed_versions: 0,
        destroyed_tenants: 0,
    })
}
