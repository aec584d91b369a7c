//! A writer who comes between reading a row and writing it: what was read is not what is written over.

use std::time::Duration;

use kms_client::{
    Protect,
    reseal::{Database, Reseal},
};

use crate::{
    scene::{Db, Pool, Scene},
    subjects::family,
};

/// What was never sealed stays the same, to the byte, when its row becomes somebody else's.
#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "errands",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    per = "person"
)]
struct Errand {
    company_id: String,
    id: i64,
    person: i64,
    #[protect(encrypt, text, allow_plaintext(until = "9000-12-31"))]
    place: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_becomes_somebody_elses_meanwhile_is_sealed_under_their_key() {
    let scene = Scene::new().await;
    let Some(db) = Db::postgres().await else { return };
    let Pool::Postgres(pool) = &db.pool else { panic!("another database") };
    family(&scene, "initech").await;
    db.pool
        .run("CREATE TABLE errands (company_id TEXT, id BIGINT PRIMARY KEY, person INTEGER, place TEXT)", &[])
        .await;
    db.pool
        .run("INSERT INTO errands VALUES ('initech', 1, 7, 'gate 1'), ('initech', 2, 7, 'gate 2')", &[])
        .await;

    let mut writer = pool.begin().await.unwrap();
    sqlx::query("UPDATE errands SET person = 8 WHERE id = 1").execute(&mut *writer).await.unwrap();
    let kms = scene.cold().await;
    let database = Database::connect(db.url()).await.unwrap();
    let run = Reseal::of::<Errand>(&kms, &"initech".parse().unwrap(), database).unwrap();
    let run = tokio::spawn(run.run(|_| ()));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kms reseal' AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await.unwrap() == 0 {
        assert!(!run.is_finished(), "it waits for the writer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writer.commit().await.unwrap();
    let said = run.await.unwrap().unwrap();
    assert!(said.nothing_left(), "{said:?}");
    assert_eq!((said.written, said.passes), (2, 3), "{said:?}");

    let stored: Vec<SealedErrand> =
        sqlx::query_as("SELECT company_id, id, person::int8 AS person, place FROM errands ORDER BY id")
            .fetch_all(pool)
            .await
            .unwrap();
    let opened = scene.cold().await.open_all(stored).await;
    let people: Vec<_> = opened.into_iter().map(|row| row.unwrap().person).collect();
    assert_eq!(people, [8, 7]);
}
