//! Whatever is created, rotated, destroyed, crashed and restarted in whatever order: what opens is what a model says lives.
//!
//! The key disclosure graph has as edges every record that was ever written, in the store or in a redo: who has the key it is wrapped
//! under has the keys in it. After each step, what is reachable in it from the seal and the secrets that are on the medium now must be
//! the model's live versions, no more and no less; and from the secrets that an attacker kept, all that was ever live, which is the
//! control.
//!
//! `PROPTEST_CASES` makes it longer or shorter.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use kms_core::id::{LeafSlot, TenantSlot, Uid, VersionId};
use kms_proto::storage::DueRecord;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};

use super::{attacker, world::*};
use crate::{
    effaceable::{Effaceable, SecretId, memory::MemoryMedium},
    erasure::{
        Writer, change::ChangeError, mistake::Mistake, snapshot::OpenVersionError, writer::CommitFailed,
    },
    records::{Due, DueKey, Table, Work, parse_key, tree::TenantTrees},
    store::{
        Store,
        fault::{Faults, When},
    },
};
use model::Model;

/// Which durable step is the last, and how it is left.
type Death = (u64, When);

/// What is done next. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    CreateTenant,
    /// A key with one version.
    CreateKey(usize),
    /// One more version of a key.
    Rotate(usize),
    DestroyVersion(usize),
    /// Every version of a key.
    DestroyKey(usize),
    /// Several keys, in one epoch.
    DestroyKeys(usize, usize),
    DestroyTenant(usize),
    /// A version is to be destroyed later.
    Schedule(usize),
    /// It is not.
    Cancel(usize),
    /// What was scheduled is carried out: the row goes in the commit that destroys.
    CarryOut(usize),
    /// The next durable step but so many is the last of this process; and, if so, of the recovery too.
    Crash(Death, Option<Death>),
    Restart,
}

fn death() -> impl Strategy<Value = Death> {
    (1..8_u64, prop_oneof![Just(When::Lost), Just(When::After)])
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..1000_usize;
    prop_oneof![
        2 => Just(Step::CreateTenant),
        6 => any.clone().prop_map(Step::CreateKey),
        5 => any.clone().prop_map(Step::Rotate),
        3 => any.clone().prop_map(Step::DestroyVersion),
        2 => any.clone().prop_map(Step::DestroyKey),
        1 => (any.clone(), 2..6_usize).prop_map(|(first, count)| Step::DestroyKeys(first, count)),
        1 => any.clone().prop_map(Step::DestroyTenant),
        3 => any.clone().prop_map(Step::Schedule),
        1 => any.clone().prop_map(Step::Cancel),
        2 => any.prop_map(Step::CarryOut),
        4 => (death(), proptest::option::of(death())).prop_map(|(first, again)| Step::Crash(first, again)),
        1 => Just(Step::Restart),
    ]
}

/// A step that changes something, with what there is to choose from filled in.
#[derive(Debug, Clone)]
enum Change {
    Tenant,
    Version(TenantSlot, Option<usize>),
    Destroy(BTreeSet<VersionId>),
    DestroyTenant(TenantSlot),
    Schedule(VersionId),
    Cancel(VersionId),
    CarryOut(VersionId),
}

fn one(versions: &BTreeSet<VersionId>, choice: usize) -> Option<VersionId> {
    versions.iter().nth(choice % versions.len().max(1)).copied()
}

/// Where the row of a version stands.
fn row(version: VersionId) -> DueKey {
    let mut uid = Uid([0; 16]);
    uid.0[..4].copy_from_slice(&version.tenant_slot().0.to_be_bytes());
    uid.0[4..8].copy_from_slice(&version.leaf_slot().0.to_be_bytes());
    DueKey { at_ms: 1, work: Work::DestroyVersion, uid }
}

impl Change {
    fn of(step: &Step, model: &Model) -> Option<Self> {
        let versions = |(tenant, key): (TenantSlot, usize)| model.tenants[&tenant][key].clone();
        Some(match *step {
            Step::CreateTenant => Self::Tenant,
            Step::CreateKey(choice) => Self::Version(model.tenant(choice)?, None),
            Step::Rotate(choice) => {
                model.key(choice).map(|(tenant, key)| Self::Version(tenant, Some(key)))?
            }
            Step::DestroyVersion(choice) => Self::Destroy(BTreeSet::from([one(&model.live(), choice)?])),
            Step::Schedule(choice) => Self::Schedule(one(&model.live(), choice)?),
            Step::Cancel(choice) => Self::Cancel(one(&model.scheduled, choice)?),
            Step::CarryOut(choice) => Self::CarryOut(one(&model.scheduled, choice)?),
            Step::DestroyKey(choice) => Self::Destroy(versions(model.key(choice)?)),
            Step::DestroyKeys(first, count) => {
                let keys = (first..first + count).filter_map(|choice| model.key(choice));
                Some(keys.flat_map(versions).collect::<BTreeSet<_>>())
                    .filter(|gone| !gone.is_empty())
                    .map(Self::Destroy)?
            }
            Step::DestroyTenant(choice) => Self::DestroyTenant(model.tenant(choice)?),
            Step::Crash(..) | Step::Restart => return None,
        })
    }

    /// Does it; the model as it is then, or why it is not known to be.
    async fn run(&self, writer: &Writer, model: &Model) -> Result<Model, CommitFailed<ChangeError>> {
        let mut after = model.clone();
        match self {
            Self::Tenant => {
                after.tenants.insert(tenant(writer).await?.value, Vec::new());
            }
            Self::Version(slot, key) => {
                after.made(*slot, *key, versions(writer, *slot, 1).await?.value[0]);
            }
            Self::Destroy(gone) => {
                destroy(writer, gone.iter().copied().collect()).await?;
                after.destroyed(gone);
            }
            Self::DestroyTenant(slot) => {
                let slot = *slot;
                let destroyed = writer.destroy(move |change| {
                    change.destroy_tenant(slot, 0);
                    Ok::<_, ChangeError>(())
                });
                destroyed.await?;
                after.tenants.remove(&slot);
            }
            Self::Schedule(version) => {
                let version = *version;
                let put = writer.commit(move |change| {
                    change.put::<Due>(&row(version), &DueRecord::default());
                    Ok::<_, ChangeError>(())
                });
                put.await?;
                after.scheduled.insert(version);
            }
            Self::Cancel(version) => {
                let version = *version;
                let deleted = writer.commit(move |change| {
                    change.delete::<Due>(&row(version));
                    Ok::<_, ChangeError>(())
                });
                deleted.await?;
                after.scheduled.remove(&version);
            }
            Self::CarryOut(version) => {
                let version = *version;
                let done = writer.destroy(move |change| {
                    change.delete::<Due>(&row(version));
                    change.destroy_version(version, 0);
                    Ok::<_, ChangeError>(())
                });
                done.await?;
                after.carried_out(version);
            }
        }
        Ok(after)
    }

    /// The model, if it was done after all, as the store shows it.
    fn guess(&self, model: &Model, found: &BTreeSet<VersionId>) -> Model {
        let mut after = model.clone();
        match self {
            // Nothing in it opens yet; the next tenant gets the next slot.
            Self::Tenant => {}
            Self::Version(slot, key) => {
                found.difference(&model.live()).for_each(|made| after.made(*slot, *key, *made));
            }
            Self::Destroy(gone) => after.destroyed(gone),
            Self::DestroyTenant(slot) => drop(after.tenants.remove(slot)),
            Self::Schedule(version) => drop(after.scheduled.insert(*version)),
            Self::Cancel(version) => drop(after.scheduled.remove(version)),
            Self::CarryOut(version) => after.carried_out(*version),
        }
        after
    }
}

/// One process after another on the same files.
struct Run {
    world: World,
    /// Every secret there ever was, as an attacker keeps them who was there in time.
    kept: BTreeMap<SecretId, MemoryMedium>,
    model: Model,
    writer: Writer,
    faults: Faults,
    /// How the next recovery dies.
    again: Option<Death>,
}

impl Run {
    fn new(mistake: Option<Mistake>) -> Self {
        let world = World { mistake, ..World::new() };
        let faults = Faults::none();
        let writer = world.start_with(&faults).unwrap().0;
        Self { world, kept: BTreeMap::new(), model: Model::default(), writer, faults, again: None }
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        self.keep();
        match step {
            Step::Crash((nth, when), again) => {
                self.faults.die_at(*nth, *when);
                self.again = *again;
            }
            Step::Restart => self.restart(None)?,
            step => {
                let Some(change) = Change::of(step, &self.model) else { return Ok(()) };
                match change.run(&self.writer, &self.model).await {
                    Ok(after) => self.model = after,
                    // The process is dead, or lives on and has written nothing.
                    Err(CommitFailed::Write(_)) if !self.faults.fired() => {
                        prop_assert!(false, "{change:?} is refused");
                    }
                    Err(_) => self.restart(Some(&change))?,
                }
                if self.faults.fired() {
                    self.restart(None)?;
                }
            }
        }
        self.check()
    }

    fn keep(&mut self) {
        for id in self.world.medium.list().unwrap() {
            let mut one = MemoryMedium::default();
            one.prepare(id, &self.world.medium.read(id).unwrap().unwrap()).unwrap();
            self.kept.insert(id, one);
        }
    }

    /// The process ends, however it does, and another starts. `unknown` may have been done.
    fn restart(&mut self, unknown: Option<&Change>) -> Result<(), TestCaseError> {
        self.keep();
        self.faults.die();
        self.writer.stop();
        if let Some((nth, when)) = self.again.take() {
            let faults = Faults::none();
            faults.die_at(nth, when);
            if let Ok((writer, _)) = self.world.start_with(&faults) {
                faults.die();
                writer.stop();
            }
            self.keep();
        }
        self.faults = Faults::none();
        let (writer, started) = self.world.start_with(&self.faults).unwrap();
        self.writer = writer;
        prop_assert!(started.effaced);
        if let Some(change) = unknown {
            let found = self.found();
            let after = change.guess(&self.model, &found);
            if found == after.live() && self.rows() == after.scheduled {
                self.model = after;
            }
        }
        // A tenant that was being made may be there, and is nobody's.
        let (made, next) = (self.model.tenants.len(), self.world.head().next_tenant);
        if let (Some(Change::Tenant), Some(slot)) = (unknown, next.checked_sub(1)) {
            self.model.tenants.entry(TenantSlot(slot)).or_default();
            let exists = self.writer.snapshot().get::<TenantTrees>(&TenantSlot(slot));
            let lives = exists.unwrap().is_some_and(|shape| shape.destroyed_epoch == 0);
            if !lives {
                self.model.tenants.remove(&TenantSlot(slot));
            }
            prop_assert!(self.model.tenants.len() <= made + 1);
        }
        Ok(())
    }

    /// Versions that a row asks to be destroyed.
    fn rows(&self) -> BTreeSet<VersionId> {
        let pairs = self.world.store.range(&[Due::PREFIX], None, usize::MAX).unwrap().into_iter();
        let uids = pairs.map(|(key, _)| parse_key::<Due>(&key).unwrap().uid);
        let number = |uid: &Uid, at: usize| u32::from_be_bytes(uid.0[at..at + 4].try_into().unwrap());
        uids.map(|uid| VersionId::new(TenantSlot(number(&uid, 0)), LeafSlot(number(&uid, 4)))).collect()
    }

    fn found(&self) -> BTreeSet<VersionId> {
        let mut found = self.world.recount().0;
        found.retain(|version| version.leaf_slot().0 != 0);
        found
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let live = self.model.live();
        let (mut found, state_root) = self.world.recount();
        prop_assert_eq!(state_root, self.world.head().state_root);
        prop_assert_eq!(self.world.medium.list().unwrap(), vec![self.world.head().secret()]);
        found.retain(|version| version.leaf_slot().0 != 0);
        prop_assert_eq!(&found, &live);
        prop_assert_eq!(self.rows(), self.model.scheduled.clone(), "a row goes with what it asks for");
        let mut reached = self.world.reach(&self.world.medium);
        reached.retain(|version| version.leaf_slot().0 != 0);
        prop_assert_eq!(&reached, &live, "what is reachable is what lives");
        self.keep();
        for version in &self.model.ever {
            let opened = self.writer.snapshot().open_version(*version);
            match live.contains(version) {
                true => prop_assert!(opened.is_ok()),
                false => prop_assert!(matches!(opened, Err(OpenVersionError::NotThere))),
            }
        }
        Ok(())
    }

    /// The control: with every secret there ever was, everything that was acknowledged opens.
    fn check_kept(&self) -> Result<(), TestCaseError> {
        let (ever, redos) = (self.world.store.ever.lock(), self.world.redo.ever.lock());
        let reach = |secrets: &MemoryMedium| attacker::reach(&ever, &redos, secrets);
        let mut reached: BTreeSet<_> = self.kept.values().flat_map(reach).collect();
        reached.retain(|version| version.leaf_slot().0 != 0);
        prop_assert!(reached.is_superset(&self.model.ever));
        Ok(())
    }
}

fn holds(steps: &[Step], mistake: Option<Mistake>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new(mistake);
        for step in steps {
            run.step(step).await?;
        }
        run.check_kept()?;
        run.writer.stop();
        Ok(())
    })
}

/// As many cases as `PROPTEST_CASES` says, or few.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if asked { config } else { ProptestConfig { cases: 64, ..config } }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_reachable_is_what_lives(steps in vec(step(), 1..50)) {
        holds(&steps, None)?;
    }
}

/// The control: what is done wrongly is found.
#[test]
fn what_is_reachable_is_not_what_lives_where_a_mistake_is_made() {
    for mistake in [Mistake::KeepRoot, Mistake::KeepChildren, Mistake::EffaceBeforeBarrier] {
        let config = ProptestConfig { max_shrink_iters: 0, ..config() };
        let found = TestRunner::new(config).run(&vec(step(), 1..50), |steps| holds(&steps, Some(mistake)));
        assert!(found.is_err(), "{mistake:?} is not found");
    }
}
