//! Starts that are refused, each with the medium untouched; and what an attempt that failed must not leave.

use kms_core::{
    id::{Attempt, Epoch, InstanceId},
    secret::{EpochSecret, SealSecret},
};

use super::world::*;
use crate::{
    effaceable::{Effaceable, SecretId, memory::MemoryMedium},
    erasure::{Options, StartError, Writer, mistake::Mistake, redo::Redo, writer::CommitFailed},
    store::{
        Batch, Store,
        fault::{Call, Faults, When},
        memory::MemoryStore,
    },
};

fn refused(world: &World) -> StartError {
    let before = ids(&world.medium);
    let error = world.start_with(&Faults::none()).err().expect("a start that must be refused");
    assert_eq!(ids(&world.medium), before, "a refused start effaces nothing");
    error
}

#[tokio::test]
async fn yesterdays_store_beside_todays_medium_is_refused_and_effaces_nothing() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 3).await.unwrap().value;
    let yesterday = world.fork().store;
    for version in &made[..2] {
        destroy(&writer, vec![*version]).await.unwrap();
        let old = World { store: yesterday.clone(), ..world.clone() };
        assert!(matches!(refused(&old), StartError::OlderThanMedium { .. }));
    }
    writer.stop();
    world.start().snapshot().open_version(made[2]).unwrap();
}

#[tokio::test]
async fn the_wrong_seal_another_instance_and_a_missing_store_are_refused_by_name() {
    let world = World::new();
    let start = |store: std::sync::Arc<dyn Store>, medium: &MemoryMedium, seal: u8, instance| {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { instance, ..Options::new(directory.path()) };
        let seal = SealSecret::copied_from(&[seal; 32]).unwrap();
        Writer::start(store, Box::new(medium.clone()), seal, options).err().expect("refused")
    };
    let medium = &world.medium;
    assert!(matches!(start(world.store.clone(), medium, 0x5F, None), StartError::WrongSeal));
    let other = Some(InstanceId([8; 16]));
    assert!(matches!(start(world.store.clone(), medium, 0x5E, other), StartError::OtherInstance { .. }));
    let empty = std::sync::Arc::new(MemoryStore::default());
    assert!(matches!(start(empty, medium, 0x5E, None), StartError::NoInstance));
    assert!(matches!(
        start(world.store.clone(), &MemoryMedium::default(), 0x5E, None),
        StartError::NoSecret(_)
    ));
    assert_eq!(ids(medium), [world.head().secret()]);
}

#[test]
fn init_makes_an_instance_only_where_nothing_is() {
    let mut world = World::new();
    let again = Writer::create(&*world.store, &mut MemoryMedium::default(), &seal(), INSTANCE);
    assert!(matches!(again, Err(StartError::Exists)));
    let again = Writer::create(&MemoryStore::default(), &mut world.medium, &seal(), INSTANCE);
    assert!(matches!(again, Err(StartError::Exists)));
}

#[tokio::test]
async fn a_medium_that_is_two_epochs_ahead_is_refused() {
    let mut world = World::new();
    let id = SecretId { epoch: Epoch(3), attempt: Attempt::random().unwrap() };
    world.medium.prepare(id, &EpochSecret::random().unwrap()).unwrap();
    assert!(matches!(refused(&world), StartError::OlderThanMedium { .. }));
}

#[tokio::test]
async fn a_store_that_lost_a_commit_is_refused() {
    let world = World::new();
    world.store.commit(world.store.committed().next(), Batch::default()).unwrap();
    assert!(matches!(refused(&world), StartError::Damaged { .. }));
}

/// A process that dies between the redo and the head: what it leaves is completed by the redo.
async fn died_before_the_head() -> (World, kms_core::id::VersionId) {
    let world = World::new();
    let faults = Faults::none();
    let (writer, _) = world.start_with(&faults).unwrap();
    let tenant = tenant(&writer).await.unwrap().value;
    let version = versions(&writer, tenant, 1).await.unwrap().value[0];
    faults.die_at(3, When::Lost);
    assert!(destroy(&writer, vec![version]).await.is_err());
    writer.stop();
    assert_eq!(world.redo.files.lock().len(), 1);
    (world, version)
}

#[tokio::test]
async fn a_redo_is_rolled_forward_and_one_that_was_cut_or_changed_is_not() {
    let (world, version) = died_before_the_head().await;
    let whole = world.redo.files.lock().first_entry().unwrap().get().clone();
    let started = world.start_with(&Faults::none()).unwrap();
    assert_eq!(started.1.rolled_forward.unwrap().next(), started.1.revision, "then the effacement is logged");
    assert!(started.1.effaced);
    assert!(started.0.snapshot().open_version(version).is_err());
    assert!(
        Redo::decode(&[&whole[..], &[0; 100]].concat()).is_some(),
        "preallocated space after it does not matter"
    );

    for length in [0, 1, 63, 64, 95, whole.len() / 2, whole.len() - 1] {
        let (world, version) = died_before_the_head().await;
        world.redo.files.lock().first_entry().unwrap().get_mut().truncate(length);
        let (writer, started) = world.start_with(&Faults::none()).unwrap();
        assert!(started.rolled_forward.is_none() && started.effaced);
        writer.snapshot().open_version(version).unwrap();
        assert_eq!(ids(&world.medium), [world.head().secret()]);
        assert!(world.redo.files.lock().is_empty());
    }
    for at in (0..whole.len()).step_by(37) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(Redo::decode(&changed).is_none(), "byte {at}");
    }
}

#[tokio::test]
async fn a_redo_that_comes_back_after_later_commits_changes_nothing() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 2).await.unwrap().value;
    destroy(&writer, vec![made[0]]).await.unwrap();
    let redo = world.redo.ever.lock().last().unwrap().clone();
    let later = versions(&writer, tenant, 1).await.unwrap().value[0];
    writer.stop();
    world.redo.files.lock().insert(writer.epoch(), redo);
    let (writer, started) = world.start_with(&Faults::none()).unwrap();
    assert_eq!(started.rolled_forward, None);
    writer.snapshot().open_version(later).unwrap();
    assert!(world.redo.files.lock().is_empty());
}

#[tokio::test]
async fn a_store_older_than_its_redo_is_refused() {
    let world = World::new();
    let yesterday = world.fork().store;
    let faults = Faults::none();
    let (writer, _) = world.start_with(&faults).unwrap();
    let tenant = tenant(&writer).await.unwrap().value;
    let version = versions(&writer, tenant, 1).await.unwrap().value[0];
    faults.die_at(3, When::Lost);
    assert!(destroy(&writer, vec![version]).await.is_err());
    writer.stop();
    let old = World { store: yesterday, ..world };
    assert!(matches!(refused(&old), StartError::OlderThanRedo { .. }));
}

#[tokio::test]
async fn mistake_a_failed_attempts_secret_left_behind_opens_the_old_tree() {
    for mistake in [None, Some(Mistake::KeepFailedSecret)] {
        let world = World { mistake, ..World::new() };
        let faults = Faults::none();
        let (writer, _) = world.start_with(&faults).unwrap();
        let tenant = tenant(&writer).await.unwrap().value;
        let made = versions(&writer, tenant, 2).await.unwrap().value;
        faults.fail(Call::Commit, 1, When::Before);
        assert!(matches!(destroy(&writer, vec![made[0]]).await, Err(CommitFailed::Write(_))));
        let left = copy(&world.medium);
        assert_eq!(ids(&left).len(), if mistake.is_none() { 1 } else { 2 });
        // What the attempt did not destroy is destroyed next: the attempt's tree still has it.
        let mut writer = writer;
        if mistake.is_some() {
            writer.stop();
            writer = World { mistake: None, ..world.clone() }.start();
        }
        destroy(&writer, vec![made[1]]).await.unwrap();
        assert!(!world.reach(&world.medium).contains(&made[1]));
        assert!(
            world.reach(&left).contains(&made[1]),
            "the control: whoever has the secret of then has the key"
        );
        writer.stop();
    }
}

#[tokio::test]
async fn an_effacement_that_fails_is_pending_until_it_succeeds() {
    let world = World::new();
    let faults = Faults::none();
    let (writer, _) = world.start_with(&faults).unwrap();
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 3).await.unwrap().value;
    faults.fail(Call::Efface, 1, When::Before);
    let destroyed = destroy(&writer, vec![made[0]]).await.unwrap();
    assert!(!destroyed.effaced, "destroyed, but not effaced");
    assert!(writer.snapshot().open_version(made[0]).is_err());
    assert_eq!(ids(&world.medium).len(), 2);
    assert!(destroy(&writer, vec![made[1]]).await.unwrap().effaced);
    assert_eq!(ids(&world.medium).len(), 1);
    writer.stop();
}
