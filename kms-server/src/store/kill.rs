//! `kill -9` between any two instructions: whatever was acknowledged is there, and nothing is half done.
//!
//! The child is this test binary, run again with only [`child`] and a path in its environment.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use kms_core::id::{CommitNumber, InstanceId};

use super::{
    Batch, Store, open,
    sidecar::{Engine, SYNC_EVERY},
};

const PATH: &str = "KMS_TEST_STORE_TO_COMMIT_TO";
const RECORDS: u64 = 20;

/// Writes commit after commit, and says so after each; does nothing unless a test here started it.
#[test]
fn child() {
    let Some(path) = env::var_os(PATH) else { return };
    let store = open::open(Path::new(&path)).unwrap().store;
    loop {
        let number = store.committed().next();
        store.commit(number, batch(number)).unwrap();
        // One line to one write, so that the parent sees it whole or not at all.
        std::io::stdout().write_all(format!("\ncommitted {number}\n").as_bytes()).unwrap();
    }
}

/// Writes records that all say the number, and moves one that only the latest commit has.
fn batch(number: CommitNumber) -> Batch {
    let mut batch = Batch::default();
    for record in 0..RECORDS {
        let mut value = number.0.to_be_bytes().to_vec();
        value.resize(8 + (number.0 * 37 + record * 101) as usize % 900, record as u8);
        batch.put(format!("record/{record:02}"), value);
    }
    batch.remove(format!("only/{}", number.0 - 1));
    batch.put(format!("only/{number}"), []);
    batch
}

fn holds_exactly_the_commit_it_is_at(store: &Arc<dyn Store>) {
    let number = store.committed();
    let mut wanted: Vec<_> =
        batch(number).writes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    wanted.sort();
    assert_eq!(store.range(b"", None, usize::MAX).unwrap(), wanted, "at commit {number}");
}

fn kill_and_reopen(engine: Engine) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(open::create(&path, engine, InstanceId([7; 16])).unwrap());
    for round in 0..30 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::kill::child", "--nocapture", "--test-threads=1"])
            .env(PATH, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said =
            |line: String| line.strip_prefix("committed ").map(|number| number.parse::<u64>().unwrap());
        let mut numbers =
            BufReader::new(child.stdout.take().unwrap()).lines().filter_map(|line| said(line.unwrap()));
        let waited_for = numbers.by_ref().nth(round % 7 * 3).expect("the child commits");
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = numbers.last().unwrap_or(waited_for);
        let opened = open::open(&path).unwrap();
        let found = opened.store.committed().0;
        assert!(found == acknowledged || found == acknowledged + 1, "{found} after {acknowledged}");
        holds_exactly_the_commit_it_is_at(&opened.store);
    }
    assert!(u64::from(SYNC_EVERY) < open::open(&path).unwrap().store.committed().0);
}

#[test]
fn sled_keeps_what_it_acknowledged_when_it_is_killed_thirty_times() {
    kill_and_reopen(Engine::Sled);
}

#[test]
fn redb_keeps_what_it_acknowledged_when_it_is_killed_thirty_times() {
    kill_and_reopen(Engine::Redb);
}
