//! What the writer costs, on the embedded store and the `file` medium: ratios within one run, medians of several.
//!
//! - 64 creates at once against one at a time: changes that share a barrier, and the rate.
//! - destroying one of 100,000 versions against one of 1,000;
//! - rotating to version 1,000 of a key against version 2;
//! - a start with all of that in the store.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has failed")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kms_core::{
    id::{InstanceId, TenantSlot, VersionId},
    names::KeyName,
    secret::SealSecret,
};
use kms_server::{
    effaceable::file::FileMedium,
    erasure::{ChangeError, Options, Writer},
    store::{open, sidecar::Engine},
};

mod filling;
use filling::{fill, key, rotate, tenant};

fn seal() -> SealSecret {
    SealSecret::copied_from(&[0x5E; 32]).expect("32 bytes")
}

struct Place(PathBuf);

impl Place {
    fn new(root: &Path, name: &str) -> Self {
        let place = Self(root.join(name));
        std::fs::create_dir_all(&place.0).expect("a directory");
        let instance = InstanceId::random().expect("randomness");
        let opened = open::create(&place.0.join("store"), Engine::Sled, instance).expect("a store");
        let mut medium = FileMedium::create(&place.0.join("epochs"), instance).expect("a medium");
        Writer::create(&*opened.store, &mut medium, &seal(), instance).expect("an instance");
        place
    }

    /// Opens everything; says how long the writer took of it.
    fn start(&self) -> (Writer, Duration) {
        let opened = open::open(&self.0.join("store")).expect("the store");
        let medium = FileMedium::open(&self.0.join("epochs"), opened.instance).expect("the medium");
        let mut options = Options::new(self.0.join("redo"));
        options.erasure_interval = Duration::ZERO;
        let begun = Instant::now();
        let (writer, _) = Writer::start(opened.store, Box::new(medium), seal(), options).expect("a start");
        (writer, begun.elapsed())
    }
}

async fn one(writer: &Writer, tenant: TenantSlot, name: KeyName) -> VersionId {
    writer.commit(move |change| rotate(change, tenant, &name)).await.expect("a commit").value
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

async fn timed<F: Future>(work: F) -> Duration {
    let begun = Instant::now();
    work.await;
    begun.elapsed()
}

async fn creates(root: &Path) {
    let (writer, _) = Place::new(root, "creates").start();
    let tenant = tenant(&writer).await;
    const ALONE: u32 = 300;
    let alone = timed(async {
        for number in 0..ALONE {
            one(&writer, tenant, key(&format!("alone{number}"))).await;
        }
    });
    let alone = f64::from(ALONE) / alone.await.as_secs_f64();
    let (before, each) = (writer.revision().0, 100u32);
    let together = timed(async {
        let tasks: Vec<_> = (0..64u32)
            .map(|task| {
                let writer = writer.clone();
                tokio::spawn(async move {
                    for number in 0..each {
                        one(&writer, tenant, key(&format!("t{task}n{number}"))).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task");
        }
    });
    let rate = f64::from(64 * each) / together.await.as_secs_f64();
    let shared = f64::from(64 * each) / (writer.revision().0 - before) as f64;
    println!("creates/s one at a time {alone:.0}, 64 at once {rate:.0}: {:.1}x (wanted 5)", rate / alone);
    println!("creates that share a barrier {shared:.1} (wanted 8)");
    writer.stop();
}

async fn destroys(root: &Path, count: u32) -> Duration {
    let place = Place::new(root, &format!("destroys{count}"));
    let (writer, _) = place.start();
    let tenant = tenant(&writer).await;
    let made = fill(&writer, tenant, count).await;
    let mut times = Vec::new();
    for turn in 0..21 {
        let version = made[(turn * 7919 + 13) % made.len()];
        let destroyed = writer.destroy(move |change| {
            change.destroy_version(version, 0);
            Ok::<_, ChangeError>(())
        });
        times.push(timed(async { assert!(destroyed.await.expect("a destruction").effaced) }).await);
    }
    writer.stop();
    drop(writer);
    let (writer, start) = place.start();
    let gone = made[13 % made.len()];
    assert!(writer.snapshot().open_version(gone).is_err());
    let begun = Instant::now();
    for version in made.iter().rev().take(100) {
        drop(writer.snapshot().open_version(*version));
    }
    println!(
        "the writer's own start with {count} versions {start:?}, opening one {:?}",
        begun.elapsed() / 100
    );
    writer.stop();
    median(times)
}

async fn tenant_destroy(root: &Path, count: u32) -> Duration {
    let (writer, _) = Place::new(root, &format!("tenants{count}")).start();
    let (tenant, _other) = (tenant(&writer).await, tenant(&writer).await);
    fill(&writer, tenant, count).await;
    let destroyed = writer.destroy(move |change| {
        change.destroy_tenant(tenant, 0);
        Ok::<_, ChangeError>(())
    });
    let time = timed(async { assert!(destroyed.await.expect("a destruction").effaced) }).await;
    writer.stop();
    time
}

async fn rotations(root: &Path) {
    let (writer, _) = Place::new(root, "rotations").start();
    let tenant = tenant(&writer).await;
    let (mut early, mut late) = (Vec::new(), Vec::new());
    // Fresh keys to version 2, and one key to version 1,000, in turns.
    for _ in 0..960 {
        one(&writer, tenant, key("old")).await;
    }
    for turn in 0..40 {
        let young = key(&format!("young{turn}"));
        one(&writer, tenant, young.clone()).await;
        early.push(timed(one(&writer, tenant, young)).await);
        late.push(timed(one(&writer, tenant, key("old"))).await);
    }
    let (early, late) = (median(early), median(late));
    println!("rotating to version 2 {early:?}, to 1,000 {late:?}: {:.2}x (at most 1.2)", ratio(late, early));
    writer.stop();
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn main() {
    let root = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let root = root.path();
        creates(root).await;
        rotations(root).await;
        let (few, many) = (destroys(root, 1_000).await, destroys(root, 100_000).await);
        println!(
            "destroying one of 1,000 {few:?}, of 100,000 {many:?}: {:.2}x (at most 2)",
            ratio(many, few)
        );
        let (few, many) = (tenant_destroy(root, 10).await, tenant_destroy(root, 20_000).await);
        println!("destroying a tenant of 10 {few:?}, of 20,000 {many:?}: {:.2}x", ratio(many, few));
    });
}
