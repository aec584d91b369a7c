//! What a run refuses, before it touches anything, and in which words.

use serde_json::Value;

use crate::scene::{Db, Pool, Scene};

fn refused(said: &kms_tests::cli::Said) -> (i32, String, String) {
    let error: Value = serde_json::from_str(&said.stderr).unwrap_or_else(|_| panic!("{said:?}"));
    let text = |name: &str| error["error"][name].as_str().unwrap().to_owned();
    (said.code.unwrap(), text("reason"), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_walked_is_refused_in_clear_words() {
    let scene = Scene::new().await;
    for db in Db::each().await {
        db.pool.run("CREATE TABLE checkins (id INTEGER PRIMARY KEY, day INTEGER, phone TEXT)", &[]).await;
        let refuse = |more: &[&str]| refused(&scene.reseal(&db, more));

        let (code, reason, message) = refuse(&["--column", "mobile"]);
        assert_eq!((code, reason.as_str()), (2, "NO_SUCH_COLUMN"));
        assert!(message.contains("no column `mobile`; it has id, day, phone"), "{message}");
        let (code, reason, message) = refuse(&["--column", "phone", "--sql-table", "visits"]);
        assert_eq!((code, reason.as_str()), (2, "NO_SUCH_TABLE"), "{message}");
        assert_eq!(refuse(&["--column", "id"]).1, "USAGE", "the id stays readable");
        assert_eq!(refuse(&["--column", "phone", "--column", "phone:deterministic"]).1, "USAGE");
        assert_eq!(refuse(&["--column", "phone", "--bind", "phone"]).1, "USAGE");

        let words = scene.words(&db, &["--column", "phone"]);
        let by_day = words.into_iter().map(|word| if word == "id" { "day".into() } else { word });
        let said = kms_tests::cli::kms(Some(&scene.place.profile("attendance")), by_day);
        assert_eq!(refused(&said).1, "ID_NOT_UNIQUE", "a page could end between two rows of one id");

        if let Pool::Postgres(_) = db.pool {
            let (code, reason, message) = refuse(&["--column", "day"]);
            assert_eq!((code, reason.as_str()), (2, "COLUMN_TYPE"));
            assert!(message.contains("is of type integer; sealed columns are text or bytea"), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_open_is_denied_and_writes_nothing() {
    let scene = Scene::new().await;
    let db = Db::sqlite().await;
    db.pool.run("CREATE TABLE checkins (id INTEGER PRIMARY KEY, phone TEXT)", &[]).await;
    let said = kms_tests::cli::kms(
        Some(&scene.place.profile("hr-portal")),
        scene.words(&db, &["--column", "phone"]),
    );
    assert_eq!(refused(&said).0, 5, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_never_shown() {
    let scene = Scene::new().await;
    let profile = scene.place.profile("attendance");
    let urls = [
        "postgres://kms:hunter2-secret@127.0.0.1:1/db",
        "postgres://kms:hunter2-secret@[::bad/db",
        "postgres://kms:hunter2-secret@localhost:99999/db",
        "mysql://kms:hunter2-secret@localhost/db",
        "hunter2-secret",
        "sqlite:",
    ];
    for (at, url) in urls.iter().enumerate() {
        let line = "reseal --tenant acme --key attendance --table t --id id --column c --database";
        for form in ["json", "table"] {
            let words = line.split(' ').chain([*url, "-o", form]);
            let said = kms_tests::cli::kms(Some(&profile), words);
            assert!(said.code == Some(if at == 0 || at == 5 { 1 } else { 2 }), "{url}: {said:?}");
            assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
        }
    }
}
