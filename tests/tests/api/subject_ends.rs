//! The end of a subject: who hears of it, what is still served, and a certificate that names nobody but to those who know the name.

use std::collections::BTreeSet;

use kms_client::{Column, RecordId, Records};
use kms_core::certificate::{
    check::{Given, Verdict, given::Named, verify},
    risks::Risk,
};
use kms_proto::{
    reason::Reason,
    v1::{self, KeyEventKind, open_data_keys_request as ask, watch_keys_response::Event},
};
use kms_tests::{
    Place,
    api::{Api, TENANT, answer, context, fresh},
    search::Needles,
    server::Server,
};

use crate::watch::Watch;

const FAMILY: &str = "attendance";

async fn ground(subjects: &[&str]) -> (Place, Server, Api, Api) {
    let place = Place::new();
    let server = place.start();
    let (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
    operator.create_tenant(TENANT).await.unwrap();
    operator.create_family(TENANT, FAMILY).await.unwrap();
    attendance.ensure(TENANT, FAMILY, subjects).await.unwrap();
    (place, server, operator, attendance)
}

fn key(subject: &str) -> String {
    format!("{FAMILY}/{subject}")
}

async fn id_of(api: &Api, subject: &str) -> String {
    hex::encode(api.ensure(TENANT, FAMILY, &[subject]).await.unwrap().remove(0).unwrap().id)
}

async fn certificate(operator: &Api, key: &str) -> v1::GetCertificateResponse {
    let subject = v1::Subject { tenant: TENANT.into(), key: key.into(), ..v1::Subject::default() };
    let message = v1::GetCertificateRequest { subject: Some(subject), earlier_sizes: Vec::new() };
    answer(operator.log().get_certificate(message).await).unwrap()
}

fn named(name: &str, salt: &[u8]) -> Given {
    let named = Named { name: name.parse().unwrap(), salt: salt.try_into().unwrap() };
    Given { name: Some(named), ..Given::default() }
}

#[tokio::test]
async fn a_certificate_names_the_subject_to_those_who_have_the_salt_and_know_the_name_and_to_nobody_else() {
    const NAME: &str = "employee-Zebediah-17";
    let (place, server, operator, attendance) = ground(&[NAME]).await;
    let id = id_of(&attendance, NAME).await;
    operator.destroy(TENANT, &key(NAME), None).await.unwrap();

    let made = certificate(&operator, &key(NAME)).await;
    let holds = verify(&made.certificate, &named(NAME, &made.name_salt));
    assert_eq!(holds.verdict, Verdict::Residual, "{:?}", holds.failures().collect::<Vec<_>>());
    let risks: BTreeSet<_> = holds.risks.iter().map(|standing| standing.risk).collect();
    assert!(risks.is_superset(&[Risk::RowsLinkable, Risk::NameGuessable].into()), "{risks:?}");
    let again = certificate(&operator, &key(NAME)).await;
    assert_ne!(made.name_salt, again.name_salt, "of another certificate");
    for given in [named("employee-Zebediah-18", &made.name_salt), named(NAME, &again.name_salt)] {
        let other = verify(&made.certificate, &given);
        let failed: Vec<_> = other.failures().map(|check| check.name.as_str()).collect();
        assert_eq!((other.verdict, failed), (Verdict::Invalid, vec!["name"]));
    }
    // Asked for by its id, nobody is named at all.
    let nameless = certificate(&operator, &format!("{FAMILY}//{id}")).await;
    assert!(nameless.name_salt.is_empty());
    assert_eq!(verify(&nameless.certificate, &Given::default()).verdict, Verdict::Residual);
    assert_eq!(verify(&nameless.certificate, &named(NAME, &made.name_salt)).verdict, Verdict::Invalid);

    let log = server.log();
    server.terminate();
    for needles in [Needles::of(NAME.as_bytes()), Needles::of(&made.name_salt)] {
        assert_eq!(needles.files(&place.dir()), Vec::<std::path::PathBuf>::new());
        assert!(!needles.are_in(log.as_bytes()));
        assert!([&made, &nameless].iter().all(|made| !needles.are_in(&made.certificate)));
    }
    let control = Needles::of(format!("{FAMILY}/{id}").as_bytes());
    assert!([&made, &nameless].iter().all(|made| control.are_in(&made.certificate)));
}

fn column() -> Column {
    Column::randomized("checkins", "phone").unwrap()
}

fn row() -> RecordId {
    RecordId::try_from(&b"row-1"[..]).unwrap()
}

fn records(api: &Api, subject: &str) -> Records {
    api.kms.records(&TENANT.parse().unwrap(), &key(subject).parse().unwrap())
}

/// Whether a value opens, and how many calls that took.
async fn opens(api: &Api, subject: &str, sealed: &[u8]) -> (Result<(), Option<Reason>>, u64) {
    let before = api.kms.server_calls();
    let opened = records(api, subject).open(&column(), &row(), sealed).await;
    (opened.map(drop).map_err(|error| error.reason()), api.kms.server_calls() - before)
}

#[tokio::test]
async fn a_destroyed_subject_is_dead_in_a_clients_cache_and_the_others_of_its_family_stay_warm() {
    let (_place, server, operator, attendance) = ground(&["one", "two"]).await;
    let seal =
        async |subject: &str| records(&attendance, subject).seal(&column(), &row(), b"138").await.unwrap();
    let (one, two) = (seal("one").await, seal("two").await);
    for (subject, sealed) in [("one", &one), ("two", &two)] {
        assert_eq!(opens(&attendance, subject, sealed).await.0, Ok(()));
        assert_eq!(opens(&attendance, subject, sealed).await, (Ok(()), 0), "the control: warm");
    }
    server.wait_for_metric("kms_watching_clients", 1.0);
    operator.destroy(TENANT, &key("one"), None).await.unwrap();
    // The answer to the destruction does not wait for clients; the erasure is complete once this one has confirmed.
    let subject = v1::Subject { tenant: TENANT.into(), key: key("one"), ..v1::Subject::default() };
    let message = v1::WaitForErasureRequest { subject: Some(subject), timeout: None };
    let waited = answer(operator.log().wait_for_erasure(message).await).unwrap();
    assert_eq!(waited.state(), v1::LifecycleState::Erased, "long before the lease ends");
    assert_eq!(opens(&attendance, "one", &one).await.0, Err(Some(Reason::KeyDestroyed)));
    assert_eq!(opens(&attendance, "two", &two).await, (Ok(()), 0), "warm as before");
}

/// The versions that a client may seal under from now on.
async fn lease(api: &Api, subjects: &[&str], instance: &str) -> Vec<u64> {
    let current = |subject: &&str| {
        let item = ask::item::Item::Current(ask::Current { key: key(subject), deterministic: false });
        ask::Item { item: Some(item) }
    };
    let message = v1::OpenDataKeysRequest {
        tenant: TENANT.into(),
        items: subjects.iter().map(current).collect(),
        client_instance: instance.into(),
        ..v1::OpenDataKeysRequest::default()
    };
    let leased = answer(api.crypto().open_data_keys(message).await).unwrap();
    let version = |item: v1::open_data_keys_response::Item| match item.outcome {
        Some(v1::open_data_keys_response::item::Outcome::Leased(leased)) => leased.version_id,
        _ => panic!("no lease"),
    };
    leased.items.into_iter().map(version).collect()
}

fn heard(event: &Event) -> (KeyEventKind, Vec<&str>) {
    (event.kind(), event.items.iter().map(|item| &*item.key).collect())
}

#[tokio::test]
async fn who_holds_a_subject_hears_of_its_end_by_id_and_of_its_familys_once_and_others_hear_nothing() {
    let (_place, _server, operator, attendance) = ground(&["one", "two", "three"]).await;
    let (one, two) = (id_of(&attendance, "one").await, id_of(&attendance, "two").await);
    let [both, third] = [fresh(), fresh()];
    lease(&attendance, &["one", "two"], &both).await;
    lease(&attendance, &["three"], &third).await;
    let mut watch = Watch::open(&attendance, &both).await.unwrap();
    let mut other = Watch::open(&attendance, &third).await.unwrap();
    assert!(!watch.opened.stale && !other.opened.stale);

    operator.destroy(TENANT, &key("one"), None).await.unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!(heard(&event), (KeyEventKind::Destroyed, vec![&*format!("{FAMILY}//{one}")]));
    watch.confirm(event.number).await;
    operator.suspend(TENANT, &key("two")).await.unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!(heard(&event), (KeyEventKind::Suspended, vec![&*format!("{FAMILY}//{two}")]));
    // The family once, and not for each of its subjects; to the other it is the first that it hears.
    operator.suspend(TENANT, FAMILY).await.unwrap();
    let of_the_family = (KeyEventKind::Suspended, vec![FAMILY]);
    assert_eq!(heard(&watch.next().await.unwrap()), of_the_family);
    let event = other.next().await.unwrap();
    assert_eq!((event.number, heard(&event)), (1, of_the_family));
}

#[tokio::test]
async fn who_holds_several_versions_of_a_subject_hears_which_one_stopped_sealing() {
    let (_place, _server, operator, attendance) = ground(&["one"]).await;
    let instance = fresh();
    let first = lease(&attendance, &["one"], &instance).await;
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    let rotated = async |watch: &mut Watch| {
        operator.rotate(TENANT, &key("one")).await.unwrap();
        let event = watch.next().await.unwrap();
        assert_eq!(event.kind(), KeyEventKind::Rotated);
        event.items.iter().map(|item| item.version_id).collect::<Vec<_>>()
    };
    assert_eq!(rotated(&mut watch).await, first);
    // Of the first version it still holds a lease.
    let second = lease(&attendance, &["one"], &instance).await;
    assert_ne!(second, first);
    assert_eq!(rotated(&mut watch).await, second);
}

#[tokio::test]
async fn a_family_is_not_destroyed_but_its_subjects_are_and_all_of_them_with_the_tenant() {
    let (_place, _server, operator, attendance) = ground(&["one", "two"]).await;
    let bound = || context(&[("row", "1")]);
    let sealed = attendance.encrypt(TENANT, &key("two"), b"2", bound()).await.unwrap();
    for version in [None, Some(1)] {
        let refused = operator.destroy(TENANT, FAMILY, version).await;
        assert_eq!(refused.map(drop), Err(Reason::KeyIsFamily), "{version:?}");
    }
    assert_eq!(attendance.decrypt(TENANT, &key("two"), &sealed, bound()).await.unwrap(), b"2");
    operator.destroy(TENANT, &key("one"), None).await.unwrap();
    let two = id_of(&attendance, "two").await;
    operator.destroy_tenant(TENANT).await.unwrap();
    let gone = attendance.decrypt(TENANT, &key("two"), &sealed, bound()).await;
    assert!(gone.is_err());
    assert!(attendance.ensure(TENANT, FAMILY, &["two"]).await.is_err(), "nobody is made again");
    // Its certificate is the tenant's: there is no index any more that a guess could be tested against.
    let made = certificate(&operator, "").await;
    let outcome = verify(&made.certificate, &Given::default());
    let risks: BTreeSet<_> = outcome.risks.iter().map(|standing| standing.risk).collect();
    assert_eq!(outcome.verdict, Verdict::Residual, "{:?}", outcome.failures().collect::<Vec<_>>());
    assert!(risks.contains(&Risk::RowsLinkable) && !risks.contains(&Risk::NameGuessable), "{risks:?}");
    assert!(!Needles::of(two.as_bytes()).are_in(&made.certificate));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_writers_make_no_subject_again_however_they_race_with_its_destruction() {
    const WRITERS: usize = 8;
    let (_place, _server, operator, attendance) = ground(&["one"]).await;
    let (began, mut writers) = (std::sync::Arc::new(tokio::sync::Barrier::new(WRITERS + 1)), Vec::new());
    for _ in 0..WRITERS {
        let (attendance, began) = (attendance.clone(), began.clone());
        writers.push(tokio::spawn(async move {
            began.wait().await;
            loop {
                match attendance.ensure(TENANT, FAMILY, &["one"]).await.unwrap().remove(0) {
                    Ok(subject) => assert!(!subject.created),
                    Err(reason) => return reason,
                }
            }
        }));
    }
    began.wait().await;
    operator.destroy(TENANT, &key("one"), None).await.unwrap();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), Reason::KeyDestroyed);
    }
    assert_eq!(
        attendance.ensure(TENANT, FAMILY, &["one"]).await.unwrap()[0].as_ref().map(drop),
        Err(&Reason::KeyDestroyed)
    );
}
