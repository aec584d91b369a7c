//! What the writer costs, on the embedded store and the `file` medium: ratios within one run, medians of several.
//!
//! - 64 creates at once against one at a time: changes that share a barrier, and the rate.
//! - rotating to version 1,000 of a key against version 2;
//! - a group of creates with what the log says of them, and without.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has failed")]

use std::path::Path;

use kms_core::{
    commitment::ALG_AES_256,
    event::{KeyCreate, Origin},
    id::{TenantSlot, Uid, VersionId},
    state::KeyClass,
};
use kms_server::erasure::{Change, ChangeError, Writer};
use kms_server::records::KeyRef;

mod filling;
mod place;
use filling::{key, rotate, tenant};
use place::{Place, median, ratio, timed};

async fn one(writer: &Writer, tenant: TenantSlot, name: KeyRef) -> VersionId {
    writer.commit(move |change| rotate(change, tenant, &name)).await.expect("a commit").value
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

/// Groups of creates with an entry of the log for each, and without, in turns.
async fn logged(root: &Path) {
    const GROUP: u32 = 200;
    let (writer, _) = Place::new(root, "logged").start();
    let tenant = tenant(&writer).await;
    let (mut bare, mut with_log) = (Vec::new(), Vec::new());
    for turn in 0..40 {
        for (says, times) in [(false, &mut bare), (true, &mut with_log)] {
            let created = writer.commit(move |change| {
                for number in 0..GROUP {
                    let key = key(&format!("{turn}-{says}-{number}"));
                    let version = rotate(change, tenant, &key)?;
                    if says {
                        say(change, key, version);
                    }
                }
                Ok::<_, ChangeError>(())
            });
            times.push(timed(async { created.await.map(drop).expect("a commit") }).await);
        }
    }
    let (bare, with_log) = (median(bare), median(with_log));
    println!(
        "a group of {GROUP} creates {bare:?}, with the log {with_log:?}: {:.2}x (at most 1.2)",
        ratio(with_log, bare)
    );
    writer.stop();
}

/// What the log says of a key that was made.
fn say(change: &mut Change<'_>, key: KeyRef, version: VersionId) {
    change.log(KeyCreate {
        tenant_uid: Uid([1; 16]),
        key: key.logged(),
        key_uid: Uid([2; 16]),
        class: KeyClass::L2,
        number: 1,
        version_uid: Uid([3; 16]),
        slot: version.leaf_slot(),
        alg: ALG_AES_256,
        kc: [4; 32],
        origin: Origin::Generated,
    });
}

fn main() {
    let root = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let root = root.path();
        creates(root).await;
        rotations(root).await;
        logged(root).await;
    });
}
