//! Changes that are too much for one commit: together, or alone.

use futures_util::future::join_all;
use kms_core::id::TenantSlot;
use kms_proto::storage::KeyRecord;

use super::{sharing::held, world::*};
use crate::{
    erasure::{ChangeError, Writer, writer::CommitFailed},
    records::{KeyRef, Keys, Versions},
    store::fault::{Call, Faults, When},
};

/// Writes one record of this many bytes.
async fn record(writer: &Writer, name: String, bytes: usize) -> Made<()> {
    let place = (TenantSlot(0), KeyRef::try_from(&*name).unwrap());
    let put = writer.commit(move |change| {
        let purposes = vec!["p".repeat(4096); bytes / 4096];
        for (at, purpose) in purposes.into_iter().enumerate() {
            let place = (place.0, KeyRef::try_from(format!("{}.{at}", place.1).as_str()).unwrap());
            change.put::<Keys>(&place, &KeyRecord { purposes: vec![purpose], ..KeyRecord::default() });
        }
        Ok::<_, ChangeError>(())
    });
    put.await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_do_not_fit_one_commit_take_several_and_one_that_never_fits_is_refused_alone() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let before = writer.revision();
    let waiting = (0..200).map(|n| record(&writer, format!("k{n}"), 16 * 1024));
    let waiting = join_all(waiting.map(|put| async { put.await.map(|_| ()) }));
    let too_large = record(&writer, "large".into(), 2 << 20);
    let made = versions(&writer, tenant, 1);
    let (put, refused, made) = held(&writer, async { tokio::join!(biased; waiting, too_large, made) }).await;
    put.into_iter().for_each(|put| put.unwrap());
    assert!(matches!(refused, Err(CommitFailed::TooLarge)), "{refused:?}");
    writer.snapshot().open_version(made.unwrap().value[0]).unwrap();
    assert!(writer.revision().0 > before.0 + 3, "3.2 MB in commits of at most 1 MiB");
    let snapshot = writer.snapshot();
    for n in 0..200 {
        let place = (TenantSlot(0), KeyRef::try_from(format!("k{n}.3").as_str()).unwrap());
        assert!(snapshot.get::<Keys>(&place).unwrap().is_some());
    }
    let place = (TenantSlot(0), KeyRef::try_from("large.0").unwrap());
    assert!(snapshot.get::<Keys>(&place).unwrap().is_none());
    writer.stop();
}

#[tokio::test]
async fn five_thousand_versions_are_destroyed_by_one_change() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let kept = versions(&writer, tenant, 1).await.unwrap().value[0];
    let mut made = Vec::new();
    for _ in 0..10 {
        made.extend(versions(&writer, tenant, 500).await.unwrap().value);
    }
    let destroyed = destroy(&writer, made.clone()).await.unwrap();
    assert!(destroyed.effaced);
    let snapshot = writer.snapshot();
    for gone in &made {
        assert!(snapshot.open_version(*gone).is_err());
        assert_eq!(snapshot.get::<Versions>(gone).unwrap().unwrap().destroyed_epoch, destroyed.epoch.0);
    }
    snapshot.open_version(kept).unwrap();
    versions(&writer, tenant, 1).await.unwrap();
    writer.stop();
    assert_eq!(world.recount().1, world.head().state_root);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_fifty_six_destructions_of_ten_versions_each_share_an_epoch() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let mut keys = Vec::new();
    for _ in 0..256 {
        keys.push(versions(&writer, tenant, 10).await.unwrap().value);
    }
    let before = writer.epoch();
    let waiting = join_all(keys.clone().into_iter().map(|key| destroy(&writer, key)));
    for done in held(&writer, waiting).await {
        assert_eq!(done.unwrap().epoch, before.next());
    }
    let snapshot = writer.snapshot();
    for gone in keys.iter().flatten() {
        assert!(snapshot.open_version(*gone).is_err());
        assert_eq!(snapshot.get::<Versions>(gone).unwrap().unwrap().destroyed_epoch, before.next().0);
    }
    writer.stop();
    assert_eq!(world.recount().1, world.head().state_root);
}

#[tokio::test]
async fn a_part_after_the_head_that_fails_stops_the_process_and_the_restart_ends_the_epoch() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.extend(versions(&writer, tenant, 400).await.unwrap().value);
    }
    writer.stop();
    let mut after_the_head = 0;
    for nth in 1.. {
        let world = world.fork();
        let faults = Faults::none();
        let (writer, _) = world.start_with(&faults).unwrap();
        faults.fail(Call::Commit, nth, When::Before);
        let destroyed = destroy(&writer, made.clone()).await;
        writer.stop();
        let fatal = world.fatal.lock().is_some();
        let (writer, started) = world.start_with(&Faults::none()).unwrap();
        let gone = writer.snapshot().open_version(made[0]).is_err();
        let record = writer.snapshot().get::<Versions>(made.last().unwrap()).unwrap().unwrap();
        writer.stop();
        match destroyed {
            Err(CommitFailed::Write(_)) => assert!(!gone && !fatal && record.destroyed_epoch == 0),
            Err(CommitFailed::Unknown) => {
                after_the_head += 1;
                assert!(fatal && gone && record.destroyed_epoch == started.epoch.0);
                assert_eq!(
                    started.rolled_forward.unwrap().next(),
                    started.revision,
                    "then the effacement is logged"
                );
            }
            other => {
                assert!(other.is_ok(), "{other:?}");
                // The commit that logs the effacement may fail: the epoch is there all the same.
                if !faults.fired() {
                    break;
                }
            }
        }
    }
    assert_eq!(after_the_head, 1, "1,200 records in parts of 1,024");
}
