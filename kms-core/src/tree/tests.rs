//! Random sequences of creates, destructions and growth: exactly the live versions are reachable, and the commitment is of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::{
    commitment::{self, Hash, fold_children, state_root, tenant_hash},
    id::{Epoch, InstanceId, KeyGen, LeafSlot, RecordVer, TenantSlot, Uid, VersionId},
    secret::WrappingKey,
};

const INSTANCE: InstanceId = InstanceId([7; 16]);

/// Stored state, and every record that was ever there.
struct Model {
    records: BTreeMap<Address, PlannedRecord>,
    /// What an attacker kept.
    ever: HashMap<(Place, KeyGen), Vec<(RecordVer, Vec<u8>)>>,
    hashes: HashMap<(Place, KeyGen), Hash>,
    shapes: BTreeMap<TenantSlot, TenantShape>,
    base: Base,
    state_root: Hash,
    /// Every root key there was.
    roots: Vec<(Epoch, Arc<WrappingKey>)>,
    live: BTreeSet<VersionId>,
    /// Nodes as some process may have read them: a stale one must do no harm.
    stale: HashMap<Place, Arc<Node>>,
    serve_stale: bool,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failed(#[from] PlanError);

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
    fn new() -> Self {
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

    fn plan(
        &mut self,
        change: impl FnOnce(&mut Plan<'_, Self>) -> Result<(), Failed>,
    ) -> Result<Planned, Failed> {
        let base = self.base.clone();
        let mut plan = Plan::new(self, base);
        change(&mut plan)?;
        plan.finish(false)
    }

    fn commit(&mut self, change: impl FnOnce(&mut Plan<'_, Self>) -> Result<(), Failed>) {
        let planned = self.plan(change).unwrap();
        if let Some(before) = planned.state_root_before {
            assert_eq!(before, self.state_root, "what the payloads say is what was kept");
        }
        self.store(planned);
    }

    fn store(&mut self, planned: Planned) {
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

    fn create_tenant(&mut self) -> TenantSlot {
        let slot = TenantSlot(u32::try_from(self.shapes.len()).unwrap());
        self.commit(|plan| plan.create_tenant(slot, Uid::random().unwrap(), NewLeaf::index_key().unwrap()));
        slot
    }

    fn create(&mut self, tenant: TenantSlot, count: u32) {
        let next = self.shapes[&tenant].next_leaf;
        self.commit(|plan| {
            (next..next + count).try_for_each(|slot| {
                plan.create_leaf(tenant, LeafSlot(slot), NewLeaf::version(Uid::random().unwrap()).unwrap())
            })
        });
        self.live.extend((next..next + count).map(|slot| VersionId::new(tenant, LeafSlot(slot))));
    }

    fn destroy(&mut self, versions: &[VersionId]) {
        self.commit(|plan| {
            versions.iter().try_for_each(|version| {
                assert!(plan.destroy_leaf(*version)?, "it was there");
                assert!(!plan.destroy_leaf(*version)?, "it is destroyed once");
                Ok(())
            })
        });
        versions.iter().for_each(|version| assert!(self.live.remove(version)));
    }

    fn destroy_tenant(&mut self, tenant: TenantSlot) {
        self.commit(|plan| plan.destroy_tenant(tenant).map(|gone| assert!(gone)));
        self.live.retain(|version| version.tenant_slot() != tenant);
    }

    fn tenants(&self) -> Vec<TenantSlot> {
        self.shapes.iter().filter(|(_, shape)| shape.destroyed.is_none()).map(|(slot, _)| *slot).collect()
    }

    /// Versions that somebody reaches who kept every record, from one root key: every record under every key that leads on.
    fn reach(&self, epoch: Epoch, root: &Arc<WrappingKey>) -> BTreeSet<VersionId> {
        let mut reached = BTreeSet::new();
        let mut keys = vec![(TreeName::Top, ChildKey { key_gen: KeyGen(epoch.0), key: root.clone() })];
        let mut seen = BTreeSet::new();
        // A key opens whatever record it wrapped, wherever that stands.
        while let Some((tree, key)) = keys.pop() {
            if !seen.insert((tree, *key.key.expose_secret())) {
                continue;
            }
            for ((place, key_gen), records) in &self.ever {
                if *key_gen != key.key_gen || place.tree != tree {
                    continue;
                }
                for (record_ver, wrapped) in records {
                    let Ok(_) = open_record(INSTANCE, *place, &key, *record_ver, wrapped) else { continue };
                    match (place.tree, place.level) {
                        (TreeName::Tenant(tenant), 0) if place.index > 0 => {
                            reached.insert(VersionId::new(tenant, LeafSlot(place.index as u32)));
                        }
                        (_, 0) => {}
                        (tree, level) => {
                            let children = open_keys(INSTANCE, *place, &key, *record_ver, wrapped).unwrap();
                            for (slot, child) in children.into_iter().enumerate() {
                                let below = match (tree, level) {
                                    (TreeName::Top, 1) => {
                                        TreeName::Tenant(TenantSlot(place.child(slot).index as u32))
                                    }
                                    _ => tree,
                                };
                                keys.extend(child.map(|child| (below, child)));
                            }
                        }
                    }
                }
            }
        }
        reached
    }

    /// The state root, from the payloads that stand now.
    fn recount(&mut self) -> Hash {
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

    fn check(&mut self) {
        assert_eq!(self.recount(), self.state_root);
        let (epoch, root) = self.roots.last().unwrap().clone();
        assert_eq!(self.reach(epoch, &root), self.live, "exactly the live versions are reachable");
    }
}

#[test]
fn a_destroyed_version_is_reached_from_the_old_root_and_not_from_the_new() {
    let mut model = Model::new();
    let tenant = model.create_tenant();
    model.create(tenant, 40);
    let version = VersionId::new(tenant, LeafSlot(17));
    model.destroy(&[version]);
    model.check();
    let (epoch, old) = model.roots[model.roots.len() - 2].clone();
    assert!(
        model.reach(epoch, &old).contains(&version),
        "the control: records are there, and the old root opens them"
    );
}

#[test]
fn what_is_made_after_a_destruction_does_not_bring_it_back() {
    let mut model = Model::new();
    let tenant = model.create_tenant();
    model.create(tenant, 3);
    let before = model.stale.clone();
    model.destroy(&[VersionId::new(tenant, LeafSlot(2))]);
    model.create(tenant, 1);
    model.check();
    // ATTACK: a create over nodes as they were before the epoch. The keys of those nodes are not what their parents name.
    model.stale = before;
    model.serve_stale = true;
    let next = LeafSlot(model.shapes[&tenant].next_leaf);
    let planned =
        model.plan(|plan| plan.create_leaf(tenant, next, NewLeaf::version(Uid::random().unwrap()).unwrap()));
    let noticed = match &planned {
        Err(Failed(PlanError::Mismatch)) => true,
        Ok(planned) => planned.state_root_before != Some(model.state_root),
        Err(_) => false,
    };
    assert!(noticed);
}

#[test]
fn a_create_writes_one_leaf_and_rewrites_one_node() {
    let mut model = Model::new();
    let tenant = model.create_tenant();
    model.create(tenant, 1100);
    assert_eq!(model.shapes[&tenant].height, 3);
    let next = LeafSlot(model.shapes[&tenant].next_leaf);
    let leaf = NewLeaf::version(Uid::random().unwrap()).unwrap();
    let planned = model.plan(|plan| plan.create_leaf(tenant, next, leaf)).unwrap();
    let written: Vec<_> = planned.records.iter().map(|record| record.address).collect();
    let above = Place::leaf(tenant, next).parent();
    assert_eq!(written.len(), 2);
    assert_eq!((written[0].place, written[0].record_ver), (Place::leaf(tenant, next), RecordVer(1)));
    assert_eq!(written[1].place, above);
    assert!(written[1].record_ver > RecordVer(1));
    // Hashes up to the state root: three levels, the tenant, one level of the top tree.
    assert_eq!(planned.hashes.len(), 5);
}

#[test]
fn destroying_one_rewrites_its_path_and_destroying_a_tenant_the_top_tree_only() {
    let mut model = Model::new();
    let (tenant, other) = (model.create_tenant(), model.create_tenant());
    model.create(tenant, 1100);
    model.create(other, 2);
    let version = VersionId::new(tenant, LeafSlot(700));
    let planned = model.plan(|plan| plan.destroy_leaf(version).map(|_| ())).unwrap();
    assert_eq!(planned.records.len(), 3 + 1);
    assert!(planned.records.iter().all(|record| record.address.record_ver == RecordVer(1)));
    let planned = model.plan(|plan| plan.destroy_tenant(tenant).map(|_| ())).unwrap();
    assert_eq!(planned.records.len(), 1);
    assert_eq!((planned.destroyed_versions, planned.destroyed_tenants, planned.live), (1100, 1, 2));
}

#[test]
fn growth_leaves_the_parent_and_the_root_alone() {
    let mut model = Model::new();
    let tenant = model.create_tenant();
    model.create(tenant, 31);
    let root = model.base.root.expose_secret().to_vec();
    let leaf = NewLeaf::version(Uid::random().unwrap()).unwrap();
    let planned = model.plan(|plan| plan.create_leaf(tenant, LeafSlot(32), leaf)).unwrap();
    assert!(planned.records.iter().all(|record| record.address.place.tree != TreeName::Top));
    assert_eq!(planned.root.expose_secret()[..], root);
    let grown = |level| {
        planned
            .records
            .iter()
            .find(|record| record.address.place == Place::root(TreeName::Tenant(tenant), level))
    };
    assert_eq!(grown(2).unwrap().address.key_gen, KeyGen(1));
    assert_eq!(grown(1).unwrap().address.key_gen, KeyGen(2));
}

#[test]
fn the_index_key_is_not_a_version_and_is_not_destroyed_alone() {
    let mut model = Model::new();
    let tenant = model.create_tenant();
    assert_eq!((model.base.live, model.shapes[&tenant].next_leaf), (0, 1));
    let planned = model.plan(|plan| {
        assert!(!plan.destroy_leaf(VersionId::new(tenant, LeafSlot(0)))?);
        Ok(())
    });
    assert_eq!(planned.unwrap().epoch, model.base.epoch, "nothing was destroyed, so no epoch passes");
}

#[test]
fn what_never_was_and_what_is_gone_are_destroyed_without_effect() {
    let mut model = Model::new();
    let tenant = model.create_tenant();
    model.create(tenant, 2);
    model.destroy_tenant(tenant);
    for version in [(0, 1), (0, 900), (7, 1)] {
        let version = VersionId::new(TenantSlot(version.0), LeafSlot(version.1));
        model.plan(|plan| plan.destroy_leaf(version).map(|gone| assert!(!gone))).unwrap();
    }
    model.plan(|plan| plan.destroy_tenant(tenant).map(|gone| assert!(!gone))).unwrap();
    let leaf = NewLeaf::version(Uid::random().unwrap()).unwrap();
    let made = model.plan(|plan| plan.create_leaf(tenant, LeafSlot(9), leaf));
    assert!(matches!(made, Err(Failed(PlanError::NoTenant(_)))));
    model.check();
}

#[test]
fn a_renewed_root_reaches_everything_and_the_old_one_what_was_made_before() {
    let mut model = Model::new();
    let tenant = model.create_tenant();
    model.create(tenant, 2);
    let base = model.base.clone();
    let planned = Plan::new(&mut model, base).finish(true).unwrap();
    assert_eq!(planned.epoch, Epoch(2));
    model.store(planned);
    model.check();
}

#[derive(Debug, Clone)]
enum Step {
    Tenants(u32),
    Create(prop::sample::Index, u32),
    Destroy(Vec<prop::sample::Index>),
    DestroyTenant(prop::sample::Index),
    /// Destroys and creates in one plan.
    Rotate(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        1 => prop_oneof![4 => 1u32..3, 1 => Just(35)].prop_map(Step::Tenants),
        4 => (index(), prop_oneof![4 => 1u32..5, 2 => 20u32..70, 1 => Just(1100)]).prop_map(|(at, n)| Step::Create(at, n)),
        4 => prop::collection::vec(index(), 1..6).prop_map(Step::Destroy),
        1 => index().prop_map(Step::DestroyTenant),
        2 => index().prop_map(Step::Rotate),
    ]
}

fn run(steps: Vec<Step>) {
    let mut model = Model::new();
    for step in steps {
        let (tenants, live) = (model.tenants(), model.live.iter().copied().collect::<Vec<_>>());
        let before = model.roots.last().unwrap().clone();
        let gone: Vec<VersionId> = match step {
            Step::Tenants(count) => {
                for _ in 0..count {
                    model.create_tenant();
                }
                Vec::new()
            }
            Step::Create(at, count) if !tenants.is_empty() => {
                model.create(*at.get(&tenants), count);
                Vec::new()
            }
            Step::Destroy(at) if !live.is_empty() => {
                let gone: BTreeSet<_> = at.iter().map(|at| *at.get(&live)).collect();
                let gone: Vec<_> = gone.into_iter().collect();
                model.destroy(&gone);
                gone
            }
            Step::DestroyTenant(at) if !tenants.is_empty() => {
                let tenant = *at.get(&tenants);
                model.destroy_tenant(tenant);
                live.into_iter().filter(|version| version.tenant_slot() == tenant).collect()
            }
            Step::Rotate(at) if !live.is_empty() => {
                let old = *at.get(&live);
                let tenant = old.tenant_slot();
                let slot = LeafSlot(model.shapes[&tenant].next_leaf);
                model.commit(|plan| {
                    plan.destroy_leaf(old)?;
                    plan.create_leaf(tenant, slot, NewLeaf::version(Uid::random().unwrap()).unwrap())
                });
                model.live.remove(&old);
                model.live.insert(VersionId::new(tenant, slot));
                vec![old]
            }
            _ => Vec::new(),
        };
        if !gone.is_empty() {
            assert!(model.base.epoch > before.0, "destroying is an epoch");
            let reached = model.reach(before.0, &before.1);
            assert!(gone.iter().all(|version| reached.contains(version)), "the control");
        }
    }
    model.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exactly_the_live_versions_are_reachable_after_any_sequence(steps in prop::collection::vec(step(), 1..16)) {
        run(steps);
    }
}
