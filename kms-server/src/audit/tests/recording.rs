//! Lines are accepted once, in order, as far as was asked.

use super::*;
use crate::audit::{Change, Counts, Durability, ServerEvent};
use kms_core::{id::CommitNumber, id::Epoch, id::Uid, id::VersionId, state::KeyClass};
use kms_proto::reason::Reason;

#[tokio::test]
async fn a_line_says_who_did_what_with_which_version_and_why() {
    let (dir, log) = fresh();
    let caller = Caller::new("attendance");
    let key: FamilyName = "attendance".parse().unwrap();
    let versions = [VersionId::from(u64::MAX)];
    let change = Change { epoch: Some(Epoch(3)), version: Some(2), ..Change::default() };
    let entry = Entry {
        key: Some(&key),
        uid: Some(Uid([1; 16])),
        class: Some(KeyClass::L3),
        versions: &versions,
        outcome: Outcome::Failed(Reason::KeyNotAccessible),
        counts: Some(Counts { items: 10, failed: 2 }),
        change: Some(change),
        ..caller.entry()
    };
    let recorded = log.record(entry, Durability::Synced).await.unwrap();
    assert_eq!((recorded.sequence(), recorded.durability()), (1, Durability::Synced));
    let line = &requests(dir.path())[0];
    for (field, expected) in [
        ("identity", "spiffe://dev.local/attendance"),
        ("certificate", &"ab".repeat(32)),
        ("group", "X25519MLKEM768"),
        ("operation", "Encrypt"),
        ("tenant", "acme"),
        ("key", "attendance"),
        ("uid", &"01".repeat(16)),
        ("class", "L3"),
        ("outcome", "failed"),
        ("reason", "KEY_NOT_ACCESSIBLE"),
        ("request_id", caller.request.as_str()),
    ] {
        assert_eq!(line[field], expected, "{field}");
    }
    assert_eq!(line["versions"][0], u64::MAX.to_string());
    assert_eq!(line["rules"][0], "attendance-seals");
    assert_eq!((&line["items"], &line["failed"]), (&10.into(), &2.into()));
    assert_eq!((&line["epoch"], &line["version"]), (&3.into(), &2.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lines_of_many_tasks_are_there_once_each_and_in_one_chain() {
    let (dir, log) = fresh();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64_u32 {
        let log = log.clone();
        tasks.spawn(async move {
            let caller = Caller::new("attendance");
            let mut last = 0;
            for call in 0..50 {
                let durability =
                    if (task + call) % 5 == 0 { Durability::Synced } else { Durability::Written };
                let counts = Some(Counts { items: task, failed: call });
                let recorded = log.record(Entry { counts, ..caller.entry() }, durability).await.unwrap();
                assert!(recorded.sequence() > last);
                last = recorded.sequence();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    drop(log);
    let mut seen: Vec<_> = requests(dir.path())
        .iter()
        .map(|line| (line["items"].as_u64().unwrap(), line["failed"].as_u64().unwrap()))
        .collect();
    seen.sort_unstable();
    let expected: Vec<_> = (0..64).flat_map(|task| (0..50).map(move |call| (task, call))).collect();
    assert_eq!(seen, expected);
    let (_log, opened) = open(dir.path());
    assert_eq!(opened.findings, []);
    assert_eq!(lines(dir.path()).last().unwrap()["type"], "head");
}

#[tokio::test]
async fn a_leader_that_is_dropped_leaves_nobody_waiting() {
    let (dir, log) = fresh();
    let caller = Caller::new("attendance");
    let mut leader = Box::pin(log.record(caller.entry(), Durability::Written));
    let polled = std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::future::Future::poll(leader.as_mut(), context).is_pending())
    });
    assert!(polled.await);
    let follower = log.record(caller.entry(), Durability::Written);
    drop(leader);
    assert_eq!(follower.await.unwrap().sequence(), 2);
    assert_eq!(requests(dir.path()).len(), 2);
}

#[tokio::test]
async fn the_head_covers_what_is_synced_and_changes_with_it() {
    let (_dir, log) = fresh();
    let before = log.head();
    assert_eq!(log.head(), before);
    let caller = Caller::new("attendance");
    let recorded = log.record(caller.entry(), Durability::Synced).await.unwrap();
    let after = log.head();
    assert!(after.count > recorded.sequence() && after.hash != before.hash);
    assert!(log.public_key().verifies(&after));
}

#[tokio::test]
async fn the_configuration_can_only_raise_what_a_line_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    AuditLog::create(dir.path(), INSTANCE).unwrap();
    let options = Options { least: Durability::Synced, ..options(dir.path()) };
    let (log, _) = AuditLog::open(options).unwrap();
    let caller = Caller::new("attendance");
    let recorded = log.record(caller.entry(), Durability::Written).await.unwrap();
    assert_eq!(recorded.durability(), Durability::Synced);
}

#[tokio::test]
async fn a_clock_that_is_set_back_leaves_a_sound_chain_whose_lines_are_in_order() {
    let (dir, log) = fresh();
    let caller = Caller::new("attendance");
    let now = SystemTime::now();
    for back in [0, 3600, 7 * 86_400, 10] {
        let time = now - Duration::from_secs(back);
        let line = log.submit(Durability::Synced, |body| {
            crate::audit::line::request(body, time, &caller.entry());
        });
        drop(line.await.unwrap());
    }
    drop(log);
    let report = crate::audit::verify(dir.path(), &crate::audit::VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{report}");
    let numbers: Vec<_> = lines(dir.path()).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, two| one < two), "{numbers:?}");
    let (log, opened) = open(dir.path());
    assert_eq!(opened.findings, []);
    assert!(log.query(crate::audit::Filter::default(), 0, 100).await.unwrap().lines.len() >= 4);
    assert_eq!(requests(dir.path()).len(), 4);
}

#[tokio::test]
async fn a_destruction_that_a_start_brought_to_its_end_is_named_by_epoch_and_commit() {
    let (dir, log) = fresh();
    let event = ServerEvent::RolledForward { epoch: Epoch(7), revision: CommitNumber(42) };
    drop(log.record_server(event).await.unwrap());
    drop(log);
    let said = lines(dir.path()).into_iter().find(|line| line["event"] == "rolled-forward").unwrap();
    assert_eq!((&said["type"], &said["epoch"], &said["revision"]), (&"server".into(), &7.into(), &42.into()));
}
