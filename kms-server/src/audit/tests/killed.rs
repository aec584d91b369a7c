//! What was acknowledged as written survives `kill -9`.

use super::*;
use crate::audit::{VerifyOptions, verify};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

const CHILD: &str = "KMS_TEST_AUDIT_CHILD";

/// Not a test of its own: the process that the next one kills.
#[test]
fn the_child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let (log, _) = AuditLog::open(Options { segment_bytes: 40_000, ..options(Path::new(&dir)) }).unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let log = log.clone();
            tasks.spawn(async move {
                let caller = Caller::new("attendance");
                loop {
                    let durability = if task == 0 { Durability::Synced } else { Durability::Written };
                    let recorded = log.record(caller.entry(), durability).await.unwrap();
                    println!("acknowledged {}", recorded.sequence());
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    });
}

#[test]
fn a_killed_process_loses_no_line_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    AuditLog::create(dir.path(), INSTANCE).unwrap();
    for round in 1..=5_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "audit::tests::killed::the_child_that_is_killed"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(sequence) = line.strip_prefix("acknowledged ") {
                acknowledged.push(sequence.parse::<u64>().ok());
            }
            if acknowledged.len() == round * 200 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= round * 200);
        // The last may be half printed.
        acknowledged.pop();
        let there: std::collections::HashSet<_> =
            whole_requests(dir.path()).into_iter().map(|line| line["seq"].as_u64()).collect();
        let lost: Vec<_> = acknowledged.iter().filter(|sequence| !there.contains(sequence)).collect();
        assert!(lost.is_empty(), "{lost:?}");
        let (log, opened) = open(dir.path());
        assert!(!opened.is_gap(), "{opened:?}");
        drop(log);
        let report = verify(dir.path(), &VerifyOptions::default()).unwrap();
        assert!(report.is_sound(), "{report}");
    }
}

/// The requests in the files, a half-written last line left out.
fn whole_requests(dir: &Path) -> Vec<serde_json::Value> {
    let segments = crate::audit::segment::list(dir).unwrap();
    let texts = segments.iter().map(|segment| std::fs::read_to_string(&segment.path).unwrap());
    texts
        .flat_map(|text| text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>())
        .collect()
}
