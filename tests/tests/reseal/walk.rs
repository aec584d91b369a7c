//! What a run does to a table, and what it says.

use std::collections::BTreeMap;

use kms_client::{Column, text};
use serde_json::{Value, json};

use crate::scene::{Db, Pool, Scene, column, opened, records, report, row, sealed};

const ALL: &str = "SELECT CAST(id AS TEXT), phone, staff FROM checkins ORDER BY id";

/// A table with `rows` sealed rows and one of NULL; `staff` is deterministic.
async fn fill(scene: &Scene, pool: &Pool, rows: usize) {
    pool.run("CREATE TABLE checkins (id INTEGER PRIMARY KEY, phone TEXT, staff TEXT)", &[]).await;
    // One that holds no lease from before a rotation.
    let service = scene.cold().await;
    for id in 1..=rows {
        let id = id.to_string();
        let phone = sealed(&service, "phone", &id, &format!("138-{id}")).await;
        let staff = records(&service).seal(&staff(), &row(&id), b"17").await.unwrap();
        let insert = format!("INSERT INTO checkins VALUES ({id}, $1, $2)");
        pool.run(&insert, &[Some(&phone), Some(&text::encode(&staff))]).await;
    }
    pool.run("INSERT INTO checkins VALUES (100000, NULL, NULL)", &[]).await;
}

fn staff() -> Column {
    Column::deterministic("checkins", "staff").unwrap()
}

const BOTH: [&str; 4] = ["--column", "phone", "--column", "staff:deterministic"];

fn counts(said: &kms_tests::cli::Said) -> [u64; 5] {
    let report = report(said);
    ["rows", "resealed", "already_current", "skipped", "failed"].map(|name| report[name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_resealed_once_and_then_the_old_version_can_go() {
    let scene = Scene::new().await;
    for (at, db) in Db::each().await.into_iter().enumerate() {
        let old = 2 * at as u32 + 1;
        fill(&scene, &db.pool, 300).await;
        let before = db.pool.rows(ALL).await;
        let said = scene.reseal(&db, &BOTH).ok();
        assert_eq!(counts(&said), [301, 0, 300, 1, 0], "{said:?}");
        assert_eq!(db.pool.rows(ALL).await, before, "what is current stays as it is");

        scene.rotate(true).await;
        scene.rotate(true).await;
        let said = scene.reseal(&db, &BOTH).ok();
        assert_eq!(counts(&said), [301, 300, 0, 1, 0], "{said:?}");
        assert_eq!(report(&said)["nothing_left"], json!(true));
        assert_eq!(counts(&scene.reseal(&db, &BOTH).ok()), [301, 0, 300, 1, 0], "a second run finds nothing");
        scene.destroy(old).await;
        scene.destroy(old + 1).await;

        let cold = scene.cold().await;
        let mut staffs = BTreeMap::new();
        for cells in db.pool.rows(ALL).await {
            let [id, phone, sealed_staff] = cells.try_into().unwrap();
            let id = id.unwrap();
            let Some(phone) = phone else {
                assert_eq!((id.as_str(), sealed_staff), ("100000", None), "NULL stays NULL");
                continue;
            };
            assert_eq!(opened(&cold, &column("phone"), &id, &phone).await, format!("138-{id}"));
            let sealed_staff = sealed_staff.unwrap();
            assert_eq!(opened(&cold, &staff(), &id, &sealed_staff).await, "17");
            *staffs.entry(sealed_staff).or_insert(0) += 1;
        }
        assert_eq!(staffs.into_values().collect::<Vec<_>>(), [300], "equal values stay equal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_it_would_do_and_changes_nothing() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        fill(&scene, &db.pool, 20).await;
        scene.rotate(false).await;
        db.pool.run("UPDATE checkins SET phone = 'open' WHERE id = 7", &[]).await;
        let before = db.pool.rows(ALL).await;
        let said = scene.reseal(&db, &["--dry-run", "--column", "phone"]);
        assert_eq!((said.code, counts(&said)), (Some(7), [21, 19, 0, 1, 1]), "{said:?}");
        assert_eq!(report(&said)["dry_run"], json!(true));
        assert_eq!(db.pool.rows(ALL).await, before);
        db.pool.run("DELETE FROM checkins WHERE id = 7", &[]).await;
        let said = scene.reseal(&db, &["--dry-run", "--column", "phone"]).ok();
        assert_eq!(counts(&said), [20, 19, 0, 1, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_that_do_not_open_are_named_and_hold_nothing_up() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        fill(&scene, &db.pool, 30).await;
        scene.rotate(false).await;
        db.pool.run("UPDATE checkins SET phone = 'zebra crossing' WHERE id = 3", &[]).await;
        db.pool.run("UPDATE checkins SET phone = substr(phone, 1, 40) WHERE id = 9", &[]).await;
        let of_one = "UPDATE checkins SET phone = (SELECT phone FROM checkins WHERE id = 1) WHERE id = 21";
        db.pool.run(of_one, &[]).await;
        let said = scene.reseal(&db, &["--column", "phone"]);
        assert_eq!((said.code, counts(&said)), (Some(7), [31, 27, 0, 1, 3]), "{said:?}");
        let problem = |id: &str, reason: &str| json!({ "id": id, "column": "phone", "reason": reason });
        let expected = [
            problem("3", "CIPHERTEXT_MALFORMED"),
            problem("9", "CIPHERTEXT_MALFORMED"),
            problem("21", "CIPHERTEXT_REJECTED"),
        ];
        assert_eq!(report(&said)["problems"], json!(expected));
        let words = scene.words(&db, &["--column", "phone", "-o", "table"]);
        let words = words.iter().filter(|word| !["-o", "json", "table"].contains(&word.as_str()));
        let people = kms_tests::cli::kms(Some(&scene.place.profile("attendance")), words);
        assert!(people.stdout.contains("row `9`, column `phone`: it is not a sealed value"), "{people:?}");
        for shown in [&said.stdout, &said.stderr, &people.stdout, &people.stderr] {
            assert!(
                !shown.contains("zebra") && !shown.contains("kf1.") && !shown.contains("138-"),
                "{shown}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_rows_a_second_are_written_than_asked_for() {
    let scene = Scene::new().await;
    let db = Db::sqlite().await;
    fill(&scene, &db.pool, 100).await;
    scene.rotate(false).await;
    let said = scene.reseal(&db, &["--rate", "50", "--column", "phone"]).ok();
    assert_eq!(counts(&said), [101, 100, 0, 1, 0]);
    let seconds = report(&said)["seconds"].as_f64().unwrap();
    // The first quarter of a second's worth waits for nothing.
    assert!(seconds >= 88.0 / 50.0, "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_uuids_and_rows_that_tenants_share() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        let (uuid, bytes) = match db.pool {
            Pool::Sqlite(_) => ("BLOB", "BLOB"),
            Pool::Postgres(_) => ("uuid", "bytea"),
        };
        let table = format!(
            "CREATE TABLE checkins (company_id TEXT, id {uuid}, phone {bytes}, PRIMARY KEY (company_id, id))"
        );
        db.pool.run(&table, &[]).await;
        for (company, number) in [("acme", 1), ("acme", 2), ("globex", 1)] {
            let uuid = uuid::Uuid::from_u128(number);
            let record = kms_core::encoding::record_id(&[
                kms_core::encoding::Scalar::Text(company),
                kms_core::encoding::Scalar::Uuid(*uuid.as_bytes()),
            ]);
            let records = scene.service.records(&company.parse().unwrap(), &"attendance".parse().unwrap());
            let phone = records.seal(&column("phone"), &record.unwrap(), b"138").await.unwrap();
            insert(&db.pool, company, uuid, &phone).await;
        }
        scene.rotate(false).await;
        let shared = ["--column", "phone", "--bind", "company_id", "--bind", "id"];
        let said = scene.reseal(&db, &shared);
        assert_eq!(said.code, Some(2), "the id alone is not unique: {said:?}");
        let of_tenant = [&shared[..], &["--tenant-column", "company_id"]].concat();
        let said = scene.reseal(&db, &of_tenant).ok();
        assert_eq!(counts(&said), [2, 2, 0, 0, 0], "{said:?}");
        assert_eq!(counts(&scene.reseal(&db, &of_tenant).ok()), [2, 0, 2, 0, 0]);
        let wrong =
            scene.reseal(&db, &["--column", "phone", "--tenant-column", "company_id", "--dry-run"]).ok();
        assert_eq!(counts(&wrong), [2, 0, 2, 0, 0], "what is current is told by its header");
    }
}

async fn insert(pool: &Pool, company: &str, id: uuid::Uuid, phone: &[u8]) {
    let text = "INSERT INTO checkins VALUES ($1, $2, $3)";
    match pool {
        Pool::Sqlite(pool) => {
            sqlx::query(text)
                .bind(company)
                .bind(id.as_bytes().to_vec())
                .bind(phone)
                .execute(pool)
                .await
                .unwrap();
        }
        Pool::Postgres(pool) => {
            sqlx::query(text).bind(company).bind(id).bind(phone).execute(pool).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_letter_for_letter_and_run_nothing() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        let name = "t\"; DROP TABLE kept; --";
        db.pool.run("CREATE TABLE kept (id INTEGER PRIMARY KEY)", &[]).await;
        let table =
            r#"CREATE TABLE "t""; DROP TABLE kept; --" ("row ""id""" TEXT PRIMARY KEY, "a.b'""" TEXT)"#;
        db.pool.run(table, &[]).await;
        let cell = sealed(&scene.service, "a.b'\"", "x", "138").await;
        db.pool.run(r#"INSERT INTO "t""; DROP TABLE kept; --" VALUES ('x', $1)"#, &[Some(&cell)]).await;
        scene.rotate(false).await;
        let words = scene.words(&db, &["--sql-table", name, "--column", "a.b'\""]);
        let words: Vec<_> =
            words.into_iter().map(|word| if word == "id" { "row \"id\"".into() } else { word }).collect();
        let said = kms_tests::cli::kms(Some(&scene.place.profile("attendance")), words).ok();
        assert_eq!(counts(&said), [1, 1, 0, 0, 0], "{said:?}");
        assert_eq!(db.pool.rows("SELECT CAST(count(*) AS TEXT) FROM kept").await, [[Some("0".to_owned())]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_a_schema_and_columns_that_a_view_does_not_have() {
    let scene = Scene::new().await;
    let Some(db) = Db::postgres().await else { return };
    db.pool.run("CREATE SCHEMA hr", &[]).await;
    db.pool.run("CREATE TABLE hr.people (id BIGINT PRIMARY KEY, phone VARCHAR(200))", &[]).await;
    let cell = sealed(&scene.service, "phone", "5", "138").await;
    db.pool.run("INSERT INTO hr.people VALUES (5, $1)", &[Some(&cell)]).await;
    db.pool.run("CREATE VIEW checkins AS SELECT * FROM hr.people", &[]).await;
    scene.rotate(false).await;
    let said = scene.reseal(&db, &["--sql-table", "hr.people", "--column", "phone"]).ok();
    assert_eq!(counts(&said), [1, 1, 0, 0, 0]);
    let said = scene.reseal(&db, &["--column", "phone"]);
    let error: Value = serde_json::from_str(&said.stderr).unwrap();
    assert_eq!((said.code, &error["error"]["reason"]), (Some(2), &json!("NO_SUCH_TABLE")), "{said:?}");
}
