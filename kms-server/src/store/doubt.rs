//! What was cut, swapped, damaged or filled up is refused with the files as they were, and a failed barrier is not taken for a commit.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use kms_core::id::{CommitNumber, InstanceId};

use super::{
    Batch, CommitError, Store,
    open::{self, Directory, OpenError},
    sidecar::{Engine, Sidecar},
    sled::{SledStore, Tuning},
};

const ENGINES: [Engine; 2] = [Engine::Sled, Engine::Redb];

/// A store of ten commits, closed.
struct Closed {
    _directory: tempfile::TempDir,
    path: PathBuf,
    db: PathBuf,
}

impl Closed {
    fn new(engine: Engine) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let store = open::create(&path, engine, InstanceId([7; 16])).unwrap().store;
        commit_to(&*store, 10);
        let folder = if engine == Engine::Sled { "sled" } else { "redb" };
        Self { _directory: directory, db: path.join(folder).join("db"), path }
    }

    fn refusal(&self) -> OpenError {
        match open::open(&self.path) {
            Ok(opened) => panic!("opened at commit {}", opened.store.committed()),
            Err(error) => error,
        }
    }

    /// Every file but the lock, and what is in it.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn add(path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    add(&path, files)
                } else {
                    drop(files.insert(path.clone(), fs::read(path).unwrap()))
                }
            }
        }
        let mut files = BTreeMap::new();
        add(&self.path, &mut files);
        files
    }

    fn is_refused_untouched(&self, refused: impl Fn(&OpenError) -> bool) {
        let before = self.files();
        let error = self.refusal();
        assert!(refused(&error), "{error}");
        assert!(error.to_string().contains("restore the data directory from a backup"), "{error}");
        assert!(before == self.files(), "files were changed: {error}");
    }
}

fn commit_to(store: &dyn Store, last: u64) {
    for number in store.committed().0 + 1..=last {
        store.commit(CommitNumber(number), batch(number)).unwrap();
    }
}

fn batch(number: u64) -> Batch {
    let mut batch = Batch::default();
    for record in 0..50 {
        batch.put(format!("{record}"), vec![number as u8; 400]);
    }
    batch
}

#[test]
fn a_file_that_was_cut_after_a_clean_close_is_refused_and_not_cut_further() {
    for engine in ENGINES {
        for of_the_file in [0.0, 0.1, 0.5, 0.9] {
            let closed = Closed::new(engine);
            let file = OpenOptions::new().write(true).open(&closed.db).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len((length as f64 * of_the_file) as u64).unwrap();
            closed.is_refused_untouched(|error| matches!(error, OpenError::Short { .. }));
        }
        let closed = Closed::new(engine);
        fs::remove_dir_all(closed.db.parent().unwrap()).unwrap();
        assert!(matches!(closed.refusal(), OpenError::Short { length: 0, .. }));
    }
}

#[test]
fn an_older_file_under_a_newer_sidecar_is_refused() {
    for engine in ENGINES {
        let closed = Closed::new(engine);
        let older: Vec<_> = fs::read_dir(closed.db.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        let store = open::open(&closed.path).unwrap().store;
        commit_to(&*store, 90);
        drop(store);
        let folder = closed.db.parent().unwrap();
        fs::remove_dir_all(folder).unwrap();
        fs::create_dir(folder).unwrap();
        for (bytes, path) in older {
            fs::write(path, bytes).unwrap();
        }
        let error = closed.refusal();
        assert!(matches!(error, OpenError::Short { .. } | OpenError::Behind { .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_shorter_than_noted_but_has_every_commit_opens_after_a_trial() {
    for engine in ENGINES {
        let closed = Closed::new(engine);
        let length = fs::metadata(&closed.db).unwrap().len();
        Sidecar::open(&closed.path).unwrap().unwrap().note_closed(length + 1).unwrap();
        let opened = open::open(&closed.path).unwrap();
        assert_eq!(opened.store.committed(), CommitNumber(10));
        assert!(!closed.path.join("trial").exists());
    }
}

#[test]
fn a_store_that_was_not_closed_and_does_not_open_is_refused_untouched() {
    for engine in ENGINES {
        let closed = Closed::new(engine);
        Sidecar::open(&closed.path).unwrap().unwrap().note_opening().unwrap();
        let length = fs::metadata(&closed.db).unwrap().len();
        fs::write(&closed.db, vec![0x5a; length as usize]).unwrap();
        closed.is_refused_untouched(|error| matches!(error, OpenError::Engine(_) | OpenError::Behind { .. }));
    }
}

/// The next open of sled itself refuses what an open that was killed leaves.
#[test]
fn a_snapshot_that_was_being_written_is_no_reason_not_to_open() {
    for content in [&b""[..], b"half of a snapshot, of whatever length"] {
        let closed = Closed::new(Engine::Sled);
        let snapshot = closed.db.with_file_name("snap.FFFFFFFFFFFFFFFF.generating");
        fs::write(&snapshot, content).unwrap();
        assert!(::sled::Config::new().path(closed.db.parent().unwrap()).open().is_err(), "the control");
        Sidecar::open(&closed.path).unwrap().unwrap().note_opening().unwrap();
        let store = open::open(&closed.path).unwrap().store;
        assert_eq!(store.committed(), CommitNumber(10));
        assert!(!snapshot.exists());
    }
}

#[test]
fn a_sidecar_that_is_damaged_or_newer_is_refused_untouched() {
    let closed = Closed::new(Engine::Sled);
    let sidecar = closed.path.join("sidecar");
    let mut bytes = fs::read(&sidecar).unwrap();
    bytes[5] = 9;
    fs::write(&sidecar, &bytes).unwrap();
    let before = closed.files();
    assert!(matches!(closed.refusal(), OpenError::SidecarVersion(9)));
    assert!(before == closed.files());
    fs::write(&sidecar, vec![0; bytes.len()]).unwrap();
    closed.is_refused_untouched(|error| matches!(error, OpenError::SidecarDamaged));
}

#[test]
fn during_the_barrier_readers_see_what_was_there_and_a_failed_one_leaves_the_outcome_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let shared: Arc<OnceLock<Arc<SledStore>>> = Arc::default();
    let seen = shared.clone();
    let barrier = move |_: &fs::File| {
        let store = seen.get().unwrap();
        let number = store.committed();
        match number.0 {
            0 => {
                assert_eq!(store.get(b"a").unwrap(), None);
                assert!(store.range(b"", None, 9).unwrap().is_empty());
                assert_eq!(store.last(b"").unwrap(), None);
                Ok(())
            }
            1 => {
                assert_eq!(store.get(b"a").unwrap().unwrap(), b"1");
                let both = [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())];
                assert_eq!(store.range(b"", None, 9).unwrap(), both);
                assert_eq!(store.range(b"", Some(b"a"), 1).unwrap(), both[1..]);
                assert_eq!(store.last(b"").unwrap().unwrap(), both[1]);
                Ok(())
            }
            _ => Err(io::Error::other("the disk is gone")),
        }
    };
    let open =
        |barrier| SledStore::open_with(Directory::lock(&path, true).unwrap(), Tuning::DEFAULT, barrier);
    let store = Arc::new(open(Box::new(barrier)).unwrap());
    assert!(shared.set(store.clone()).is_ok());
    let write = |number: u64, a: Option<&str>, b: Option<&str>| {
        let writes = vec![
            (b"a".to_vec(), a.map(Into::into)),
            (b"b".to_vec(), b.map(Into::into)),
            (b"c".to_vec(), None),
        ];
        store.commit(CommitNumber(number), Batch { writes, ..Batch::default() })
    };
    write(1, Some("1"), Some("1")).unwrap();
    write(2, Some("2"), None).unwrap();
    assert!(matches!(write(3, None, Some("3")), Err(CommitError::Unknown(_))));
    for number in [3, 4] {
        assert!(matches!(write(number, None, None), Err(CommitError::Unknown(_))));
    }
    assert_eq!(store.committed(), CommitNumber(2));
    assert_eq!(store.range(b"", None, 9).unwrap(), [(b"a".to_vec(), b"2".to_vec())]);
}

const FULL: &str = "KMS_TEST_STORE_TO_FILL";

/// Commits until that fails; does nothing unless a test here started it.
#[test]
fn filling_child() {
    let Some(path) = env::var_os(FULL) else { return };
    let store = open::open(Path::new(&path)).unwrap().store;
    loop {
        let number = store.committed().next();
        let mut growing = batch(number.0);
        (0..50).for_each(|record| growing.put(format!("more/{number}/{record}"), vec![record; 4000]));
        if let Err(error) = store.commit(number, growing) {
            assert!(matches!(error, CommitError::Unknown(_)), "{error}");
            assert!(matches!(store.commit(number, batch(number.0)), Err(CommitError::Unknown(_))));
            assert_eq!(store.get(b"7").unwrap().unwrap(), vec![(number.0 - 1) as u8; 400]);
            fs::write(Path::new(&path).join("../acknowledged"), (number.0 - 1).to_string()).unwrap();
            std::process::exit(0);
        }
    }
}

#[test]
fn where_the_file_cannot_grow_the_commit_fails_nothing_hangs_and_what_was_acknowledged_is_kept() {
    for engine in ENGINES {
        let closed = Closed::new(engine);
        let this = env::current_exe().unwrap();
        // A limit on the size of files stands in for a full disk; the shell sets it, and ignores the signal that comes with it.
        let limited = r#"trap "" XFSZ; ulimit -f 36864; exec "$0" "$@""#;
        let arguments: [&OsStr; 6] =
            ["-c", limited, "", "--exact", "store::doubt::filling_child", "--nocapture"].map(OsStr::new);
        let mut arguments = arguments.to_vec();
        arguments[2] = this.as_os_str();
        let outcome = Command::new("sh").args(arguments).env(FULL, &closed.path).output().unwrap();
        assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
        let acknowledged: u64 =
            fs::read_to_string(closed.path.join("../acknowledged")).unwrap().parse().unwrap();
        assert!(acknowledged > 10);
        let store = open::open(&closed.path).unwrap().store;
        let found = store.committed().0;
        assert!(found == acknowledged || found == acknowledged + 1, "{found} after {acknowledged}");
        assert_eq!(store.get(b"7").unwrap().unwrap(), vec![found as u8; 400]);
        commit_to(&*store, found + 1);
    }
}
