//! How fast rows are resealed in PostgreSQL, beside a plain batched UPDATE of the same column. For an optimized build:
//! `cargo test --release -p kms-tests --test reseal -- --ignored --nocapture speed`

use std::time::{Duration, Instant};

use kms_client::{
    ToSealField,
    reseal::{Database, Reseal, Table},
    text,
};
use sqlx::{AssertSqlSafe, PgPool};

use crate::scene::{Db, Pool, Scene, column, records, row};

const ROWS: i64 = 100_000;
const BATCH: usize = 1_000;
const TURNS: u32 = 3;

async fn fill(scene: &Scene, pool: &PgPool, table: &str) {
    let create =
        format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, at TIMESTAMPTZ DEFAULT now(), phone TEXT)");
    sqlx::query(AssertSqlSafe(create)).execute(pool).await.unwrap();
    let column = column("phone");
    for first in (0..ROWS).step_by(BATCH) {
        let ids: Vec<i64> = (first..first + BATCH as i64).collect();
        let rows: Vec<_> = ids.iter().map(|id| row(&id.to_string())).collect();
        let items: Vec<_> = rows
            .iter()
            .map(|record| ToSealField { column: &column, record, plaintext: b"138 0013 8000" })
            .collect();
        let sealed = records(&scene.service).seal_batch(&items).await;
        let sealed: Vec<String> = sealed.into_iter().map(|one| text::encode(&one.unwrap())).collect();
        let insert = format!("INSERT INTO {table} (id, phone) SELECT * FROM unnest($1::int8[], $2::text[])");
        sqlx::query(AssertSqlSafe(insert)).bind(ids).bind(sealed).execute(pool).await.unwrap();
    }
    sqlx::query(AssertSqlSafe(format!("VACUUM ANALYZE {table}"))).execute(pool).await.unwrap();
}

/// Reads nothing, seals nothing: sets the column of every row to other texts of the same length.
async fn plain(pool: &PgPool) -> Duration {
    let text = "x".repeat(120);
    let update = "UPDATE plain AS t SET phone = n.phone FROM unnest($1::int8[], $2::text[]) AS n(id, phone) \
                  WHERE t.id = n.id AND t.id BETWEEN $3 AND $4";
    let began = Instant::now();
    for first in (0..ROWS).step_by(BATCH) {
        let ids: Vec<i64> = (first..first + BATCH as i64).collect();
        let texts = vec![text.as_str(); BATCH];
        let (from, to) = (ids[0], ids[BATCH - 1]);
        sqlx::query(update).bind(ids).bind(texts).bind(from).bind(to).execute(pool).await.unwrap();
    }
    began.elapsed()
}

async fn resealed(scene: &Scene, pool: &PgPool) -> Duration {
    scene.rotate(false).await;
    let kms = scene.cold().await;
    let began = Instant::now();
    let report = Reseal::new(records(&kms), Database::from(pool.clone()), Table::new("sealed", "id"))
        .column("phone", column("phone"))
        .run(|_| ())
        .await
        .unwrap();
    assert_eq!((report.resealed, report.nothing_left()), (ROWS as u64, true));
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; wants an optimized build and a machine of its own"]
async fn resealing_reaches_half_the_rows_a_second_of_a_plain_update() {
    let scene = Scene::new().await;
    let Some(db) = Db::postgres().await else { return };
    let Pool::Postgres(pool) = &db.pool else { unreachable!("it is PostgreSQL") };
    fill(&scene, pool, "plain").await;
    fill(&scene, pool, "sealed").await;
    let mut ratios = Vec::new();
    for turn in 1..=TURNS {
        let (plain, resealed) = (plain(pool).await, resealed(&scene, pool).await);
        let ratio = plain.as_secs_f64() / resealed.as_secs_f64();
        println!(
            "turn {turn}: plain {:.0} rows/s, resealed {:.0} rows/s (both passes), ratio {ratio:.2}",
            ROWS as f64 / plain.as_secs_f64(),
            ROWS as f64 / resealed.as_secs_f64(),
        );
        ratios.push(ratio);
        for table in ["plain", "sealed"] {
            sqlx::query(AssertSqlSafe(format!("VACUUM ANALYZE {table}"))).execute(pool).await.unwrap();
        }
    }
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[ratios.len() / 2] >= 0.5, "{ratios:?}");
}
