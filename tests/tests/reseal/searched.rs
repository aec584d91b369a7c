//! Search by index gives the same rows before, during and after index rotation and re-encryption, with a live writer beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
    time::Duration,
};

use kms_client::{
    DestroyReason, Kms, Reason,
    api::{Change, DestroyKey, DestroyTarget},
    protect::BlindIndexValue,
};
use sqlx::AssertSqlSafe;
use tokio::sync::watch;

use crate::{
    indexes::{CheckIn, SealedCheckIn, checkin},
    scene::{Db, Pool, Scene, report, tenant},
};

/// Rows that nobody writes while they are looked for: each number stands in three of them, spelled in three ways.
const NUMBERS: i64 = 100;
const SPELLED: i64 = 3;
/// Ids of the rows of the live writer begin here.
const LIVE: i64 = 1_000_000;
/// Probes that are awaited between two steps.
const PROBES: u64 = 40;
const ROUNDS: u32 = 2;

fn spelled(number: i64, how: i64) -> String {
    match how {
        0 => format!("+86 138 {number:08}"),
        1 => format!("0086-138-{number:08}"),
        _ => format!("+86138{number:08}"),
    }
}

/// Ids of the rows that a search brings, once what only looks alike is left out.
async fn found(kms: &Kms, pool: &Pool, number: i64) -> BTreeSet<i64> {
    let probes = CheckIn::phone_index(kms, &tenant(), &spelled(number, 2)).await.unwrap();
    let rows = pool.search(probes.as_slice()).await;
    let mut ids = BTreeSet::new();
    for row in kms.open_all(rows).await {
        let row = row.unwrap();
        let digits: String = row.phone.unwrap().chars().filter(char::is_ascii_digit).collect();
        if digits.ends_with(&format!("86138{number:08}")) {
            ids.insert(row.id);
        }
    }
    ids
}

impl Pool {
    async fn search(&self, probes: &[BlindIndexValue]) -> Vec<SealedCheckIn> {
        let places: Vec<_> = (1..=probes.len()).map(|at| format!("${at}")).collect();
        let text = format!("SELECT * FROM checkins WHERE phone_index IN ({})", places.join(", "));
        let text = AssertSqlSafe(text);
        match self {
            Self::Sqlite(pool) => {
                let query =
                    probes.iter().fold(sqlx::query_as(text), |query, probe| query.bind(probe.clone()));
                query.fetch_all(pool).await.unwrap()
            }
            Self::Postgres(pool) => {
                let query =
                    probes.iter().fold(sqlx::query_as(text), |query, probe| query.bind(probe.clone()));
                query.fetch_all(pool).await.unwrap()
            }
        }
    }

    /// The application's own update of a row.
    async fn update(&self, kms: &Kms, row: &CheckIn) {
        let SealedCheckIn { id, phone, phone_index, note, .. } = kms.seal(row).await.unwrap();
        let text = "UPDATE checkins SET phone = $1, phone_index = $2, note = $3 WHERE id = $4";
        let touched = match self {
            Self::Sqlite(pool) => {
                let query = sqlx::query(text).bind(phone).bind(phone_index).bind(note).bind(id);
                query.execute(pool).await.unwrap().rows_affected()
            }
            Self::Postgres(pool) => {
                let query = sqlx::query(text).bind(phone).bind(phone_index).bind(note).bind(id);
                query.execute(pool).await.unwrap().rows_affected()
            }
        };
        assert_eq!(touched, 1, "row {id} is lost");
    }
}

/// What the tasks beside a run share.
#[derive(Clone)]
struct Beside {
    pool: Pool,
    probes: watch::Sender<u64>,
    end: watch::Receiver<bool>,
}

impl Beside {
    fn goes_on(&self) -> bool {
        !*self.end.borrow()
    }
}

/// Looks for rows that nobody writes, at every moment.
async fn look(scene: Arc<Scene>, beside: Beside) {
    let (warm, mut turn) = (scene.cold().await, 0);
    while beside.goes_on() {
        let number = turn * 37 % NUMBERS;
        let expected: BTreeSet<_> = (0..SPELLED).map(|how| number * SPELLED + how).collect();
        // Now and then somebody who knows nothing yet.
        let kms = if turn % 16 == 15 { scene.cold().await } else { warm.clone() };
        assert_eq!(found(&kms, &beside.pool, number).await, expected, "number {number}, turn {turn}");
        beside.probes.send_modify(|probes| *probes += 1);
        turn += 1;
    }
}

/// Inserts rows and gives others new numbers; after each it finds what it has written, and no more where it was.
async fn write(kms: Kms, beside: Beside) -> BTreeMap<i64, i64> {
    let (mut model, mut turn) = (BTreeMap::new(), 0);
    while beside.goes_on() {
        turn += 1;
        let number = 1_000 + turn;
        let id = if turn % 4 == 0 || model.is_empty() {
            let id = LIVE + turn;
            beside.pool.insert(&kms, &[checkin(id, &spelled(number, turn % SPELLED))]).await;
            id
        } else {
            let (id, before) =
                model.iter().nth(turn as usize * 7 % model.len()).map(|(id, n)| (*id, *n)).unwrap();
            beside.pool.update(&kms, &checkin(id, &spelled(number, turn % SPELLED))).await;
            assert!(found(&kms, &beside.pool, before).await.is_empty(), "row {id} went from {before}");
            id
        };
        model.insert(id, number);
        assert_eq!(found(&kms, &beside.pool, number).await, BTreeSet::from([id]), "number {number}");
    }
    model
}

/// Waits until so many more probes have been made.
async fn more_probes(beside: &Beside) {
    let mut probes = beside.probes.subscribe();
    let until = *probes.borrow() + PROBES;
    let enough = tokio::time::timeout(Duration::from_secs(120), probes.wait_for(|probes| *probes >= until));
    assert!(enough.await.is_ok_and(|told| told.is_ok()), "nobody looks any more");
}

async fn destroy_index(scene: &Scene, version: u32) {
    let what = || DestroyKey {
        target: DestroyTarget::Version(version),
        reason: DestroyReason::Superseded,
        ticket: String::new(),
        force: false,
        window: None,
        change: Change::default(),
    };
    // Leases to write under it run out; none is given any more.
    while let Err(error) =
        scene.operator.destroy_key(&tenant(), &"attendance.index".parse().unwrap(), what()).await
    {
        assert_eq!(error.reason(), Some(Reason::SealingLeasesRun), "{error}");
    }
}

async fn the_same_rows(db: Db) {
    let scene = Arc::new(Scene::new().await);
    db.pool.create_checkins().await;
    for first in (0..NUMBERS).step_by(20) {
        let rows = (first..first + 20).flat_map(|number| {
            (0..SPELLED).map(move |how| checkin(number * SPELLED + how, &spelled(number, how)))
        });
        db.pool.insert(&scene.service, &rows.collect::<Vec<_>>()).await;
    }
    let schema = scene.place.profile("attendance").with_file_name("checkins.json");
    fs::write(&schema, serde_json::to_string(CheckIn::SCHEMA).unwrap()).unwrap();
    let words = format!("reseal --tenant acme -o json --schema {} --database {}", schema.display(), db.url());
    let reseal = || kms_tests::cli::kms(Some(&scene.place.profile("attendance")), words.split(' '));

    let (stop, end) = watch::channel(false);
    let beside = Beside { pool: db.pool.clone(), probes: watch::Sender::new(0), end };
    let looking = tokio::spawn(look(scene.clone(), beside.clone()));
    let writing = tokio::spawn(write(scene.cold().await, beside.clone()));
    more_probes(&beside).await;
    for round in 1..=ROUNDS {
        scene.rotate(false).await;
        scene.rotate_index().await;
        more_probes(&beside).await;
        let (mut resealed, mut reindexed) = (0, 0);
        loop {
            let said = reseal();
            assert!(matches!(said.code, Some(0 | 7)), "{said:?}");
            let report = report(&said);
            assert_eq!(report["failed"], 0, "{said:?}");
            let count = |name: &str| report[name].as_u64().unwrap();
            resealed += count("resealed");
            reindexed += count("reindexed");
            if report["nothing_left"] == true && count("resealed") + count("reindexed") == 0 {
                break;
            }
        }
        let fixed = (NUMBERS * SPELLED) as u64;
        assert!(resealed >= fixed && reindexed >= fixed, "{resealed} {reindexed}");
        more_probes(&beside).await;
        scene.destroy(round).await;
        destroy_index(&scene, round).await;
        more_probes(&beside).await;
    }
    stop.send(true).unwrap();
    looking.await.unwrap();
    let model = writing.await.unwrap();
    println!("{} searches beside {} live rows", *beside.probes.borrow(), model.len());

    let cold = scene.cold().await;
    let versions = cold.index(&tenant(), &"attendance.index".parse().unwrap()).versions().await.unwrap();
    assert_eq!(versions.live.len(), 1, "only the newest is left");
    for number in 0..NUMBERS {
        let expected: BTreeSet<_> = (0..SPELLED).map(|how| number * SPELLED + how).collect();
        assert_eq!(found(&cold, &db.pool, number).await, expected, "{number}");
    }
    for (id, number) in model {
        assert_eq!(found(&cold, &db.pool, number).await, BTreeSet::from([id]), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_gives_the_same_rows_through_rotation_and_reseal_on_sqlite() {
    the_same_rows(Db::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_gives_the_same_rows_through_rotation_and_reseal_on_postgresql() {
    if let Some(db) = Db::postgres().await {
        the_same_rows(db).await;
    }
}
