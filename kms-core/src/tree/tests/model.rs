//! What is stored, kept by an attacker, and expected, while tests change the trees.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::super::*;
use crate::{
    commitment::{self, Hash, fold_children, state_root, tenant_hash},
    id::{Epoch, InstanceId, KeyGen, LeafSlot, RecordVer, TenantSlot, Uid, VersionId},
    secret::WrappingKey,
};

const INSTANCE: InstanceId = InstanceId([7; 16]);

/// One write of a record.
type Kept = (RecordVer, Vec<u8>);

/// Stored state, and every record that was ever there.
pub(super) struct Model {
    pub(super) records: BTreeMap<Address, PlannedRecord>,
    /// What an attacker kept.
    pub(super) ever: HashMap<(Place, KeyGen), Vec<Kept>>,
    pub(super) hashes: HashMap<(Place, KeyGen), Hash>,
    pub(super) shapes: BTreeMap<TenantSlot, TenantShape>,
    pub(super) base: Base,
    pub(super) state_root: Hash,
    /// Every root key there was.
    pub(super) roots: Vec<(Epoch, Arc<WrappingKey>)>,
    pub(super) live: BTreeSet<VersionId>,
    /// Nodes as some process may have read them: a stale one must do no harm.
    pub(super) stale: HashMap<Place, Arc<Node>>,
    pub(super) serve_stale: bool,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Failed(#[from] pub(super) PlanError);

impl Source for Model {
    type Error = Failed;

    fn node(&mut self, place: Place, key: &ChildKey) -> Result<Arc<Node>, Failed> {
        if let Some(stale) = self.stale.get(&place).filter(|_| self.serve_stale) {
            return Ok(stale.clone());
        }
        let at = |record_ver| Address { place, key_gen: key.key_gen, record_ver };
        let (address, record) =
            self.records.range(at(RecordVer(0))..=at(RecordVer(u64::MAX))).next_back().expect("a record");
        let keys =
            open_keys(INSTANCE, place, key, address.record_ver, &record.wrapped).map_err(PlanError::Node)?;
        let mut beside = record.leaf_hashes.as_chunks::<32>().0.iter();
        let hashes = std::array::from_fn(|slot| {
            let child = keys[slot].as_ref()?;
            match (place.tree, place.level) {
                (TreeName::Tenant(_), 1) => beside.next().copied(),
                _ => self.hashes.get(&(place.child(slot), child.key_gen)).copied(),
            }
        });
        let node =
            Node::new(place, key.clone(), address.record_ver, keys, hashes).map_err(PlanError::Node)?;
        Ok(Arc::new(node))
    }

    fn shape(&mut self, tenant: TenantSlot) -> Result<Option<TenantShape>, Failed> {
        Ok(self.shapes.get(&tenant).copied())
    }

    fn abandoned(&mut self, _: Place, _: KeyGen) -> Result<RecordVer, Failed> {
        Ok(RecordVer(0))
    }
}

impl Model {
    pub(super) fn new() -> Self {
        let planned = genesis(INSTANCE).unwrap();
        let base =
            Base { instance: INSTANCE, epoch: Epoch(1), root: planned.root.clone(), top_height: 1, live: 0 };
        let mut model = Self {
            records: BTreeMap::new(),
            ever: HashMap::new(),
            hashes: HashMap::new(),
            shapes: BTreeMap::new(),
            base,
            state_root: [0; 32],
            roots: Vec::new(),
            live: BTreeSet::new(),
            stale: HashMap::new(),
            serve_stale: false,
        };
        model.store(planned);
        model
    }

    pub(super) fn plan(
        &mut self,
        change: impl FnOnce(&mut Plan<'_, Self>) -> Result<(), Failed>,
    ) -> Result<Planned, Failed> {
        let base = self.base.clone();
        let mut plan = Plan::new(self, base);
        change(&mut plan)?;
        plan.finish(false)
    }

    pub(super) fn commit(&mut self, change: impl FnOnce(&mut Plan<'_, Self>) -> Result<(), Failed>) {
        let planned = self.plan(change).unwrap();
        if let Some(before) = planned.state_root_before {
            assert_eq!(before, self.state_root, "what the payloads say is what was kept");
        }
        self.store(planned);
    }

    pub(super) fn store(&mut self, planned: Planned) {
        for record in planned.records {
            let key = (record.address.place, record.address.key_gen);
            self.ever.entry(key).or_default().push((record.address.record_ver, record.wrapped.clone()));
            assert!(self.records.insert(record.address, record).is_none(), "a record was overwritten");
        }
        for hash in planned.hashes {
            self.hashes.insert((hash.place, hash.key_gen), hash.hash);
        }
        for superseded in planned.superseded {
            match superseded {
                Superseded::Write(address) => drop(self.records.remove(&address)),
                Superseded::Generation(place, key_gen) => {
                    self.records.retain(|address, _| (address.place, address.key_gen) != (place, key_gen));
                    self.hashes.remove(&(place, key_gen));
                }
                Superseded::Tree(tenant) => {
                    self.records.retain(|address, _| address.place.tree != TreeName::Tenant(tenant));
                    self.hashes.retain(|(place, _), _| place.tree != TreeName::Tenant(tenant));
                }
            }
        }
        self.shapes.extend(planned.shapes);
        self.base.epoch = planned.epoch;
        (self.base.root, self.base.top_height, self.base.live) =
            (planned.root.clone(), planned.top_height, planned.live);
        self.state_root = planned.state_root.unwrap_or(self.state_root);
        if self.roots.last().is_none_or(|(epoch, _)| *epoch != planned.epoch) {
            self.roots.push((planned.epoch, planned.root));
        }
        self.stale.extend(planned.nodes);
    }

    pub(super) fn create_tenant(&mut self) -> TenantSlot {
        let slot = TenantSlot(u32::try_from(self.shapes.len()).unwrap());
        self.commit(|plan| plan.create_tenant(slot, Uid::random().unwrap(), NewLeaf::index_key().unwrap()));
        slot
    }

    pub(super) fn create(&mut self, tenant: TenantSlot, count: u32) {
        let next = self.shapes[&tenant].next_leaf;
        self.commit(|plan| {
            (next..next + count).try_for_each(|slot| {
                plan.create_leaf(tenant, LeafSlot(slot), NewLeaf::version(Uid::random().unwrap()).unwrap())
            })
        });
        self.live.extend((next..next + count).map(|slot| VersionId::new(tenant, LeafSlot(slot))));
    }

    pub(super) fn destroy(&mut self, versions: &[VersionId]) {
        self.commit(|plan| {
            versions.iter().try_for_each(|version| {
                assert!(plan.destroy_leaf(*version)?, "it was there");
                assert!(!plan.destroy_leaf(*version)?, "it is destroyed once");
                Ok(())
            })
        });
        versions.iter().for_each(|version| assert!(self.live.remove(version)));
    }

    pub(super) fn destroy_tenant(&mut self, tenant: TenantSlot) {
        self.commit(|plan| plan.destroy_tenant(tenant).map(|gone| assert!(gone)));
        self.live.retain(|version| version.tenant_slot() != tenant);
    }

    pub(super) fn tenants(&self) -> Vec<TenantSlot> {
        self.shapes.iter().filter(|(_, shape)| shape.destroyed.is_none()).map(|(slot, _)| *slot).collect()
    }

    /// Versions that somebody reaches who kept every record, from one root key: every record under every key that leads on.
    pub(super) fn reach(&self, epoch: Epoch, root: &Arc<WrappingKey>) -> BTreeSet<VersionId> {
        let mut reached = BTreeSet::new();
        let top = ChildKey { key_gen: KeyGen(epoch.0), key: root.clone() };
        let mut keys: Vec<_> = roots(TreeName::Top).map(|place| (place, top.clone())).collect();
        let mut seen = BTreeSet::new();
        while let Some((place, key)) = keys.pop() {
            if !seen.insert((place, *key.key.expose_secret())) {
                continue;
            }
            for (record_ver, wrapped) in self.ever.get(&(place, key.key_gen)).into_iter().flatten() {
                let opened = open_record(INSTANCE, place, &key, *record_ver, wrapped);
                match (place.tree, place.level) {
                    _ if opened.is_err() => {}
                    (TreeName::Tenant(tenant), 0) if place.index > 0 => {
                        reached.insert(VersionId::new(tenant, LeafSlot(place.index as u32)));
                    }
                    (TreeName::Tenant(_), 0) => {}
                    _ => {
                        let children = open_keys(INSTANCE, place, &key, *record_ver, wrapped).unwrap();
                        for (slot, child) in children.into_iter().enumerate() {
                            let Some(child) = child else { continue };
                            keys.extend(
                                stands(place.child(slot)).into_iter().map(|below| (below, child.clone())),
                            );
                        }
                    }
                }
            }
        }
        reached
    }

    /// The state root, from the payloads that stand now.
    pub(super) fn recount(&mut self) -> Hash {
        let top = ChildKey { key_gen: KeyGen(self.base.epoch.0), key: self.base.root.clone() };
        let mut live = BTreeSet::new();
        let hash = self.recount_below(Place::root(TreeName::Top, self.base.top_height), &top, &mut live);
        assert_eq!(live, self.live);
        state_root(self.base.top_height, &hash, live.len() as u64)
    }

    fn recount_below(&self, place: Place, key: &ChildKey, live: &mut BTreeSet<VersionId>) -> Hash {
        let at = |record_ver| Address { place, key_gen: key.key_gen, record_ver };
        if (place.tree, place.level) == (TreeName::Top, 0) {
            let tenant = TenantSlot(place.index as u32);
            let shape = self.shapes[&tenant];
            let root = Place::root(TreeName::Tenant(tenant), shape.height);
            return tenant_hash(shape.uid, shape.height, &self.recount_below(root, key, live));
        }
        let (address, record) =
            self.records.range(at(RecordVer(0))..=at(RecordVer(u64::MAX))).next_back().unwrap();
        if let (TreeName::Tenant(tenant), 0) = (place.tree, place.level) {
            let payload = open_record(INSTANCE, place, key, address.record_ver, &record.wrapped).unwrap();
            let (leaf, slot) = (LeafPayload::decode(&payload).unwrap(), LeafSlot(place.index as u32));
            let kc = commitment::key_commitment(record.uid.unwrap(), leaf.alg, &leaf.blind, &leaf.material);
            if leaf.alg != 0 {
                live.insert(VersionId::new(tenant, slot));
            }
            return commitment::leaf_hash(record.uid.unwrap(), slot, leaf.alg, &kc);
        }
        let keys = open_keys(INSTANCE, place, key, address.record_ver, &record.wrapped).unwrap();
        let hashes = std::array::from_fn(|slot| {
            Some(self.recount_below(place.child(slot), keys[slot].as_ref()?, live))
        });
        fold_children(&hashes, 5 * usize::from(place.level - 1))
    }

    pub(super) fn check(&mut self) {
        assert_eq!(self.recount(), self.state_root);
        let (epoch, root) = self.roots.last().unwrap().clone();
        assert_eq!(self.reach(epoch, &root), self.live, "exactly the live versions are reachable");
    }
}

/// Where a tree's root stands, or stood: growth moves its key up a level.
fn roots(tree: TreeName) -> impl Iterator<Item = Place> {
    (1..=MAX_HEIGHT).map(move |height| Place::root(tree, height))
}

/// Places that a key may open which its parent gives for one.
fn stands(place: Place) -> Vec<Place> {
    match (place.tree, place.level) {
        (TreeName::Top, 0) => roots(TreeName::Tenant(TenantSlot(place.index as u32))).collect(),
        (tree, level) if place.index == 0 && level > 0 => roots(tree).collect(),
        _ => vec![place],
    }
}
