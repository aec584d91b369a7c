//! Releases of one program with different schemes over one table, at the same time; and a table that is sealed in part only.

use kms_client::{
    Kms, Protect,
    protect::{FieldProblem, ProtectError, SealedRow, sql},
};
use sqlx::{Sqlite, SqlitePool};

use super::{Scene, sqlite};

macro_rules! release {
    ($name:ident, $sealed:literal, $($badge:tt)*) => {
        #[derive(Clone, PartialEq, Protect)]
        #[protect(table = "badges", key = "attendance", tenant = "company_id", bind("id"), sealed = $sealed)]
        struct $name {
            company_id: String,
            id: i64,
            #[protect($($badge)*)]
            badge: String,
        }

        impl $name {
            fn rows(ids: std::ops::Range<i64>) -> Vec<Self> {
                ids.map(|id| Self { company_id: "acme".into(), id, badge: format!("badge {id}") }).collect()
            }
        }
    };
}

release!(First, "SealedFirst", deterministic);
release!(Bridge, "SealedBridge", deterministic, previous(encrypt));
release!(Second, "SealedSecond", encrypt, previous(deterministic));
release!(Migrating, "SealedMigrating", encrypt, allow_plaintext(until = "9000-12-31"));
release!(Migrated, "SealedMigrated", encrypt);

async fn table(scene: &Scene) -> SqlitePool {
    let pool = sqlite::pool(scene).await;
    let table = "CREATE TABLE badges (company_id TEXT NOT NULL, id INTEGER PRIMARY KEY, badge BLOB NOT NULL)";
    sqlx::query(table).execute(&pool).await.unwrap();
    pool
}

async fn write<T: kms_client::protect::Protect>(kms: Kms, pool: SqlitePool, rows: Vec<T>)
where
    T::Sealed: sql::BindRow<Sqlite>,
{
    for rows in rows.chunks(5) {
        let twins: Vec<_> = kms.seal_all(rows).await.into_iter().collect::<Result<_, _>>().unwrap();
        sql::insert(&twins).unwrap().execute(&pool).await.unwrap();
    }
}

async fn list<S>(kms: &Kms, pool: &SqlitePool) -> Vec<Result<S::Plain, ProtectError>>
where
    S: SealedRow + Send + Unpin + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>,
{
    let rows: Vec<S> = sqlx::query_as("SELECT * FROM badges ORDER BY id").fetch_all(pool).await.unwrap();
    kms.open_all(rows).await
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_that_know_each_others_scheme_share_a_table_and_one_that_does_not_is_told_what_to_write() {
    let scene = Scene::with(&["acme"]).await;
    let pool = table(&scene).await;
    let (first, bridge, second) = (scene.service.clone(), scene.cold().await, scene.cold().await);
    tokio::join!(
        write(first.clone(), pool.clone(), First::rows(0..50)),
        write(bridge.clone(), pool.clone(), Bridge::rows(50..100)),
        write(second.clone(), pool.clone(), Second::rows(100..150)),
    );
    let (by_bridge, by_second) =
        (list::<SealedBridge>(&bridge, &pool).await, list::<SealedSecond>(&second, &pool).await);
    assert!(by_bridge.into_iter().map(Result::unwrap).eq(Bridge::rows(0..150)));
    assert!(by_second.into_iter().map(Result::unwrap).eq(Second::rows(0..150)));
    for (opened, row) in list::<SealedFirst>(&first, &pool).await.iter().zip(First::rows(0..150)) {
        match (row.id, opened) {
            (..100, opened) => assert!(opened.as_ref().unwrap() == &row),
            (_, opened) => {
                let error = opened.as_ref().map(|_| ()).unwrap_err();
                assert!(matches!(error.problem(), FieldProblem::OtherMode), "{error}");
                assert!(
                    error.to_string().contains("`badges.badge`")
                        && error.to_string().contains("previous(..)")
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_sealed_in_part_is_read_while_it_is_allowed_and_what_was_missed_is_named_afterwards() {
    let scene = Scene::with(&["acme"]).await;
    let pool = table(&scene).await;
    for row in Migrating::rows(0..20) {
        let plain = sqlx::query("INSERT INTO badges VALUES (?, ?, ?)").bind(row.company_id).bind(row.id);
        plain.bind(row.badge.into_bytes()).execute(&pool).await.unwrap();
    }
    write(scene.service.clone(), pool.clone(), Migrating::rows(20..40)).await;
    let mixed = list::<SealedMigrating>(&scene.service, &pool).await;
    assert!(mixed.into_iter().map(Result::unwrap).eq(Migrating::rows(0..40)));

    // The guide's way: what was read is sealed and written back, all but one row.
    let all: Vec<_> =
        list::<SealedMigrating>(&scene.service, &pool).await.into_iter().map(Result::unwrap).collect();
    for twin in scene.service.seal_all(&all[1..20]).await {
        let twin = twin.unwrap();
        let update = sqlx::query("UPDATE badges SET badge = ? WHERE id = ?").bind(twin.badge).bind(twin.id);
        update.execute(&pool).await.unwrap();
    }
    let strict = list::<SealedMigrated>(&scene.service, &pool).await;
    assert!(matches!(strict[0].as_ref().map(|_| ()).unwrap_err().problem(), FieldProblem::Plaintext));
    assert!(strict.into_iter().skip(1).map(Result::unwrap).eq(Migrated::rows(1..40)));
}
