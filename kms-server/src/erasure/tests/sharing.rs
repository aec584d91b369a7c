//! Changes that share a commit, and what readers see of it.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use kms_core::{
    id::{TenantSlot, Uid},
    names::TenantName,
};
use kms_proto::storage::{KeyRecord, TenantRecord};
use parking_lot::Mutex;

use super::world::*;
use crate::{
    erasure::{ChangeError, Touched, Writer, writer::CommitFailed},
    records::{KeyRef, Keys, Tenants, tree::TenantTrees},
    store::{
        Store,
        fault::{Call, Faults, When},
    },
};

/// Holds the writer's thread inside a change until the other end lets go.
fn hold(writer: &Writer) -> Arc<Barrier> {
    let gate = Arc::new(Barrier::new(2));
    let (inside, writer) = (gate.clone(), writer.clone());
    tokio::spawn(async move {
        writer
            .commit(move |_| {
                inside.wait();
                inside.wait();
                Ok::<_, ChangeError>(())
            })
            .await
    });
    gate
}

/// Queues work while the writer's thread is held, then lets it run.
pub(super) async fn held<T>(writer: &Writer, work: impl Future<Output = T>) -> T {
    let gate = hold(writer);
    let inside = gate.clone();
    tokio::task::spawn_blocking(move || inside.wait()).await.unwrap();
    let mut work = Box::pin(work);
    // Polled once, so that all of it is in the queue.
    assert!(futures_util::poll!(work.as_mut()).is_pending());
    gate.wait();
    work.await
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_changes_that_wait_together_share_a_commit() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let before = writer.revision();
    let gate = hold(&writer);
    tokio::task::spawn_blocking({
        let gate = gate.clone();
        move || gate.wait()
    })
    .await
    .unwrap();
    let mut waiting: Vec<_> = Vec::new();
    for _ in 0..64 {
        let mut change = Box::pin({
            let writer = writer.clone();
            async move { versions(&writer, tenant, 1).await }
        });
        // Polled once, so that it is in the queue.
        assert!(futures_util::poll!(change.as_mut()).is_pending());
        waiting.push(change);
    }
    gate.wait();
    let mut made = Vec::new();
    for change in waiting {
        made.push(change.await.unwrap().value[0]);
    }
    assert_eq!(writer.revision().0, before.0 + 1);
    made.sort_unstable();
    made.dedup();
    assert_eq!(made.len(), 64, "each has a slot of its own");
    for version in made {
        writer.snapshot().open_version(version).unwrap();
    }
    writer.stop();
    assert_eq!(world.recount().1, world.head().state_root);
}

// A data key that is leased under the number of the commit that destroys it would count as leased after that, and outlive its purge.
#[tokio::test(flavor = "multi_thread")]
async fn a_commits_number_is_shown_only_once_every_listener_has_heard_of_it() {
    let world = World::new();
    let writer = world.start();
    let heard = Arc::new(Mutex::new(Vec::new()));
    writer.on_commit({
        let (writer, heard) = (writer.clone(), heard.clone());
        move |notice| heard.lock().push((notice.revision, writer.revision()))
    });
    tenant(&writer).await.unwrap();
    let heard = std::mem::take(&mut *heard.lock());
    assert!(!heard.is_empty());
    for (commit, shown) in heard {
        assert!(shown < commit, "{shown:?} is shown while {commit:?} is told");
        assert!(writer.revision() >= commit);
    }
    writer.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_or_a_panic_rolls_back_itself_only() {
    let world = World::new();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let name = |name: &str| (tenant, KeyRef::try_from(name).unwrap());
    let gate = hold(&writer);
    tokio::task::spawn_blocking({
        let gate = gate.clone();
        move || gate.wait()
    })
    .await
    .unwrap();
    let (good, bad, ugly) = (name("good"), name("bad"), name("ugly"));
    let mut first = Box::pin(writer.commit({
        let good = good.clone();
        move |change| {
            change.put::<Keys>(&good, &KeyRecord::default());
            version(change, tenant)
        }
    }));
    let mut second = Box::pin(writer.commit({
        let (good, bad) = (good.clone(), bad.clone());
        move |change| {
            assert!(change.get::<Keys>(&good).unwrap().is_some(), "it sees what those before it wrote");
            change.put::<Keys>(&bad, &KeyRecord::default());
            version(change, tenant)?;
            Err::<(), _>(ChangeError::Full)
        }
    }));
    let mut third = Box::pin(writer.commit({
        let ugly = ugly.clone();
        move |change| {
            change.put::<Keys>(&ugly, &KeyRecord::default());
            if change.get::<Keys>(&ugly).unwrap().is_some() {
                panic!("on purpose");
            }
            Ok::<_, ChangeError>(())
        }
    }));
    let mut fourth = Box::pin(versions(&writer, tenant, 1));
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    assert!(futures_util::poll!(third.as_mut()).is_pending());
    assert!(futures_util::poll!(fourth.as_mut()).is_pending());
    gate.wait();
    let first = first.await.unwrap().value;
    assert!(matches!(second.await, Err(CommitFailed::Change(ChangeError::Full))));
    assert!(matches!(third.await, Err(CommitFailed::Panicked)));
    let fourth = fourth.await.unwrap().value[0];
    assert_eq!(fourth.get(), first.get() + 1, "a slot that was not committed was not used");
    let snapshot = writer.snapshot();
    assert!(snapshot.get::<Keys>(&good).unwrap().is_some());
    assert!(snapshot.get::<Keys>(&bad).unwrap().is_none());
    assert!(snapshot.get::<Keys>(&ugly).unwrap().is_none());
    writer.stop();
}

#[tokio::test]
async fn destructions_within_the_interval_share_an_epoch_and_a_lone_one_does_not_wait() {
    let world = World::new();
    let writer = world.start_every(Duration::from_millis(200));
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 6).await.unwrap().value;
    let before = writer.epoch();
    let alone = std::time::Instant::now();
    destroy(&writer, vec![made[0]]).await.unwrap();
    assert!(alone.elapsed() < Duration::from_millis(150));
    let destroyed =
        futures_util::future::join_all(made[1..].iter().map(|version| destroy(&writer, vec![*version])));
    let epochs: Vec<_> = destroyed.await.into_iter().map(|done| done.unwrap().epoch).collect();
    assert!(epochs.iter().all(|epoch| epoch.0 == before.0 + 2), "{epochs:?}");
    writer.stop();
}

#[tokio::test]
async fn nothing_is_seen_before_it_is_durable_and_listeners_hear_before_callers() {
    let world = World::new();
    let faults = Faults::none();
    let (writer, _) = world.start_with(&faults).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    writer.on_commit({
        let heard = heard.clone();
        move |notice| heard.lock().extend(notice.touched.iter().cloned())
    });
    let name = TenantName::try_from("acme").unwrap();
    faults.fail(Call::Commit, 1, When::After);
    let put = writer.commit({
        let name = name.clone();
        move |change| {
            change.put::<Tenants>(&name, &TenantRecord::default());
            Ok::<_, ChangeError>(())
        }
    });
    assert!(matches!(put.await, Err(CommitFailed::Unknown)));
    assert!(
        world.store.get(&crate::records::key_bytes::<Tenants>(&name)).unwrap().is_some(),
        "it is in the store"
    );
    assert!(writer.snapshot().get::<Tenants>(&name).is_err(), "and nobody is told");
    assert!(heard.lock().is_empty());
    writer.stop();

    let writer = world.start();
    writer.on_commit({
        let heard = heard.clone();
        move |notice| heard.lock().extend(notice.touched.iter().cloned())
    });
    let put = writer.commit({
        let name = name.clone();
        move |change| {
            change.delete::<Tenants>(&name);
            Ok::<_, ChangeError>(())
        }
    });
    put.await.unwrap();
    assert_eq!(*heard.lock(), [Touched::TenantName(name)]);
    writer.stop();
}

#[tokio::test]
async fn a_change_that_writes_nothing_makes_no_commit() {
    let world = World::new();
    let writer = world.start();
    let before = writer.revision();
    writer.commit(|change| change.range::<Tenants>(&(), None, 10).map_err(ChangeError::from)).await.unwrap();
    destroy(&writer, Vec::new()).await.unwrap();
    assert_eq!(writer.revision(), before);
    writer.stop();
}

#[tokio::test]
async fn a_rider_is_in_every_commit() {
    let world = World::new();
    let count = Arc::new(Mutex::new(0u8));
    let writer = world.start_riding({
        let count = count.clone();
        Box::new(move || {
            *count.lock() += 1;
            Some((vec![0x03], vec![*count.lock()]))
        })
    });
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 1).await.unwrap().value;
    destroy(&writer, made).await.unwrap();
    assert_eq!(world.store.get(&[0x03]).unwrap(), Some(vec![4]), "the last logs the effacement");
    writer.stop();
}

#[tokio::test]
async fn what_is_superseded_is_collected_and_the_live_tree_is_not() {
    let world = World::new();
    let writer = world.start();
    let (kept, gone) = (tenant(&writer).await.unwrap().value, tenant(&writer).await.unwrap().value);
    let made = versions(&writer, kept, 200).await.unwrap().value;
    versions(&writer, gone, 200).await.unwrap();
    let done = writer.destroy(move |change| {
        change.destroy_tenant(gone, 0);
        Ok::<_, ChangeError>(())
    });
    done.await.unwrap();
    destroy(&writer, made[..100].to_vec()).await.unwrap();
    for _ in 0..60 {
        versions(&writer, kept, 1).await.unwrap();
    }
    let left = |prefix: Vec<u8>| world.store.range(&prefix, None, usize::MAX).unwrap().len();
    let tree = kms_core::tree::TreeName::Tenant(gone);
    assert_eq!(left(crate::records::tree::tree_prefix(tree)), 0);
    assert_eq!(left(crate::records::tree::hash_prefix(tree)), 0);
    assert_eq!(left(vec![0x23]), 0, "nothing is left to collect");
    // Leaves, and at most two writes of each node.
    let tree = kms_core::tree::TreeName::Tenant(kept);
    assert!(left(crate::records::tree::tree_prefix(tree)) <= 1 + 160 + 2 * 10);
    writer.stop();
    let (live, state_root) = world.recount();
    assert_eq!((live.len(), state_root), (1 + 160, world.head().state_root));
}

#[tokio::test]
async fn a_destroyed_tenant_takes_no_more_versions() {
    let world = World::new();
    let writer = world.start();
    let slot = tenant(&writer).await.unwrap().value;
    let done = writer.destroy(move |change| {
        change.destroy_tenant(slot, 0);
        assert!(matches!(change.create_leaf(slot, Uid::random()?), Err(ChangeError::NoTenant(_))));
        Ok::<_, ChangeError>(())
    });
    done.await.unwrap();
    let late = versions(&writer, slot, 1).await;
    assert!(matches!(late, Err(CommitFailed::Change(ChangeError::NoTenant(_)))));
    let never = versions(&writer, TenantSlot(77), 1).await;
    assert!(matches!(never, Err(CommitFailed::Change(ChangeError::NoTenant(_)))));
    assert!(writer.snapshot().get::<TenantTrees>(&TenantSlot(77)).unwrap().is_none());
    writer.stop();
}
