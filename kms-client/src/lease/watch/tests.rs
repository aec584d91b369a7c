//! What a client does with what it hears, against a real listener.

use std::sync::{Arc, atomic::Ordering::Relaxed, mpsc};

use kms_proto::{
    reason::Reason,
    v1::{
        KeyEventKind, WatchKeysResponse,
        watch_keys_response::{Event, Response, event::Item},
    },
};

use crate::{
    Error, Kms, VersionId,
    lease::{Lease, Scope, Want, What},
    testing::{ATTENDANCE, Scene, TENANT, phone, row, scene, scene_with, server::FakeWatch, until},
};

const OPEN: &str = "OpenDataKeys";
const WATCH: &str = "WatchKeys";

fn want(what: What) -> Want {
    Want { scope: Scope { tenant: TENANT.parse().unwrap(), purpose: "".into() }, what }
}

fn to_seal(key: &str) -> Want {
    want(What::Seal { key: key.parse().unwrap(), deterministic: false })
}

fn held(kms: &Kms, want: &Want) -> Option<Arc<Lease>> {
    kms.shared.leases.peek(want)
}

async fn seal(scene: &Scene, key: &str) -> Result<Vec<u8>, Error> {
    let records = scene.kms.records(&TENANT.parse().unwrap(), &key.parse().unwrap());
    records.seal(&phone(), &row("1"), b"138 0013 8000").await
}

async fn watched(scene: &Scene, times: usize) -> FakeWatch {
    until("the client listens", || scene.server.state.watches.lock().len() == times).await;
    scene.server.state.watches.lock()[times - 1].clone()
}

fn id(scene: &Scene, key: &str) -> VersionId {
    scene.server.state.keys.lock()[key].id(1)
}

fn event(number: u64, kind: KeyEventKind, key: &str, version: VersionId) -> WatchKeysResponse {
    let item = Item { tenant: TENANT.into(), key: key.into(), version_id: version.get() };
    let event = Event { number, store_revision: 5, kind: kind.into(), items: vec![item] };
    WatchKeysResponse { response: Some(Response::Event(event)) }
}

impl FakeWatch {
    async fn tell(&self, number: u64, kind: KeyEventKind, key: &str, version: VersionId) {
        self.events.send(Ok(event(number, kind, key, version))).unwrap();
        self.clone().confirmed.wait_for(|confirmed| *confirmed == number).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_destroyed_is_wiped_before_that_is_confirmed_and_nothing_else_is() {
    let scene = scene();
    let sealed = seal(&scene, ATTENDANCE).await.unwrap();
    seal(&scene, "payroll").await.unwrap();
    scene.records().open(&phone(), &row("1"), &sealed).await.unwrap();
    let leases = [held(&scene.kms, &to_seal(ATTENDANCE)), held(&scene.kms, &to_seal("payroll"))];
    let [attendance, payroll] = leases.map(Option::unwrap);
    let watch = watched(&scene, 1).await;
    scene.server.state.turn(ATTENDANCE, |key| key.refuses = Some(Reason::KeyDestroyed));
    let version = id(&scene, ATTENDANCE);
    watch.tell(1, KeyEventKind::Destroyed, ATTENDANCE, version).await;
    assert!(attendance.is_wiped() && !payroll.is_wiped());
    let opened = scene.records().open(&phone(), &row("1"), &sealed).await.unwrap_err();
    assert_eq!(opened.reason(), Some(Reason::KeyDestroyed));
    assert_eq!(seal(&scene, ATTENDANCE).await.unwrap_err().reason(), Some(Reason::KeyDestroyed));
    seal(&scene, "payroll").await.unwrap();
}

#[tokio::test]
async fn a_lease_that_was_replaced_or_that_a_sealer_holds_is_wiped_too() {
    let scene = scene();
    let mut sealer = scene.records().sealer(&phone()).await.unwrap().unwrap();
    sealer.seal(&row("1"), b"x").unwrap();
    let replaced = held(&scene.kms, &to_seal(ATTENDANCE)).unwrap();
    scene.kms.renew(&to_seal(ATTENDANCE).scope, vec![to_seal(ATTENDANCE)]);
    let renewed = || held(&scene.kms, &to_seal(ATTENDANCE)).is_some_and(|now| !Arc::ptr_eq(&now, &replaced));
    until("the lease is renewed", renewed).await;
    let version = id(&scene, ATTENDANCE);
    watched(&scene, 1).await.tell(1, KeyEventKind::Destroyed, ATTENDANCE, version).await;
    assert!(replaced.is_wiped());
    assert!(matches!(sealer.seal(&row("1"), b"x"), Err(crate::Pause::Renew)));
}

#[tokio::test]
async fn a_rotation_ends_sealing_leases_and_a_suspension_all_of_the_key() {
    let scene = scene();
    let sealed = seal(&scene, ATTENDANCE).await.unwrap();
    scene.records().open(&phone(), &row("1"), &sealed).await.unwrap();
    let header = kms_core::field::Header::parse(&sealed).unwrap();
    let to_open = want(What::Open { version: header.version, data_key: header.data_key });
    let watch = watched(&scene, 1).await;
    let any = id(&scene, "payroll");
    watch.tell(1, KeyEventKind::Rotated, ATTENDANCE, any).await;
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_none());
    assert!(held(&scene.kms, &to_open).is_some(), "what was sealed before still opens");
    watch.tell(2, KeyEventKind::Suspended, ATTENDANCE, any).await;
    assert!(held(&scene.kms, &to_open).is_none());
}

#[tokio::test]
async fn an_event_of_a_whole_tenant_ends_what_is_held_of_it_and_not_of_another() {
    let scene = scene();
    seal(&scene, ATTENDANCE).await.unwrap();
    let watch = watched(&scene, 1).await;
    let other = VersionId::from(7 << 32);
    watch.tell(1, KeyEventKind::Destroyed, "", other).await;
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_some());
    let own = id(&scene, "payroll");
    watch.tell(2, KeyEventKind::Destroyed, "", own).await;
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_an_event_overtook_does_not_bring_back_what_it_ended() {
    let scene = scene();
    seal(&scene, "payroll").await.unwrap();
    let watch = watched(&scene, 1).await;
    scene.server.state.under_way.send_replace(true);
    let records = scene.records();
    let late = tokio::spawn(async move { records.seal(&phone(), &row("1"), b"x").await });
    until("it is leased", || scene.server.state.instances.lock().len() == 2).await;
    let version = id(&scene, ATTENDANCE);
    watch.tell(1, KeyEventKind::Destroyed, ATTENDANCE, version).await;
    scene.server.state.turn(ATTENDANCE, |key| key.refuses = Some(Reason::KeyDestroyed));
    scene.server.state.under_way.send_replace(false);
    let error = late.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyDestroyed), "asked again");
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_was_answered_after_what_an_event_tells_of_is_kept() {
    let scene = scene();
    seal(&scene, "payroll").await.unwrap();
    let watch = watched(&scene, 1).await;
    scene.server.state.revision.store(5, Relaxed);
    scene.server.state.under_way.send_replace(true);
    let records = scene.records();
    let late = tokio::spawn(async move { records.seal(&phone(), &row("1"), b"x").await });
    until("it is leased", || scene.server.state.instances.lock().len() == 2).await;
    let any = id(&scene, "payroll");
    watch.tell(1, KeyEventKind::Rotated, ATTENDANCE, any).await;
    scene.server.state.under_way.send_replace(false);
    late.await.unwrap().unwrap();
    assert_eq!(scene.server.state.calls(OPEN), 2, "not asked again");
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_confirmed_before_the_uses_under_way_have_ended() {
    let scene = scene();
    seal(&scene, ATTENDANCE).await.unwrap();
    let lease = held(&scene.kms, &to_seal(ATTENDANCE)).unwrap();
    let watch = watched(&scene, 1).await;
    let ((began, begun), (end, ended)) = (mpsc::channel(), mpsc::channel::<()>());
    let using = std::thread::spawn(move || {
        lease.with_data_key(|_| {
            began.send(()).unwrap();
            ended.recv().unwrap();
        })
    });
    begun.recv().unwrap();
    let version = id(&scene, ATTENDANCE);
    watch.events.send(Ok(event(1, KeyEventKind::Destroyed, ATTENDANCE, version))).unwrap();
    // Out of the cache, it is about to be wiped, which waits.
    until("it is purged", || held(&scene.kms, &to_seal(ATTENDANCE)).is_none()).await;
    assert_eq!(*watch.confirmed.borrow(), 0);
    end.send(()).unwrap();
    using.join().unwrap().unwrap();
    watch.clone().confirmed.wait_for(|confirmed| *confirmed == 1).await.unwrap();
}

#[tokio::test]
async fn a_client_listens_once_from_its_first_lease_on_under_the_name_that_it_leases_under() {
    let scene = scene();
    scene.kms.generate_random(1).await.unwrap();
    assert_eq!(scene.server.state.calls(WATCH), 0);
    seal(&scene, ATTENDANCE).await.unwrap();
    seal(&scene, "payroll").await.unwrap();
    let watch = watched(&scene, 1).await;
    let instances = scene.server.state.instances.lock().clone();
    assert_eq!(instances, [watch.instance.clone(), watch.instance]);
    let other = scene.cold();
    other
        .records(&TENANT.parse().unwrap(), &ATTENDANCE.parse().unwrap())
        .seal(&phone(), &row("1"), b"x")
        .await
        .unwrap();
    let other = watched(&scene, 2).await.instance;
    assert!(other != instances[0] && scene.server.state.instances.lock().last() == Some(&other));
}

#[tokio::test]
async fn a_client_that_is_told_not_to_does_not_listen() {
    let scene = scene_with(crate::Builder::without_watching);
    seal(&scene, ATTENDANCE).await.unwrap();
    // Another client does: had the first one begun to, it would have been before.
    let other = scene.cold();
    let records = other.records(&TENANT.parse().unwrap(), &ATTENDANCE.parse().unwrap());
    records.seal(&phone(), &row("1"), b"x").await.unwrap();
    let watch = watched(&scene, 1).await;
    assert_eq!(scene.server.state.instances.lock().last(), Some(&watch.instance));
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_some());
}

#[tokio::test]
async fn a_client_that_is_dropped_stops_to_listen() {
    let scene = scene();
    seal(&scene, ATTENDANCE).await.unwrap();
    let watch = watched(&scene, 1).await;
    drop(scene.kms);
    until("the stream has ended", || watch.events.is_closed()).await;
}

#[tokio::test]
async fn warm_keys_work_while_nobody_is_heard_and_are_leased_anew_in_one_call_where_the_server_lost_sight_of_them()
 {
    let mut scene = scene();
    for key in [ATTENDANCE, "payroll", "secrets"] {
        seal(&scene, key).await.unwrap();
    }
    watched(&scene, 1).await;
    scene.server.stop();
    seal(&scene, ATTENDANCE).await.unwrap();
    let calls = scene.server.state.calls(OPEN);
    scene.server.state.stale.store(true, Relaxed);
    scene.server.state.turn("payroll", |key| key.refuses = Some(Reason::KeySuspended));
    let before = held(&scene.kms, &to_seal(ATTENDANCE)).unwrap();
    scene.server.restart();
    watched(&scene, 2).await;
    until("it is leased anew", || {
        held(&scene.kms, &to_seal(ATTENDANCE)).is_some_and(|now| !Arc::ptr_eq(&now, &before))
    })
    .await;
    until("what is denied ends", || held(&scene.kms, &to_seal("payroll")).is_none()).await;
    assert_eq!(scene.server.state.calls(OPEN), calls + 1);
}

#[tokio::test]
async fn where_the_server_kept_sight_of_what_is_held_nothing_is_asked_for_again() {
    let scene = scene();
    seal(&scene, ATTENDANCE).await.unwrap();
    let first = watched(&scene, 1).await;
    first.events.send(Err(tonic::Status::unavailable(""))).unwrap();
    let second = watched(&scene, 2).await;
    assert_eq!(second.instance, first.instance);
    // Heard on the second stream, so it has been opened for good.
    let any = id(&scene, "payroll");
    second.tell(1, KeyEventKind::Suspended, "payroll", any).await;
    assert_eq!(scene.server.state.calls(OPEN), 1);
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_some());
}

#[tokio::test]
async fn an_index_ends_with_the_destruction_of_any_of_its_versions_and_with_a_rotation() {
    const INDEX: &str = "attendance.index";
    let scene = scene();
    scene.server.state.turn(INDEX, |key| key.version = 2);
    let index = scene.kms.index(&TENANT.parse().unwrap(), &INDEX.parse().unwrap());
    let want = want(What::Index { key: INDEX.parse().unwrap() });
    let (first, other) = (id(&scene, INDEX), id(&scene, ATTENDANCE));
    index.versions().await.unwrap();
    let watch = watched(&scene, 1).await;
    watch.tell(1, KeyEventKind::Destroyed, ATTENDANCE, other).await;
    assert!(held(&scene.kms, &want).is_some());
    watch.tell(2, KeyEventKind::Destroyed, INDEX, first).await;
    assert!(held(&scene.kms, &want).is_none(), "its older version");
    index.versions().await.unwrap();
    assert!(held(&scene.kms, &want).is_some());
    watch.tell(3, KeyEventKind::Rotated, INDEX, other).await;
    assert!(held(&scene.kms, &want).is_none());
}
