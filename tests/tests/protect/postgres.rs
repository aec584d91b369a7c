//! In PostgreSQL.

use kms_client::{Reason, api::RotateKey, protect::sql};
use kms_tests::PostgreSql;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    CheckIn, Scene, SealedCheckIn, checkin,
    rows::{a_table_of_sealed_rows, canaries},
};

const TABLE: &str = "CREATE TABLE checkins (company_id text NOT NULL, id uuid PRIMARY KEY, employee bytea NOT NULL, \
                     phone varchar(255), badge bytea NOT NULL UNIQUE, seen bytea NOT NULL, at timestamptz NOT NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_sealed_rows_is_written_listed_searched_and_rotated() {
    let Some(postgres) = PostgreSql::start() else { return };
    let scene = Scene::with(&["acme"]).await;
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    a_table_of_sealed_rows!(scene, pool, TABLE, "$1");
    sqlx::query("CHECKPOINT").execute(&pool).await.unwrap();
    pool.close().await;
    for canary in canaries() {
        assert_eq!(canary.files(&postgres.files()), Vec::<std::path::PathBuf>::new());
    }
}
