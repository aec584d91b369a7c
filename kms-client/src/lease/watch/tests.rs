//! What a client does with what it hears from a key centre in memory.

use std::sync::{Arc, mpsc};

use kms_proto::{
    reason::Reason,
    v1::{
        KeyEventKind, OpenDataKeysRequest,
        watch_keys_response::{Event, event::Item},
    },
};

use crate::{
    Error, Kms, VersionId,
    api::{Change, DestroyTarget, DestroyTenant},
    lease::{Lease, Scope, Want, What},
    testing::{
        ATTENDANCE, Rights, Scene, TENANT, key, phone, records, row, scene, scene_with, tenant, until,
    },
};

const OPEN: &str = "OpenDataKeys";

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

/// Waits until so many streams were opened.
async fn listening(scene: &Scene, times: usize) {
    until("the client listens", || scene.faults().listened().len() == times).await;
}

/// Clients that leased something, in order.
fn leased_to(scene: &Scene) -> Vec<String> {
    let asked = scene.faults().asked::<OpenDataKeysRequest>();
    asked.into_iter().map(|asked| asked.client_instance).collect()
}

async fn destroy_tenant(scene: &Scene, tenant: &str) {
    let how = DestroyTenant {
        reason: crate::DestroyReason::Test,
        ticket: String::new(),
        window: None,
        change: Change::default(),
    };
    scene.operator.destroy_tenant(&tenant.parse().unwrap(), how).await.unwrap();
    assert!(scene.centre.purged().await);
}

#[tokio::test]
async fn what_is_destroyed_is_wiped_before_that_is_confirmed_and_nothing_else_is() {
    let scene = scene();
    let sealed = seal(&scene, ATTENDANCE).await.unwrap();
    seal(&scene, "payroll").await.unwrap();
    scene.records().open(&phone(), &row("1"), &sealed).await.unwrap();
    let leases = [held(&scene.kms, &to_seal(ATTENDANCE)), held(&scene.kms, &to_seal("payroll"))];
    let [attendance, payroll] = leases.map(Option::unwrap);
    listening(&scene, 1).await;
    scene.destroy(ATTENDANCE, DestroyTarget::All).await;
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
    listening(&scene, 1).await;
    scene.destroy(ATTENDANCE, DestroyTarget::Version(1)).await;
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
    listening(&scene, 1).await;
    scene.rotate(ATTENDANCE).await;
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_none());
    assert!(held(&scene.kms, &to_open).is_some(), "what was sealed before still opens");
    scene.suspend(ATTENDANCE).await;
    assert!(held(&scene.kms, &to_open).is_none());
}

#[tokio::test]
async fn an_event_of_a_whole_tenant_ends_what_is_held_of_it_and_not_of_another() {
    let scene = scene();
    scene.centre.create_tenant("other").unwrap();
    scene.centre.create_key("other", ATTENDANCE).unwrap();
    seal(&scene, ATTENDANCE).await.unwrap();
    let others = scene.kms.records(&"other".parse().unwrap(), &key(ATTENDANCE));
    others.seal(&phone(), &row("1"), b"x").await.unwrap();
    listening(&scene, 1).await;
    destroy_tenant(&scene, "other").await;
    assert!(others.seal(&phone(), &row("1"), b"x").await.is_err());
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_some());
    destroy_tenant(&scene, TENANT).await;
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_an_event_overtook_does_not_bring_back_what_it_ended() {
    let scene = scene();
    seal(&scene, "payroll").await.unwrap();
    listening(&scene, 1).await;
    scene.faults().hold_leases();
    let records = scene.records();
    let late = tokio::spawn(async move { records.seal(&phone(), &row("1"), b"x").await });
    until("it is leased", || scene.faults().leased() == 2).await;
    scene.destroy(ATTENDANCE, DestroyTarget::All).await;
    scene.faults().release_leases();
    let error = late.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyDestroyed), "asked again");
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_was_answered_after_what_an_event_tells_of_is_kept() {
    let scene = scene();
    seal(&scene, "payroll").await.unwrap();
    listening(&scene, 1).await;
    scene.faults().hold_leases();
    let records = scene.records();
    let late = tokio::spawn(async move { records.seal(&phone(), &row("1"), b"x").await });
    until("it is leased", || scene.faults().leased() == 2).await;
    // Of a time before the key was made.
    let version_id = VersionId::new(kms_core::id::TenantSlot(0), kms_core::id::LeafSlot(1)).get();
    let item = Item { tenant: TENANT.into(), key: ATTENDANCE.into(), version_id };
    let kind = KeyEventKind::Rotated.into();
    scene.centre.tell(Event { number: 0, store_revision: 1, kind, items: vec![item] });
    assert!(scene.centre.purged().await);
    scene.faults().release_leases();
    late.await.unwrap().unwrap();
    assert_eq!(scene.calls(OPEN), 2, "not asked again");
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_confirmed_before_the_uses_under_way_have_ended() {
    let scene = scene();
    seal(&scene, ATTENDANCE).await.unwrap();
    let lease = held(&scene.kms, &to_seal(ATTENDANCE)).unwrap();
    listening(&scene, 1).await;
    let ((began, begun), (end, ended)) = (mpsc::channel(), mpsc::channel::<()>());
    let using = std::thread::spawn(move || {
        lease.with_data_key(|_| {
            began.send(()).unwrap();
            ended.recv().unwrap();
        })
    });
    begun.recv().unwrap();
    scene.destroy_unpurged(ATTENDANCE, DestroyTarget::All).await;
    // Out of the cache, it is about to be wiped, which waits.
    until("it is purged", || held(&scene.kms, &to_seal(ATTENDANCE)).is_none()).await;
    assert!(!scene.centre.have_purged());
    end.send(()).unwrap();
    using.join().unwrap().unwrap();
    assert!(scene.centre.purged().await);
}

#[tokio::test]
async fn a_client_listens_once_from_its_first_lease_on_under_the_name_that_it_leases_under() {
    let scene = scene();
    scene.kms.generate_random(1).await.unwrap();
    assert!(scene.faults().listened().is_empty());
    seal(&scene, ATTENDANCE).await.unwrap();
    seal(&scene, "payroll").await.unwrap();
    listening(&scene, 1).await;
    let instance = scene.faults().listened().remove(0);
    assert_eq!(leased_to(&scene), [instance.clone(), instance.clone()]);
    records(&scene.cold()).seal(&phone(), &row("1"), b"x").await.unwrap();
    listening(&scene, 2).await;
    let other = scene.faults().listened().remove(1);
    assert!(other != instance && leased_to(&scene).last() == Some(&other));
}

#[tokio::test]
async fn a_client_that_is_told_not_to_does_not_listen() {
    let scene = scene_with(crate::Builder::without_watching);
    seal(&scene, ATTENDANCE).await.unwrap();
    // Another client does: had the first one begun to, it would have been before.
    let other = scene.cold();
    records(&other).seal(&phone(), &row("1"), b"x").await.unwrap();
    listening(&scene, 1).await;
    assert_eq!(leased_to(&scene).last(), scene.faults().listened().first());
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_some());
}

#[tokio::test]
async fn a_client_that_is_dropped_stops_to_listen() {
    let scene = scene();
    seal(&scene, ATTENDANCE).await.unwrap();
    listening(&scene, 1).await;
    assert_eq!(scene.centre.listeners(), 1);
    drop(scene.kms);
    until("the stream has ended", || scene.centre.listeners() == 0).await;
}

#[tokio::test]
async fn warm_keys_work_while_nobody_is_heard_and_are_leased_anew_in_one_call_where_the_server_lost_sight_of_them()
 {
    let scene = scene();
    for key in [ATTENDANCE, "payroll", "secrets"] {
        seal(&scene, key).await.unwrap();
    }
    listening(&scene, 1).await;
    scene.centre.stop();
    seal(&scene, ATTENDANCE).await.unwrap();
    let calls = scene.calls(OPEN);
    scene.centre.forget_holders();
    scene.centre.restrict(ATTENDANCE, Rights::all().on_keys([ATTENDANCE, "secrets"]));
    let before = held(&scene.kms, &to_seal(ATTENDANCE)).unwrap();
    scene.centre.start();
    listening(&scene, 2).await;
    until("it is leased anew", || {
        held(&scene.kms, &to_seal(ATTENDANCE)).is_some_and(|now| !Arc::ptr_eq(&now, &before))
    })
    .await;
    until("what is denied ends", || held(&scene.kms, &to_seal("payroll")).is_none()).await;
    assert_eq!(scene.calls(OPEN), calls + 1);
}

#[tokio::test]
async fn where_the_server_kept_sight_of_what_is_held_nothing_is_asked_for_again() {
    let scene = scene();
    for key in [ATTENDANCE, "payroll"] {
        seal(&scene, key).await.unwrap();
    }
    listening(&scene, 1).await;
    scene.centre.stop();
    scene.centre.start();
    listening(&scene, 2).await;
    let listened = scene.faults().listened();
    assert_eq!(listened[0], listened[1]);
    // Heard on the second stream, so it has been opened for good.
    scene.suspend("payroll").await;
    assert!(held(&scene.kms, &to_seal("payroll")).is_none());
    assert_eq!(scene.calls(OPEN), 2);
    assert!(held(&scene.kms, &to_seal(ATTENDANCE)).is_some());
}

#[tokio::test]
async fn an_index_ends_with_the_destruction_of_any_of_its_versions_and_with_a_rotation() {
    const INDEX: &str = "attendance.index";
    let scene = scene();
    scene.rotate(INDEX).await;
    let index = scene.kms.index(&tenant(), &key(INDEX));
    let want = want(What::Index { key: key(INDEX) });
    index.versions().await.unwrap();
    seal(&scene, ATTENDANCE).await.unwrap();
    listening(&scene, 1).await;
    scene.destroy(ATTENDANCE, DestroyTarget::All).await;
    assert!(held(&scene.kms, &want).is_some());
    scene.destroy(INDEX, DestroyTarget::Version(1)).await;
    assert!(held(&scene.kms, &want).is_none(), "its older version");
    index.versions().await.unwrap();
    assert!(held(&scene.kms, &want).is_some());
    scene.rotate(INDEX).await;
    assert!(held(&scene.kms, &want).is_none());
}
