//! What a line of the audit costs, beside the bare calls it cannot do without: `write(2)` and `fdatasync` of as many bytes.
//!
//! `written` is to be compared with `bare/write`, in CPU time of the whole process, so that other work on the machine does not count;
//! `synced` with `bare/write and fdatasync`, in time that passes. Figures are per line.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark that fails may panic")]

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use criterion::{Criterion, criterion_group, criterion_main};
use kms_core::{
    id::{InstanceId, VersionId},
    names::{FamilyName, TenantName},
    state::KeyClass,
};
use kms_server::{
    audit::{AuditLog, Durability, Entry, Options, Outcome, RequestId},
    identity::{Identity, IdentityName, KeyExchangeGroup},
    operation::Operation,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::{runtime::Runtime, task::JoinSet};

/// About the length of a line of `Encrypt`.
const LINE: usize = 580;

struct Call {
    identity: Identity,
    tenant: TenantName,
    key: FamilyName,
}

impl Call {
    fn new() -> Self {
        let identity = Identity {
            name: IdentityName::Spiffe("spiffe://dev.local/attendance".into()),
            certificate: [0xab; 32],
            group: KeyExchangeGroup::X25519MlKem768,
            not_after: SystemTime::now() + Duration::from_secs(3600),
        };
        Self { identity, tenant: "acme".parse().unwrap(), key: "attendance".parse().unwrap() }
    }

    async fn record(&self, log: &AuditLog, durability: Durability) {
        let request = RequestId::fresh();
        let entry = Entry {
            tenant: Some(&self.tenant),
            key: Some(&self.key),
            class: Some(KeyClass::L2),
            versions: &[VersionId::from(5 << 32 | 288)],
            rules: &["attendance-seals-and-opens"],
            ..Entry::new(&request, &self.identity, Operation::Encrypt, Outcome::Allowed)
        };
        drop(log.record(entry, durability).await.unwrap());
    }
}

fn open(dir: &Path) -> AuditLog {
    let instance = InstanceId([7; 16]);
    AuditLog::create(dir, instance).unwrap();
    AuditLog::open(Options::new(dir, instance)).unwrap().0
}

/// CPU time that the process has spent, the sync thread's too.
fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// `lines` lines from `callers` tasks at once.
fn run(runtime: &Runtime, log: &AuditLog, callers: u64, lines: u64, durability: Durability) -> Duration {
    let (started, cpu_before) = (Instant::now(), cpu());
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let log = log.clone();
            let share = lines / callers + u64::from(caller < lines % callers);
            tasks.spawn(async move {
                let call = Call::new();
                for _ in 0..share {
                    call.record(&log, durability).await;
                    // Where a server would go on with other work.
                    tokio::task::yield_now().await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    });
    match durability {
        Durability::Written => cpu() - cpu_before,
        Durability::Synced => started.elapsed(),
    }
}

/// Writes as many bytes, one call a line.
fn bare(dir: &Path, lines: u64, sync: bool) -> Duration {
    let file = File::create(dir.join("bare")).unwrap();
    let (line, mut offset) = ([b'x'; LINE], 0);
    let (started, cpu_before) = (Instant::now(), cpu());
    for _ in 0..lines {
        file.write_all_at(&line, offset).unwrap();
        offset += LINE as u64;
        if sync {
            file.sync_data().unwrap();
        }
    }
    if sync { started.elapsed() } else { cpu() - cpu_before }
}

fn audit(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = open(&dir.path().join("log"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("audit");
    group.bench_function("bare/write", |bencher| bencher.iter_custom(|lines| bare(dir.path(), lines, false)));
    for callers in [1, 8, 64] {
        group.bench_function(format!("written/{callers} callers"), |bencher| {
            bencher.iter_custom(|lines| run(&runtime, &log, callers, lines, Durability::Written));
        });
    }
    group.bench_function("head", |bencher| {
        bencher.iter_custom(|heads| {
            let mut spent = Duration::ZERO;
            for _ in 0..heads {
                run(&runtime, &log, 1, 1, Durability::Synced);
                let before = cpu();
                std::hint::black_box(log.head());
                spent += cpu() - before;
            }
            spent
        });
    });
    group.sample_size(20);
    group.bench_function("bare/write and fdatasync", |bencher| {
        bencher.iter_custom(|lines| bare(dir.path(), lines, true));
    });
    for callers in [1, 8, 64] {
        group.bench_function(format!("synced/{callers} callers"), |bencher| {
            bencher.iter_custom(|lines| run(&runtime, &log, callers, lines, Durability::Synced));
        });
    }
}

criterion_group!(benches, audit);
criterion_main!(benches);
