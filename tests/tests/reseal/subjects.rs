//! Rows under subjects' keys: each under its own, and those of who was erased are passed over and named.

use std::{collections::BTreeSet, fs};

use kms_client::{
    DestroyReason, KeyName, Kms, Protect, VersionId,
    api::{Change, CreateKey, CreateTenant, DestroyKey, DestroyTarget, RotateKey},
    protect::sql,
    reseal::{Database, Reseal},
};
use kms_core::field::Header;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::scene::{Db, LEASE, Pool, Scene, report};

#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "shifts",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    per = "employee"
)]
struct Shift {
    company_id: String,
    id: i64,
    employee: i64,
    #[protect(encrypt, index(eq, normalize = "phone", bits = 24))]
    phone: String,
    #[protect(encrypt)]
    badge: i64,
}

const PEOPLE: i64 = 12;

/// Two rows of each.
fn shifts(company: &str) -> Vec<Shift> {
    let shift = |id: i64| Shift {
        company_id: company.into(),
        id,
        employee: id % PEOPLE,
        phone: format!("138 {id:08}"),
        badge: 1_000_000_000 + id % PEOPLE,
    };
    (0..2 * PEOPLE).map(shift).collect()
}

pub(crate) async fn family(scene: &Scene, company: &str) {
    let tenant = company.parse().unwrap();
    scene.operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
    for (key, family) in [("attendance", true), ("attendance.index", false)] {
        let how = CreateKey { lease: Some(LEASE), family, ..CreateKey::default() };
        scene.operator.create_key(&tenant, &key.parse().unwrap(), how).await.unwrap();
    }
}

async fn fill(kms: &Kms, pool: &Pool, company: &str) {
    let (integer, bytes) = match pool {
        Pool::Sqlite(_) => ("INTEGER", "BLOB"),
        Pool::Postgres(_) => ("BIGINT", "BYTEA"),
    };
    let table = format!(
        "CREATE TABLE shifts (company_id TEXT, id {integer} PRIMARY KEY, employee {integer}, phone {bytes}, \
         phone_index {bytes}, badge {bytes})"
    );
    pool.run(&table, &[]).await;
    let sealed: Vec<SealedShift> =
        kms.seal_all(&shifts(company)).await.into_iter().map(Result::unwrap).collect();
    match pool {
        Pool::Sqlite(pool) => sql::insert(&sealed).unwrap().execute(pool).await.map(drop).unwrap(),
        Pool::Postgres(pool) => sql::insert(&sealed).unwrap().execute(pool).await.map(drop).unwrap(),
    }
}

async fn stored(pool: &Pool) -> Vec<SealedShift> {
    let text = AssertSqlSafe("SELECT * FROM shifts ORDER BY id".to_owned());
    match pool {
        Pool::Sqlite(pool) => sqlx::query_as(text).fetch_all(pool).await.unwrap(),
        Pool::Postgres(pool) => sqlx::query_as(text).fetch_all(pool).await.unwrap(),
    }
}

fn versions(rows: &[SealedShift], of: impl Fn(i64) -> bool) -> BTreeSet<VersionId> {
    let header = |row: &SealedShift| Header::parse(row.phone.as_bytes()).unwrap().version;
    rows.iter().filter(|row| of(row.employee)).map(header).collect()
}

pub(crate) async fn destroy(scene: &Scene, company: &str, key: &str, target: DestroyTarget) {
    let what = DestroyKey {
        target,
        reason: DestroyReason::Test,
        ticket: String::new(),
        force: true,
        window: None,
        change: Change::default(),
    };
    let key: KeyName = key.parse().unwrap();
    scene.operator.destroy_key(&company.parse().unwrap(), &key, what).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_resealed_under_its_subjects_key_and_the_erased_are_named_and_hold_nothing_up() {
    let scene = Scene::new().await;
    for (at, db) in Db::each().await.into_iter().enumerate() {
        let company = format!("initech-{at}");
        family(&scene, &company).await;
        fill(&scene.service, &db.pool, &company).await;
        let before = stored(&db.pool).await;
        assert_eq!(versions(&before, |_| true).len(), PEOPLE as usize, "each has a key of their own");
        let schema = scene.place.profile("attendance").with_file_name("shifts.json");
        fs::write(&schema, serde_json::to_string(Shift::SCHEMA).unwrap()).unwrap();
        let words = format!(
            "reseal --tenant {company} -o json --schema {} --database {}",
            schema.display(),
            db.url()
        );
        let reseal = || kms_tests::cli::kms(Some(&scene.place.profile("attendance")), words.split(' ')).ok();
        let counts = |said: &kms_tests::cli::Said| {
            ["rows", "resealed", "already_current", "skipped", "erased", "failed"]
                .map(|name| report(said)[name].as_u64().unwrap())
        };
        assert_eq!(counts(&reseal()), [24, 0, 24, 0, 0, 0]);

        // The family is rotated; whoever seals next has the new version made, and that is the run.
        let rotate = RotateKey::default();
        scene
            .operator
            .rotate_key(&company.parse().unwrap(), &"attendance".parse().unwrap(), rotate)
            .await
            .unwrap();
        destroy(&scene, &company, "attendance/3", DestroyTarget::All).await;
        let said = reseal();
        assert_eq!(counts(&said), [24, 22, 0, 2, 2, 0], "{said:?}");
        let report = report(&said);
        assert_eq!((&report["nothing_left"], &report["problems"]), (&json!(true), &json!([])), "{said:?}");
        let of_erased =
            |id: &str, column: &str| json!({ "id": id, "column": column, "reason": "KEY_DESTROYED" });
        let expected = [
            of_erased("3", "phone"),
            of_erased("3", "badge"),
            of_erased("15", "phone"),
            of_erased("15", "badge"),
        ];
        assert_eq!(report["erased_cells"], json!(expected));

        let after = stored(&db.pool).await;
        assert!(versions(&before, |_| true).is_disjoint(&versions(&after, |employee| employee != 3)));
        assert_eq!(versions(&before, |employee| employee == 3), versions(&after, |employee| employee == 3));
        for person in (0..PEOPLE).filter(|person| *person != 3) {
            destroy(&scene, &company, &format!("attendance/{person}"), DestroyTarget::Version(1)).await;
        }
        for (opened, shift) in scene.cold().await.open_all(after).await.into_iter().zip(shifts(&company)) {
            match shift.employee {
                3 => assert!(opened.is_err(), "who was erased stays erased"),
                _ => assert!(opened.unwrap() == shift, "row {}", shift.id),
            }
        }
        // The same by the library, and once more by options.
        let kms = scene.cold().await;
        let database = Database::connect(db.url()).await.unwrap();
        let run = Reseal::of::<Shift>(&kms, &company.parse().unwrap(), database).unwrap();
        let said = run.dry_run(true).run(|_| ()).await.unwrap();
        assert_eq!((said.written, said.erased, said.already_current), (0, 2, 22), "{said:?}");
        let options = format!(
            "reseal --tenant {company} --key attendance --table shifts --id id --bind company_id --bind id --per employee \
             --tenant-column company_id --column phone --column badge --database {}",
            db.url()
        );
        let said = kms_tests::cli::kms(Some(&scene.place.profile("attendance")), options.split(' ')).ok();
        assert!(said.stdout.contains("2 of subjects whose keys are destroyed"), "{said:?}");
        assert!(said.stdout.contains("row `3`, column `phone`:"), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_subject_is_named_and_left_as_it_is() {
    let scene = Scene::new().await;
    let db = Db::sqlite().await;
    family(&scene, "initech").await;
    fill(&scene.service, &db.pool, "initech").await;
    db.pool.run("UPDATE shifts SET employee = NULL WHERE id = 5", &[]).await;
    let kms = scene.cold().await;
    let run =
        Reseal::of::<Shift>(&kms, &"initech".parse().unwrap(), Database::connect(db.url()).await.unwrap());
    let said = run.unwrap().run(|_| ()).await.unwrap();
    assert_eq!((said.rows, said.already_current, said.failed), (24, 23, 1));
    assert!(
        said.problems.iter().all(|problem| problem.id == "5" && problem.reason == "NO_SUBJECT"),
        "{said:?}"
    );
    assert!(!said.nothing_left());
}

#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "desks",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    per = "employee"
)]
struct Desk {
    company_id: String,
    id: i64,
    employee: i64,
    #[protect(deterministic, text, equality = "within_subject")]
    place: String,
    #[protect(encrypt, text)]
    note: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn deterministic_columns_of_subjects_move_with_a_rotation_that_says_so_and_with_no_other() {
    let scene = Scene::new().await;
    let db = Db::sqlite().await;
    family(&scene, "initech").await;
    db.pool
        .run(
            "CREATE TABLE desks (company_id TEXT, id INTEGER PRIMARY KEY, employee INTEGER, place TEXT, note TEXT)",
            &[],
        )
        .await;
    let desk = |id| Desk {
        company_id: "initech".into(),
        id,
        employee: id % 3,
        place: "window".into(),
        note: format!("note {id}"),
    };
    let desks: Vec<Desk> = (0..9).map(desk).collect();
    let sealed: Vec<SealedDesk> =
        scene.service.seal_all(&desks).await.into_iter().map(Result::unwrap).collect();
    let Pool::Sqlite(pool) = &db.pool else { panic!("another database") };
    sql::insert(&sealed).unwrap().execute(pool).await.unwrap();
    let (tenant, key): (_, KeyName) = ("initech".parse().unwrap(), "attendance".parse().unwrap());
    let stored = async || -> Vec<SealedDesk> {
        sqlx::query_as("SELECT * FROM desks ORDER BY id").fetch_all(pool).await.unwrap()
    };
    let turn = async |deterministic: bool| {
        let how = RotateKey { deterministic, ..RotateKey::default() };
        scene.operator.rotate_key(&tenant, &key, how).await.unwrap();
    };
    let reseal = async || {
        let kms = scene.cold().await;
        let database = Database::connect(db.url()).await.unwrap();
        let said = Reseal::of::<Desk>(&kms, &tenant, database).unwrap().run(|_| ()).await.unwrap();
        assert!(said.nothing_left(), "{said:?}");
        stored().await
    };
    let before = stored().await;
    turn(false).await;
    let plain = reseal().await;
    assert!(plain.iter().zip(&before).all(|(new, old)| new.place == old.place && new.note != old.note));
    // Who follows two rotations at once follows the one that says so, too.
    turn(true).await;
    turn(false).await;
    let moved = reseal().await;
    assert!(moved.iter().zip(&plain).all(|(new, old)| new.place != old.place && new.note != old.note));
    let equal = |one: usize, other: usize| moved[one].place == moved[other].place;
    assert!(equal(0, 3) && equal(3, 6) && !equal(0, 1), "equal within each subject");
    turn(false).await;
    assert!(reseal().await.iter().zip(&moved).all(|(new, old)| new.place == old.place));
    for person in 0..3 {
        for version in [1, 2] {
            destroy(&scene, "initech", &format!("attendance/{person}"), DestroyTarget::Version(version))
                .await;
        }
    }
    let opened = scene.cold().await.open_all(stored().await).await;
    assert_eq!(opened.into_iter().map(Result::unwrap).collect::<Vec<_>>(), desks);
    let words = "key rotate attendance --tenant initech --deterministic";
    let said = kms_tests::cli::kms(Some(&scene.place.profile("operator")), words.split(' ')).ok();
    assert!(said.stdout.contains("their deterministic columns move with it"), "{said:?}");
}
