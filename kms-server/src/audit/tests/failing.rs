//! A disk that fails stops requests at once, and lets them go on once it works again; no line is torn by that.

use super::*;
use crate::audit::{Unavailable, VerifyOptions, disk::Disk, verify};
use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

/// A disk that fails when told.
#[derive(Default)]
pub(crate) struct Failing {
    /// Bytes that still fit, while `full`.
    room: AtomicUsize,
    pub(crate) full: AtomicBool,
    /// Says that a sync begins, and lets it go on.
    paced: parking_lot::Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
    no_sync: AtomicBool,
    no_cut: AtomicBool,
    panics: AtomicBool,
    syncs: AtomicUsize,
}

impl Disk for Arc<Failing> {
    fn create(&self, path: &Path, _room: u64) -> io::Result<File> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        File::options().read(true).write(true).create_new(true).open(path)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        if self.full.load(Ordering::SeqCst) {
            let fits = self.room.swap(0, Ordering::SeqCst).min(bytes.len());
            file.write_all_at(&bytes[..fits], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if let Some((begins, goes_on)) = &*self.paced.lock() {
            // An end of either means that the test no longer paces.
            begins.send(()).ok();
            goes_on.recv().ok();
        }
        assert!(!self.panics.load(Ordering::SeqCst), "as told");
        if self.no_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        file.sync_data()
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        if self.no_cut.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        file.set_len(length)
    }
}

pub(crate) fn failing() -> (tempfile::TempDir, AuditLog, Arc<Failing>) {
    let dir = tempfile::tempdir().unwrap();
    AuditLog::create(dir.path(), INSTANCE).unwrap();
    let disk = Arc::new(Failing::default());
    let (log, _) = AuditLog::open_on(options(dir.path()), Box::new(Arc::clone(&disk))).unwrap();
    (dir, log, disk)
}

async fn recorded(log: &AuditLog, durability: Durability) -> Result<u64, Unavailable> {
    let caller = Caller::new("attendance");
    let result = tokio::time::timeout(Duration::from_secs(20), log.record(caller.entry(), durability)).await;
    result.expect("nothing hangs").map(|recorded| recorded.sequence())
}

/// Waits until lines are accepted again.
pub(crate) async fn resumed(log: &AuditLog) {
    let mut synced = log.core().synced.subscribe();
    while !log.health().is_writing() {
        tokio::time::timeout(Duration::from_millis(200), synced.changed()).await.ok();
    }
}

/// Closes the log; what is left must be whole.
fn sound(dir: &Path, log: AuditLog, acknowledged: usize) {
    drop(log);
    let report = verify(dir, &VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!(requests(dir).len(), acknowledged);
    assert_eq!(open(dir).1.findings, []);
}

#[tokio::test]
async fn a_full_disk_refuses_requests_at_once_and_a_half_written_line_is_taken_back() {
    for no_cut in [false, true] {
        let (dir, log, disk) = failing();
        recorded(&log, Durability::Synced).await.unwrap();
        disk.room.store(100, Ordering::SeqCst);
        disk.no_cut.store(no_cut, Ordering::SeqCst);
        disk.full.store(true, Ordering::SeqCst);
        for durability in [Durability::Written, Durability::Synced, Durability::Written] {
            assert_eq!(recorded(&log, durability).await, Err(Unavailable));
        }
        let health = log.health();
        assert!(!health.is_writing() && health.refusing.unwrap().why.contains("space"), "{:?}", log.health());
        disk.full.store(false, Ordering::SeqCst);
        disk.no_cut.store(false, Ordering::SeqCst);
        resumed(&log).await;
        recorded(&log, Durability::Written).await.unwrap();
        let refused = lines(dir.path()).into_iter().find(|line| line["type"] == "resumed").unwrap();
        assert!(refused["refused"].as_u64().unwrap() >= 2, "{refused}");
        sound(dir.path(), log, 2);
    }
}

#[tokio::test]
async fn a_failed_sync_fails_those_who_wait_for_it_and_its_lines_are_written_again() {
    let (dir, log, disk) = failing();
    recorded(&log, Durability::Written).await.unwrap();
    disk.no_sync.store(true, Ordering::SeqCst);
    assert_eq!(recorded(&log, Durability::Synced).await, Err(Unavailable));
    assert_eq!(recorded(&log, Durability::Written).await, Err(Unavailable));
    let head = log.head();
    // What the kernel may have dropped after the failure.
    let segment = dir.path().join("audit-0000000001.jsonl");
    let keep = log.core().writer.lock().synced_length;
    File::options().write(true).open(&segment).unwrap().set_len(keep).unwrap();
    disk.no_sync.store(false, Ordering::SeqCst);
    resumed(&log).await;
    recorded(&log, Durability::Synced).await.unwrap();
    assert!(log.head().count > head.count);
    // The line whose sync failed stays: its request was refused, which the audit may say too much of but never too little.
    sound(dir.path(), log, 3);
}

#[tokio::test]
async fn a_way_back_whose_own_sync_fails_writes_again_all_that_may_be_lost() {
    let (dir, log, disk) = failing();
    recorded(&log, Durability::Synced).await.unwrap();
    recorded(&log, Durability::Written).await.unwrap();
    disk.full.store(true, Ordering::SeqCst);
    assert_eq!(recorded(&log, Durability::Written).await, Err(Unavailable));
    disk.no_sync.store(true, Ordering::SeqCst);
    disk.full.store(false, Ordering::SeqCst);
    let before = disk.syncs.load(Ordering::SeqCst);
    while disk.syncs.load(Ordering::SeqCst) < before + 2 {
        tokio::task::yield_now().await;
    }
    {
        let writer = log.core().writer.lock();
        assert!(writer.rewrite);
        // What the kernel may have dropped after the failure.
        let segment = dir.path().join("audit-0000000001.jsonl");
        File::options().write(true).open(&segment).unwrap().set_len(writer.synced_length).unwrap();
    }
    disk.no_sync.store(false, Ordering::SeqCst);
    resumed(&log).await;
    sound(dir.path(), log, 2);
}

#[tokio::test]
async fn lines_are_taken_while_a_rotation_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    AuditLog::create(dir.path(), INSTANCE).unwrap();
    let disk = Arc::new(Failing::default());
    let options = Options { segment_bytes: 3000, ..options(dir.path()) };
    let (log, _) = AuditLog::open_on(options, Box::new(Arc::clone(&disk))).unwrap();
    for _ in 0..7 {
        recorded(&log, Durability::Written).await.unwrap();
    }
    let ((begins, begun), (go, goes_on)) = (mpsc::channel(), mpsc::channel());
    *disk.paced.lock() = Some((begins, goes_on));
    let caller = Caller::new("attendance");
    // Not polled: the sync thread writes them, and this one paces its syncs.
    let waiting: Vec<_> = (0..6).map(|_| log.record(caller.entry(), Durability::Synced)).collect();
    let mut paced = 0;
    while log.core().writer.try_lock().is_none_or(|writer| writer.segment == 1) {
        if begun.recv_timeout(Duration::from_millis(100)).is_ok() {
            let tail = log.core().tail.try_lock_for(Duration::from_secs(5));
            assert!(tail.is_some(), "a sync holds up whoever has a line");
            paced += 1;
            go.send(()).unwrap();
        }
    }
    assert!(paced >= 3, "what was there, what was left of the old segment, the new one's first line");
    drop(go);
    for line in waiting {
        drop(line.await.unwrap());
    }
    recorded(&log, Durability::Synced).await.unwrap();
    sound(dir.path(), log, 14);
}

#[tokio::test]
async fn a_sync_thread_that_panics_leaves_nobody_waiting_and_lines_are_refused() {
    let (_dir, log, disk) = failing();
    disk.panics.store(true, Ordering::SeqCst);
    assert_eq!(recorded(&log, Durability::Synced).await, Err(Unavailable));
    while log.health().is_writing() {
        tokio::task::yield_now().await;
    }
    for durability in [Durability::Written, Durability::Synced] {
        assert_eq!(recorded(&log, durability).await, Err(Unavailable));
    }
}

#[tokio::test]
async fn a_rotation_whose_sync_fails_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    AuditLog::create(dir.path(), INSTANCE).unwrap();
    let disk = Arc::new(Failing::default());
    let options = Options { segment_bytes: 3000, ..options(dir.path()) };
    let (log, _) = AuditLog::open_on(options, Box::new(Arc::clone(&disk))).unwrap();
    let mut acknowledged = 0;
    while log.core().writer.lock().segment < 4 {
        acknowledged += usize::from(recorded(&log, Durability::Synced).await.is_ok());
        disk.no_sync.store(acknowledged % 3 == 2, Ordering::SeqCst);
        if recorded(&log, Durability::Written).await.is_ok() {
            acknowledged += 1;
        }
        log.core().bell.want_sync();
        disk.no_sync.store(false, Ordering::SeqCst);
        resumed(&log).await;
        if log.core().writer.lock().length > 3000 {
            rotated(&log).await;
        }
    }
    drop(log);
    let report = verify(dir.path(), &VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert!(requests(dir.path()).len() >= acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_what_was_acknowledged_is_there_and_nobody_hangs() {
    let (dir, log, disk) = failing();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..32 {
        let (log, acknowledged) = (log.clone(), Arc::clone(&acknowledged));
        tasks.spawn(async move {
            for call in 0..100 {
                let durability =
                    if (task + call) % 7 == 0 { Durability::Synced } else { Durability::Written };
                if recorded(&log, durability).await.is_ok() {
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for round in 0..5 {
        let before = disk.syncs.load(Ordering::SeqCst);
        while disk.syncs.load(Ordering::SeqCst) == before && !tasks.is_empty() && round > 0 {
            if tokio::time::timeout(Duration::from_millis(5), tasks.join_next())
                .await
                .is_ok_and(|task| task.is_none())
            {
                break;
            }
        }
        disk.room.store(700, Ordering::SeqCst);
        disk.full.store(true, Ordering::SeqCst);
        tokio::task::yield_now().await;
        disk.full.store(false, Ordering::SeqCst);
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    resumed(&log).await;
    drop(log);
    let report = verify(dir.path(), &VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert!(requests(dir.path()).len() >= acknowledged.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_segment_that_cannot_be_begun_leaves_the_old_one_going_on() {
    let dir = tempfile::tempdir().unwrap();
    AuditLog::create(dir.path(), INSTANCE).unwrap();
    let options = Options { segment_bytes: 1000, ..options(dir.path()) };
    let (log, _) = AuditLog::open(options).unwrap();
    let in_the_way = dir.path().join("audit-0000000002.jsonl");
    std::fs::create_dir(&in_the_way).unwrap();
    for _ in 0..20 {
        recorded(&log, Durability::Synced).await.unwrap();
    }
    assert_eq!(log.core().writer.lock().segment, 1);
    std::fs::remove_dir(&in_the_way).unwrap();
    rotated(&log).await;
    recorded(&log, Durability::Synced).await.unwrap();
    sound(dir.path(), log, 21);
}
