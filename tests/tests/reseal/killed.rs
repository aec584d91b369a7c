//! `kill -9` at random, fifty times, while a table is resealed beside live writers: no row is lost, none is left behind, and then
//! every older version can be destroyed.
//!
//! `KMS_SEED` repeats a run's choices (not its timing), `KMS_KILLS` makes it longer or shorter.

use std::{
    collections::BTreeMap,
    process::Stdio,
    time::{Duration, Instant},
};

use kms_client::{Column, Kms, text};
use kms_tests::cli;
use tokio::sync::watch;

use crate::scene::{Db, Pool, Scene, column, opened, records, report, row};

const KILLS: u64 = 50;
const ROWS: i64 = 1_000;
const WRITERS: i64 = 2;
const BOTH: [&str; 4] = ["--column", "phone", "--column", "staff:deterministic"];
/// Versions that a run makes at most, so that destroying them stays short.
const MOST_VERSIONS: u32 = 12;

/// splitmix64 (Steele, Lea, Flood, OOPSLA 2014): repeatable, and that is all it must be.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

/// What was acknowledged: the value of each row.
type Model = BTreeMap<i64, String>;

fn staff() -> Column {
    Column::deterministic("checkins", "staff").unwrap()
}

async fn cells(kms: &Kms, id: i64, value: &str) -> [String; 2] {
    let (records, row) = (records(kms), row(&id.to_string()));
    let phone = records.seal(&column("phone"), &row, value.as_bytes()).await.unwrap();
    let staff = records.seal(&staff(), &row, value.as_bytes()).await.unwrap();
    [text::encode(&phone), text::encode(&staff)]
}

/// Inserts, updates and deletes rows of its own until told to end; says what must be there then.
async fn live(kms: Kms, pool: Pool, own: i64, mut model: Model, mut end: watch::Receiver<bool>) -> Model {
    let (mut dice, mut next, mut turn) = (Dice(own as u64), ROWS + own, 0);
    while !*end.borrow_and_update() {
        turn += 1;
        let value = format!("live {own} {turn}");
        let known = model.keys().nth(dice.roll(model.len() as u64) as usize).copied().unwrap();
        match dice.roll(24) {
            0 => {
                pool.run(&format!("DELETE FROM checkins WHERE id = {known}"), &[]).await;
                model.remove(&known);
            }
            1 => {
                next += WRITERS;
                let [phone, staff] = cells(&kms, next, &value).await;
                let insert = format!("INSERT INTO checkins VALUES ({next}, $1, $2)");
                pool.run(&insert, &[Some(&phone), Some(&staff)]).await;
                model.insert(next, value);
            }
            _ => {
                let [phone, staff] = cells(&kms, known, &value).await;
                let update = format!("UPDATE checkins SET phone = $1, staff = $2 WHERE id = {known}");
                assert_eq!(pool.run(&update, &[Some(&phone), Some(&staff)]).await, 1, "row {known} is lost");
                model.insert(known, value);
            }
        }
    }
    model
}

async fn fill(kms: &Kms, pool: &Pool) -> Model {
    pool.run("CREATE TABLE checkins (id INTEGER PRIMARY KEY, phone TEXT, staff TEXT)", &[]).await;
    let mut model = Model::new();
    for first in (0..ROWS).step_by(200) {
        let (mut texts, mut places) = (Vec::new(), Vec::new());
        for id in first..first + 200 {
            let value = format!("first {id}");
            texts.extend(cells(kms, id, &value).await);
            places.push(format!("({id}, ${}, ${})", texts.len() - 1, texts.len()));
            model.insert(id, value);
        }
        let texts: Vec<_> = texts.iter().map(|text| Some(text.as_str())).collect();
        pool.run(&format!("INSERT INTO checkins VALUES {}", places.join(", ")), &texts).await;
    }
    model
}

async fn killed_at_random(db: Db) {
    let scene = Scene::new().await;
    let (seed, kills) = (number("KMS_SEED", 5), number("KMS_KILLS", KILLS));
    let mut dice = Dice(seed);
    let model = fill(&scene.service, &db.pool).await;
    scene.rotate(true).await;
    let mut active = 2;
    let (stop, stopped) = watch::channel(false);
    let mut writers = Vec::new();
    for own in 0..WRITERS {
        let of_writer: Model =
            model.iter().filter(|(id, _)| *id % WRITERS == own).map(|(id, v)| (*id, v.clone())).collect();
        writers.push(tokio::spawn(live(
            scene.cold().await,
            db.pool.clone(),
            own,
            of_writer,
            stopped.clone(),
        )));
    }

    // How long a whole run takes here, so that kills fall into all of it.
    let began = Instant::now();
    let whole = scene.reseal(&db, &BOTH);
    let took = began.elapsed().as_millis() as u64;
    assert!(matches!(whole.code, Some(0 | 7)), "{whole:?}");
    scene.rotate(false).await;
    active += 1;
    let (mut killed, mut ended) = (0, 0);
    while killed < kills {
        let words = scene.words(&db, &BOTH);
        let mut child = cli::command(Some(&scene.place.profile("attendance")), words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moment is what is random here.
        tokio::time::sleep(Duration::from_millis(dice.roll(took * 3 / 4))).await;
        match child.try_wait().unwrap() {
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
            }
            Some(status) => {
                assert!(matches!(status.code(), Some(0 | 7)), "seed {seed}: {status}");
                ended += 1;
            }
        }
        // There is always something to do, whether runs reach their end here or not.
        if active < MOST_VERSIONS && killed + ended >= u64::from(active) * kills / u64::from(MOST_VERSIONS) {
            scene.rotate(active % 2 == 1).await;
            active += 1;
        }
    }
    stop.send(true).unwrap();
    let mut model = Model::new();
    for writer in writers {
        model.extend(writer.await.unwrap());
    }
    println!(
        "seed {seed}: a run takes {took} ms; {killed} killed, {ended} ended before that, {active} versions, {} rows",
        model.len()
    );

    let said = scene.reseal(&db, &BOTH).ok();
    let report = report(&said);
    assert_eq!(report["rows"], model.len(), "seed {seed}: {said:?}");
    assert_eq!((&report["failed"], &report["nothing_left"]), (&0.into(), &true.into()), "{said:?}");
    // What deterministic columns are under is the version of the last `rotate --deterministic`.
    let deterministic = if active % 2 == 0 { active } else { active - 1 };
    for version in (1..active).filter(|version| *version != deterministic) {
        scene.destroy(version).await;
    }
    let cold = scene.cold().await;
    let rows = db.pool.rows("SELECT CAST(id AS TEXT), phone, staff FROM checkins").await;
    assert_eq!(rows.len(), model.len(), "seed {seed}: no row is lost and none comes back");
    for cells in rows {
        let [id, phone, sealed_staff] = cells.try_into().unwrap();
        let (id, phone, sealed_staff) = (id.unwrap(), phone.unwrap(), sealed_staff.unwrap());
        let value = &model[&id.parse().unwrap()];
        assert_eq!(&opened(&cold, &column("phone"), &id, &phone).await, value, "seed {seed}, row {id}");
        assert_eq!(&opened(&cold, &staff(), &id, &sealed_staff).await, value, "seed {seed}, row {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_on_sqlite_it_loses_no_row_and_leaves_none_behind() {
    killed_at_random(Db::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_on_postgresql_it_loses_no_row_and_leaves_none_behind() {
    if let Some(db) = Db::postgres().await {
        killed_at_random(db).await;
    }
}
