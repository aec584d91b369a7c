//! Seal, store, medium, redo and audit that do not belong together, were cut, or are from yesterday. A start that refuses changes
//! nothing: once the right files are back, everything opens.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use kms_proto::reason::Reason;
use kms_tests::{
    Api, Place, Server,
    api::{KEY, TENANT, context},
    server,
};

/// An installation with two versions of a key and a value under each, stopped in order.
struct Kept {
    place: Place,
    sealed: Vec<Vec<u8>>,
}

impl Kept {
    async fn new() -> Self {
        let place = Place::new();
        let server = place.start();
        let (operator, attendance) = Api::ground(&place).await;
        let mut sealed = Vec::new();
        for round in 0..2 {
            sealed.push(attendance.encrypt(TENANT, KEY, &[round], context(&[])).await.unwrap());
            operator.rotate(TENANT, KEY).await.unwrap();
        }
        stop(server).await;
        Self { place, sealed }
    }

    /// Starts, and everything opens.
    async fn opens(&self) -> Server {
        let server = self.place.start();
        let attendance = Api::of(&self.place, "attendance").await;
        let opened = attendance.decrypt_each(TENANT, KEY, self.sealed.clone(), &context(&[])).await;
        assert_eq!(opened, [Ok(vec![0]), Ok(vec![1])]);
        server
    }

    /// Does not start, for this reason, with exit code 1; and effaces nothing. (An engine that has opened writes its own files.)
    fn refuses(&self, why: &str) {
        let before = self.contents();
        for _ in 0..2 {
            let failed = self.place.try_start(&[]).unwrap_err();
            assert_eq!(failed.code, Some(1), "{}", failed.stderr);
            assert!(failed.stderr.contains(why), "not {why:?}: {}", failed.stderr);
            assert!(!failed.stderr.contains("panicked"), "{}", failed.stderr);
        }
        assert!(self.contents() == before, "a start that refused changed the medium");
    }

    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let mut contents = Vec::new();
        read(&self.place.path("effaceable"), &mut contents);
        contents
    }

    fn copy(&self, inside: &str, name: &str) {
        copy(&self.place.path(inside), &self.place.scratch().join(name));
    }

    fn put_back(&self, inside: &str, name: &str) {
        let path = self.place.path(inside);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        }
        copy(&self.place.scratch().join(name), &path);
    }
}

async fn stop(server: Server) {
    let status = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

fn read(path: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => read(&path, into),
            false => into.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[tokio::test]
async fn a_wrong_seal_does_not_open_and_the_right_one_does_after() {
    let kept = Kept::new().await;
    let right = fs::read_to_string(kept.place.path("seal")).unwrap();
    kept.place.replace("seal", &"42".repeat(32));
    kept.refuses("seal");
    kept.place.replace("seal", &right);
    drop(kept.opens().await);
}

#[tokio::test]
async fn a_store_a_medium_and_an_audit_of_another_instance_are_refused() {
    let (kept, other) = (Kept::new().await, Kept::new().await);
    for part in ["store", "effaceable", "audit"] {
        kept.copy(part, "own");
        fs::remove_dir_all(kept.place.path(part)).unwrap();
        copy(&other.place.path(part), &kept.place.path(part));
        let failed = kept.place.try_start(&[]).unwrap_err();
        assert_eq!(failed.code, Some(1), "{part}: {}", failed.stderr);
        let whose = ["instance", "was not signed by the audit key"];
        assert!(whose.iter().any(|why| failed.stderr.contains(why)), "{part}: {}", failed.stderr);
        kept.put_back(part, "own");
        fs::remove_dir_all(kept.place.scratch().join("own")).unwrap();
        drop(kept.opens().await);
    }
}

#[tokio::test]
async fn a_store_that_is_older_than_its_medium_is_refused_and_effaces_nothing() {
    let kept = Kept::new().await;
    kept.copy("store", "yesterday");
    // Two epochs on: one could be a redo that was under way.
    let server = kept.opens().await;
    let operator = Api::of(&kept.place, "operator").await;
    operator.create_key(TENANT, "other").await.unwrap();
    for _ in 0..2 {
        operator.rotate(TENANT, "other").await.unwrap();
        let active = operator.describe_key(TENANT, "other").await.unwrap().active_version;
        operator.destroy(TENANT, "other", Some(active - 1)).await.unwrap();
    }
    stop(server).await;
    kept.copy("store", "today");
    kept.put_back("store", "yesterday");
    kept.refuses("older than its medium");
    kept.put_back("store", "today");
    drop(kept.opens().await);
}

#[tokio::test]
async fn a_store_one_epoch_older_than_its_medium_does_not_bring_the_destroyed_back() {
    let kept = Kept::new().await;
    kept.copy("store", "yesterday");
    let server = kept.opens().await;
    let operator = Api::of(&kept.place, "operator").await;
    operator.destroy(TENANT, KEY, Some(1)).await.unwrap();
    stop(server).await;
    kept.copy("store", "today");
    kept.put_back("store", "yesterday");
    let failed = kept.place.try_start(&[]).unwrap_err();
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("medium"), "{}", failed.stderr);
    kept.put_back("store", "today");
    let _server = kept.place.start();
    let attendance = Api::of(&kept.place, "attendance").await;
    let opened = attendance.decrypt_each(TENANT, KEY, kept.sealed.clone(), &context(&[])).await;
    assert_eq!(opened, [Err(Reason::KeyDestroyed), Ok(vec![1])]);
}

#[tokio::test]
async fn a_store_file_that_was_cut_is_refused_with_the_rest_untouched() {
    let kept = Kept::new().await;
    kept.copy("store", "whole");
    let db = kept.place.path("store/store/sled/db");
    let length = fs::metadata(&db).unwrap().len();
    for left in [0, 1, 512, length / 2, length - 1] {
        cut(&db, left);
        let failed = match kept.place.try_start(&[]) {
            // The engine sets space aside: what was cut off here held nothing.
            Ok(server) if left > 4096 => {
                server.kill();
                drop(kept.opens().await);
                kept.put_back("store", "whole");
                continue;
            }
            started => started.unwrap_err(),
        };
        assert_eq!(failed.code, Some(1), "{left}: {}", failed.stderr);
        assert!(failed.stderr.contains("restore the data directory"), "{left}: {}", failed.stderr);
        assert_eq!(fs::metadata(&db).unwrap().len(), left, "the cut file is as it was");
        kept.put_back("store", "whole");
    }
    drop(kept.opens().await);
}

#[tokio::test]
async fn a_sidecar_that_is_gone_or_damaged_is_refused() {
    let kept = Kept::new().await;
    let sidecar = kept.place.path("store/store/sidecar");
    let whole = fs::read(&sidecar).unwrap();
    fs::remove_file(&sidecar).unwrap();
    kept.refuses("has no sidecar");
    fs::write(&sidecar, vec![0x5a; whole.len()]).unwrap();
    kept.refuses("sidecar is damaged");
    fs::write(&sidecar, whole).unwrap();
    fs::set_permissions(&sidecar, fs::Permissions::from_mode(0o600)).unwrap();
    drop(kept.opens().await);
}

#[tokio::test]
async fn a_medium_that_is_gone_cut_or_overwritten_is_refused() {
    let kept = Kept::new().await;
    let medium = kept.place.path("effaceable/epoch-secrets");
    let whole = fs::read(&medium).unwrap();
    let restore = || {
        fs::write(&medium, &whole).unwrap();
        fs::set_permissions(&medium, fs::Permissions::from_mode(0o600)).unwrap();
    };
    fs::remove_file(&medium).unwrap();
    kept.refuses("epoch-secrets` is not there");
    restore();
    for left in [0, 511, whole.len() as u64 / 2, whole.len() as u64 - 1] {
        cut(&medium, left);
        kept.refuses("epoch-secrets`");
        restore();
    }
    let mut erased = whole.clone();
    erased[4096..].fill(0);
    fs::write(&medium, &erased).unwrap();
    kept.refuses("does not hold the secret");
    restore();
    drop(kept.opens().await);
}

#[tokio::test]
async fn a_redo_that_was_cut_or_is_nonsense_is_no_redo() {
    let kept = Kept::new().await;
    let redo = kept.place.path("store/redo");
    for (name, content) in [
        ("2.redo", vec![]),
        ("2.redo", b"KMRD".to_vec()),
        ("3.redo", vec![0xff; 4096]),
        ("9.redo", vec![1; 100]),
    ] {
        fs::write(redo.join(name), content).unwrap();
        stop(kept.opens().await).await;
    }
}

#[tokio::test]
async fn an_audit_that_was_cut_is_reported_in_log_and_chain_and_keys_still_open() {
    let kept = Kept::new().await;
    let segment = || {
        let mut segments: Vec<_> = fs::read_dir(kept.place.path("audit"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().ends_with(".jsonl"))
            .collect();
        segments.sort();
        segments.pop().unwrap()
    };
    let text = fs::read_to_string(segment()).unwrap();
    let lines = text.lines().count();
    // A line half written, as a power loss leaves it.
    cut(&segment(), text.trim_end_matches('\0').trim_end().len() as u64 - 20);
    let server = kept.opens().await;
    server.wait_for_log("the audit is not as it was left", 1);
    stop(server).await;
    // Most of it gone.
    let half: String = text.lines().take(lines / 2).map(|line| format!("{line}\n")).collect();
    fs::write(segment(), half).unwrap();
    let server = kept.opens().await;
    server.wait_for_log("AUDIT_GAP", 1);
    let compliance = Api::of(&kept.place, "compliance").await;
    let all = compliance.lines(kms_proto::v1::AuditFilter::default()).await;
    assert!(!all.is_empty());
    stop(server).await;
    let report = kms_server::audit::verify(&kept.place.path("audit"), &Default::default()).unwrap();
    assert!(!report.is_sound() || !report.notes.is_empty(), "{report}");
}

#[tokio::test]
async fn an_audit_that_is_gone_is_refused() {
    let kept = Kept::new().await;
    kept.copy("audit", "audit");
    fs::remove_dir_all(kept.place.path("audit")).unwrap();
    kept.refuses("holds no audit");
    kept.put_back("audit", "audit");
    drop(kept.opens().await);
}

#[test]
fn check_config_does_not_need_a_healthy_store() {
    let place = Place::new();
    place.start().kill();
    cut(&place.path("store/store/sled/db"), 0);
    let file = place.path("kms-server.toml");
    let (code, stdout, stderr) = server::run(&["check-config", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}
