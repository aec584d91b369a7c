//! The crash table: every durable step of every kind of work × how it ends × every step of the recovery × how that ends.

use std::collections::BTreeSet;

use kms_core::id::{TenantSlot, VersionId};

use super::world::*;
use crate::{
    effaceable::Effaceable,
    erasure::{Writer, change::ChangeError, snapshot::OpenVersionError, writer::CommitFailed},
    records::Versions,
    store::fault::{Call, Faults, When},
};

const WHENS: [When; 3] = [When::Before, When::Lost, When::After];

#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Tenant,
    Create,
    DestroyOne,
    DestroyMany,
    DestroyTenant,
    /// One change that makes a version and destroys another.
    Replace,
}

/// How a process that dies may leave a step.
const DEATHS: [When; 2] = [When::Lost, When::After];

/// A world with two tenants, and what lives in it.
async fn set_up(count: usize) -> (World, TenantSlot, BTreeSet<VersionId>) {
    let world = World::new();
    let writer = world.start();
    let (first, second) = (tenant(&writer).await.unwrap().value, tenant(&writer).await.unwrap().value);
    let mut live = BTreeSet::new();
    while live.len() < count {
        live.extend(versions(&writer, first, (count - live.len()).min(500)).await.unwrap().value);
    }
    live.extend(versions(&writer, second, 2).await.unwrap().value);
    // One epoch has passed already.
    destroy(&writer, vec![*live.first().unwrap()]).await.unwrap();
    live.pop_first();
    writer.stop();
    (world, first, live)
}

impl Work {
    /// What is live if the work is done; `None` where that cannot be told beforehand: something more.
    pub(super) async fn run(
        self,
        writer: &Writer,
        tenant: TenantSlot,
        live: &BTreeSet<VersionId>,
    ) -> Result<(), CommitFailed<ChangeError>> {
        let gone: Vec<_> = live.difference(&self.left(tenant, live)).copied().collect();
        match self {
            Self::Tenant => super::world::tenant(writer).await.map(|_| ()),
            Self::Create => versions(writer, tenant, 40).await.map(|_| ()),
            Self::DestroyOne | Self::DestroyMany => destroy(writer, gone).await.map(|_| ()),
            Self::DestroyTenant => {
                let destroyed = writer.destroy(move |change| {
                    change.destroy_tenant(tenant, 0);
                    Ok(())
                });
                destroyed.await.map(|_| ())
            }
            Self::Replace => {
                let replaced = writer.destroy(move |change| {
                    version(change, tenant)?;
                    gone.iter().for_each(|gone| change.destroy_version(*gone, 0));
                    Ok(())
                });
                replaced.await.map(|_| ())
            }
        }
    }

    /// Which of those that live now are left.
    pub(super) fn left(self, tenant: TenantSlot, live: &BTreeSet<VersionId>) -> BTreeSet<VersionId> {
        let mut left = live.clone();
        match self {
            Self::Tenant | Self::Create => {}
            Self::DestroyOne | Self::Replace => drop(left.pop_first()),
            Self::DestroyMany => {
                let mut count = 0;
                left.retain(|_| {
                    count += 1;
                    count % 3 == 0
                });
            }
            Self::DestroyTenant => left.retain(|version| version.tenant_slot() != tenant),
        }
        left
    }

    fn makes(self) -> usize {
        match self {
            Self::Create => 40,
            Self::Replace => 1,
            _ => 0,
        }
    }
}

/// What must hold after any restart.
fn check(
    world: &World,
    work: Work,
    tenant: TenantSlot,
    live: &BTreeSet<VersionId>,
    acknowledged: Option<bool>,
) {
    let (writer, started) = world.start_with(&Faults::none()).unwrap();
    let (mut found, state_root) = world.recount();
    found.retain(|version| version.leaf_slot().0 != 0);
    assert_eq!(state_root, world.head().state_root);
    assert!(started.effaced);
    assert_eq!(world.medium.list().unwrap(), [world.head().secret()]);
    assert!(world.redo.files.lock().is_empty());

    // All of it, or nothing.
    let left = work.left(tenant, live);
    let made = found.difference(live).count();
    let done = found.is_superset(&left) && made == work.makes() && found.len() == left.len() + made;
    let undone = found == *live;
    assert!(done || undone, "half done");
    if !matches!(work, Work::Tenant) {
        match acknowledged {
            Some(true) => assert!(done, "what was acknowledged is there"),
            Some(false) => assert!(undone, "what was refused is not"),
            None => {}
        }
    }
    let snapshot = writer.snapshot();
    for version in &found {
        snapshot.open_version(*version).unwrap();
    }
    for gone in live.difference(&found) {
        assert!(matches!(snapshot.open_version(*gone), Err(OpenVersionError::NotThere)));
        if !matches!(work, Work::DestroyTenant | Work::Replace) {
            assert_ne!(
                snapshot.get::<Versions>(gone).unwrap().unwrap().destroyed_epoch,
                0,
                "its record says so"
            );
        }
    }
    for version in live.intersection(&found) {
        assert_eq!(snapshot.get::<Versions>(version).unwrap().unwrap().destroyed_epoch, 0);
    }
    let mut reached = world.reach(&world.medium);
    reached.retain(|version| version.leaf_slot().0 != 0);
    assert_eq!(reached, found, "nothing destroyed comes back, whatever the attacker kept");
    writer.stop();
}

async fn goes_on(world: &World) {
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 2).await.unwrap().value;
    destroy(&writer, vec![made[0]]).await.unwrap();
    assert!(matches!(writer.snapshot().open_version(made[0]), Err(OpenVersionError::NotThere)));
    writer.snapshot().open_version(made[1]).unwrap();
    writer.stop();
    assert_eq!(world.recount().1, world.head().state_root);
}

/// Runs the work in a process that dies at a step; gives whether it was acknowledged, or `None` where no such step came.
async fn die(
    world: &World,
    work: Work,
    tenant: TenantSlot,
    live: &BTreeSet<VersionId>,
    (nth, when): (u64, When),
) -> Option<Option<bool>> {
    let faults = Faults::none();
    let (writer, _) = world.start_with(&faults).unwrap();
    faults.die_at(nth, when);
    let result = work.run(&writer, tenant, live).await;
    let fired = faults.fired();
    faults.die();
    writer.stop();
    fired.then_some(match result {
        Ok(()) => Some(true),
        Err(CommitFailed::Write(_) | CommitFailed::Change(_)) => Some(false),
        Err(_) => None,
    })
}

async fn crash_table(work: Work, count: usize, least: u64) {
    let (start, tenant, live) = set_up(count).await;
    let mut steps = 0;
    for nth in 1.. {
        let mut any = false;
        for when in WHENS {
            let world = start.fork();
            let Some(acknowledged) = die(&world, work, tenant, &live, (nth, when)).await else { continue };
            (any, steps) = (true, nth);
            check(&world, work, tenant, &live, acknowledged);
            goes_on(&world).await;
        }
        if !any {
            break;
        }
    }
    assert!(steps >= least, "{work:?} has {steps} durable steps");
}

/// The recovery dies too, at each of its steps.
async fn double_crash_table(work: Work, count: usize) {
    let (start, tenant, live) = set_up(count).await;
    for (nth, when) in (1..16).flat_map(|nth| DEATHS.map(|when| (nth, when))) {
        for again in (1..16).flat_map(|nth| DEATHS.map(|when| (nth, when))) {
            let world = start.fork();
            let Some(acknowledged) = die(&world, work, tenant, &live, (nth, when)).await else { return };
            let faults = Faults::none();
            faults.die_at(again.0, again.1);
            if let Ok((writer, _)) = world.start_with(&faults) {
                faults.die();
                writer.stop();
            }
            check(&world, work, tenant, &live, acknowledged);
            if !faults.fired() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_crash_while_a_tenant_is_made_leaves_it_or_nothing() {
    crash_table(Work::Tenant, 3, 1).await;
}

#[tokio::test]
async fn a_crash_while_versions_are_made_and_the_tree_grows_leaves_them_or_nothing() {
    crash_table(Work::Create, 3, 1).await;
}

#[tokio::test]
async fn a_crash_while_one_version_is_destroyed_leaves_it_or_not_and_never_brings_it_back() {
    crash_table(Work::DestroyOne, 3, 5).await;
}

#[tokio::test]
async fn a_crash_while_a_staged_epoch_is_written_leaves_all_of_it_or_nothing() {
    crash_table(Work::DestroyMany, 1900, 7).await;
}

#[tokio::test]
async fn a_crash_while_a_tenant_is_destroyed_leaves_it_or_not() {
    crash_table(Work::DestroyTenant, 3, 5).await;
}

#[tokio::test]
async fn a_crash_while_a_version_is_replaced_leaves_both_changes_or_neither() {
    crash_table(Work::Replace, 3, 5).await;
}

#[tokio::test]
async fn a_crash_of_the_recovery_is_recovered_from() {
    double_crash_table(Work::DestroyOne, 3).await;
    double_crash_table(Work::DestroyTenant, 2).await;
}

#[tokio::test]
async fn a_crash_of_the_recovery_of_a_staged_epoch_is_recovered_from() {
    double_crash_table(Work::DestroyMany, 200).await;
}

/// One call fails and the process lives on: it says what happened, and either goes on cleanly or stops for good.
#[tokio::test]
async fn a_call_that_fails_leaves_a_clean_state_or_stops_the_writer() {
    let calls = [
        Call::StoreRead,
        Call::Commit,
        Call::Prepare,
        Call::MediumRead,
        Call::List,
        Call::Efface,
        Call::Step("redo write"),
        Call::Step("redo delete"),
    ];
    for work in [Work::Create, Work::DestroyOne, Work::DestroyMany, Work::DestroyTenant] {
        let (start, tenant, live) = set_up(if matches!(work, Work::DestroyMany) { 200 } else { 3 }).await;
        for call in calls {
            for (nth, when) in (1..4).flat_map(|nth| WHENS.map(|when| (nth, when))) {
                let world = start.fork();
                let faults = Faults::none();
                let (writer, _) = world.start_with(&faults).unwrap();
                faults.fail(call, nth, when);
                let result = work.run(&writer, tenant, &live).await;
                // A fault that has not come by now shall not come later.
                faults.fail(Call::Step("never"), u64::MAX, When::Before);
                let unknown = matches!(&result, Err(CommitFailed::Unknown));
                let stopped = world.fatal.lock().is_some();
                // What is destroyed is so although the commit that logs the effacement has an unknown outcome.
                let logging = result.is_ok() && matches!(call, Call::Commit) && !matches!(work, Work::Create);
                assert!(stopped == unknown || stopped && logging, "{call:?} {when:?}: {result:?}");
                if stopped {
                    let again = super::world::tenant(&writer).await;
                    assert!(
                        matches!(again, Err(CommitFailed::Stopped)),
                        "nothing is written after an unknown outcome"
                    );
                    assert!(writer.snapshot().open_version(*live.first().unwrap()).is_err(), "nor read");
                } else {
                    // The medium may be pending; the next epoch puts that right.
                    let other = *live.last().unwrap();
                    let left = work.left(tenant, &live);
                    if result.is_ok() && !left.contains(&other) {
                        writer.stop();
                        continue;
                    }
                    let made = super::world::tenant(&writer).await.unwrap().value;
                    let made = versions(&writer, made, 1).await.unwrap().value;
                    assert!(destroy(&writer, made).await.unwrap().effaced);
                    assert_eq!(world.medium.list().unwrap(), [world.head().secret()]);
                }
                writer.stop();
                let acknowledged = match &result {
                    Ok(()) => Some(true),
                    Err(CommitFailed::Write(_)) => Some(false),
                    Err(_) => None,
                };
                check(&world, work, tenant, &live, acknowledged);
            }
        }
    }
}
