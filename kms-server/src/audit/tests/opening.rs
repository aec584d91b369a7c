//! What a crash or a thief left is put right, kept and said.

use super::*;
use crate::audit::{Found, OpenError, VerifyOptions, What, segment, verify};
use std::io::Write;

fn last_segment(dir: &Path) -> std::path::PathBuf {
    segment::list(dir).unwrap().pop().unwrap().path
}

#[tokio::test]
async fn a_half_written_last_line_is_moved_aside_and_the_chain_goes_on() {
    let dir = made(5, 1 << 20).await;
    let before = lines(dir.path()).len() as u64;
    let half = br#"{"v":1,"seq":7,"type":"request","time":"20"#;
    std::fs::OpenOptions::new().append(true).open(last_segment(dir.path())).unwrap().write_all(half).unwrap();
    let (log, opened) = open(dir.path());
    let [Found::TornTail { bytes, file, .. }] = &opened.findings[..] else { panic!("{opened:?}") };
    assert_eq!((*bytes, opened.is_gap()), (half.len() as u64, false));
    assert_eq!(std::fs::read(dir.path().join(&**file)).unwrap(), half);
    let recorded = log.record(Caller::new("a").entry(), Durability::Written).await.unwrap();
    assert_eq!(recorded.sequence(), before + 1, "after the line that says so");
    drop(log);
    let report = verify(dir.path(), &VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.notes[0].what, What::Restarted);
    assert_eq!(open(dir.path()).1.findings, []);
}

#[tokio::test]
async fn lines_that_do_not_continue_the_chain_are_kept_aside_and_reported_as_a_gap() {
    let dir = made(5, 1 << 20).await;
    let path = last_segment(dir.path());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("acme", "evil", 3)).unwrap();
    let (_log, opened) = open(dir.path());
    let [Found::Broken { line, file, .. }] = &opened.findings[..] else { panic!("{opened:?}") };
    assert!(*line == 2 && opened.is_gap(), "{opened:?}");
    assert!(std::fs::read_to_string(dir.path().join(&**file)).unwrap().contains("evil"));
}

#[tokio::test]
async fn fewer_lines_than_the_store_remembers_are_reported_and_no_number_is_used_again() {
    let (dir, log) = fresh();
    let caller = Caller::new("attendance");
    for _ in 0..5 {
        let _recorded = log.record(caller.entry(), Durability::Synced).await.unwrap();
    }
    let stored = log.head();
    drop(log);
    let path = last_segment(dir.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: String = text.lines().take(3).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, kept).unwrap();

    let options = Options { stored_head: Some(stored), ..options(dir.path()) };
    let (log, opened) = AuditLog::open(options).unwrap();
    assert_eq!(opened.findings, [Found::FewerLines { stored: stored.count, found: 3 }]);
    assert!(opened.is_gap());
    let recorded = log.record(caller.entry(), Durability::Written).await.unwrap();
    assert_eq!(recorded.sequence(), stored.count + 1);
    drop(log);
    let report = verify(dir.path(), &VerifyOptions::default()).unwrap();
    assert_eq!(report.wrong, 1, "{report}");
    assert_eq!(report.findings[0].what, What::Gap { from: 3, to: stored.count - 1 });
}

#[tokio::test]
async fn the_stored_head_matches_where_nothing_happened_and_not_another_history() {
    let (dir, log) = fresh();
    let caller = Caller::new("attendance");
    let _recorded = log.record(caller.entry(), Durability::Synced).await.unwrap();
    let stored = log.head();
    drop(log);
    let with = |stored| Options { stored_head: Some(stored), ..options(dir.path()) };
    let (log, opened) = AuditLog::open(with(stored)).unwrap();
    assert_eq!(opened.findings, []);
    let other = log.core().key.sign(
        super::super::chain::Position { count: stored.count, hash: crate::audit::ChainHash([1; 32]) },
        SystemTime::now(),
    );
    drop(log);
    let (log, opened) = AuditLog::open(with(other)).unwrap();
    assert_eq!(opened.findings, [Found::OtherLine { line: stored.count - 1 }]);
    drop(log);
    let foreign = fresh().1.head();
    assert!(matches!(AuditLog::open(with(foreign)), Err(OpenError::OtherKey(_))));
}

#[tokio::test]
async fn an_empty_last_segment_is_what_a_crash_in_rotation_leaves() {
    let dir = made(5, 1 << 20).await;
    std::fs::write(dir.path().join(segment::file_name(2)), "").unwrap();
    let (log, opened) = open(dir.path());
    assert_eq!(opened.findings, []);
    drop(log);
    assert_eq!(segment::list(dir.path()).unwrap().len(), 1);
}

#[tokio::test]
async fn a_missing_segment_is_reported() {
    let dir = made(30, 4000).await;
    std::fs::remove_file(dir.path().join(segment::file_name(2))).unwrap();
    let (_log, opened) = open(dir.path());
    assert_eq!(opened.findings, [Found::Unlinked { segment: segment::file_name(3).into() }]);
    assert!(opened.is_gap());
}

#[tokio::test]
async fn an_audit_is_opened_once_by_its_instance_and_never_made_twice() {
    let (dir, _log) = fresh();
    assert!(matches!(AuditLog::create(dir.path(), INSTANCE), Err(OpenError::Exists(_))));
    assert!(matches!(AuditLog::open(options(dir.path())), Err(OpenError::Locked(_))));
    drop(_log);
    let other = Options { instance: InstanceId([8; 16]), ..options(dir.path()) };
    assert!(matches!(AuditLog::open(other), Err(OpenError::OtherInstance { .. })));
    let none = tempfile::tempdir().unwrap();
    assert!(matches!(AuditLog::open(options(none.path())), Err(OpenError::Missing(_))));
    for segment in segment::list(dir.path()).unwrap() {
        std::fs::remove_file(segment.path).unwrap();
    }
    assert!(matches!(AuditLog::open(options(dir.path())), Err(OpenError::Missing(_))));
}
