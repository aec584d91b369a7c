//! A key for each person.

use kms_proto::reason::Reason;
use uuid::Uuid;

use super::refusal;
use crate::{
    Protect,
    api::DestroyTarget,
    testing::{ATTENDANCE, LEASE, Scene, scene_of_families, tenant},
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

async fn scene_of(people: u32) -> Scene {
    let scene = scene_of_families();
    ensure(&scene, ATTENDANCE, people).await;
    scene
}

async fn ensure(scene: &Scene, family: &str, people: u32) {
    let people: Vec<_> = (0..people).map(|person| person.to_string().parse().unwrap()).collect();
    let ensured = scene.operator.ensure_subjects(&tenant(), &family.parse().unwrap(), &people).await;
    assert!(ensured.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_list_over_many_people_is_one_call_when_cold_and_none_when_warm() {
    let scene = scene_of(300).await;
    let rows: Vec<Visit> = (0..900).map(|n| visit(n, n % 300)).collect();
    let twins = scene.kms.seal_all(&rows).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(scene.calls(OPEN), 1);
    let cold = scene.cold();
    for calls in [2, 2] {
        let opened = cold.open_all(twins.clone()).await;
        assert!(opened.iter().zip(&rows).all(|(opened, row)| opened.as_ref().unwrap() == row));
        assert_eq!(scene.calls(OPEN), calls);
    }
    assert_eq!(twins[0].badge, twins[300].badge, "of one person");
    assert_ne!(twins[0].badge, twins[1].badge, "of two");
}

#[tokio::test]
async fn one_person_is_erased_and_the_others_stay() {
    let scene = scene_of(3).await;
    let rows: Vec<Visit> = (0..9).map(|n| visit(n, n % 3)).collect();
    let twins = scene.kms.seal_all(&rows).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    scene.destroy("attendance/1", DestroyTarget::All).await;
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
    let scene = scene_of(3).await;
    let mut twin = scene.kms.seal(&visit(1, 1)).await.unwrap();
    twin.person = "2".into();
    let error = refusal(&scene.kms, &twin).await;
    assert_eq!(
        error.reason(),
        Some(Reason::KeyNotAccessible),
        "of another key it is as good as none: {error}"
    );
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
    let scene = scene_of(3).await;
    ensure(&scene, "payroll", 3).await;
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

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "visits", key = "tenancy", tenant = "company_id", bind("id"), sealed = "SealedBefore")]
struct Before {
    company_id: String,
    id: Uuid,
    person: String,
    #[protect(encrypt)]
    place: String,
    #[protect(deterministic)]
    badge: u64,
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
    id: Uuid,
    person: String,
    #[protect(encrypt, previous(key = "tenancy", shared))]
    place: String,
    #[protect(deterministic, equality = "within_subject", previous(key = "tenancy", shared))]
    badge: u64,
}

async fn before(scene: &Scene) -> SealedAfter {
    let Visit { company_id, id, person, place, badge } = visit(1, 1);
    let before = scene.kms.seal(&Before { company_id, id, person, place, badge }).await.unwrap();
    let SealedBefore { company_id, id, person, place, badge } = before;
    SealedAfter { company_id, id, person, place, badge }
}

#[tokio::test]
async fn rows_under_a_key_that_was_everybodys_open_and_are_sealed_anew_under_each_persons() {
    let scene = scene_of(3).await;
    scene.create(["tenancy"]);
    let older = before(&scene).await;
    let opened = scene.cold().open(&older).await.unwrap();
    assert_eq!((&*opened.place, opened.badge), ("gate 1", 17));
    // Of a person who has no key yet, too.
    let stranger = SealedAfter { person: "4".into(), ..older.clone() };
    assert_eq!(scene.cold().open(&stranger).await.unwrap().place, "gate 1");

    let newer = scene.kms.seal(&opened).await.unwrap();
    assert!(scene.cold().open(&newer).await.unwrap() == opened);
    let rows = [older.clone(), newer.clone()];
    assert!(scene.cold().open_all(rows).await.into_iter().all(|row| row.unwrap() == opened));
    // With the person goes what was sealed anew, and nothing that was not.
    scene.destroy("attendance/1", DestroyTarget::All).await;
    assert_eq!(refusal(&scene.cold(), &newer).await.reason(), Some(Reason::KeyDestroyed));
    assert!(scene.cold().open(&older).await.is_ok());
    scene.destroy("tenancy", DestroyTarget::All).await;
    assert_eq!(refusal(&scene.cold(), &older).await.reason(), Some(Reason::KeyDestroyed));
}

#[tokio::test]
async fn such_a_row_opens_in_its_own_place_only_and_not_where_the_older_key_is_not_named() {
    let scene = scene_of(3).await;
    scene.create(["tenancy"]);
    let older = before(&scene).await;
    let moved = SealedAfter { id: Uuid::from_u128(2), ..older.clone() };
    assert_eq!(refusal(&scene.cold(), &moved).await.reason(), Some(Reason::CiphertextRejected));
    let SealedAfter { company_id, id, person, place, badge } = older.clone();
    let untold = SealedVisit { company_id, id, person, place, badge };
    assert_eq!(refusal(&scene.cold(), &untold).await.reason(), Some(Reason::KeyNotAccessible));
    // What a person's own key sealed does not pass for another's.
    let newer = scene.kms.seal(&scene.kms.open(&older).await.unwrap()).await.unwrap();
    let stolen = SealedAfter { person: "2".into(), ..newer };
    assert!(scene.cold().open(&stolen).await.is_err());
}

#[tokio::test]
async fn rows_that_are_not_moved_cost_a_warm_client_no_call_and_no_denial() {
    let scene = scene_of(3).await;
    scene.create(["tenancy"]);
    let older = before(&scene).await;
    let newer = scene.kms.seal(&scene.kms.open(&older).await.unwrap()).await.unwrap();
    let kms = scene.cold();
    let before = scene.calls(OPEN);
    for _ in 0..50 {
        assert_eq!(kms.open(&older).await.unwrap().place, "gate 1");
    }
    assert_eq!(
        scene.calls(OPEN) - before,
        2,
        "the person's key, which is denied, and the one that was everybody's"
    );
    // Beside those that are, too, and where the row names a person without a key.
    let stranger = SealedAfter { person: "4".into(), ..older.clone() };
    for calls in [3, 3] {
        let rows = [older.clone(), newer.clone(), stranger.clone()];
        assert!(kms.open_all(rows).await.into_iter().all(|row| row.unwrap().place == "gate 1"));
        assert_eq!(scene.calls(OPEN) - before, calls);
    }
    // A row in a place that is not its own is of no other key either.
    let moved = SealedAfter { id: Uuid::from_u128(2), ..older.clone() };
    assert_eq!(refusal(&kms, &moved).await.reason(), Some(Reason::CiphertextRejected));
    assert_eq!(scene.calls(OPEN) - before, 3);
    // Once the lease has ended it is as at first.
    scene.centre.advance(2 * LEASE);
    assert_eq!(kms.open(&older).await.unwrap().place, "gate 1");
    scene.destroy("tenancy", DestroyTarget::All).await;
    assert_eq!(refusal(&kms, &older).await.reason(), Some(Reason::KeyDestroyed));
    assert!(kms.open(&newer).await.is_ok());
}

#[tokio::test]
async fn nor_do_rows_of_an_older_family_and_none_opens_for_another_person() {
    let scene = scene_of(3).await;
    ensure(&scene, "payroll", 3).await;
    let SealedVisit { company_id, id, person, place, .. } = scene.kms.seal(&visit(1, 1)).await.unwrap();
    let older = SealedMoved { company_id, id, person, place };
    let kms = scene.cold();
    let before = scene.calls(OPEN);
    for _ in 0..50 {
        assert_eq!(kms.open(&older).await.unwrap().place, "gate 1");
    }
    assert_eq!(scene.calls(OPEN) - before, 2);
    let stolen = SealedMoved { person: "2".into(), ..older };
    assert_eq!(refusal(&kms, &stolen).await.reason(), Some(Reason::KeyNotAccessible));
}
