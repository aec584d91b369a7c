//! Disks that are full or read-only. A small file system of its own needs the right to mount one; where that is missing, those tests
//! say so and the last one, a limit on the size of files, stands for them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kms_proto::{reason::Reason, v1};
use kms_tests::{
    Api, Place, Server,
    api::{KEY, TENANT, context, destroy, fresh},
};
use tonic::Status;

/// A file system in memory, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(megabytes: u32) -> Option<Self> {
        let path = tempfile::tempdir().unwrap().keep();
        let size = format!("size={megabytes}m");
        let mounted = run(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs"], &path);
        if !mounted {
            println!("not tested here: a file system cannot be mounted");
            fs::remove_dir(&path).unwrap();
        }
        mounted.then_some(Self(path))
    }

    fn remount(&self, how: &str) {
        assert!(run(&["mount", "-o", &format!("remount,{how}")], &self.0));
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Leaves about this many bytes free.
    fn fill(&self, left: u64) -> PathBuf {
        let filler = self.0.join("filler");
        let mut taken = fs::metadata(&filler).map_or(0, |file| file.len());
        taken += self.free().saturating_sub(left);
        fs::write(&filler, vec![1; usize::try_from(taken).unwrap()]).unwrap();
        filler
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(&["umount", "-l"], &self.0);
        drop(fs::remove_dir(&self.0));
    }
}

fn run(command: &[&str], path: &Path) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

/// What a call came to on a bad disk: done, refused with a reason, or the server ended.
async fn told<T>(call: impl Future<Output = Result<T, Status>>) -> Option<Result<(), Reason>> {
    let called = tokio::time::timeout(Duration::from_secs(30), call).await.unwrap();
    match called {
        Ok(_) => Some(Ok(())),
        Err(status) => kms_proto::refusal::read(&status).reason.map(Err),
    }
}

async fn rotate(operator: &Api) -> Option<Result<(), Reason>> {
    let message = v1::RotateKeyRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        key: KEY.into(),
        ..v1::RotateKeyRequest::default()
    };
    told(operator.keys().rotate_key(message)).await
}

#[tokio::test]
async fn a_full_disk_refuses_changes_with_a_reason_and_room_is_all_that_it_needs() {
    let Some(disk) = Mounted::new(256) else { return };
    let place = Place::new_in(&disk.0);
    let server = place.start();
    let (operator, attendance) = Api::ground(&place).await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    for left in [32 << 20, 1 << 20, 0] {
        let filler = disk.fill(left);
        for _ in 0..3 {
            // The store keeps some room; only below that the audit may be the first to find none.
            let refused = rotate(&operator).await;
            let expected = match refused {
                Some(Err(Reason::AuditUnavailable)) => left < 32 << 20,
                refused => refused == Some(Err(Reason::StorageFull)),
            };
            assert!(expected, "{left} bytes left: {refused:?}; the server's log:\n{}", server.log());
            let ended = told(operator.keys().destroy_key(destroy(TENANT, KEY, Some(1)))).await;
            assert!(matches!(ended, Some(Err(_))), "{left} bytes left: {ended:?}");
        }
        server.wait_for_metric("kms_warnings", 1.0);
        assert!(server.admin("/readyz").1.contains("warning: "));
        // Space for the audit is set aside, so values may still open; where not, the answer says why.
        match attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await {
            Ok(opened) => assert_eq!(opened, b"x"),
            Err(reason) => assert_eq!(reason, Reason::AuditUnavailable),
        }
        fs::remove_file(filler).unwrap();
        assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
        assert_eq!(rotate(&operator).await, Some(Ok(())), "{left} bytes had been left");
    }
    assert_eq!(operator.describe_key(TENANT, KEY).await.unwrap().versions.len(), 4, "none that was refused");
    server.kill();
    let _server = place.start();
    let attendance = Api::of(&place, "attendance").await;
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
}

#[tokio::test]
async fn a_read_only_disk_is_named_at_the_start_and_nothing_is_lost() {
    let Some(disk) = Mounted::new(256) else { return };
    let place = Place::new_in(&disk.0);
    let server = place.start();
    let (_, attendance) = Api::ground(&place).await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    disk.remount("ro");
    let failed = place.try_start(&[]).unwrap_err();
    disk.remount("rw");
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("Read-only file system"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("panicked"), "{}", failed.stderr);
    let _server = place.start();
    let attendance = Api::of(&place, "attendance").await;
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
}

#[tokio::test]
async fn files_that_cannot_be_written_stop_changes_and_lose_nothing() {
    let place = Place::new();
    place.start().kill();
    let dir = place.dir();
    let server = Server::start_with_failing_writes(&["dev", "--data", dir.to_str().unwrap()]).unwrap();
    let (operator, attendance) = Api::ground(&place).await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();
    server.limit_file_size(0);
    let mut done = 0;
    for _ in 0..3 {
        match rotate(&operator).await {
            Some(Ok(())) => done += 1,
            Some(Err(reason)) => assert!(
                matches!(reason, Reason::StoreUnavailable | Reason::AuditUnavailable | Reason::StorageFull),
                "{reason:?}"
            ),
            // A commit of which nobody knows whether it is on disk ends the server: the restart decides.
            None => break,
        }
        let ended = told(operator.keys().destroy_key(destroy(TENANT, KEY, Some(1)))).await;
        assert!(!matches!(ended, Some(Ok(()))), "destroyed, though nothing can be effaced");
    }
    assert_eq!(done, 0, "changes that were not written were acknowledged");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.kill();
    let _server = place.start();
    let (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
    assert!(operator.describe_key(TENANT, KEY).await.unwrap().versions.len() >= 2);
    operator.rotate(TENANT, KEY).await.unwrap();
}
