//! What the record of an epoch says of the secrets before it.

use kms_core::{event::Event, id::Epoch};
use kms_proto::storage::SecretPointer;

use super::world::*;
use crate::{
    effaceable::SecretId,
    erasure::{Writer, view},
    records::tree::Epochs,
    store::fault::{Call, Faults, When},
};

/// The secrets that are on record as effaced.
fn recorded(world: &World, epoch: Epoch) -> Vec<SecretPointer> {
    let record = view::stored::<Epochs>(&*world.store, &epoch).unwrap().unwrap();
    record.effaced.unwrap_or_default().secrets
}

fn names(secrets: &[SecretPointer], id: SecretId) -> bool {
    secrets.iter().any(|secret| secret.epoch == id.epoch.0 && secret.attempt == id.attempt.0)
}

async fn destroyed_one(writer: &Writer) -> Epoch {
    let tenant = tenant(writer).await.unwrap().value;
    let made = versions(writer, tenant, 1).await.unwrap().value;
    destroy(writer, made).await.unwrap().epoch
}

#[tokio::test]
async fn a_secret_that_was_effaced_before_a_restart_is_on_record_after_it() {
    let world = World::new();
    let before = world.head().secret();
    let faults = Faults::none();
    let (writer, _) = world.start_with(&faults).unwrap();
    let made = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, made, 1).await.unwrap().value;
    faults.fail(Call::Commit, 2, When::Before);
    let epoch = destroy(&writer, made).await.unwrap().epoch;
    assert!(faults.fired(), "the commit after the epoch's own records it");
    writer.stop();
    assert!(!names(&recorded(&world, epoch), before));
    world.start().stop();
    assert!(names(&recorded(&world, epoch), before));
    let log = world.log();
    let Event::EpochEffaced(effaced) = &log.last().unwrap().event else { panic!("{log:?}") };
    assert_eq!(effaced.effaced.0, [(before.epoch, before.attempt)]);
}

#[tokio::test]
async fn an_attempt_that_fails_adds_to_what_is_on_record_and_takes_nothing_away() {
    let world = World::new();
    let before = world.head().secret();
    let faults = Faults::none();
    let (writer, _) = world.start_with(&faults).unwrap();
    let epoch = destroyed_one(&writer).await;
    let tenant_slot = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant_slot, 1).await.unwrap().value;
    assert!(names(&recorded(&world, epoch), before));
    faults.fail(Call::Commit, 1, When::Before);
    destroy(&writer, made).await.unwrap_err();
    tenant(&writer).await.unwrap();
    writer.stop();
    let recorded = recorded(&world, epoch);
    assert!(names(&recorded, before), "{recorded:?}");
    assert_eq!(recorded.len(), 2, "and the secret of the attempt that failed");
}
