//! Tests of the whole writer, on a store and a medium that survive it.

mod attacker;
mod crash;
mod disk;
mod evidence;
mod files;
mod large;
mod log;
mod media;
mod property;
mod recount;
mod refusals;
mod sharing;
mod world;

use world::*;

use super::snapshot::OpenVersionError;

#[tokio::test]
async fn a_destroyed_version_is_gone_and_its_neighbours_are_not() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 3).await.unwrap().value;
    let snapshot = writer.snapshot();
    let before = snapshot.open_version(made[0]).unwrap();
    let secrets = copy(&world.medium);

    let destroyed = destroy(&writer, vec![made[1]]).await.unwrap();
    assert!(destroyed.effaced);
    assert_eq!(destroyed.epoch, writer.epoch());
    assert!(matches!(snapshot.open_version(made[1]), Err(OpenVersionError::NotThere)));
    assert_eq!(snapshot.open_version(made[0]).unwrap().expose_secret(), before.expose_secret());
    let (live, state_root) = world.recount();
    assert!(live.contains(&made[0]) && !live.contains(&made[1]));
    assert_eq!(state_root, world.head().state_root);

    // ATTACK: everything ever written, with today's secrets, and, as the control, with yesterday's.
    assert!(!world.reach(&world.medium).contains(&made[1]));
    assert!(world.reach(&world.medium).contains(&made[0]));
    assert!(world.reach(&secrets).contains(&made[1]));
    writer.stop();
}
