//! Blind indexes are made anew in the same walk, and counted apart.

use kms_client::{
    Kms, Protect,
    protect::sql,
    reseal::{Database, Reseal},
};
use serde_json::json;

use crate::scene::{Db, Pool, Scene, report, tenant};

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "checkins", key = "attendance", tenant = "company_id", bind("company_id", "id"))]
pub(crate) struct CheckIn {
    pub(crate) company_id: String,
    pub(crate) id: i64,
    #[protect(encrypt, text, index(eq, normalize = "phone", bits = 24))]
    pub(crate) phone: Option<String>,
    #[protect(encrypt)]
    pub(crate) note: String,
}

pub(crate) fn checkin(id: i64, phone: &str) -> CheckIn {
    CheckIn { company_id: "acme".into(), id, phone: Some(phone.into()), note: format!("note {id}") }
}

impl Pool {
    pub(crate) async fn create_checkins(&self) {
        let (integer, bytes) = match self {
            Self::Sqlite(_) => ("INTEGER", "BLOB"),
            Self::Postgres(_) => ("BIGINT", "BYTEA"),
        };
        let table = format!(
            "CREATE TABLE checkins (company_id TEXT, id {integer} PRIMARY KEY, phone TEXT, phone_index {bytes}, note {bytes})"
        );
        self.run(&table, &[]).await;
        self.run("CREATE INDEX by_phone ON checkins (phone_index)", &[]).await;
    }

    pub(crate) async fn insert(&self, kms: &Kms, rows: &[CheckIn]) {
        let sealed: Vec<SealedCheckIn> = kms.seal_all(rows).await.into_iter().map(Result::unwrap).collect();
        match self {
            Self::Sqlite(pool) => sql::insert(&sealed).unwrap().execute(pool).await.map(drop).unwrap(),
            Self::Postgres(pool) => sql::insert(&sealed).unwrap().execute(pool).await.map(drop).unwrap(),
        }
    }
}

/// What stands in the index column, in hexadecimal.
async fn indexes(pool: &Pool) -> Vec<Option<String>> {
    let hex = match pool {
        Pool::Sqlite(_) => "CASE WHEN phone_index IS NULL THEN NULL ELSE hex(phone_index) END",
        Pool::Postgres(_) => "encode(phone_index, 'hex')",
    };
    let rows = pool.rows(&format!("SELECT {hex} FROM checkins ORDER BY id")).await;
    rows.into_iter().map(|row| row[0].clone()).collect()
}

const OPTIONS: [&str; 14] = [
    "--column",
    "phone",
    "--column",
    "note",
    "--bind",
    "company_id",
    "--bind",
    "id",
    "--tenant-column",
    "company_id",
    "--index",
    "phone=phone_index,bits=24,normalize=phone",
    "--rate",
    "100000",
];

fn counts(said: &kms_tests::cli::Said) -> [u64; 6] {
    let report = report(said);
    ["rows", "resealed", "reindexed", "already_current", "skipped", "failed"]
        .map(|name| report[name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_not_that_of_its_value_is_made_anew_and_counted_apart() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        let service = scene.cold().await;
        db.pool.create_checkins().await;
        let rows: Vec<_> = (1..=30).map(|id| checkin(id, &format!("138 0013 {id:04}"))).collect();
        db.pool.insert(&service, &rows).await;
        let good = indexes(&db.pool).await;
        assert_eq!(counts(&scene.reseal(&db, &OPTIONS).ok()), [30, 0, 0, 30, 0, 0]);
        assert_eq!(indexes(&db.pool).await, good, "what is current stays as it is");

        // A column that was added later, a value that somebody changed, one that is gone and left its index behind.
        db.pool.run("UPDATE checkins SET phone_index = NULL WHERE id <= 10", &[]).await;
        db.pool
            .run(
                "UPDATE checkins SET phone_index = (SELECT phone_index FROM checkins WHERE id = 20) WHERE id = 21",
                &[],
            )
            .await;
        db.pool.run("UPDATE checkins SET phone = NULL WHERE id = 30", &[]).await;
        let before = indexes(&db.pool).await;
        let dry = scene.reseal(&db, &[&OPTIONS[..], &["--dry-run"]].concat()).ok();
        assert_eq!(counts(&dry), [30, 0, 12, 18, 0, 0], "{dry:?}");
        assert_eq!(indexes(&db.pool).await, before, "a dry run writes nothing");
        let said = scene.reseal(&db, &OPTIONS).ok();
        assert_eq!(counts(&said), [30, 0, 12, 18, 0, 0], "{said:?}");
        let after = indexes(&db.pool).await;
        assert_eq!(after[..29], good[..29]);
        assert_eq!(after[29], None, "nothing goes on telling which rows were equal");
        assert_eq!(
            counts(&scene.reseal(&db, &OPTIONS).ok()),
            [30, 0, 0, 30, 0, 0],
            "a second run finds nothing"
        );

        // Either key by itself, then both in one walk.
        scene.rotate(false).await;
        assert_eq!(counts(&scene.reseal(&db, &OPTIONS).ok()), [30, 30, 0, 0, 0, 0]);
        assert_eq!(indexes(&db.pool).await, after);
        scene.rotate_index().await;
        assert_eq!(counts(&scene.reseal(&db, &OPTIONS).ok()), [30, 0, 29, 1, 0, 0]);
        assert!(
            indexes(&db.pool).await.iter().zip(&good).take(29).all(|(new, old)| new.is_some() && new != old)
        );
        scene.rotate(false).await;
        scene.rotate_index().await;
        let kms = scene.cold().await;
        let database = Database::connect(db.url()).await.unwrap();
        let said = Reseal::of::<CheckIn>(&kms, &tenant(), database).unwrap().run(|_| ()).await.unwrap();
        assert_eq!((said.written, said.resealed, said.reindexed, said.nothing_left()), (30, 30, 29, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_open_keeps_its_index_and_is_named() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        db.pool.create_checkins().await;
        let rows: Vec<_> = (1..=5).map(|id| checkin(id, "138 0013 8000")).collect();
        db.pool.insert(&scene.service, &rows).await;
        db.pool
            .run("UPDATE checkins SET phone = (SELECT phone FROM checkins WHERE id = 1) WHERE id = 3", &[])
            .await;
        db.pool.run("UPDATE checkins SET phone_index = NULL WHERE id = 3", &[]).await;
        let said = scene.reseal(&db, &OPTIONS);
        assert_eq!((said.code, counts(&said)), (Some(7), [5, 0, 0, 4, 0, 1]), "{said:?}");
        let problem = json!([{ "id": "3", "column": "phone", "reason": "CIPHERTEXT_REJECTED" }]);
        assert_eq!(report(&said)["problems"], problem);
        assert_eq!(indexes(&db.pool).await[2], None, "no index of a value that belongs elsewhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_index_is_refused_in_clear_words() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        db.pool.create_checkins().await;
        let refuse = |index: &str| {
            let said = scene.reseal(&db, &["--column", "phone", "--index", index]);
            let error: serde_json::Value = serde_json::from_str(&said.stderr).unwrap();
            (said.code, error["error"]["message"].as_str().unwrap().to_owned())
        };
        for (index, words) in [
            ("phone", "write COLUMN=INDEX_COLUMN"),
            ("phone=phone_index", "say how many bits"),
            ("phone=phone_index,bits=24,normalize=telephone", "no normalizer is called"),
            ("mobile=phone_index,bits=24", "which is not named"),
            ("phone=phone,bits=24", "given twice"),
            ("phone=id,bits=24", "must stay readable"),
            ("phone=nowhere,bits=24", "no column `nowhere`"),
        ] {
            let (code, message) = refuse(index);
            assert!(code == Some(2) && message.contains(words), "{index}: {code:?} {message}");
        }
        if let Pool::Postgres(_) = db.pool {
            let (code, message) = refuse("phone=company_id,bits=24");
            assert!(code == Some(2) && message.contains("index columns are bytea"), "{message}");
        }
    }
}
