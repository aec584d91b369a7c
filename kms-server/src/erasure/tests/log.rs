//! What the transparency log says of changes, and that its tree is the one of RFC 6962.

use futures_util::future::join_all;
use kms_core::{
    commitment::{Hash, pair_hash},
    event::{CancelTenant, Event},
    id::Uid,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::{super::log::Log, sharing::held, world::*};
use crate::{
    erasure::ChangeError,
    store::{Batch, Store, memory::MemoryStore},
};

/// RFC 6962, 2.1, word for word.
fn tree_hash(entries: &[Vec<u8>]) -> Hash {
    match entries {
        [] => Sha256::digest([]).into(),
        [entry] => Sha256::new().chain_update([0]).chain_update(entry).finalize().into(),
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            pair_hash(&tree_hash(left), &tree_hash(right))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_edge_that_is_kept_is_that_of_the_whole_tree_and_is_read_back(sizes in prop::collection::vec(0usize..300, 1..6)) {
        let (store, world) = (MemoryStore::default(), World::new());
        let (mut log, mut entries, mut head) = (Log::empty(), Vec::new(), world.head());
        for size in sizes {
            let event = Event::from(CancelTenant { tenant_uid: Uid([1; 16]) });
            let events = vec![("kms".parse().unwrap(), event); size];
            let commit = store.committed().next();
            let (next, writes) = log.append(commit, &events);
            store.commit(commit, Batch { writes, ..Batch::default() }).unwrap();
            log = next;
            for index in entries.len() as u64..log.size() {
                entries.push(super::super::log::entry(&store, index).unwrap());
            }
            prop_assert_eq!(log.root(), tree_hash(&entries));
            (head.log_size, head.log_root) = (log.size(), log.root());
            prop_assert_eq!(Log::read(&store, &head).unwrap().root(), log.root());
            head.log_root[0] ^= 1;
            prop_assert!(Log::read(&store, &head).is_err(), "another root is not taken for it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_says_stands_in_the_log_where_it_was_told_and_a_change_that_fails_says_nothing() {
    let world = World::new();
    let writer = world.start();
    let says = |uid: u8| {
        writer.commit(move |change| {
            change.act_as("somebody".parse().unwrap());
            let index = change.log(CancelTenant { tenant_uid: Uid([uid; 16]) });
            if uid == 3 { Err(ChangeError::Full) } else { Ok(index) }
        })
    };
    let told = held(&writer, join_all((0..6).map(says))).await;
    for (uid, told) in (0u8..).zip(told) {
        let Ok(told) = told else {
            assert_eq!(uid, 3);
            continue;
        };
        let entry = &world.log()[usize::try_from(told.value).unwrap()];
        assert_eq!(entry.event, CancelTenant { tenant_uid: Uid([uid; 16]) }.into());
        assert_eq!((entry.by.as_str(), entry.commit), ("somebody", told.revision));
    }
    assert_eq!(world.log().len(), 6, "with that of its beginning");
    assert_eq!(writer.snapshot().log().size, 6);
    writer.stop();
}

#[tokio::test]
async fn a_destruction_is_followed_by_its_epoch_and_that_by_the_effacement_of_the_secret_before() {
    let world = World::new();
    let before = world.head();
    let writer = world.start();
    let tenant = tenant(&writer).await.unwrap().value;
    let made = versions(&writer, tenant, 2).await.unwrap().value;
    let state_root_before = world.head().state_root;
    destroy(&writer, made).await.unwrap();
    writer.stop();
    let (log, head) = (world.log(), world.head());
    let [.., committed, effaced] = &log[..] else { panic!("{log:?}") };
    let Event::EpochCommit(committed) = &committed.event else { panic!("{committed:?}") };
    assert_eq!((committed.epoch, committed.attempt), (head.epoch, head.attempt));
    assert_eq!((committed.state_root_before, committed.state_root), (state_root_before, head.state_root));
    assert_eq!(committed.live, 0);
    let Event::EpochEffaced(effaced) = &effaced.event else { panic!("{effaced:?}") };
    assert_eq!((effaced.epoch, effaced.attempt), (head.epoch, head.attempt));
    assert_eq!(effaced.effaced.0, [(before.epoch, before.attempt)]);
    assert!(head.pending_efface.is_empty());
}
