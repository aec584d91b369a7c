//! Key events: who hears what, what a confirmation is worth, and what the certificate says of it.

use std::time::{Duration, Instant};

use kms_client::{Column, Kms, Profile, RecordId};
use kms_core::certificate::{
    body::{Clients, Status},
    check::{Given, Verdict, verify},
};
use kms_proto::{
    reason::Reason,
    v1::{
        self, KeyEventKind, LifecycleState, WatchKeysRequest, WatchKeysResponse,
        open_data_keys_request as ask,
        watch_keys_request::{Confirm, Open, Request},
        watch_keys_response::{Event, Opened, Response},
    },
};
use kms_tests::{
    api::{self, Answer, Api, KEY, TENANT, answer, fresh, started},
    place::Place,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// A stream of key events.
pub(crate) struct Watch {
    confirms: mpsc::Sender<WatchKeysRequest>,
    events: Streaming<WatchKeysResponse>,
    pub(crate) opened: Opened,
}

impl Watch {
    pub(crate) async fn open(api: &Api, instance: &str) -> Answer<Self> {
        let (confirms, said) = mpsc::channel(64);
        let open = Open { client_instance: instance.into() };
        confirms.send(WatchKeysRequest { request: Some(Request::Open(open)) }).await.unwrap();
        let mut events = answer(api.crypto().watch_keys(ReceiverStream::new(said)).await)?;
        match events.message().await.unwrap().unwrap().response {
            Some(Response::Opened(opened)) => Ok(Self { confirms, events, opened }),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Answer<Event> {
        match self.events.message().await {
            Ok(Some(WatchKeysResponse { response: Some(Response::Event(event)) })) => Ok(event),
            Ok(other) => panic!("{other:?}"),
            Err(status) => Err(api::reason(&status)),
        }
    }

    pub(crate) async fn confirm(&self, number: u64) {
        let confirm = WatchKeysRequest { request: Some(Request::Confirm(Confirm { number })) };
        self.confirms.send(confirm).await.unwrap();
    }
}

/// A tenant with a key whose data keys may be held for so long.
async fn create_key(operator: &Api, tenant: &str, lease: u32) {
    operator.create_tenant(tenant).await.unwrap();
    let message = v1::CreateKeyRequest {
        request_id: fresh(),
        tenant: tenant.into(),
        key: KEY.into(),
        key_class: v1::KeyClass::L2.into(),
        lease: Some(prost_types::Duration { seconds: lease.into(), nanos: 0 }),
        ..v1::CreateKeyRequest::default()
    };
    answer(operator.keys().create_key(message).await).unwrap();
}

async fn lease(api: &Api, tenant: &str, instance: &str) -> Answer<()> {
    let current = ask::item::Item::Current(ask::Current { key: KEY.into(), deterministic: false });
    let message = v1::OpenDataKeysRequest {
        tenant: tenant.into(),
        items: vec![ask::Item { item: Some(current) }],
        client_instance: instance.into(),
        ..v1::OpenDataKeysRequest::default()
    };
    let leased = answer(api.crypto().open_data_keys(message).await)?.items.remove(0);
    assert!(matches!(leased.outcome, Some(v1::open_data_keys_response::item::Outcome::Leased(_))));
    Ok(())
}

fn subject(tenant: &str) -> Option<v1::Subject> {
    Some(v1::Subject { tenant: tenant.into(), key: KEY.into(), version: 0, tenant_uid: Vec::new() })
}

/// Its state once it is erased, or after so long.
async fn state_after(operator: &Api, tenant: &str, wait: Duration) -> LifecycleState {
    let timeout = Some(wait.try_into().unwrap());
    let message = v1::WaitForErasureRequest { subject: subject(tenant), timeout };
    answer(operator.log().wait_for_erasure(message).await).unwrap().state()
}

async fn is_erased(operator: &Api, tenant: &str) -> bool {
    state_after(operator, tenant, Duration::from_secs(20)).await == LifecycleState::Erased
}

async fn is_pending(operator: &Api, tenant: &str) -> bool {
    state_after(operator, tenant, Duration::from_secs(1)).await == LifecycleState::Destroyed
}

/// What its certificate says of those who held a data key; the certificate holds.
async fn clients(operator: &Api, tenant: &str) -> Option<(u64, u64)> {
    let message = v1::GetCertificateRequest { subject: subject(tenant), earlier_sizes: Vec::new() };
    let made = answer(operator.log().get_certificate(message).await).unwrap();
    let outcome = verify(&made.certificate, &Given::default());
    assert_eq!(outcome.verdict, Verdict::Residual, "{:?}", outcome.failures().collect::<Vec<_>>());
    let body = outcome.certificate.unwrap().certificate;
    assert_eq!(body.erasure.status, Status::Erased);
    let counted = body.erasure.epochs[0].clients.as_ref();
    counted.map(|Clients { clients_confirmed, clients_ended }| (*clients_confirmed, *clients_ended))
}

fn column() -> Column {
    Column::randomized("checkins", "phone").unwrap()
}

fn row() -> RecordId {
    RecordId::try_from(&b"row-1"[..]).unwrap()
}

#[tokio::test]
async fn a_warm_key_is_dead_with_its_destruction_and_the_certificate_does_not_wait_for_its_lease() {
    let (_place, _server, operator, attendance) = started().await;
    create_key(&operator, "hourly", 3_600).await;
    let records = attendance.kms.records(&"hourly".parse().unwrap(), &KEY.parse().unwrap());
    let sealed = records.seal(&column(), &row(), b"138 0013 8000").await.unwrap();
    records.open(&column(), &row(), &sealed).await.unwrap();
    let calls = attendance.kms.server_calls();
    records.open(&column(), &row(), &sealed).await.unwrap();
    assert_eq!(attendance.kms.server_calls(), calls, "it is warm");
    let began = Instant::now();
    operator.destroy("hourly", KEY, None).await.unwrap();
    assert!(is_erased(&operator, "hourly").await);
    println!("destroyed, purged, confirmed, on record after {:?}", began.elapsed());
    let error = records.open(&column(), &row(), &sealed).await.unwrap_err();
    assert!(matches!(error.reason(), Some(Reason::KeyDestroyed)), "{error}");
    assert_eq!(clients(&operator, "hourly").await, Some((1, 0)));
}

#[tokio::test]
async fn who_does_not_confirm_is_waited_for_to_the_end_of_its_lease_and_no_longer() {
    let (_place, _server, operator, attendance) = started().await;
    create_key(&operator, "short", 4).await;
    let [silent, obedient] = [fresh(), fresh()];
    let began = Instant::now();
    for instance in [&silent, &obedient] {
        lease(&attendance, "short", instance).await.unwrap();
    }
    let mut paused = Watch::open(&attendance, &silent).await.unwrap();
    let mut watch = Watch::open(&attendance, &obedient).await.unwrap();
    assert!(!watch.opened.stale);
    operator.destroy("short", KEY, None).await.unwrap();
    let event = watch.next().await.unwrap();
    watch.confirm(event.number).await;
    assert_eq!(paused.next().await.unwrap().kind(), KeyEventKind::Destroyed);
    assert!(is_erased(&operator, "short").await);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(4), "{waited:?}");
    assert_eq!(clients(&operator, "short").await, Some((1, 1)));
}

#[tokio::test]
async fn who_never_listens_is_waited_for_and_who_has_no_name_is_not_counted() {
    let (_place, _server, operator, attendance) = started().await;
    create_key(&operator, "short", 2).await;
    create_key(&operator, "nameless", 8).await;
    let began = Instant::now();
    lease(&attendance, "short", &fresh()).await.unwrap();
    lease(&attendance, "nameless", "").await.unwrap();
    operator.destroy("short", KEY, None).await.unwrap();
    operator.destroy("nameless", KEY, None).await.unwrap();
    for (tenant, counted) in [("short", Some((0, 1))), ("nameless", None)] {
        assert!(is_erased(&operator, tenant).await);
        assert!(began.elapsed() >= Duration::from_secs(2));
        assert_eq!(clients(&operator, tenant).await, counted, "{tenant}");
    }
}

#[tokio::test]
async fn a_confirmation_of_what_was_not_told_or_was_confirmed_already_ends_the_stream_and_counts_for_nothing()
{
    let (_place, _server, operator, attendance) = started().await;
    create_key(&operator, "hourly", 3_600).await;
    create_key(&operator, "other", 3_600).await;
    let instance = fresh();
    lease(&attendance, "hourly", &instance).await.unwrap();
    lease(&attendance, "other", &instance).await.unwrap();
    for number in [0, 1, 2, u64::MAX] {
        let mut watch = Watch::open(&attendance, &instance).await.unwrap();
        watch.confirm(number).await;
        assert_eq!(watch.next().await, Err(Reason::FieldInvalid), "{number}");
    }
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    operator.destroy("other", KEY, None).await.unwrap();
    let event = watch.next().await.unwrap();
    watch.confirm(event.number).await;
    assert!(is_erased(&operator, "other").await);
    operator.destroy("hourly", KEY, None).await.unwrap();
    // What it has confirmed, again, in place of the one that it got.
    assert_eq!(watch.next().await.unwrap().number, event.number + 1);
    watch.confirm(event.number).await;
    assert_eq!(watch.next().await, Err(Reason::FieldInvalid));
    assert!(is_pending(&operator, "hourly").await);
    // It is told again, and can still do as it should.
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!((event.number, &*event.items[0].tenant), (1, "hourly"));
    watch.confirm(1).await;
    assert!(is_erased(&operator, "hourly").await);
}

#[tokio::test]
async fn no_identity_confirms_or_hears_for_another() {
    let (place, _server, operator, attendance) = started().await;
    create_key(&operator, "hourly", 3_600).await;
    let instance = fresh();
    lease(&attendance, "hourly", &instance).await.unwrap();
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    let portal = Api::of(&place, "hr-portal").await;
    let mut stranger = Watch::open(&portal, &instance).await.unwrap();
    assert!(stranger.opened.stale, "nothing of its own");
    operator.destroy("hourly", KEY, None).await.unwrap();
    let event = watch.next().await.unwrap();
    stranger.confirm(event.number).await;
    assert_eq!(stranger.next().await, Err(Reason::FieldInvalid), "it heard nothing, so there is nothing");
    assert!(is_pending(&operator, "hourly").await);
    watch.confirm(event.number).await;
    assert!(is_erased(&operator, "hourly").await);
}

#[tokio::test]
async fn a_client_hears_of_what_it_holds_and_of_nothing_else() {
    let (_place, _server, operator, attendance) = started().await;
    create_key(&operator, "other", 300).await;
    let [instance, other] = [fresh(), fresh()];
    lease(&attendance, TENANT, &instance).await.unwrap();
    lease(&attendance, "other", &other).await.unwrap();
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    operator.suspend("other", KEY).await.unwrap();
    operator.destroy("other", KEY, None).await.unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();
    operator.suspend(TENANT, KEY).await.unwrap();
    operator.destroy_tenant(TENANT).await.unwrap();
    let mut heard = Vec::new();
    let mut revision = 0;
    for number in 1..=3 {
        let event = watch.next().await.unwrap();
        assert_eq!(event.number, number);
        assert!(event.store_revision > revision, "in the order of commits");
        revision = event.store_revision;
        let item = &event.items[0];
        assert_eq!((event.items.len(), &*item.tenant), (1, TENANT));
        heard.push((event.kind(), item.key.clone()));
    }
    let key = || KEY.to_owned();
    let expected = [
        (KeyEventKind::Rotated, key()),
        (KeyEventKind::Suspended, key()),
        (KeyEventKind::Destroyed, String::new()),
    ];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn who_holds_an_index_hears_of_its_new_version_and_of_its_end() {
    const INDEX: &str = "attendance.index";
    let (_place, _server, operator, attendance) = started().await;
    operator.create_key(TENANT, INDEX).await.unwrap();
    let instance = fresh();
    let asked = async || {
        let index = ask::item::Item::Index(ask::Index { key: INDEX.into() });
        let message = v1::OpenDataKeysRequest {
            tenant: TENANT.into(),
            items: vec![ask::Item { item: Some(index) }],
            client_instance: instance.clone(),
            ..v1::OpenDataKeysRequest::default()
        };
        answer(attendance.crypto().open_data_keys(message).await).unwrap()
    };
    asked().await;
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    operator.rotate(TENANT, INDEX).await.unwrap();
    assert_eq!(watch.next().await.unwrap().kind(), KeyEventKind::Rotated);
    asked().await;
    operator.destroy_tenant(TENANT).await.unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!((event.kind(), event.items.len()), (KeyEventKind::Destroyed, 1));
}

#[tokio::test]
async fn a_client_that_was_away_is_told_what_it_missed() {
    let (_place, _server, operator, attendance) = started().await;
    create_key(&operator, "hourly", 3_600).await;
    create_key(&operator, "suspended", 3_600).await;
    let instance = fresh();
    lease(&attendance, "hourly", &instance).await.unwrap();
    lease(&attendance, "suspended", &instance).await.unwrap();
    drop(Watch::open(&attendance, &instance).await.unwrap());
    operator.suspend("suspended", KEY).await.unwrap();
    operator.destroy("hourly", KEY, None).await.unwrap();
    assert!(is_pending(&operator, "hourly").await);
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    let mut missed = [watch.next().await.unwrap(), watch.next().await.unwrap()];
    missed.sort_by_key(|event| event.store_revision);
    let missed: Vec<_> = missed.iter().map(|event| (event.kind(), &*event.items[0].tenant)).collect();
    assert_eq!(missed, [(KeyEventKind::Suspended, "suspended"), (KeyEventKind::Destroyed, "hourly")]);
    // Where it is cut off before it confirms, it cannot know what it missed but by asking.
    drop(watch);
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!(event.kind(), KeyEventKind::Destroyed, "told again");
    watch.confirm(event.number).await;
    assert!(is_erased(&operator, "hourly").await);
}

#[tokio::test]
async fn a_second_stream_of_a_client_ends_the_first() {
    let (_place, _server, _, attendance) = started().await;
    let instance = fresh();
    let mut first = Watch::open(&attendance, &instance).await.unwrap();
    let _second = Watch::open(&attendance, &instance).await.unwrap();
    assert_eq!(first.next().await, Err(Reason::Overloaded));
}

#[tokio::test]
async fn after_a_restart_who_held_what_is_unknown_and_the_whole_lease_is_waited_for() {
    let (place, server, operator, attendance) = started().await;
    create_key(&operator, "short", 4).await;
    let instance = fresh();
    lease(&attendance, "short", &instance).await.unwrap();
    server.kill();
    let _server = place.start();
    let began = Instant::now();
    let (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    assert!(watch.opened.stale, "it is to lease anew");
    lease(&attendance, "short", &instance).await.unwrap();
    operator.destroy("short", KEY, None).await.unwrap();
    let event = watch.next().await.unwrap();
    watch.confirm(event.number).await;
    assert!(is_pending(&operator, "short").await || began.elapsed() >= Duration::from_secs(3));
    assert!(is_erased(&operator, "short").await);
    // A lease of the process before began when that still ran.
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(clients(&operator, "short").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warm_keys_survive_a_restart_of_the_server_and_obey_it_afterwards() {
    let (place, server, operator, _) = started().await;
    create_key(&operator, "hourly", 3_600).await;
    let address = server.address();
    let profile = Profile::load(place.profile("attendance")).unwrap();
    let kms = Kms::builder(profile).connections(1).connect().await.unwrap();
    let records = kms.records(&"hourly".parse().unwrap(), &KEY.parse().unwrap());
    let sealed = records.seal(&column(), &row(), b"x").await.unwrap();
    records.open(&column(), &row(), &sealed).await.unwrap();
    server.kill();
    records.open(&column(), &row(), &sealed).await.unwrap();
    let listen = format!("listen={address}");
    let server = place.start_with(&["--set", &listen]);
    server.wait_for_metric("kms_watching_clients", 1.0);
    // It leases anew what it holds, and so is told what becomes of it.
    let operator = Api::of(&place, "operator").await;
    server.wait_for_metric("kms_leases_held", 1.0);
    operator.destroy("hourly", KEY, None).await.unwrap();
    let patience = Instant::now();
    while records.open(&column(), &row(), &sealed).await.is_ok() {
        assert!(patience.elapsed() < Duration::from_secs(20), "an hour's lease");
    }
    assert!(is_pending(&operator, "hourly").await, "others may hold it");
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_those_who_listen() {
    let (_place, server, _, attendance) = started().await;
    let mut watch = Watch::open(&attendance, &fresh()).await.unwrap();
    let began = Instant::now();
    // Not on this thread: the client's connection lives on it, and has to answer the server's farewell.
    let ended = tokio::task::spawn_blocking(move || server.terminate());
    assert_eq!(watch.next().await, Err(Reason::ShuttingDown));
    assert!(ended.await.unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_begins_with_the_name_of_a_client() {
    let (_place, _server, _, attendance) = started().await;
    for (instance, reason) in [("", Reason::FieldRequired), ("1", Reason::FieldInvalid)] {
        assert_eq!(Watch::open(&attendance, instance).await.map(drop), Err(reason));
    }
    let (confirms, said) = mpsc::channel(1);
    confirms.send(WatchKeysRequest { request: Some(Request::Confirm(Confirm { number: 1 })) }).await.unwrap();
    let refused = answer(attendance.crypto().watch_keys(ReceiverStream::new(said)).await).map(drop);
    assert_eq!(refused, Err(Reason::FieldRequired));
    assert_eq!(lease(&attendance, TENANT, "not-a-uuid").await, Err(Reason::FieldInvalid));
}

#[tokio::test]
async fn a_client_that_does_not_say_who_it_is_has_the_time_of_a_call_and_one_that_did_has_all_time() {
    let place = Place::new();
    let _server = place.start_with(&["--set", "limits.deadline=2s"]);
    let (operator, attendance) = Api::ground(&place).await;
    let instance = fresh();
    lease(&attendance, TENANT, &instance).await.unwrap();
    let mut watch = Watch::open(&attendance, &instance).await.unwrap();
    let (silent, said) = mpsc::channel::<WatchKeysRequest>(1);
    let ended = answer(attendance.crypto().watch_keys(ReceiverStream::new(said)).await).map(drop);
    assert_eq!(ended, Err(Reason::DeadlineExceeded));
    drop(silent);
    operator.suspend(TENANT, KEY).await.unwrap();
    assert_eq!(watch.next().await.unwrap().kind(), KeyEventKind::Suspended);
}

/// One process with a thousand clients, each with a connection, a warm lease and a stream of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: a thousand TLS connections take a while"]
async fn a_thousand_clients_have_purged_within_a_second_of_the_destruction() {
    const CLIENTS: u32 = 1_000;
    let place = Place::new();
    // Without the second in which destructions wait for others to share their epoch.
    let settings = ["--set", "limits.connections_per_identity=2000", "--set", "erasure_interval=10ms"];
    let server = place.start_with(&settings);
    let (operator, _) = Api::ground(&place).await;
    create_key(&operator, "hourly", 3_600).await;
    let mut all = Vec::new();
    let mut sealed = Vec::new();
    for _ in 0..CLIENTS {
        let profile = Profile::load(place.profile("attendance")).unwrap();
        let kms = Kms::builder(profile).connections(1).connect().await.unwrap();
        let records = kms.records(&"hourly".parse().unwrap(), &KEY.parse().unwrap());
        sealed = records.seal(&column(), &row(), b"138 0013 8000").await.unwrap();
        all.push((kms, records));
    }
    server.wait_for_metric("kms_watching_clients", CLIENTS.into());
    let began = Instant::now();
    operator.destroy("hourly", KEY, None).await.unwrap();
    let destroyed = began.elapsed();
    assert!(is_erased(&operator, "hourly").await);
    let purged = began.elapsed();
    println!("{CLIENTS} clients: destroyed after {destroyed:?}, all purged and on record after {purged:?}");
    assert_eq!(clients(&operator, "hourly").await, Some((CLIENTS.into(), 0)));
    for (_, records) in all.iter().take(10) {
        assert!(records.open(&column(), &row(), &sealed).await.is_err());
    }
    assert!(purged < Duration::from_secs(1), "{purged:?}");
}
