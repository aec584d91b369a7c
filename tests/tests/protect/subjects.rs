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
