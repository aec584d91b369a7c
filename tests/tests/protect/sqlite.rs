//! In SQLite.

use futures_util::{StreamExt as _, TryStreamExt as _};
use kms_client::{Reason, api::RotateKey, protect::sql};
use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use super::{
    CheckIn, Scene, SealedCheckIn, checkin,
    rows::{a_table_of_sealed_rows, canaries},
};

pub(crate) const TABLE: &str = "CREATE TABLE checkins (company_id TEXT NOT NULL, id BLOB PRIMARY KEY, employee BLOB NOT NULL, phone TEXT, \
                     phone_index BLOB, badge BLOB NOT NULL UNIQUE, seen BLOB NOT NULL, at TEXT NOT NULL)";

pub(crate) async fn pool(scene: &Scene) -> SqlitePool {
    let file = scene.place.scratch().join("database/checkins.db");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(file).create_if_missing(true))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_sealed_rows_is_written_listed_searched_and_rotated() {
    let scene = Scene::with(&["acme"]).await;
    let pool = pool(&scene).await;
    a_table_of_sealed_rows!(scene, pool, TABLE, "?");
    pool.close().await;
    let directory = scene.place.scratch().join("database");
    for canary in canaries() {
        assert_eq!(canary.files(&directory), Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_another_type_is_an_error_of_the_database_and_no_panic() {
    let scene = Scene::with(&["acme"]).await;
    let pool = pool(&scene).await;
    sqlx::query(TABLE).execute(&pool).await.unwrap();
    let twin = scene.service.seal(&checkin(1)).await.unwrap();
    sql::insert(&[twin]).unwrap().execute(&pool).await.unwrap();
    let changed = "SELECT company_id, id, 5 AS employee, phone, phone_index, badge, seen, at FROM checkins";
    let error = sqlx::query_as::<_, SealedCheckIn>(changed).fetch_all(&pool).await.unwrap_err();
    assert!(
        matches!(error, sqlx::Error::ColumnDecode { ref index, .. } if index == "\"employee\"" || index == "employee"),
        "{error}"
    );
    let without = "SELECT company_id, id, phone, phone_index, badge, seen, at FROM checkins";
    let error = sqlx::query_as::<_, SealedCheckIn>(without).fetch_all(&pool).await.unwrap_err();
    assert!(matches!(error, sqlx::Error::ColumnNotFound(_)), "{error}");
    let null = "SELECT company_id, id, NULL AS employee, phone, phone_index, badge, seen, at FROM checkins";
    assert!(sqlx::query_as::<_, SealedCheckIn>(null).fetch_all(&pool).await.is_err());
}
