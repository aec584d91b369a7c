//! Random sequences of creates, destructions and growth: exactly the live versions are reachable, and the commitment is of them.

mod model;

use std::collections::BTreeSet;

use model::{Failed, Model};
use proptest::prelude::*;

use super::*;
use crate::id::{Epoch, KeyGen, LeafSlot, RecordVer, TenantSlot, Uid, VersionId};

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

#[test]
fn exactly_the_live_versions_are_reachable_in_trees_of_three_levels_below_a_grown_top() {
    let mut model = Model::new();
    let tenants: Vec<_> = (0..35).map(|_| model.create_tenant()).collect();
    assert_eq!(model.base.top_height, 2);
    let (large, late) = (tenants[0], tenants[34]);
    model.create(large, 40);
    model.destroy(&[VersionId::new(large, LeafSlot(7))]);
    model.create(large, 1100);
    model.create(late, 3);
    assert_eq!(model.shapes[&large].height, 3);
    model.check();
    let gone: Vec<_> = (0..40).map(|at| VersionId::new(large, LeafSlot(20 + 27 * at))).collect();
    let before = model.roots.last().unwrap().clone();
    model.destroy(&gone);
    model.create(large, 2);
    model.check();
    let reached = model.reach(before.0, &before.1);
    assert!(gone.iter().all(|version| reached.contains(version)), "the control");
    model.destroy_tenant(large);
    model.check();
    assert_eq!(model.base.live, 3);
}
