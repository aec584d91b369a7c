//! What destroying costs, on the embedded store and the `file` medium: ratios within one run, medians of several.
//!
//! - one version of 1,000, of 100,000, of 1,000,000;
//! - a tenant of 100,000 versions against one version;
//! - 1,000 destructions within one interval against one;
//! - the commit that destroys against one plain durable commit.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has failed")]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kms_core::id::{CommitNumber, VersionId};
use kms_server::{
    erasure::{ChangeError, Writer},
    store::{Batch, CommitError, Pair, ReadError, Store},
};

mod filling;
mod place;
use filling::{fill, key, rotate, tenant};
use place::{Place, median, ratio, timed};

/// Each size is destroyed from so often.
const TURNS: usize = 21;

/// Tells how long each commit took.
struct Timed(Arc<dyn Store>, Arc<Mutex<Vec<Duration>>>);

impl Store for Timed {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.get(key)
    }
    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError> {
        self.0.range(prefix, after, limit)
    }
    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError> {
        self.0.last(prefix)
    }
    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError> {
        let begun = Instant::now();
        let done = self.0.commit(number, batch);
        self.1.lock().expect("nobody panicked").push(begun.elapsed());
        done
    }
    fn committed(&self) -> CommitNumber {
        self.0.committed()
    }
}

async fn destroy(writer: &Writer, version: VersionId) {
    let destroyed = writer.destroy(move |change| {
        change.destroy_version(version, 0);
        Ok::<_, ChangeError>(())
    });
    assert!(destroyed.await.expect("a destruction").effaced);
}

/// Destroying one of so many.
async fn one_of(root: &Path, count: u32) -> Duration {
    let (writer, _) = Place::new(root, &format!("one-of-{count}")).start();
    let tenant = tenant(&writer).await;
    let made = fill(&writer, tenant, count).await;
    let mut times = Vec::new();
    for turn in 0..TURNS {
        times.push(timed(destroy(&writer, made[(turn * 7919 + 13) % made.len()])).await);
    }
    writer.stop();
    median(times)
}

/// A tenant with so many versions against one version, in turns.
async fn tenants(root: &Path, count: u32) {
    let (writer, _) = Place::new(root, "tenants").start();
    let other = tenant(&writer).await;
    let versions = fill(&writer, other, 1_000).await;
    let (mut of_tenants, mut of_versions) = (Vec::new(), Vec::new());
    for version in &versions[..5] {
        let full = tenant(&writer).await;
        fill(&writer, full, count).await;
        let destroyed = writer.destroy(move |change| {
            change.destroy_tenant(full, 0);
            Ok::<_, ChangeError>(())
        });
        of_tenants.push(timed(async { assert!(destroyed.await.expect("a destruction").effaced) }).await);
        of_versions.push(timed(destroy(&writer, *version)).await);
    }
    let (tenant, version) = (median(of_tenants), median(of_versions));
    println!(
        "destroying a tenant of {count} {tenant:?}, one version {version:?}: {:.2}x (wanted 1)",
        ratio(tenant, version)
    );
    writer.stop();
}

/// So many at once against one, without the time that they wait for each other.
async fn together(root: &Path, count: usize) {
    let place = Place::new(root, "together");
    let (writer, _) = place.start();
    let owner = tenant(&writer).await;
    let made = fill(&writer, owner, 10_000).await;
    let mut alone = Vec::new();
    for version in &made[..TURNS] {
        alone.push(timed(destroy(&writer, *version)).await);
    }
    let mut all = Vec::new();
    for turn in 0..5 {
        let first = TURNS + turn * count;
        let some = made[first..first + count].to_vec();
        let work = async {
            let tasks: Vec<_> = some
                .into_iter()
                .map(|version| {
                    let writer = writer.clone();
                    tokio::spawn(async move { destroy(&writer, version).await })
                })
                .collect();
            for task in tasks {
                task.await.expect("a task");
            }
        };
        all.push(timed(work).await);
    }
    let (all, alone) = (median(all), median(alone));
    println!("{count} destructions at once {all:?}, one {alone:?}: {:.1}x (at most 20)", ratio(all, alone));
    writer.stop();
}

/// The commit of an epoch against a plain one, in turns. An epoch makes two: the one that destroys, and the one that records the
/// effacement.
async fn commit(root: &Path) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&times);
    let (writer, _) =
        Place::new(root, "commit").start_with(Duration::ZERO, |store| Arc::new(Timed(store, told)));
    let owner = tenant(&writer).await;
    let made = fill(&writer, owner, 10_000).await;
    let (mut plain, mut destroying) = (Vec::new(), Vec::new());
    let take = || std::mem::take(&mut *times.lock().expect("nobody panicked"));
    for (turn, version) in made[..2 * TURNS].iter().enumerate() {
        take();
        let name = key(&format!("plain{turn}"));
        let made = writer.commit(move |change| rotate(change, owner, &name));
        made.await.expect("a commit");
        plain.extend(take());
        destroy(&writer, *version).await;
        let epoch = take();
        assert_eq!(epoch.len(), 2, "an epoch's commits");
        destroying.push(epoch[0]);
    }
    let (plain, destroying) = (median(plain), median(destroying));
    println!(
        "the commit that destroys {destroying:?}, a plain one {plain:?}: {:.2}x (at most 4)",
        ratio(destroying, plain)
    );
    writer.stop();
}

fn main() {
    let root = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // `cargo bench --bench erasure -- quick` leaves out the largest.
    let quick = std::env::args().any(|word| word == "quick");
    runtime.block_on(async {
        let root = root.path();
        commit(root).await;
        together(root, 1_000).await;
        tenants(root, 100_000).await;
        let few = one_of(root, 1_000).await;
        let most: &[u32] = if quick { &[100_000] } else { &[100_000, 1_000_000] };
        for count in most {
            let many = one_of(root, *count).await;
            println!(
                "destroying one of 1,000 {few:?}, of {count} {many:?}: {:.2}x (at most 2)",
                ratio(many, few)
            );
        }
    });
}
