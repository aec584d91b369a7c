//! A thief with everything that the database ever wrote.

use std::{fs, path::Path, thread};

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

/// That all rows are in there, and of the 1,000 plaintexts none; or the one that was put there.
fn holds_rows_and(control: &[usize], found: impl Fn(&ManyNeedles) -> Vec<usize>) {
    let needles = |texts: &[String]| {
        ManyNeedles::of(&texts.iter().map(|text| Needles::of_text(text)).collect::<Vec<_>>())
    };
    assert_eq!(found(&needles(&employees())).len(), PEOPLE, "the search reaches every row");
    assert_eq!(plaintexts().len(), 1_000);
    assert_eq!(found(&needles(&plaintexts())), control);
}

fn below(directory: &Path) -> impl Fn(&ManyNeedles) -> Vec<usize> {
    move |needles| needles.found_below(directory).into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_holds_no_plaintext_in_any_form() {
    let kept = tempfile::tempdir().unwrap();
    let service = Running::start(&["--data", kept.path().to_str().unwrap()]);
    check_in(&service);
    let file = kept.path().join("attendance.db");
    let mut database = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    // Leaves the log of writes as it is.
    sqlx::raw_sql("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut database).await.unwrap();
    assert!(fs::metadata(kept.path().join("attendance.db-wal")).unwrap().len() > 0);
    // The database, its log, and all that the key centre keeps beside them.
    holds_rows_and(&[], below(kept.path()));

    let insert = sqlx::query("INSERT INTO control VALUES ($1)").bind(&plaintexts()[CONTROL]);
    sqlx::raw_sql("CREATE TABLE control (unsealed TEXT)").execute(&mut database).await.unwrap();
    insert.execute(&mut database).await.unwrap();
    holds_rows_and(&[CONTROL], below(kept.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_holds_no_plaintext_in_any_form_and_dumps_none() {
    let Some(postgres) = PostgreSql::start() else { return };
    let kept = tempfile::tempdir().unwrap();
    let words = ["--data", kept.path().to_str().unwrap(), "--database", &postgres.url()];
    let service = Running::start(&words);
    check_in(&service);
    let dumped =
        |needles: &ManyNeedles| -> Vec<usize> { needles.found_in(&postgres.dump()).into_iter().collect() };
    let mut database = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::raw_sql("CHECKPOINT").execute(&mut database).await.unwrap();
    holds_rows_and(&[], dumped);
    holds_rows_and(&[], below(&postgres.files()));

    let insert = sqlx::query("INSERT INTO control VALUES ($1)").bind(plaintexts()[CONTROL].as_bytes());
    sqlx::raw_sql("CREATE TABLE control (unsealed BYTEA)").execute(&mut database).await.unwrap();
    insert.execute(&mut database).await.unwrap();
    sqlx::raw_sql("CHECKPOINT").execute(&mut database).await.unwrap();
    holds_rows_and(&[CONTROL], dumped);
    holds_rows_and(&[CONTROL], below(&postgres.files()));
}
