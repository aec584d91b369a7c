//! A thief with everything that the database ever wrote.

use std::{collections::BTreeSet, fs, thread};

use kms_tests::{
    PostgreSql,
    search::{ManyNeedles, Needles},
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::running::{Running, checkin};

/// Each hands in a name, a phone number and a place with two coordinates.
const PEOPLE: usize = 250;
/// One plaintext of the list, which the tests put into a column that is not sealed.
const CONTROL: usize = 417;

fn plaintexts() -> Vec<String> {
    let person = |n: usize| {
        let n = n + 1;
        [
            format!("Zoë Übermüller {}", 1_000_003 * n),
            format!("138{:08}", 397_027 * n),
            format!("{}.{:05}7", 10 + n % 60, 397 * n),
            format!("{}.{:05}3", 100 + n % 60, 397 * n),
        ]
    };
    (0..PEOPLE).flat_map(person).collect()
}

/// What stands in the clear, so that it must be found: who the row is of.
fn employees() -> Vec<String> {
    (0..PEOPLE).map(|n| format!("employee-{n:04}-of-acme")).collect()
}

/// Has everybody check in.
fn check_in(service: &Running) {
    let (plaintexts, employees) = (plaintexts(), employees());
    let people: Vec<_> = plaintexts.chunks(4).zip(&employees).collect();
    thread::scope(|scope| {
        for people in people.chunks(PEOPLE.div_ceil(4)) {
            scope.spawn(move || {
                for (values, employee) in people {
                    let mut new = checkin("acme", employee, &values[0], &values[1]);
                    let coordinate = |text: &str| text.parse::<f64>().unwrap();
                    new["place"] = json!({ "lat": coordinate(&values[2]), "lon": coordinate(&values[3]) });
                    service.post("/api/checkins", &new).ok();
                }
            });
        }
    });
    assert_eq!(service.column("employee", "acme", &employees[41], "name"), [plaintexts[4 * 41].as_str()]);
}

/// What is looked for: employees first, then the 1,000 plaintexts.
fn needles() -> ManyNeedles {
    assert_eq!(plaintexts().len(), 1_000);
    let texts = employees().into_iter().chain(plaintexts());
    ManyNeedles::of(&texts.map(|text| Needles::of_text(&text)).collect::<Vec<_>>())
}

/// That all rows were searched, and none of the plaintexts was there; or the one that was put there.
fn assert_rows_and(control: &[usize], found: BTreeSet<usize>) {
    assert_eq!(found.range(..PEOPLE).count(), PEOPLE, "the search reaches every row");
    let plaintexts: Vec<_> = found.range(PEOPLE..).map(|at| at - PEOPLE).collect();
    assert_eq!(plaintexts, control);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_holds_no_plaintext_in_any_form() {
    let kept = tempfile::tempdir().unwrap();
    let service = Running::start(&["--data", kept.path().to_str().unwrap()]);
    check_in(&service);
    let needles = needles();
    let file = kept.path().join("attendance.db");
    let mut database = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    // Leaves the log of writes as it is.
    sqlx::raw_sql("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut database).await.unwrap();
    assert!(fs::metadata(kept.path().join("attendance.db-wal")).unwrap().len() > 0);
    assert_rows_and(&[], needles.found_in(&fs::read(&file).unwrap()));
    // The database, its log, and all that the key centre keeps beside them.
    assert_rows_and(&[], needles.found_below(kept.path()));

    let insert = sqlx::query("INSERT INTO control VALUES ($1)").bind(&plaintexts()[CONTROL]);
    sqlx::raw_sql("CREATE TABLE control (unsealed TEXT)").execute(&mut database).await.unwrap();
    insert.execute(&mut database).await.unwrap();
    assert_rows_and(&[CONTROL], needles.found_below(kept.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_holds_no_plaintext_in_any_form_and_dumps_none() {
    let Some(postgres) = PostgreSql::start() else { return };
    let kept = tempfile::tempdir().unwrap();
    let words = ["--data", kept.path().to_str().unwrap(), "--database", &postgres.url()];
    let service = Running::start(&words);
    check_in(&service);
    let needles = needles();
    let mut database = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::raw_sql("CHECKPOINT").execute(&mut database).await.unwrap();
    assert_rows_and(&[], needles.found_in(&postgres.dump()));
    assert_rows_and(&[], needles.found_below(&postgres.files()));

    let insert = sqlx::query("INSERT INTO control VALUES ($1)").bind(plaintexts()[CONTROL].as_bytes());
    sqlx::raw_sql("CREATE TABLE control (unsealed BYTEA)").execute(&mut database).await.unwrap();
    insert.execute(&mut database).await.unwrap();
    sqlx::raw_sql("CHECKPOINT").execute(&mut database).await.unwrap();
    assert_rows_and(&[CONTROL], needles.found_in(&postgres.dump()));
    assert_rows_and(&[CONTROL], needles.found_below(&postgres.files()));
}
