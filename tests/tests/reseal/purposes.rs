//! Keys that keep to their purposes, from the command line.

use kms_client::api::{CreateKey, CreateTenant, RotateKey};
use kms_tests::cli;

use crate::scene::{Db, LEASE, Scene, column, report, row};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_under_a_key_for_one_purpose_is_resealed_for_that_purpose_only() {
    let (scene, db) = (Scene::new().await, Db::sqlite().await);
    let (tenant, key) = ("initech".parse().unwrap(), "attendance".parse().unwrap());
    scene.operator.create_tenant(&tenant, CreateTenant::default()).await.unwrap();
    let how = CreateKey { lease: Some(LEASE), purposes: vec!["payroll".into()], ..CreateKey::default() };
    scene.operator.create_key(&tenant, &key, how).await.unwrap();
    db.pool.run("CREATE TABLE checkins (id INTEGER PRIMARY KEY, phone TEXT)", &[]).await;
    let records = scene.service.records(&tenant, &key).with_purpose("payroll");
    let sealed = records.seal(&column("phone"), &row("1"), b"138").await.unwrap();
    let sealed = kms_client::text::encode(&sealed);
    db.pool.run("INSERT INTO checkins VALUES (1, $1)", &[Some(&sealed)]).await;
    scene.operator.rotate_key(&tenant, &key, RotateKey::default()).await.unwrap();

    let words =
        "reseal --tenant initech --key attendance --table checkins --id id --column phone -o json --database";
    let reseal = |more: &[&str]| {
        let words = words.split(' ').chain([db.url()]).chain(more.iter().copied());
        cli::kms(Some(&scene.place.profile("attendance")), words)
    };
    for other in [&[][..], &["--purpose", "marketing"]] {
        let said = reseal(other);
        assert!(said.code == Some(5) && said.stderr.contains("KEY_NOT_ACCESSIBLE"), "{said:?}");
    }
    let said = reseal(&["--purpose", "payroll"]).ok();
    assert_eq!(report(&said)["resealed"], 1, "{said:?}");
}
