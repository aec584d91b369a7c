//! A key for each person.

use kms_proto::reason::Reason;
use uuid::Uuid;

use super::refusal;
use crate::{
    Protect,
    testing::{ATTENDANCE, Scene, scene},
};

const OPEN: &str = "OpenDataKeys";

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "visits", key = "attendance", tenant = "company_id", bind("id"), per = "person")]
struct Visit {
    company_id: String,
    id: Uuid,
    person: String,
    #[protect(encrypt)]
    place: String,
    #[protect(deterministic, equality = "within_subject")]
    badge: u64,
}

fn visit(n: u32, person: u32) -> Visit {
    Visit {
        company_id: "acme".into(),
        id: Uuid::from_u128(n.into()),
        person: person.to_string(),
        place: format!("gate {n}"),
        badge: 17,
    }
}

fn scene_of(people: u32) -> Scene {
    let scene = scene();
    let mut keys = scene.server.state.keys.lock();
    let family = keys[ATTENDANCE].clone();
    for person in 0..people {
        let mut key = family.clone();
        key.slot = 100 + person;
        keys.insert(format!("{ATTENDANCE}/{person}"), key);
    }
    drop(keys);
    scene
}

#[tokio::test]
async fn a_list_over_many_people_is_one_call_when_cold_and_none_when_warm() {
    let scene = scene_of(300);
    let rows: Vec<Visit> = (0..900).map(|n| visit(n, n % 300)).collect();
    let twins = scene.kms.seal_all(&rows).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(scene.server.state.calls(OPEN), 1);
    let cold = scene.cold();
    for calls in [2, 2] {
        let opened = cold.open_all(twins.clone()).await;
        assert!(opened.iter().zip(&rows).all(|(opened, row)| opened.as_ref().unwrap() == row));
        assert_eq!(scene.server.state.calls(OPEN), calls);
    }
    assert_eq!(twins[0].badge, twins[300].badge, "of one person");
    assert_ne!(twins[0].badge, twins[1].badge, "of two");
}

#[tokio::test]
async fn one_person_is_erased_and_the_others_stay() {
    let scene = scene_of(3);
    let rows: Vec<Visit> = (0..9).map(|n| visit(n, n % 3)).collect();
    let twins = scene.kms.seal_all(&rows).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    scene.server.state.turn("attendance/1", |key| key.refuses = Some(Reason::KeyDestroyed));
    for (opened, row) in scene.cold().open_all(twins).await.into_iter().zip(rows) {
        let reason = opened.as_ref().err().map(|error| error.reason());
        assert_eq!(reason, (row.person == "1").then_some(Some(Reason::KeyDestroyed)));
    }
    let rows = [visit(20, 1), visit(21, 2)];
    let sealed = scene.cold().seal_all(&rows).await;
    assert_eq!(sealed[0].as_ref().map(|_| ()).unwrap_err().reason(), Some(Reason::KeyDestroyed));
    assert!(sealed[1].is_ok());
}

#[tokio::test]
async fn a_row_passed_off_as_another_persons_does_not_open() {
    let scene = scene_of(3);
    let mut twin = scene.kms.seal(&visit(1, 1)).await.unwrap();
    twin.person = "2".into();
    let error = refusal(&scene.kms, &twin).await;
    assert_eq!(error.reason(), Some(Reason::CiphertextRejected), "{error}");
    twin.person = "a/b".into();
    let error = refusal(&scene.kms, &twin).await;
    assert_eq!((error.column(), error.reason()), ("person", Some(Reason::NameInvalid)), "{error}");
}

#[derive(Clone, PartialEq, Protect)]
#[protect(
    table = "visits",
    key = "payroll",
    tenant = "company_id",
    bind("id"),
    per = "person",
    sealed = "SealedMoved"
)]
struct Moved {
    company_id: String,
    id: Uuid,
    person: String,
    #[protect(encrypt, previous(key = "attendance"))]
    place: String,
}

#[tokio::test]
async fn rows_of_an_older_family_open_after_it_was_left_for_another() {
    let scene = scene_of(3);
    for person in 0..3 {
        let mut keys = scene.server.state.keys.lock();
        let mut key = keys["payroll"].clone();
        key.slot = 200 + person;
        keys.insert(format!("payroll/{person}"), key);
    }
    let older = scene.kms.seal(&visit(1, 1)).await.unwrap();
    let SealedVisit { company_id, id, person, place, .. } = older;
    let older = SealedMoved { company_id, id, person, place };
    let opened = scene.kms.open(&older).await.unwrap();
    assert_eq!(opened.place, "gate 1");
    let newer = scene.kms.seal(&opened).await.unwrap();
    assert_ne!(newer.place, older.place);
    assert!(scene.cold().open(&newer).await.unwrap() == opened);
    // Of another person it is still not.
    let stolen = SealedMoved { person: "2".into(), ..older };
    assert!(scene.kms.open(&stolen).await.is_err());
}
