//! What the log promises, each promise by name.

mod recording;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kms_core::{
    id::InstanceId,
    names::{KeyName, TenantName},
};

use super::{AuditLog, Entry, Opened, Options, Outcome, RequestId};
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
    key: KeyName,
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
