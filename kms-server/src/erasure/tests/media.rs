//! Passing from one medium to another, and what is forgotten on the way.

use kms_core::{event::Event, id::VersionId};

use super::world::*;
use crate::{
    effaceable::{Effaceable, EffaceableError, SecretId, memory::MemoryMedium},
    erasure::{Adoption, ChangeError, StartError, Started, Writer},
    store::fault::{Faults, FaultyMedium, When},
};

/// The same store, with `medium` in use.
fn on(world: &World, medium: &MemoryMedium) -> World {
    World { medium: medium.clone(), ..world.clone() }
}

/// Starts with `world.medium` in use and others beside it.
fn start(
    world: &World,
    others: &[&MemoryMedium],
    adoption: Adoption,
    faults: &Faults,
) -> Result<(Writer, Started), StartError> {
    world.start_as(faults, |options| {
        options.adoption = adoption;
        let faulty = |other: &&MemoryMedium| FaultyMedium::new((*other).clone(), faults.clone());
        options.others = others.iter().map(|other| Box::new(faulty(other)) as Box<dyn Effaceable>).collect();
    })
}

async fn renew(writer: &Writer) -> Made<()> {
    writer
        .destroy(|epoch| {
            epoch.renew();
            Ok::<_, ChangeError>(())
        })
        .await
}

/// An instance with three versions on a medium `old`.
async fn set_up() -> (World, Vec<VersionId>) {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 3).await.unwrap().value;
    writer.stop();
    (world, made)
}

fn changes(world: &World) -> usize {
    world.log().iter().filter(|entry| matches!(entry.event, Event::MediumChange(_))).count()
}

#[tokio::test]
async fn an_instance_passes_to_another_medium_through_an_epoch_and_the_old_one_is_empty() {
    let (before, made) = set_up().await;
    let (old, new) = (before.medium.clone(), MemoryMedium::named("new"));
    let kept = copy(&old);
    let world = on(&before, &new);
    let (writer, started) = start(&world, &[&old], Adoption::Allowed, &Faults::none()).unwrap();
    assert_eq!(started.media, [old.name(), new.name()], "listed before it gets a secret");
    let epoch = writer.epoch();
    let renewed = renew(&writer).await.unwrap();
    assert!(renewed.effaced && renewed.epoch == epoch.next());
    assert_eq!(writer.snapshot().media().unwrap(), [new.name()]);
    assert!(old.list().unwrap().is_empty());
    assert_eq!(new.list().unwrap(), [world.head().secret()]);
    for version in &made {
        writer.snapshot().open_version(*version).unwrap();
    }
    destroy(&writer, vec![made[0]]).await.unwrap();
    assert_eq!(changes(&world), 1, "only the epoch that passed says so");
    writer.stop();
    assert_eq!(world.recount().1, world.head().state_root);

    // ATTACK: everything ever written, with what lies on both media, and, as the control, with what lay on the old one.
    assert!(world.reach(&old).is_empty() && !world.reach(&new).contains(&made[0]));
    assert!(world.reach(&kept).contains(&made[0]));
    // The old one is needed no more, and is taken for none in use.
    world.start().stop();
    let refused = start(&before, &[&new], Adoption::Refused, &Faults::none()).map(|_| ());
    assert!(matches!(refused, Err(StartError::OtherMedium { .. })), "{refused:?}");
}

#[tokio::test]
async fn mistake_a_medium_forgotten_in_a_change_keeps_every_erasure_pending_until_it_is_effaced() {
    let (before, made) = set_up().await;
    let (old, new) = (before.medium.clone(), MemoryMedium::named("new"));
    let world = on(&before, &new);
    let faults = Faults::none();
    let (writer, _) = start(&world, &[&old], Adoption::Allowed, &faults).unwrap();
    // The process dies once the epoch is committed, before the old medium is effaced.
    faults.die_at(4, When::Before);
    drop(renew(&writer).await);
    writer.stop();
    assert_eq!((world.head().epoch, old.list().unwrap().len()), (before.head().epoch, 1));
    let passed = world.head().epoch;
    assert_eq!(new.list().unwrap(), [world.head().secret()]);

    // From here on the old medium is forgotten.
    let (writer, started) = start(&world, &[], Adoption::Refused, &Faults::none()).unwrap();
    assert!(!started.effaced);
    assert_eq!(started.media, [new.name(), old.name()]);
    let destroyed = destroy(&writer, vec![made[0]]).await.unwrap();
    assert!(!destroyed.effaced, "destroyed, and not erased");
    let later = destroy(&writer, vec![made[1]]).await.unwrap();
    assert!(!later.effaced, "and so is the next");
    let snapshot = writer.snapshot();
    for epoch in [passed, destroyed.epoch, later.epoch] {
        assert!(!snapshot.erased(epoch).unwrap(), "{epoch}");
    }
    assert!(snapshot.open_version(made[0]).is_err());
    snapshot.open_version(made[2]).unwrap();
    writer.stop();
    let effaced = |world: &World, epoch| {
        world
            .log()
            .iter()
            .any(|entry| matches!(&entry.event, Event::EpochEffaced(done) if done.epoch == epoch))
    };
    assert!(![passed, destroyed.epoch, later.epoch].iter().any(|epoch| effaced(&world, *epoch)));
    // That is no formality.
    assert!(world.reach(&old).contains(&made[0]), "what was forgotten still opens it");
    assert!(!world.reach(&new).contains(&made[0]));

    let (writer, started) = start(&world, &[&old], Adoption::Refused, &Faults::none()).unwrap();
    assert!(started.effaced);
    assert_eq!(started.media, [new.name()]);
    for epoch in [passed, destroyed.epoch, later.epoch] {
        assert!(writer.snapshot().erased(epoch).unwrap(), "{epoch}");
        assert!(effaced(&world, epoch), "each has an entry of its own");
    }
    writer.stop();
    assert!(old.list().unwrap().is_empty() && world.head().pending_efface.is_empty());
    assert_eq!(world.recount().1, world.head().state_root);
}

#[tokio::test]
async fn only_so_many_destructions_wait_for_a_medium() {
    let (before, _) = set_up().await;
    let new = MemoryMedium::named("new");
    let world = on(&before, &new);
    let faults = Faults::none();
    let (writer, _) = start(&world, &[&before.medium], Adoption::Allowed, &faults).unwrap();
    faults.die_at(4, When::Before);
    drop(renew(&writer).await);
    writer.stop();
    let (writer, _) = start(&world, &[], Adoption::Refused, &Faults::none()).unwrap();
    let mut done = 0;
    while renew(&writer).await.is_ok() {
        done += 1;
        assert!(done < 100);
    }
    assert!(done > 50);
    writer.stop();
    let (writer, started) = start(&world, &[&before.medium], Adoption::Refused, &Faults::none()).unwrap();
    assert!(started.effaced && writer.snapshot().erased(started.epoch).unwrap());
    assert!(renew(&writer).await.unwrap().effaced);
    writer.stop();
    // Every one of them has its entry, or the log would be found wanting.
    assert_eq!(world.recount().1, world.head().state_root);
}

#[tokio::test]
async fn a_medium_that_the_store_does_not_list_is_refused_and_gets_nothing() {
    let (before, _) = set_up().await;
    let new = MemoryMedium::named("new");
    let head = before.head().commit;
    let refused =
        start(&on(&before, &new), &[&before.medium], Adoption::Refused, &Faults::none()).map(|_| ());
    let Err(StartError::OtherMedium { configured, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(configured, new.name());
    assert_eq!((before.head().commit, new.list().unwrap()), (head, vec![]));
    before.start().stop();
}

#[tokio::test]
async fn a_change_that_was_begun_is_given_up_by_naming_the_new_medium_as_the_one_before() {
    let (before, made) = set_up().await;
    let (old, new) = (before.medium.clone(), MemoryMedium::named("new"));
    let faults = Faults::none();
    let (writer, _) = start(&on(&before, &new), &[&old], Adoption::Allowed, &faults).unwrap();
    // It dies with a secret on the new medium that nothing uses yet.
    faults.die_at(1, When::After);
    drop(renew(&writer).await);
    faults.die();
    writer.stop();
    assert_eq!((old.list().unwrap().len(), new.list().unwrap().len()), (1, 1));

    let nothing = start(&on(&before, &new), &[], Adoption::Refused, &Faults::none()).map(|_| ());
    assert!(
        matches!(nothing, Err(StartError::OlderThanMedium { .. } | StartError::NoSecret(_))),
        "{nothing:?}"
    );
    let (writer, started) = start(&before, &[&new], Adoption::Refused, &Faults::none()).unwrap();
    assert_eq!(started.media, [old.name()]);
    assert!(started.effaced && new.list().unwrap().is_empty());
    assert!(destroy(&writer, vec![made[0]]).await.unwrap().effaced);
    writer.stop();
    assert_eq!(changes(&before), 0);
}

#[tokio::test]
async fn a_crash_while_the_medium_is_changed_loses_nothing_and_the_change_is_taken_up_again() {
    let (start_of, made) = set_up().await;
    let mut steps = 0;
    for nth in 1.. {
        let mut any = false;
        for when in [When::Before, When::Lost, When::After] {
            let before = start_of.fork();
            let (old, new) = (before.medium.clone(), MemoryMedium::named("new"));
            let world = on(&before, &new);
            let faults = Faults::none();
            faults.die_at(nth, when);
            if let Ok((writer, _)) = start(&world, &[&old], Adoption::Allowed, &faults) {
                drop(renew(&writer).await);
                faults.die();
                writer.stop();
            }
            if !faults.fired() {
                continue;
            }
            (any, steps) = (true, nth);
            // Whatever it came to, the next try brings it to its end.
            let (writer, started) = start(&world, &[&old], Adoption::Allowed, &Faults::none()).unwrap();
            if started.media != [new.name()] {
                assert!(renew(&writer).await.unwrap().effaced, "{nth} {when:?}");
            }
            assert_eq!(writer.snapshot().media().unwrap(), [new.name()]);
            for version in &made {
                writer.snapshot().open_version(*version).unwrap();
            }
            writer.stop();
            assert!(old.list().unwrap().is_empty(), "{nth} {when:?}");
            assert_eq!(changes(&world), 1, "{nth} {when:?}");
            assert_eq!(world.recount().1, world.head().state_root);
        }
        if !any {
            break;
        }
    }
    assert!(steps >= 7, "{steps} durable steps");
}

#[tokio::test]
async fn an_old_medium_that_cannot_be_effaced_lets_destructions_go_on_and_keeps_them_pending() {
    let (before, made) = set_up().await;
    let (old, new) = (before.medium.clone(), MemoryMedium::named("new"));
    let world = on(&before, &new);
    let faults = Faults::none();
    let opened = world.start_as(&Faults::none(), |options| {
        options.adoption = Adoption::Allowed;
        options.others.push(Box::new(Worn(old.clone())));
    });
    drop(faults);
    let (writer, _) = opened.unwrap();
    assert!(!renew(&writer).await.unwrap().effaced);
    assert!(!destroy(&writer, vec![made[0]]).await.unwrap().effaced);
    assert_eq!(new.list().unwrap(), [world.head().secret()], "the new one is effaced all the same");
    writer.stop();
    assert_eq!(world.head().media, [new.name(), old.name()]);
}

/// A medium that can be read, and not be effaced any more.
struct Worn(MemoryMedium);

impl Effaceable for Worn {
    fn class(&self) -> crate::effaceable::EffaceableClass {
        self.0.class()
    }
    fn name(&self) -> crate::effaceable::MediumName {
        self.0.name()
    }
    fn prepare(
        &mut self,
        id: SecretId,
        secret: &kms_core::secret::EpochSecret,
    ) -> Result<(), EffaceableError> {
        self.0.prepare(id, secret)
    }
    fn read(&self, id: SecretId) -> Result<Option<kms_core::secret::EpochSecret>, EffaceableError> {
        self.0.read(id)
    }
    fn list(&self) -> Result<Vec<SecretId>, EffaceableError> {
        self.0.list()
    }
    fn efface_except(&mut self, keep: SecretId) -> Result<crate::effaceable::Evidence, EffaceableError> {
        // While it holds the secret in force there is nothing beside it.
        self.0.efface_except(keep)
    }
    fn efface_all(
        &mut self,
        _: &crate::effaceable::KeptElsewhere,
    ) -> Result<crate::effaceable::Evidence, EffaceableError> {
        Err(EffaceableError::StillThere)
    }
}
