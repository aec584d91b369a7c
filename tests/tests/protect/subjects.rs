//! Subjects ensured on first use: what a transaction that is rolled back, or a caller that gives up, leaves behind.

use std::{
    future::Future as _,
    pin::pin,
    task::{Context, Waker},
};

use kms_client::{Protect, api::CreateKey, protect::sql};

use super::{Scene, sqlite};

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "visits", key = "attendance", tenant = "company_id", bind("id"), per = "person")]
struct Visit {
    company_id: String,
    id: i64,
    person: String,
    #[protect(encrypt)]
    place: String,
}

fn visits(ids: std::ops::Range<i64>) -> Vec<Visit> {
    let visit = |id: i64| Visit {
        company_id: "acme".into(),
        id,
        person: format!("p{}", id % 10),
        place: format!("gate {id}"),
    };
    ids.map(visit).collect()
}

async fn scene() -> Scene {
    let scene = Scene::with(&[]).await;
    let tenant = "acme".parse().unwrap();
    scene.operator.create_tenant(&tenant, Default::default()).await.unwrap();
    let family = CreateKey { family: true, ..CreateKey::default() };
    scene.operator.create_key(&tenant, &"attendance".parse().unwrap(), family).await.unwrap();
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_rolled_back_leaves_keys_of_subjects_and_they_do_no_harm() {
    let scene = scene().await;
    let pool = sqlite::pool(&scene).await;
    let table = "CREATE TABLE visits (company_id TEXT NOT NULL, id INTEGER PRIMARY KEY, person TEXT NOT NULL, place BLOB NOT NULL)";
    sqlx::query(table).execute(&pool).await.unwrap();
    let seal = |rows: Vec<Visit>| {
        let kms = scene.service.clone();
        async move { kms.seal_all(&rows).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap() }
    };
    let mut transaction = pool.begin().await.unwrap();
    let twins = seal(visits(0..20)).await;
    sql::insert(&twins).unwrap().execute(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();

    let list = || async {
        let rows: Vec<SealedVisit> =
            sqlx::query_as("SELECT * FROM visits ORDER BY id").fetch_all(&pool).await.unwrap();
        scene.service.open_all(rows).await.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert!(list().await.is_empty());
    // The same rows and subjects again, by a client that knows of none.
    let again = scene.cold().await.seal_all(&visits(0..20)).await;
    let again: Vec<_> = again.into_iter().collect::<Result<_, _>>().unwrap();
    sql::insert(&again).unwrap().execute(&pool).await.unwrap();
    assert!(list().await == visits(0..20));
    // What had been sealed for the transaction opens too: it is under the same keys.
    assert!(scene.cold().await.open_all(twins).await.into_iter().map(Result::unwrap).eq(visits(0..20)));
    let (tenant, family) = ("acme".parse().unwrap(), "attendance".parse().unwrap());
    let subjects: Vec<_> = visits(0..10).iter().map(|visit| visit.person.parse().unwrap()).collect();
    let ensured = scene.service.ensure_subjects(&tenant, &family, &subjects).await;
    assert!(
        ensured.iter().all(|subject| !subject.as_ref().unwrap().created),
        "one key a person, however often"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_while_subjects_are_made_leaves_nothing_half_done() {
    let scene = scene().await;
    for polls in 0..6 {
        let rows = visits(polls * 100..polls * 100 + 20);
        let kms = scene.cold().await;
        {
            let mut sealing = pin!(kms.seal_all(&rows));
            for _ in 0..polls {
                let calls = kms.server_calls();
                if sealing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                // Until the next call is on its way, so that it is given up at another place each time.
                for _ in 0..1_000 {
                    if kms.server_calls() != calls {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
        let twins: Vec<_> = kms.seal_all(&rows).await.into_iter().collect::<Result<_, _>>().unwrap();
        assert!(scene.cold().await.open_all(twins).await.into_iter().map(Result::unwrap).eq(rows));
    }
}

/// `Visit` in a release that left one family for another.
#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "visits",
    key = "people",
    tenant = "company_id",
    bind("id"),
    per = "person",
    sealed = "SealedMoved"
)]
struct Moved {
    company_id: String,
    id: i64,
    person: String,
    #[protect(encrypt, previous(key = "attendance"))]
    place: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_older_family_open_after_it_was_left_for_another() {
    let scene = scene().await;
    let (tenant, people) = ("acme".parse().unwrap(), "people".parse().unwrap());
    let family = CreateKey { family: true, ..CreateKey::default() };
    scene.operator.create_key(&tenant, &people, family).await.unwrap();
    std::fs::write(
        scene.place.path("policies/people.cedar"),
        r#"@id("people") @says("the attendance service seals and opens with keys named `people`") @tenants("any")
           permit (principal == Service::"spiffe://dev.local/attendance",
                   action in [Action::"seals", Action::"opens", Action::"ensures"], resource is Key)
           when { resource.family == "people" };"#,
    )
    .unwrap();
    scene.server.hang_up();
    scene.server.wait_for_log("policies reloaded", 1);

    let twins: Vec<_> =
        scene.service.seal_all(&visits(0..20)).await.into_iter().collect::<Result<_, _>>().unwrap();
    let as_moved = |SealedVisit { company_id, id, person, place }: SealedVisit| SealedMoved {
        company_id,
        id,
        person,
        place,
    };
    let older: Vec<SealedMoved> = twins.into_iter().map(as_moved).collect();
    let kms = scene.cold().await;
    let opened: Vec<Moved> = kms.open_all(older.clone()).await.into_iter().map(Result::unwrap).collect();
    assert!(opened.iter().zip(visits(0..20)).all(|(moved, visit)| moved.place == visit.place));
    let newer: Vec<_> = kms.seal_all(&opened).await.into_iter().collect::<Result<_, _>>().unwrap();
    let mixed = older.iter().take(10).chain(newer.iter().skip(10)).cloned();
    assert!(scene.cold().await.open_all(mixed).await.into_iter().map(Result::unwrap).eq(opened));
    // Passed off as another person's they open in neither family.
    let stolen = SealedMoved { person: "p2".into(), ..older[1].clone() };
    assert!(kms.open(&stolen).await.is_err());
}

/// `Visit` in the release before, in which the tenant had one key for all.
#[derive(Clone, PartialEq, Protect)]
#[protect(table = "visits", key = "tenancy", tenant = "company_id", bind("id"), sealed = "SealedBefore")]
struct Before {
    company_id: String,
    id: i64,
    person: String,
    #[protect(encrypt)]
    place: String,
}

#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "visits",
    key = "attendance",
    tenant = "company_id",
    bind("id"),
    per = "person",
    sealed = "SealedAfter"
)]
struct After {
    company_id: String,
    id: i64,
    person: String,
    #[protect(encrypt, previous(key = "tenancy", shared))]
    place: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_under_a_key_that_was_everybodys_open_and_are_sealed_anew_under_each_persons() {
    let scene = scene().await;
    let (tenant, tenancy) = ("acme".parse().unwrap(), "tenancy".parse().unwrap());
    scene.operator.create_key(&tenant, &tenancy, CreateKey::default()).await.unwrap();
    std::fs::write(
        scene.place.path("policies/tenancy.cedar"),
        r#"@id("tenancy") @says("the attendance service seals and opens with keys named `tenancy`") @tenants("any")
           permit (principal == Service::"spiffe://dev.local/attendance",
                   action in [Action::"seals", Action::"opens"], resource is Key)
           when { resource.family == "tenancy" };"#,
    )
    .unwrap();
    scene.server.hang_up();
    scene.server.wait_for_log("policies reloaded", 1);

    let before = |Visit { company_id, id, person, place }: Visit| Before { company_id, id, person, place };
    let rows: Vec<Before> = visits(0..20).into_iter().map(before).collect();
    let twins: Vec<_> = scene.service.seal_all(&rows).await.into_iter().collect::<Result<_, _>>().unwrap();
    let older: Vec<_> = twins
        .into_iter()
        .map(|SealedBefore { company_id, id, person, place }| SealedAfter { company_id, id, person, place })
        .collect();
    let kms = scene.cold().await;
    let opened: Vec<After> = kms.open_all(older.clone()).await.into_iter().map(Result::unwrap).collect();
    assert!(opened.iter().zip(&rows).all(|(after, before)| after.place == before.place));
    let newer: Vec<_> = kms.seal_all(&opened).await.into_iter().collect::<Result<_, _>>().unwrap();
    let mixed = older.iter().take(10).chain(newer.iter().skip(10)).cloned();
    assert!(scene.cold().await.open_all(mixed).await.into_iter().map(Result::unwrap).eq(opened));
    // Neither key takes the other's for its own, and no row opens in another's place.
    let moved = SealedAfter { id: older[2].id, ..older[1].clone() };
    assert!(scene.cold().await.open(&moved).await.is_err());
    let stolen = SealedAfter { person: "p2".into(), ..newer[1].clone() };
    assert!(scene.cold().await.open(&stolen).await.is_err());
}
