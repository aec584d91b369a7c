//! Columns of one table under keys of several classes.

use std::fs;

use kms_client::{
    KeyClass, Protect,
    api::{CreateKey, RotateKey},
    protect::sql,
    reseal::{Database, Reseal},
};
use kms_tests::cli;

use crate::{
    scene::{Db, LEASE, Pool, Scene, report, tenant},
    subjects::family,
};

/// Nothing deterministic can be sealed under the key of class L4: the server, asked what seals under it, is asked with `pay`.
#[derive(Clone, PartialEq, Protect)]
#[protect(table = "grades", key = "attendance", tenant = "company_id", bind("company_id", "id"))]
struct Grade {
    company_id: String,
    id: i64,
    #[protect(deterministic, text)]
    staff: String,
    #[protect(encrypt, text, key = "salaries")]
    pay: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_class_l4_is_resealed_behind_a_deterministic_one_of_another_key() {
    let (scene, db) = (Scene::new().await, Db::sqlite().await);
    let salaries = "salaries".parse().unwrap();
    let how = CreateKey { lease: Some(LEASE), class: Some(KeyClass::L4), ..CreateKey::default() };
    scene.operator.create_key(&tenant(), &salaries, how).await.unwrap();
    fs::write(
        scene.place.path("policies/salaries.cedar"),
        r#"@id("salaries") @says("the attendance service seals and opens under the key of salaries") @tenants("any")
           permit (principal == Service::"spiffe://dev.local/attendance",
                   action in [Action::"seals", Action::"opens"], resource is Key)
           when { resource.family == "salaries" };"#,
    )
    .unwrap();
    scene.server.hang_up();
    scene.server.wait_for_log("policies reloaded", 1);

    let create = "CREATE TABLE grades (company_id TEXT, id INTEGER PRIMARY KEY, staff TEXT, pay TEXT)";
    db.pool.run(create, &[]).await;
    let grade = |id: i64| Grade {
        company_id: "acme".into(),
        id,
        staff: format!("e-{}", id % 2),
        pay: format!("{id}000"),
    };
    let grades: Vec<Grade> = (0..4).map(grade).collect();
    let kms = scene.cold().await;
    let sealed: Vec<SealedGrade> = kms.seal_all(&grades).await.into_iter().map(Result::unwrap).collect();
    let Pool::Sqlite(pool) = &db.pool else { panic!("another database") };
    sql::insert(&sealed).unwrap().execute(pool).await.unwrap();

    scene.operator.rotate_key(&tenant(), &salaries, RotateKey::default()).await.unwrap();
    let schema = scene.place.profile("attendance").with_file_name("grades.json");
    fs::write(&schema, serde_json::to_string(Grade::SCHEMA).unwrap()).unwrap();
    let words = format!("reseal --tenant acme -o json --schema {} --database {}", schema.display(), db.url());
    for resealed in [4, 0] {
        let said = cli::kms(Some(&scene.place.profile("attendance")), words.split(' ')).ok();
        assert_eq!(report(&said)["resealed"], resealed, "{said:?}");
    }
    let moved: Vec<SealedGrade> =
        sqlx::query_as("SELECT * FROM grades ORDER BY id").fetch_all(pool).await.unwrap();
    assert!(moved.iter().zip(&sealed).all(|(new, old)| new.staff == old.staff && new.pay != old.pay));
    let opened = scene.cold().await.open_all(moved).await;
    assert_eq!(opened.into_iter().map(Result::unwrap).collect::<Vec<_>>(), grades);
}

/// The family is of class L2.
#[derive(Clone, Protect)]
#[protect(
    table = "notes",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    per = "person"
)]
struct Note {
    company_id: String,
    id: i64,
    person: i64,
    #[protect(encrypt, text, class = "L3", allow_plaintext(until = "9000-12-31"))]
    text: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_under_a_family_of_another_class_where_nobody_has_a_key_yet() {
    let (scene, db) = (Scene::new().await, Db::sqlite().await);
    family(&scene, "initech").await;
    let create = "CREATE TABLE notes (company_id TEXT, id INTEGER PRIMARY KEY, person INTEGER, text TEXT)";
    db.pool.run(create, &[]).await;
    db.pool.run("INSERT INTO notes VALUES ('initech', 1, 7, 'late'), ('initech', 2, 8, 'ill')", &[]).await;
    let kms = scene.cold().await;
    let database = Database::connect(db.url()).await.unwrap();
    let run = Reseal::of::<Note>(&kms, &"initech".parse().unwrap(), database).unwrap();
    let refused = run.run(|_| ()).await.unwrap_err().to_string();
    assert!(refused.contains("L3") && refused.contains("L2"), "{refused}");
    let stored = db.pool.rows("SELECT text FROM notes ORDER BY id").await;
    assert_eq!(stored, [[Some("late".to_owned())], [Some("ill".to_owned())]]);
}
