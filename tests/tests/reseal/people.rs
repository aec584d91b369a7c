//! Rows of people that move from an older family, from a key that was everybody's, or from the clear, to a key of each.

use std::{fs, ops::Range};

use kms_client::{
    Protect,
    api::{CreateKey, DestroyTarget},
};
use kms_tests::cli;
use serde_json::json;

use crate::{
    moved::{counts, insert, reseal, stored},
    scene::{Db, LEASE, Pool, Scene, report, tenant},
    subjects::destroy,
};

/// Visits of people, when everybody's were under one key.
#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "visits",
    key = "attendance",
    tenant = "company_id",
    bind("company_id", "id"),
    sealed = "SealedEarly"
)]
struct Early {
    company_id: String,
    id: i64,
    person: i64,
    #[protect(encrypt, text)]
    place: String,
}

impl Early {
    fn rows(ids: Range<i64>) -> Vec<Self> {
        let row = |id| Self { company_id: "acme".into(), id, person: id, place: format!("gate {id}") };
        ids.map(row).collect()
    }
}

/// Rows of people, first in the clear or under one family, then under another.
macro_rules! visit {
    ($name:ident, $sealed:literal, $key:literal, $($more:tt)*) => {
        #[derive(Clone, PartialEq, Protect)]
        #[protect(
            table = "visits",
            key = $key,
            tenant = "company_id",
            bind("company_id", "id"),
            per = "person",
            sealed = $sealed
        )]
        struct $name {
            company_id: String,
            id: i64,
            person: i64,
            #[protect(encrypt, text $($more)*)]
            place: String,
        }

        impl $name {
            fn rows(ids: Range<i64>) -> Vec<Self> {
                let row = |id| Self { company_id: "acme".into(), id, person: id, place: format!("gate {id}") };
                ids.map(row).collect()
            }
        }
    };
}

visit!(Visit, "SealedVisit", "people",);
visit!(Moved, "SealedMoved", "guests", , previous(key = "people"), previous(key = "attendance", shared), allow_plaintext(until = "9000-12-31"));
visit!(Settled, "SealedSettled", "guests",);

#[tokio::test(flavor = "multi_thread")]
async fn people_get_keys_of_the_new_family_and_who_was_erased_is_not_sealed_again() {
    let scene = Scene::new().await;
    for name in ["people", "guests"] {
        let how = CreateKey { lease: Some(LEASE), family: true, ..CreateKey::default() };
        scene.operator.create_key(&tenant(), &name.parse().unwrap(), how).await.unwrap();
    }
    fs::write(
        scene.place.path("policies/people.cedar"),
        r#"@id("people") @says("the attendance service seals and opens under the keys of people and guests") @tenants("any")
           permit (principal == Service::"spiffe://dev.local/attendance",
                   action in [Action::"seals", Action::"opens", Action::"ensures"], resource is Key)
           when { resource.family == "people" || resource.family == "guests" };"#,
    )
    .unwrap();
    scene.server.hang_up();
    scene.server.wait_for_log("policies reloaded", 1);
    for (round, db) in Db::each().await.into_iter().enumerate() {
        let integer = if matches!(db.pool, Pool::Sqlite(_)) { "INTEGER" } else { "BIGINT" };
        let table = format!(
            "CREATE TABLE visits (company_id TEXT, id {integer} PRIMARY KEY, person {integer}, place TEXT)"
        );
        db.pool.run(&table, &[]).await;
        // Other people each time: keys outlive the table.
        let first = 100 * i64::try_from(round).unwrap();
        let kms = scene.cold().await;
        insert(&kms, &db.pool, &Visit::rows(first..first + 10)).await;
        insert(&kms, &db.pool, &Moved::rows(first + 10..first + 20)).await;
        for id in first + 20..first + 30 {
            let (id, place) = (id.to_string(), format!("gate {id}"));
            let row = format!("INSERT INTO visits VALUES ('acme', {id}, {id}, $1)");
            db.pool.run(&row, &[Some(&place)]).await;
        }
        insert(&kms, &db.pool, &Early::rows(first + 30..first + 40)).await;
        // Erased in the family that they are under; and in the new one, while what stands there is in the clear.
        destroy(&scene, "acme", &format!("people/{}", first + 3), DestroyTarget::All).await;
        destroy(&scene, "acme", &format!("guests/{}", first + 13), DestroyTarget::All).await;
        for leaver in [first + 23, first + 33].map(|id| format!("guests/{id}")) {
            scene
                .operator
                .create_key(&tenant(), &leaver.parse().unwrap(), CreateKey::default())
                .await
                .unwrap();
            destroy(&scene, "acme", &leaver, DestroyTarget::All).await;
        }

        let schema = serde_json::to_value(Moved::SCHEMA).unwrap();
        let dry = reseal(&scene, &db, &schema, &["--dry-run"]);
        assert_eq!(counts(&dry), [40, 27, 18, 9, 0, 9, 2], "{dry:?}");
        let keys = format!("key describe guests/{} --tenant acme", first + 5);
        let known = || cli::kms(Some(&scene.place.profile("operator")), keys.split(' ')).code;
        assert_eq!(known(), Some(5), "a dry run makes no keys");
        let said = reseal(&scene, &db, &schema, &[]);
        assert_eq!((said.code, counts(&said)), (Some(7), [40, 27, 18, 9, 0, 9, 2]), "{said:?}");
        assert_eq!(known(), Some(0));
        let report = report(&said);
        let of = |id: i64| json!({ "id": id.to_string(), "column": "place", "reason": "KEY_DESTROYED" });
        assert_eq!(
            report["problems"],
            json!([of(first + 23), of(first + 33)]),
            "these can be read: that is no erasure"
        );
        assert_eq!(report["erased_cells"], json!([of(first + 3), of(first + 13)]));

        let opened = scene.cold().await.open_all(stored::<SealedSettled>(&db.pool, "visits").await).await;
        for (opened, visit) in opened.into_iter().zip(Settled::rows(first..first + 40)) {
            match visit.id - first {
                3 | 13 | 23 | 33 => assert!(opened.is_err(), "{}", visit.id),
                _ => assert_eq!(opened.unwrap(), visit),
            }
        }
    }
}
