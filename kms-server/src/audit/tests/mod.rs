//! What the log promises, each promise by name.

pub(crate) mod failing;
mod killed;
mod opening;
mod reading;
mod recording;
mod tampering;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use kms_core::{
    id::InstanceId,
    names::{FamilyName, TenantName},
};

use super::{AuditLog, Durability, Entry, Opened, Options, Outcome, RequestId};
use crate::{
    identity::{Identity, IdentityName, KeyExchangeGroup},
    operation::Operation,
};

const INSTANCE: InstanceId = InstanceId([7; 16]);

/// What an entry borrows from.
struct Caller {
    request: RequestId,
    identity: Identity,
    tenant: TenantName,
    key: FamilyName,
}

impl Caller {
    fn new(name: &str) -> Self {
        Self {
            request: RequestId::fresh(),
            identity: Identity {
                name: IdentityName::Spiffe(format!("spiffe://dev.local/{name}").into()),
                certificate: [0xab; 32],
                group: KeyExchangeGroup::X25519MlKem768,
                not_after: SystemTime::now() + Duration::from_secs(60),
            },
            tenant: "acme".parse().unwrap(),
            key: "attendance".parse().unwrap(),
        }
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            tenant: Some(&self.tenant),
            key: Some(&self.key),
            rules: &["attendance-seals"],
            ..Entry::new(&self.request, &self.identity, Operation::Encrypt, Outcome::Allowed)
        }
    }
}

fn options(dir: &Path) -> Options {
    Options { preallocate: false, ..Options::new(dir, INSTANCE) }
}

fn open(dir: &Path) -> (AuditLog, Opened) {
    AuditLog::open(options(dir)).unwrap()
}

/// A new audit in a directory of its own.
fn fresh() -> (tempfile::TempDir, AuditLog) {
    let dir = tempfile::tempdir().unwrap();
    AuditLog::create(dir.path(), INSTANCE).unwrap();
    let (log, opened) = open(dir.path());
    assert_eq!((opened.lines, opened.findings), (1, vec![]));
    (dir, log)
}

/// Every line of every segment.
fn lines(dir: &Path) -> Vec<serde_json::Value> {
    let segments = super::segment::list(dir).unwrap();
    let texts = segments.iter().map(|segment| std::fs::read_to_string(&segment.path).unwrap());
    texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect()
}

fn requests(dir: &Path) -> Vec<serde_json::Value> {
    lines(dir).into_iter().filter(|line| line["type"] == "request").collect()
}

/// Makes an audit with this many synced request lines in several segments, closed in order.
async fn made(requests: u32, segment_bytes: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    AuditLog::create(dir.path(), INSTANCE).unwrap();
    let options = Options { segment_bytes, ..options(dir.path()) };
    let (log, _) = AuditLog::open(options).unwrap();
    let caller = Caller::new("attendance");
    for _ in 0..requests {
        let _recorded = log.record(caller.entry(), Durability::Synced).await.unwrap();
        if log.core().writer.lock().length >= segment_bytes {
            rotated(&log).await;
        }
    }
    dir
}

/// Waits until the next segment has been begun.
async fn rotated(log: &AuditLog) {
    let before = log.core().writer.lock().segment;
    let mut synced = log.core().synced.subscribe();
    while log.core().writer.lock().segment == before {
        log.core().bell.want_sync();
        tokio::time::timeout(Duration::from_millis(20), synced.changed()).await.ok();
    }
}
