//! What every engine must do, tested alike: each claim runs on the memory store, sled and redb.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Barrier},
    thread,
};

use kms_core::id::{CommitNumber, InstanceId};
use proptest::prelude::*;

use super::{
    Batch, CommitError, MAX_BATCH, MAX_KEY, MAX_VALUE, MAX_WRITES, Pair, Store,
    memory::MemoryStore,
    open::{self, OpenError},
    sidecar::Engine,
};

const INSTANCE: InstanceId = InstanceId([7; 16]);

/// An engine under test, which can be closed and opened again.
struct Subject {
    engine: Option<Engine>,
    directory: tempfile::TempDir,
    store: Option<Arc<dyn Store>>,
}

impl Subject {
    fn all() -> [Self; 3] {
        [None, Some(Engine::Sled), Some(Engine::Redb)].map(|engine| {
            let directory = tempfile::tempdir().unwrap();
            let store: Arc<dyn Store> = match engine {
                None => Arc::new(MemoryStore::default()),
                Some(engine) => {
                    open::create(&directory.path().join("store"), engine, INSTANCE).unwrap().store
                }
            };
            Self { engine, directory, store: Some(store) }
        })
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        if let Some(engine) = self.engine {
            self.store = None;
            let opened = open::open(&self.directory.path().join("store")).unwrap();
            assert_eq!((opened.engine, opened.instance), (engine, INSTANCE));
            self.store = Some(opened.store);
        }
    }

    fn commit(&self, writes: &[(&[u8], Option<&[u8]>)]) {
        let store = self.store();
        store.commit(store.committed().next(), batch(writes)).unwrap();
    }
}

fn batch(writes: &[(&[u8], Option<&[u8]>)]) -> Batch {
    let owned = writes.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
    Batch { writes: owned.collect(), ..Batch::default() }
}

fn pairs(found: &[(&str, &str)]) -> Vec<Pair> {
    found.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn a_new_store_holds_nothing_and_has_made_no_commit() {
    for mut subject in Subject::all() {
        for _ in 0..2 {
            let store = subject.store();
            assert_eq!(store.committed(), CommitNumber(0));
            assert_eq!(store.get(b"a").unwrap(), None);
            assert_eq!(store.get(b"").unwrap(), None);
            assert!(store.range(b"", None, 10).unwrap().is_empty());
            assert_eq!(store.last(b"").unwrap(), None);
            subject.reopen();
        }
    }
}

#[test]
fn records_are_found_by_key_by_prefix_in_order_and_last() {
    for mut subject in Subject::all() {
        subject.commit(&[
            (b"b/2", Some(b"2")),
            (b"b/1", Some(b"1")),
            (b"c", Some(b"")),
            (b"a", Some(b"0")),
            (b"b/3", Some(b"3")),
            (b"\xff\xff", Some(b"end")),
            (b"b0", Some(b"after the slash")),
        ]);
        for _ in 0..2 {
            let store = subject.store();
            assert_eq!(store.get(b"b/2").unwrap().unwrap(), b"2");
            assert_eq!(store.get(b"c").unwrap().unwrap(), b"");
            assert_eq!(store.get(b"b/").unwrap(), None);
            assert_eq!(
                store.range(b"b/", None, 9).unwrap(),
                pairs(&[("b/1", "1"), ("b/2", "2"), ("b/3", "3")])
            );
            assert_eq!(store.range(b"b/", Some(b"b/1"), 1).unwrap(), pairs(&[("b/2", "2")]));
            assert_eq!(
                store.range(b"b/", Some(b"a"), 1).unwrap(),
                pairs(&[("b/1", "1")]),
                "after, below the prefix"
            );
            assert!(store.range(b"b/", Some(b"b/3"), 9).unwrap().is_empty());
            assert!(store.range(b"b/", Some(b"z"), 9).unwrap().is_empty());
            assert!(store.range(b"b/", None, 0).unwrap().is_empty());
            assert_eq!(store.range(b"", None, 9).unwrap().len(), 7);
            assert_eq!(store.range(b"", Some(b""), 1).unwrap(), pairs(&[("a", "0")]));
            assert_eq!(store.last(b"b/").unwrap().unwrap(), (b"b/3".to_vec(), b"3".to_vec()));
            assert_eq!(store.last(b"").unwrap().unwrap().1, b"end");
            assert_eq!(store.last(b"\xff").unwrap().unwrap().1, b"end");
            assert_eq!(store.last(b"d").unwrap(), None);
            subject.reopen();
        }
    }
}

#[test]
fn in_a_batch_the_later_write_wins_and_what_is_removed_is_gone() {
    for mut subject in Subject::all() {
        subject.commit(&[(b"a", Some(b"1")), (b"a", Some(b"2")), (b"b", Some(b"1")), (b"b", None)]);
        subject.commit(&[(b"c", None), (b"d", None), (b"d", Some(b"1"))]);
        for _ in 0..2 {
            assert_eq!(subject.store().range(b"", None, 9).unwrap(), pairs(&[("a", "2"), ("d", "1")]));
            subject.reopen();
        }
        subject.commit(&[(b"a", None), (b"d", None)]);
        assert_eq!(subject.store().last(b"").unwrap(), None);
        assert_eq!(subject.store().committed(), CommitNumber(3));
    }
}

#[test]
fn a_commit_that_does_not_follow_or_does_not_fit_is_not_written() {
    for mut subject in Subject::all() {
        subject.commit(&[(b"a", Some(b"1"))]);
        let store = subject.store();
        let refused = |number: u64, writes: &[(&[u8], Option<&[u8]>)]| {
            let outcome = store.commit(CommitNumber(number), batch(writes));
            assert!(matches!(outcome, Err(CommitError::NotWritten(_))), "{outcome:?}");
        };
        for number in [0, 1, 3, u64::MAX] {
            refused(number, &[(b"a", Some(b"2"))]);
        }
        refused(2, &[(b"b", Some(b"2")), (b"", Some(b"2"))]);
        refused(2, &[(&[1; MAX_KEY + 1], Some(b"2"))]);
        refused(2, &[(b"a", Some(&[1; MAX_VALUE + 1]))]);
        let large: Vec<[u8; 4]> =
            (0..=MAX_BATCH / MAX_VALUE).map(|index| (index as u32).to_be_bytes()).collect();
        refused(2, &large.iter().map(|key| (&key[..], Some(&[1; MAX_VALUE][..]))).collect::<Vec<_>>());
        refused(2, &vec![(&b"b"[..], None); MAX_WRITES + 1]);
        assert_eq!(store.range(b"", None, 9).unwrap(), pairs(&[("a", "1")]));
        subject.commit(&[(b"a", Some(b"2"))]);
        subject.reopen();
        assert_eq!(subject.store().committed(), CommitNumber(2));
    }
}

#[test]
fn an_empty_batch_counts_as_a_commit() {
    for mut subject in Subject::all() {
        subject.commit(&[]);
        subject.reopen();
        assert_eq!(subject.store().committed(), CommitNumber(1));
    }
}

#[test]
fn the_largest_keys_values_and_batches_come_back_whole_and_stay_in_one_file() {
    for mut subject in Subject::all() {
        let count = MAX_BATCH / (MAX_KEY + MAX_VALUE);
        let records: Vec<_> = (0..count)
            .map(|index| {
                let mut key = vec![b'k'; MAX_KEY];
                key[..4].copy_from_slice(&(index as u32).to_be_bytes());
                (key, Some(vec![index as u8; MAX_VALUE]))
            })
            .collect();
        for _ in 0..3 {
            let store = subject.store();
            store
                .commit(store.committed().next(), Batch { writes: records.clone(), ..Batch::default() })
                .unwrap();
        }
        subject.reopen();
        let found = subject.store().range(b"", None, usize::MAX).unwrap();
        let wanted: Vec<Pair> = records.into_iter().map(|(key, value)| (key, value.unwrap())).collect();
        assert!(found == wanted);
        let blobs = subject.directory.path().join("store/sled/blobs");
        assert!(!blobs.exists() || blobs.read_dir().unwrap().count() == 0, "sled never syncs a blob");
    }
}

#[test]
fn readers_see_each_commit_whole_while_it_is_made() {
    for subject in Subject::all() {
        let keys: Vec<[u8; 2]> = (0..40u16).map(u16::to_be_bytes).collect();
        let write = |value: &[u8]| {
            let all = keys.iter().map(|key| (&key[..], Some(value)));
            subject.commit(&all.collect::<Vec<_>>());
        };
        write(b"0");
        let start = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    while subject.store().committed() < CommitNumber(60) {
                        let found = subject.store().range(b"", None, 99).unwrap();
                        assert_eq!(found.len(), keys.len());
                        assert!(found.iter().all(|(_, value)| *value == found[0].1), "half a commit");
                    }
                });
            }
            start.wait();
            for number in 1..60 {
                write(number.to_string().as_bytes());
            }
        });
    }
}

#[test]
fn a_directory_that_is_open_is_refused_to_a_second_opener_until_it_is_closed() {
    for mut subject in Subject::all() {
        let Some(engine) = subject.engine else { continue };
        let path = subject.directory.path().join("store");
        assert!(matches!(open::open(&path), Err(OpenError::Locked(_))));
        assert!(matches!(open::create(&path, engine, INSTANCE), Err(OpenError::Locked(_))));
        subject.commit(&[(b"a", Some(b"1"))]);
        subject.reopen();
    }
}

#[test]
fn a_store_is_made_only_where_nothing_is_and_opened_only_where_one_is() {
    for engine in [Engine::Sled, Engine::Redb] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        assert!(matches!(open::open(&path), Err(OpenError::Missing(_))));
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(open::open(&path), Err(OpenError::Missing(_))));
        drop(open::create(&path, engine, INSTANCE).unwrap());
        assert!(matches!(open::create(&path, engine, INSTANCE), Err(OpenError::NotEmpty(_))));
        std::fs::remove_file(path.join("sidecar")).unwrap();
        assert!(matches!(open::open(&path), Err(OpenError::NoSidecar(_))));
    }
}

/// What a test may do to a store.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = prop::collection::vec(0..4u8, 1..4);
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..600));
    let commit = prop::collection::vec((key, value), 0..12).prop_map(Step::Commit);
    prop::collection::vec(prop_oneof![9 => commit, 1 => Just(Step::Reopen)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_batches_and_reopenings_leaves_what_a_map_holds(steps in steps(), prefix in prop::collection::vec(0..4u8, 0..2)) {
        for mut subject in Subject::all() {
            let mut model = BTreeMap::new();
            let mut commits = 0;
            for step in &steps {
                match step {
                    Step::Reopen => subject.reopen(),
                    Step::Commit(writes) => {
                        commits += 1;
                        subject.store().commit(CommitNumber(commits), Batch { writes: writes.clone(), ..Batch::default() }).unwrap();
                        for (key, value) in writes.iter().cloned() {
                            match value {
                                Some(value) => model.insert(key, value),
                                None => model.remove(&key),
                            };
                        }
                    }
                }
                let wanted: Vec<Pair> = model.clone().into_iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
                prop_assert_eq!(subject.store().committed(), CommitNumber(commits));
                prop_assert_eq!(subject.store().last(&prefix).unwrap(), wanted.last().cloned());
                prop_assert_eq!(subject.store().range(&prefix, None, usize::MAX).unwrap(), wanted);
            }
        }
    }
}

#[test]
fn a_path_that_cannot_be_written_is_a_clear_error() {
    let outcome = open::create(Path::new("/proc/store"), Engine::Sled, INSTANCE);
    assert!(outcome.err().unwrap().to_string().starts_with("the data directory cannot be used"));
}
