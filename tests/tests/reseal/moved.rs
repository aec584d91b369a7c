//! What was sealed otherwise before, or never: moved to the present scheme where the schema names it, and left and named where it does not.

use std::{fs, ops::Range};

use kms_client::{
    Kms, Protect,
    protect::{SealedRow, sql},
    reseal::{Database, Reseal},
};
use kms_tests::cli::{self, Said};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Postgres, Sqlite};

use crate::scene::{Db, Pool, Scene, report, tenant};

/// The first release: phones in the clear, badges deterministic, all of it bound to an older name of the table.
#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "badges",
    name = "passes",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    sealed = "SealedFirst"
)]
struct First {
    company_id: String,
    id: i64,
    phone: Option<String>,
    #[protect(deterministic)]
    badge: String,
    #[protect(encrypt, text)]
    staff: i64,
}

/// The one after it.
#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "badges",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    sealed = "SealedSecond"
)]
struct Second {
    company_id: String,
    id: i64,
    #[protect(encrypt, text, index(eq, bits = 24), allow_plaintext(until = "9000-12-31"))]
    phone: Option<String>,
    #[protect(encrypt, previous(table = "passes", deterministic))]
    badge: String,
    #[protect(encrypt, text, previous(table = "passes"))]
    staff: i64,
}

/// The last: nothing older is taken any more.
#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "badges",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    sealed = "SealedThird"
)]
struct Third {
    company_id: String,
    id: i64,
    #[protect(encrypt, text, index(eq, bits = 24))]
    phone: Option<String>,
    #[protect(encrypt)]
    badge: String,
    #[protect(encrypt, text)]
    staff: i64,
}

macro_rules! rows {
    ($($release:ident)*) => {$(
        impl $release {
            /// Of those whose number ends with 0 no phone is known.
            fn rows(ids: Range<i64>) -> Vec<Self> {
                let row = |id: i64| Self {
                    company_id: "acme".into(),
                    id,
                    phone: (id % 10 != 0).then(|| format!("138 {id:08}")),
                    badge: format!("badge {id}"),
                    staff: 1_000_000_000 + id,
                };
                ids.map(row).collect()
            }
        }
    )*};
}

rows!(First Second Third);

/// Forty rows, half of each release.
async fn fill(scene: &Scene, pool: &Pool) {
    let (integer, bytes) = match pool {
        Pool::Sqlite(_) => ("INTEGER", "BLOB"),
        Pool::Postgres(_) => ("BIGINT", "BYTEA"),
    };
    let table = format!(
        "CREATE TABLE badges (company_id TEXT, id {integer} PRIMARY KEY, phone TEXT, phone_index {bytes}, badge {bytes}, \
         staff TEXT)"
    );
    pool.run(&table, &[]).await;
    insert(&scene.service, pool, &First::rows(0..20)).await;
    insert(&scene.service, pool, &Second::rows(20..40)).await;
}

pub(crate) async fn insert<T: kms_client::protect::Protect>(kms: &Kms, pool: &Pool, rows: &[T])
where
    T::Sealed: sql::BindRow<Sqlite> + sql::BindRow<Postgres>,
{
    let sealed: Vec<_> = kms.seal_all(rows).await.into_iter().map(Result::unwrap).collect();
    match pool {
        Pool::Sqlite(pool) => sql::insert(&sealed).unwrap().execute(pool).await.map(drop).unwrap(),
        Pool::Postgres(pool) => sql::insert(&sealed).unwrap().execute(pool).await.map(drop).unwrap(),
    }
}

pub(crate) async fn stored<S>(pool: &Pool, table: &str) -> Vec<S>
where
    S: SealedRow
        + Send
        + Unpin
        + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>
        + for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
{
    let text = AssertSqlSafe(format!("SELECT * FROM {table} ORDER BY id"));
    match pool {
        Pool::Sqlite(pool) => sqlx::query_as(text).fetch_all(pool).await.unwrap(),
        Pool::Postgres(pool) => sqlx::query_as(text).fetch_all(pool).await.unwrap(),
    }
}

pub(crate) fn reseal(scene: &Scene, db: &Db, schema: &Value, more: &[&str]) -> Said {
    let file = scene.place.profile("attendance").with_file_name("schema.json");
    fs::write(&file, schema.to_string()).unwrap();
    let words = format!("reseal --tenant acme -o json --schema {} --database {}", file.display(), db.url());
    cli::kms(Some(&scene.place.profile("attendance")), words.split(' ').chain(more.iter().copied()))
}

fn second() -> Value {
    serde_json::to_value(Second::SCHEMA).unwrap()
}

const COUNTS: [&str; 7] =
    ["rows", "resealed", "from_previous", "from_plaintext", "reindexed", "already_current", "failed"];

pub(crate) fn counts(said: &Said) -> [u64; 7] {
    let report = report(said);
    COUNTS.map(|name| report[name].as_u64().unwrap())
}

/// Everything that stands in the sealed columns.
async fn cells(pool: &Pool) -> Vec<Vec<Option<String>>> {
    let badge = match pool {
        Pool::Sqlite(_) => "hex(badge)",
        Pool::Postgres(_) => "encode(badge, 'hex')",
    };
    pool.rows(&format!("SELECT phone, {badge}, staff FROM badges ORDER BY id")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_schema_names_moves_to_the_present_scheme_and_then_nothing_older_is_needed() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        fill(&scene, &db.pool).await;
        let before = cells(&db.pool).await;
        let dry = reseal(&scene, &db, &second(), &["--dry-run"]).ok();
        // 18 of the first 20 rows have a phone; all of them a badge and a number that were sealed otherwise.
        assert_eq!(counts(&dry), [40, 20, 20, 18, 18, 20, 0], "{dry:?}");
        assert_eq!(cells(&db.pool).await, before);

        let said = reseal(&scene, &db, &second(), &[]).ok();
        assert_eq!(counts(&said), [40, 20, 20, 18, 18, 20, 0], "{said:?}");
        assert_eq!(report(&said)["nothing_left"], json!(true));
        assert!(!said.stdout.contains("138 0"), "{said:?}");
        let after = cells(&db.pool).await;
        assert_eq!(after[20..], before[20..], "what was current stays as it is");
        assert!(after.iter().flatten().flatten().all(|cell| !cell.contains("138 ")));
        let opened = scene.cold().await.open_all(stored::<SealedThird>(&db.pool, "badges").await).await;
        assert_eq!(opened.into_iter().map(Result::unwrap).collect::<Vec<_>>(), Third::rows(0..40));
        let probes = Third::phone_index(&scene.service, &tenant(), "138 00000017").await.unwrap();
        let found = stored::<SealedThird>(&db.pool, "badges").await;
        let found = found.iter().filter(|row| {
            row.phone_index.as_ref().is_some_and(|index| probes.as_slice().iter().any(|probe| probe == index))
        });
        assert_eq!(found.map(|row| row.id).collect::<Vec<_>>(), [17], "what was in the clear is found now");
        assert_eq!(counts(&reseal(&scene, &db, &second(), &[]).ok()), [40, 0, 0, 0, 0, 40, 0]);

        // The library says the same; and another version is no older scheme.
        scene.rotate(false).await;
        let kms = scene.cold().await;
        let database = Database::connect(db.url()).await.unwrap();
        let said = Reseal::of::<Second>(&kms, &tenant(), database).unwrap().run(|_| ()).await.unwrap();
        assert_eq!((said.resealed, said.from_previous, said.from_plaintext), (40, 0, 0), "{said:?}");
        assert!(said.nothing_left());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_schema_does_not_name_is_left_and_listed() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        fill(&scene, &db.pool).await;
        let before = cells(&db.pool).await;
        let refuse = |change: &dyn Fn(&mut Value)| {
            let mut schema = second();
            change(&mut schema["columns"]);
            let said = reseal(&scene, &db, &schema, &["--dry-run"]);
            assert!(!said.stdout.contains("138 0") && !said.stderr.contains("138 0"), "{said:?}");
            let mut reasons: Vec<_> = report(&said)["problems"].as_array().unwrap().clone();
            reasons.iter_mut().for_each(|problem| drop(problem.as_object_mut().unwrap().remove("id")));
            reasons.dedup();
            (said.code, counts(&said)[6], reasons)
        };
        let problem = |column: &str, reason: &str| json!({ "column": column, "reason": reason });
        let remove = |columns: &mut Value, at: usize, name: &str| {
            columns[at].as_object_mut().unwrap().remove(name).unwrap();
        };
        assert_eq!(
            refuse(&|columns| remove(columns, 0, "allow_plaintext_until")),
            (Some(7), 18, vec![problem("phone", "CIPHERTEXT_MALFORMED")])
        );
        assert_eq!(
            refuse(&|columns| columns[0]["allow_plaintext_until"] = json!("2020-01-31")),
            (Some(7), 18, vec![problem("phone", "PLAINTEXT_NO_MORE")])
        );
        assert_eq!(
            refuse(&|columns| remove(columns, 1, "previous")),
            (Some(7), 20, vec![problem("badge", "OTHER_MODE")])
        );
        let mut schema = second();
        schema["columns"][0]["allow_plaintext_until"] = json!("31.1.2020");
        assert_eq!(reseal(&scene, &db, &schema, &[]).code, Some(2));

        // Under other names a value does not open, and its header says that it is current: nobody but the schema could tell.
        let mut schema = second();
        remove(&mut schema["columns"], 2, "previous");
        let said = reseal(&scene, &db, &schema, &["--dry-run"]).ok();
        assert_eq!(counts(&said), [40, 20, 20, 18, 18, 20, 0], "{said:?}");
        schema["columns"][2]["previous"] = json!([{ "table": "elsewhere" }]);
        let said = reseal(&scene, &db, &schema, &["--dry-run"]);
        assert_eq!((said.code, counts(&said)[6]), (Some(7), 20));
        assert_eq!(report(&said)["problems"][0]["reason"], json!("CIPHERTEXT_REJECTED"), "{said:?}");

        // The application would read nothing under a key of another class.
        let mut schema = second();
        schema["columns"][1]["class"] = json!("L3");
        let said = reseal(&scene, &db, &schema, &[]);
        assert!(said.code == Some(2) && said.stderr.contains("OTHER_CLASS"), "{said:?}");
        assert_eq!(cells(&db.pool).await, before);

        // What would not fit its column is not written.
        let mut schema = second();
        schema["columns"][0]["max_len"] = json!(40);
        let said = reseal(&scene, &db, &schema, &[]);
        assert_eq!((said.code, counts(&said)[6]), (Some(7), 18), "{said:?}");
        assert_eq!(report(&said)["problems"][0]["reason"], json!("TOO_LONG"), "{said:?}");
        let phones = |cells: Vec<Vec<Option<String>>>| -> Vec<_> {
            cells.into_iter().map(|cells| cells[0].clone()).collect()
        };
        assert_eq!(phones(cells(&db.pool).await), phones(before));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_was_never_sealed_in_a_column_of_bytes_becomes_bytes() {
    let scene = Scene::new().await;
    let db = Db::sqlite().await;
    db.pool.run("CREATE TABLE badges (company_id TEXT, id INTEGER PRIMARY KEY, badge BLOB)", &[]).await;
    db.pool.run("INSERT INTO badges VALUES ('acme', 1, 'badge 1'), ('acme', 2, 17)", &[]).await;
    let mut schema = second();
    let columns = schema["columns"].as_array_mut().unwrap();
    columns.retain(|column| column["name"] == json!("badge"));
    columns[0]["allow_plaintext_until"] = json!("9000-12-31");
    let said = reseal(&scene, &db, &schema, &[]);
    let of_number = json!([{ "id": "2", "column": "badge", "reason": "CIPHERTEXT_MALFORMED" }]);
    assert_eq!((said.code, &report(&said)["problems"]), (Some(7), &of_number), "{said:?}");
    assert_eq!(counts(&said), [2, 1, 0, 1, 0, 0, 1]);
    let types = db.pool.rows("SELECT typeof(badge) FROM badges ORDER BY id").await;
    assert_eq!(types, [[Some("blob".to_owned())], [Some("integer".to_owned())]]);
}
