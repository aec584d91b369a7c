//! Pages, tails, exports and deletions.

use super::*;
use crate::audit::{
    ChainHash, Counts, DeleteError, Deleter, Filter, Found, OutcomeKind, Pin, VerifyOptions, What, segment,
    verify,
};
use kms_proto::reason::Reason;

#[tokio::test]
async fn a_query_finds_what_matches_and_pages_through_all_segments() {
    let dir = made(40, 4000).await;
    let (log, _) = open(dir.path());
    let mut caller = Caller::new("hr-portal");
    caller.tenant = "umbrella".parse().unwrap();
    let denied = Entry { outcome: Outcome::Denied(Reason::PolicyDenied), ..caller.entry() };
    let recorded = log.record(denied, Durability::Written).await.unwrap();

    let (mut from, mut seen) = (0, Vec::new());
    loop {
        let page = log.query(Filter::default(), from, 7).await.unwrap();
        assert!(page.lines.len() <= 7);
        seen.extend(page.lines.into_iter().map(|line| line.sequence));
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    let expected: Vec<_> = requests(dir.path()).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seen, expected);

    let one = |filter| async { log.query(filter, 0, 100).await.unwrap().lines };
    let hit = vec![recorded.sequence()];
    let all = seen.len();
    for (filter, count) in [
        (Filter { tenant: Some("umbrella".parse().unwrap()), ..Filter::default() }, 1),
        (Filter { tenant: Some("acme".parse().unwrap()), ..Filter::default() }, all - 1),
        (Filter { key: Some("attendance".parse().unwrap()), ..Filter::default() }, all),
        (Filter { key: Some("other".parse().unwrap()), ..Filter::default() }, 0),
        (Filter { identity: Some("spiffe://dev.local/hr-portal".into()), ..Filter::default() }, 1),
        (Filter { identity: Some("hr-portal".into()), ..Filter::default() }, 0),
        (Filter { operation: Some(Operation::Encrypt), ..Filter::default() }, all),
        (Filter { operation: Some(Operation::Decrypt), ..Filter::default() }, 0),
        (Filter { outcome: Some(OutcomeKind::Denied), ..Filter::default() }, 1),
        (Filter { outcome: Some(OutcomeKind::Failed), ..Filter::default() }, 0),
        (Filter { request_id: Some(caller.request.clone()), ..Filter::default() }, 1),
        (Filter { until: Some(SystemTime::now() - Duration::from_secs(600)), ..Filter::default() }, 0),
        (Filter { from: Some(SystemTime::now() - Duration::from_secs(600)), ..Filter::default() }, all),
    ] {
        let found: Vec<_> = one(filter.clone()).await.into_iter().map(|line| line.sequence).collect();
        assert_eq!(found.len(), count, "{filter:?}");
        assert!(count != 1 || found == hit, "{filter:?}");
    }
}

#[tokio::test]
async fn a_batch_of_which_items_failed_is_found_among_what_failed() {
    let (_dir, log) = fresh();
    let caller = Caller::new("attendance");
    for failed in [0, 2] {
        let entry = Entry { counts: Some(Counts { items: 10, failed }), ..caller.entry() };
        let _recorded = log.record(entry, Durability::Written).await.unwrap();
    }
    for (outcome, count) in [(OutcomeKind::Allowed, 2), (OutcomeKind::Failed, 1), (OutcomeKind::Denied, 0)] {
        let filter = Filter { outcome: Some(outcome), ..Filter::default() };
        assert_eq!(log.query(filter, 0, 100).await.unwrap().lines.len(), count, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_tail_shows_what_comes_and_nothing_that_was() {
    let (_dir, log) = fresh();
    let (caller, other) = (Caller::new("attendance"), Caller::new("hr-portal"));
    let _recorded = log.record(caller.entry(), Durability::Synced).await.unwrap();
    let identity = Some("spiffe://dev.local/attendance".into());
    let mut tail = log.tail(Filter { identity, ..Filter::default() });
    let _recorded = log.record(other.entry(), Durability::Written).await.unwrap();
    for _ in 0..3 {
        let recorded = log.record(caller.entry(), Durability::Written).await.unwrap();
        let lines = tail.next().await.unwrap();
        assert_eq!(lines.iter().map(|line| line.sequence).collect::<Vec<_>>(), [recorded.sequence()]);
        assert!(lines[0].json.contains("dev.local/attendance"));
    }
}

/// Writes an export as `kms audit export` would.
async fn exported(log: &AuditLog, from: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for chunk in log.export(from).await.unwrap() {
        use std::io::Write;
        let chunk = chunk.unwrap();
        let path = dir.path().join(&*chunk.file);
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(&chunk.content).unwrap();
    }
    dir
}

#[tokio::test]
async fn an_export_verifies_and_holds_every_line() {
    let dir = made(20, 4000).await;
    let (log, _) = open(dir.path());
    let recorded = log.record(Caller::new("a").entry(), Durability::Written).await.unwrap();
    let export = exported(&log, 1).await;
    let report = verify(export.path(), &VerifyOptions::default()).unwrap();
    assert!(report.is_sound() && report.complete_to > recorded.sequence(), "{report}");
    assert_eq!(requests(export.path()).len(), 21);
    assert!(!export.path().join("audit.key").exists());

    let part = exported(&log, 2).await;
    let first = segment::list(export.path()).unwrap().remove(0).claimed_end().unwrap().unwrap();
    assert!(matches!(
        verify(part.path(), &VerifyOptions::default()).unwrap().findings[0].what,
        What::StartMissing { .. }
    ));
    let start = |pin| VerifyOptions { start: Some(pin), ..VerifyOptions::default() };
    assert!(verify(part.path(), &start(first.into())).unwrap().is_sound());
    let other = Pin { count: first.count, hash: ChainHash([0; 32]) };
    assert!(!verify(part.path(), &start(other)).unwrap().is_sound());
}

#[tokio::test]
async fn exported_segments_are_deleted_only_against_their_hash_and_the_rest_still_verifies() {
    let dir = made(40, 4000).await;
    let (log, _) = open(dir.path());
    let segments = segment::list(dir.path()).unwrap();
    let end = segments[1].claimed_end().unwrap().unwrap();
    let current = segments.last().unwrap().number;

    let caller = Caller::new("compliance");
    let by = Deleter { request_id: &caller.request, identity: &caller.identity };
    let refused = log.delete(by, 2, ChainHash([0; 32])).await;
    assert!(matches!(refused, Err(DeleteError::OtherHash(2))), "{refused:?}");
    assert!(matches!(log.delete(by, current, end.hash).await, Err(DeleteError::InUse(_))));
    assert!(matches!(log.delete(by, 99, end.hash).await, Err(DeleteError::NoSuchSegment(99))));
    assert_eq!(segment::list(dir.path()).unwrap().len(), segments.len());

    let deleted = log.delete(by, 2, end.hash).await.unwrap();
    let said = lines(dir.path()).into_iter().find(|line| line["type"] == "deleted").unwrap();
    assert_eq!(
        said["identity"], "spiffe://dev.local/compliance",
        "the line before the deletion says whose it is"
    );
    assert_eq!(said["request_id"], caller.request.as_str());
    assert_eq!((deleted.segments, deleted.first), (2, end.count));
    let page = log.query(Filter::default(), 0, 1).await.unwrap();
    assert_eq!(page.lines[0].sequence, end.count + 1, "after the first line of the segment");
    drop(log);
    let report = verify(dir.path(), &VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.start.count, end.count);
    assert_eq!(open(dir.path()).1.first, end.count);

    // Whoever deletes one more is found.
    std::fs::remove_file(dir.path().join(segment::file_name(3))).unwrap();
    let report = verify(dir.path(), &VerifyOptions::default()).unwrap();
    assert!(matches!(report.findings[0].what, What::StartMissing { .. }), "{report}");
}

#[tokio::test]
async fn health_warns_at_four_fifths_of_the_quota() {
    let dir = made(20, 1 << 20).await;
    let used: u64 =
        std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    for (quota, warns) in [(used, true), (used * 100, false)] {
        let (log, opened) = AuditLog::open(Options { quota: Some(quota), ..options(dir.path()) }).unwrap();
        assert!(!opened.findings.iter().any(|found| matches!(found, Found::Unlinked { .. })));
        let health = log.health();
        assert!(health.is_writing());
        let quota_warned = matches!(health.warning, Some(crate::audit::Shortage::Quota { percent: 80.. }));
        let disk_warned = matches!(health.warning, Some(crate::audit::Shortage::Disk { .. }));
        assert!(quota_warned == warns || disk_warned, "{health:?}");
    }
}
