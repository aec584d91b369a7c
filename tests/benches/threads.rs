//! Whether threads that seal and open with warm keys get in each other's way: the same work by one thread and by eight.
//!
//! Three figures of each. How much faster eight are by the clock on the wall, which needs a machine that is left alone; how much more
//! processor time they take for the same work, which does not; and how often a thread waited for another, which should be never.
//! A bare cipher shared by the threads shows what the machine allows.

#![expect(clippy::unwrap_used, reason = "where setting up fails there is nothing to measure")]

mod measure;

use std::{
    fs,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use futures_util::FutureExt as _;
use kms_client::{
    Kms, Profile, Protect, RecordId,
    api::{CreateKey, CreateTenant},
};
use kms_core::{
    field::{Column, FieldCipher},
    id::{DataKeyId, VersionId},
    secret::DataKey,
};
use kms_tests::Place;
use measure::{CPU, Took, WALL, in_turns, took};
use tokio::runtime::Runtime;

#[derive(Clone, Protect)]
#[protect(table = "people", key = "attendance", tenant = "company_id", bind("id"))]
struct Person {
    company_id: String,
    id: u64,
    #[protect(encrypt)]
    name: String,
    #[protect(encrypt)]
    phone: String,
    #[protect(encrypt)]
    email: String,
}

const THREADS: usize = 8;
const ROUNDS: usize = 20;
/// Of one turn, by however many threads.
const UNITS: usize = 64_000;
/// Rows of a batch.
const BATCH: usize = 100;

fn person(id: u64) -> Person {
    Person {
        company_id: "acme".into(),
        id,
        name: format!("Li Lei {id}"),
        phone: "138 0013 8000".into(),
        email: "li.lei@example.com".into(),
    }
}

async fn warm(place: &Place) -> Kms {
    let client = async |name| Kms::connect(Profile::load(place.profile(name)).unwrap()).await.unwrap();
    let (operator, kms) = (client("operator").await, client("attendance").await);
    let (tenant, key) = ("acme".parse().unwrap(), "attendance".parse().unwrap());
    operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
    operator.create_key(&tenant, &key, CreateKey::default()).await.unwrap();
    let twin = kms.seal(&person(1)).await.unwrap();
    kms.open(&twin).await.unwrap();
    kms
}

/// Shares `times` pieces of work among threads; counts how often one of them gave up its core to wait.
fn share(threads: usize, times: usize, waits: &AtomicU64, work: &(dyn Fn() + Sync)) -> Took {
    took(|| {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let before = voluntary_switches();
                    (0..times / threads).for_each(|_| work());
                    waits.fetch_add(voluntary_switches() - before, Relaxed);
                });
            }
        });
    })
}

/// Of this thread, so far.
fn voluntary_switches() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

fn compare(what: &str, units: usize, work: &(dyn Fn() + Sync)) {
    let (alone, together) = (AtomicU64::new(0), AtomicU64::new(0));
    let times = UNITS / units;
    let turns = in_turns(
        ROUNDS,
        &mut [&mut || share(1, times, &alone, work), &mut || share(THREADS, times, &together, work)],
    );
    println!(
        "{what}: {THREADS} threads {:.2}x as fast as one, best turns {:.2}x (at least 1.8 on two cores); \
         processor time {:.2}x, {:.0} ns each alone; waited {} times ({} alone)",
        1.0 / turns.ratio(1, 0, WALL),
        1.0 / turns.ratio_of_least(1, 0, WALL),
        turns.ratio(1, 0, CPU),
        turns.least(0, CPU).as_nanos() as f64 / times as f64,
        together.into_inner(),
        alone.into_inner(),
    );
}

fn main() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let _server = place.start();
    let kms = runtime.block_on(warm(&place));

    let data_key = DataKey::copied_from(&[7; 32]).unwrap();
    let (tenant, table, column) =
        ("acme".parse().unwrap(), "people".parse().unwrap(), "name".parse().unwrap());
    let column = Column { tenant: &tenant, table: &table, column: &column };
    let cipher = FieldCipher::new(&data_key, VersionId::from(1 << 32 | 1), DataKeyId::from(1), column);
    let record = RecordId::try_from(&b"17"[..]).unwrap();
    compare("a bare cipher", 1, &|| drop(black_box(cipher.seal(&record, b"138 0013 8000"))));

    // What is warm does not wait: a future that is not done at once would show here. (Budgets are renewed beside it.)
    let row = person(17);
    compare("a row sealed", 3, &|| drop(kms.seal(&row).now_or_never().unwrap().unwrap()));
    let twin = kms.seal(&row).now_or_never().unwrap().unwrap();
    compare("a row opened", 3, &|| drop(kms.open(&twin).now_or_never().unwrap().unwrap()));
    let rows: Vec<Person> = (0..BATCH as u64).map(person).collect();
    compare("100 rows sealed", 3 * BATCH, &|| drop(kms.seal_all(&rows).now_or_never().unwrap()));
    let twins: Vec<SealedPerson> =
        kms.seal_all(&rows).now_or_never().unwrap().into_iter().collect::<Result<_, _>>().unwrap();
    compare("100 rows opened", 3 * BATCH, &|| drop(kms.open_all(twins.clone()).now_or_never().unwrap()));
}
