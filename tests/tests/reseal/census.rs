//! What a reseal opens keeps no version in use: it stands under another afterwards.

use kms_client::{
    DestroyReason, Protect, Reason,
    api::{Change, DestroyKey, DestroyTarget, RotateKey, VersionUse},
    protect::sql,
    reseal::{Database, Reseal},
};

use crate::{
    scene::{Db, Pool, Scene, column, opened, records, report, row, sealed, tenant},
    subjects::family,
};

const ROWS: u64 = 20;

async fn version_1(scene: &Scene) -> VersionUse {
    let census = scene.operator.census(&tenant(), &"attendance".parse().unwrap()).await.unwrap();
    census.versions.into_iter().find(|used| used.version == 1).unwrap()
}

async fn destroy(scene: &Scene, version: u32) -> Result<Vec<u32>, kms_client::Error> {
    let what = DestroyKey {
        target: DestroyTarget::Version(version),
        reason: DestroyReason::Superseded,
        ticket: String::new(),
        force: false,
        window: None,
        change: Change::default(),
    };
    let done = scene.operator.destroy_key(&tenant(), &"attendance".parse().unwrap(), what).await;
    done.map(|done| done.versions)
}

/// Rows that were sealed so long ago that nobody speaks of it any more: by a process that ended before it could.
async fn fill(scene: &Scene, db: &Db) {
    let writer = scene.cold().await;
    db.pool.run("CREATE TABLE checkins (id INTEGER PRIMARY KEY, phone TEXT)", &[]).await;
    for id in 0..ROWS {
        let cell = sealed(&writer, "phone", &id.to_string(), "138").await;
        db.pool.run(&format!("INSERT INTO checkins VALUES ({id}, $1)"), &[Some(&cell)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reseal_the_older_version_is_destroyed_without_force() {
    let scene = Scene::new().await;
    let db = Db::sqlite().await;
    fill(&scene, &db).await;
    scene.rotate(false).await;
    let said = scene.reseal(&db, &["--column", "phone"]).ok();
    assert_eq!(report(&said)["resealed"], ROWS);
    let used = version_1(&scene).await;
    let [column_of] = &used.columns[..] else { panic!("{used:?}") };
    assert_eq!((column_of.seals, column_of.opens, column_of.moved), (0, ROWS, ROWS), "{used:?}");
    assert!(!column_of.keeps_in_use());
    let said_so = used.holders.iter().filter(|holder| holder.last_report_day.is_some());
    assert_eq!(said_so.count(), 1, "the process told it before it ended: {used:?}");
    assert_eq!(destroy(&scene, 1).await.unwrap(), [1]);
    for cells in db.pool.rows("SELECT CAST(id AS TEXT), phone FROM checkins").await {
        let [Some(id), Some(phone)] = &cells[..] else { panic!("{cells:?}") };
        assert_eq!(opened(&scene.service, &column("phone"), id, phone).await, "138");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_opens_or_a_dry_run_does_still_keeps_it_in_use() {
    let scene = Scene::new().await;
    let db = Db::sqlite().await;
    fill(&scene, &db).await;
    scene.rotate(false).await;
    scene.reseal(&db, &["--column", "phone", "--dry-run"]).ok();
    let used = version_1(&scene).await;
    assert!(used.columns.iter().any(|used| used.opens == ROWS && used.moved == 0), "{used:?}");
    assert_eq!(destroy(&scene, 1).await.unwrap_err().reason(), Some(Reason::VersionInUse));

    // A reseal does not speak for what an application opened, under the same name though it be.
    let (scene, db) = (Scene::new().await, Db::sqlite().await);
    fill(&scene, &db).await;
    scene.rotate(false).await;
    let cell = db.pool.rows("SELECT phone FROM checkins WHERE id = 7").await[0][0].clone().unwrap();
    let application = scene.cold().await;
    assert_eq!(opened(&application, &column("phone"), "7", &cell).await, "138");
    // Another lease, with which it tells what it did.
    records(&application).seal(&column("other"), &row("7"), b"138").await.unwrap();
    scene.reseal(&db, &["--column", "phone"]).ok();
    let used = version_1(&scene).await;
    assert!(used.columns.iter().any(|used| (used.opens, used.moved) == (ROWS + 1, ROWS)), "{used:?}");
    assert_eq!(destroy(&scene, 1).await.unwrap_err().reason(), Some(Reason::VersionInUse));
}

#[derive(Clone, Protect)]
#[protect(table = "lockers", key = "attendance", tenant = "company_id", bind("company_id", "id"), per = "id")]
struct Locker {
    company_id: String,
    id: i64,
    #[protect(encrypt)]
    code: String,
    #[protect(encrypt)]
    note: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_moved_is_told_however_many_people_it_was_of() {
    const PEOPLE: u64 = 1_500;
    let (scene, db) = (Scene::new().await, Db::sqlite().await);
    family(&scene, "initech").await;
    let create = "CREATE TABLE lockers (company_id TEXT, id INTEGER PRIMARY KEY, code BLOB, note BLOB)";
    db.pool.run(create, &[]).await;
    let locker =
        |id| Locker { company_id: "initech".into(), id, code: format!("{id:06}"), note: String::new() };
    let lockers: Vec<Locker> = (0..PEOPLE as i64).map(locker).collect();
    let Pool::Sqlite(pool) = &db.pool else { panic!("another database") };
    let sealed: Vec<SealedLocker> =
        scene.cold().await.seal_all(&lockers).await.into_iter().map(Result::unwrap).collect();
    for some in sealed.chunks(500) {
        sql::insert(some).unwrap().execute(pool).await.unwrap();
    }
    let (tenant, key) = ("initech".parse().unwrap(), "attendance".parse().unwrap());
    scene.operator.rotate_key(&tenant, &key, RotateKey::default()).await.unwrap();

    let kms = scene.cold().await;
    let run = Reseal::of::<Locker>(&kms, &tenant, Database::connect(db.url()).await.unwrap()).unwrap();
    let said = run.run(|_| ()).await.unwrap();
    assert!(said.nothing_left() && said.resealed == PEOPLE, "{said:?}");
    drop(kms);
    let census = scene.operator.census(&tenant, &key).await.unwrap();
    let older = census.subjects.iter().filter(|used| used.is_older).flat_map(|used| &used.columns);
    // Two columns of each.
    assert_eq!(older.map(|used| used.moved).sum::<u64>(), 2 * PEOPLE, "{:?}", census.subjects);
}
