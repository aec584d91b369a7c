//! In PostgreSQL.

use futures_util::{StreamExt as _, TryStreamExt as _};
use kms_client::{Reason, api::RotateKey, protect::sql};
use kms_tests::PostgreSql;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    CheckIn, Scene, SealedCheckIn, checkin,
    rows::{a_table_of_sealed_rows, canaries},
};

const TABLE: &str = "CREATE TABLE checkins (company_id text NOT NULL, id uuid PRIMARY KEY, employee bytea NOT NULL, \
                     phone varchar(255), phone_index bytea, badge bytea NOT NULL UNIQUE, seen bytea NOT NULL, at timestamptz NOT NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_sealed_rows_is_written_listed_searched_and_rotated() {
    let Some(postgres) = PostgreSql::start() else { return };
    let scene = Scene::with(&["acme"]).await;
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    a_table_of_sealed_rows!(scene, pool, TABLE, "$1");
    let probes = CheckIn::phone_index(&scene.service, &"acme".parse().unwrap(), "13800130042").await.unwrap();
    let any = sqlx::query_as("SELECT * FROM checkins WHERE phone_index = ANY($1)").bind(probes.into_vec());
    let found: Vec<SealedCheckIn> = any.fetch_all(&pool).await.unwrap();
    assert!(found.iter().any(|twin| twin.id == Uuid::from_u128(42)));
    sqlx::query("CHECKPOINT").execute(&pool).await.unwrap();
    pool.close().await;
    for canary in canaries() {
        assert_eq!(canary.files(&postgres.files()), Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_database_in_the_middle_of_a_list_ends_it_after_the_rows_before() {
    let Some(postgres) = PostgreSql::start() else { return };
    let scene = Scene::with(&["acme"]).await;
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    sqlx::query(TABLE).execute(&pool).await.unwrap();
    let rows: Vec<CheckIn> = (1..=1_000).map(checkin).collect();
    let twins: Vec<SealedCheckIn> =
        scene.service.seal_all(&rows).await.into_iter().collect::<Result<_, _>>().unwrap();
    sql::insert(&twins).unwrap().execute(&pool).await.unwrap();
    // Divides by zero at the 801st of them.
    let fails = "SELECT *, 1 / (row_number() OVER (ORDER BY id) - 801) FROM checkins";
    let sent = sqlx::query_as::<_, SealedCheckIn>(fails).fetch(&pool);
    let mut opened: Vec<_> = scene.service.open_stream(sent).collect().await;
    let error = opened.pop().unwrap().map(|_| ()).unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("22012"), "{error}");
    assert!(opened.into_iter().map(|row| row.unwrap().unwrap()).eq(rows.into_iter().take(800)));
}
