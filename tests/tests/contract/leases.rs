//! Data keys under lease: how long they work, and what clients are told of them.

use std::time::Duration;

use kms_client::{
    Column, DestroyReason, Error, IndexedColumn, LifecycleState, Reason, Records,
    api::{Change, CreateKey, DestroyTarget, RotateKey},
};

use kms_proto::v1::{
    LeasedIndex, OpenDataKeysRequest,
    open_data_keys_request::{self, Item, item},
    open_data_keys_response::item::Outcome,
};

use crate::{
    fields::{phone, row},
    keys::{destroying, destroying_tenant},
    site::{Site, attendance, key, tenant, until, why, with_lease},
};

async fn seal(records: &Records) -> Result<Vec<u8>, Error> {
    records.seal(&phone(), &row("1"), b"138").await
}

async fn open(records: &Records, sealed: &[u8]) -> Result<(), Error> {
    records.open(&phone(), &row("1"), sealed).await.map(drop)
}

pub(crate) async fn keys_at_hand_work_without_the_key_centre_until_their_lease_ends(mut site: Site) {
    const LEASE: u64 = 5;
    site.tenant_with("acme", &["attendance"], with_lease(LEASE)).await;
    let kms = site.service().with_deadline(Duration::from_secs(2));
    let records = kms.records(&tenant("acme"), &attendance());
    let sealed = seal(&records).await.unwrap();
    open(&records, &sealed).await.unwrap();
    let calls = kms.server_calls();

    site.stop();
    open(&records, &sealed).await.unwrap();
    seal(&records).await.unwrap();
    assert_eq!(kms.server_calls(), calls, "nobody was asked");
    site.pass(Duration::from_secs(LEASE)).await;
    let gone = open(&records, &sealed).await.unwrap_err();
    assert!(gone.is_retryable(), "{gone}");
    assert_eq!(gone.exit_code(), 6, "{gone}");

    site.start();
    // Whoever found nobody leaves the server alone for a moment.
    site.pass(Duration::from_secs(10)).await;
    let kms = site.service();
    let records = kms.records(&tenant("acme"), &attendance());
    open(&records, &sealed).await.unwrap();
}

pub(crate) async fn clients_are_told_and_purge_what_is_destroyed_or_suspended(site: Site) {
    let operator = site.ground().await;
    site.tenant("other", &["attendance"]).await;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let kms = site.service();
    let (records, others) = (kms.records(&acme, &attendance()), kms.records(&other, &attendance()));
    let (sealed, elsewhere) = (seal(&records).await.unwrap(), seal(&others).await.unwrap());
    open(&records, &sealed).await.unwrap();
    open(&others, &elsewhere).await.unwrap();

    operator.suspend_key(&acme, &attendance(), Change::default()).await.unwrap();
    site.told().await;
    until("a suspended key opens no more, long before its lease ends", || async {
        open(&records, &sealed).await.is_err()
    })
    .await;
    assert_eq!(why(open(&records, &sealed).await), Reason::KeySuspended);
    assert_eq!(why(seal(&records).await), Reason::KeySuspended);
    operator.resume_key(&acme, &attendance(), Change::default()).await.unwrap();
    open(&records, &sealed).await.unwrap();

    operator.destroy_key(&acme, &attendance(), destroying(DestroyTarget::All)).await.unwrap();
    site.told().await;
    until("a destroyed key opens no more", || async { open(&records, &sealed).await.is_err() }).await;
    assert_eq!(why(open(&records, &sealed).await), Reason::KeyDestroyed);
    until("it is erased once its clients have confirmed, long before their leases end", || async {
        operator.describe_key(&acme, &attendance()).await.unwrap().state == LifecycleState::Erased
    })
    .await;

    let calls = kms.server_calls();
    open(&others, &elsewhere).await.unwrap();
    assert_eq!(kms.server_calls(), calls, "what is another's is at hand as before");
    operator.destroy_tenant(&other, destroying_tenant()).await.unwrap();
    site.told().await;
    until("a destroyed tenant's key opens no more", || async { open(&others, &elsewhere).await.is_err() })
        .await;
    assert_eq!(why(open(&others, &elsewhere).await), Reason::KeyDestroyed);
}

pub(crate) async fn a_rotation_reaches_clients_that_seal(site: Site) {
    let operator = site.ground().await;
    let acme = tenant("acme");
    let records = site.service().records(&acme, &attendance());
    let sealed = seal(&records).await.unwrap();
    let before = records.sealing_version(&phone()).await.unwrap();
    let rotated = operator.rotate_key(&acme, &attendance(), RotateKey::default()).await.unwrap();
    site.told().await;
    until("the next version seals", || async { records.sealing_version(&phone()).await.unwrap() != before })
        .await;
    assert_eq!(records.sealing_version(&phone()).await.unwrap(), rotated.versions[1].id);
    open(&records, &sealed).await.unwrap();
}

pub(crate) async fn a_familys_rotation_moves_deterministic_columns_where_it_says_so(site: Site) {
    let how = CreateKey { family: true, ..CreateKey::default() };
    site.tenant_with("acme", &["attendance"], how).await;
    let (operator, acme) = (site.operator(), tenant("acme"));
    let names = [attendance().family().clone()].map(|family| (family, ["employee-1".parse().unwrap()]));
    for (family, subjects) in &names {
        site.service().ensure_subjects(&acme, family, subjects).await.remove(0).unwrap();
    }
    let deterministic = Column::deterministic("checkins", "phone").unwrap();
    // Each time a client without leases: what is at hand goes on for its time.
    let now = async || {
        let records = site.service().records(&acme, &key("attendance/employee-1"));
        let randomized = records.sealing_version(&phone()).await.unwrap();
        (randomized, records.sealing_version(&deterministic).await.unwrap())
    };
    let turn = async |deterministic| {
        let how = RotateKey { deterministic, ..RotateKey::default() };
        operator.rotate_key(&acme, &attendance(), how).await.unwrap();
    };
    let first = now().await;
    assert_eq!(first.0, first.1);
    turn(false).await;
    let second = now().await;
    assert!(second.0 != first.0 && second.1 == first.1);
    turn(true).await;
    turn(false).await;
    let third = now().await;
    assert!(third.0 != second.0 && third.1 == third.0, "it follows both at once");
}

/// The index key of `acme`, as the message says it.
async fn leased_index(site: &Site) -> LeasedIndex {
    let message = OpenDataKeysRequest {
        tenant: "acme".into(),
        items: vec![Item {
            item: Some(item::Item::Index(open_data_keys_request::Index { key: "attendance.index".into() })),
        }],
        ..OpenDataKeysRequest::default()
    };
    let answer = site.api("attendance").crypto().open_data_keys(message).await.unwrap().into_inner();
    match answer.items.into_iter().next().unwrap().outcome {
        Some(Outcome::Index(leased)) => leased,
        _ => panic!("no index key"),
    }
}

pub(crate) async fn a_new_version_of_an_index_key_takes_rows_once_every_lease_without_it_has_ended(
    site: Site,
) {
    const LEASE: u64 = 2;
    site.tenant_with("acme", &["attendance", "attendance.index"], with_lease(LEASE)).await;
    let (operator, acme, name) = (site.operator(), tenant("acme"), key("attendance.index"));
    let column = IndexedColumn::new("checkins", "phone", "eq", 24).unwrap();
    let indexes = || site.service().index(&acme, &name);
    let old = indexes().value(&column, b"13800138000").await.unwrap();
    assert_eq!(indexes().probes(&column, b"13800138000").await.unwrap(), std::slice::from_ref(&old));

    let rotated = operator.rotate_key(&acme, &name, RotateKey::default()).await.unwrap();
    let [first, second] = [0, 1].map(|at| rotated.versions[at].id.get());
    let leased = leased_index(&site).await;
    assert_eq!((leased.writes_under, leased.settles_under), (Some(first), Some(second)));
    assert!(leased.settles_in.is_some_and(|left| (1..=4).contains(&left.seconds)), "{:?}", leased.settles_in);
    let unsettled = indexes();
    assert!(!unsettled.versions().await.unwrap().are_settled());
    assert_eq!(unsettled.value(&column, b"13800138000").await.unwrap(), old, "rows are written as before");
    let probes = unsettled.probes(&column, b"13800138000").await.unwrap();
    assert!(probes.len() == 2 && probes.contains(&old), "and are looked for under both");

    site.pass(Duration::from_secs(LEASE + 3)).await;
    let leased = leased_index(&site).await;
    assert_eq!((leased.writes_under, leased.settles_under, leased.settles_in), (Some(second), None, None));
    let settled = indexes();
    assert!(settled.versions().await.unwrap().are_settled());
    let new = settled.value(&column, b"13800138000").await.unwrap();
    assert!(new != old && probes.contains(&new));
    assert_eq!(settled.probes(&column, b"13800138000").await.unwrap().len(), 2);

    let how = kms_client::api::DestroyKey {
        reason: DestroyReason::Superseded,
        // Leases from before it settled may still run.
        force: true,
        ..destroying(DestroyTarget::Version(1))
    };
    operator.destroy_key(&acme, &name, how).await.unwrap();
    assert_eq!(indexes().probes(&column, b"13800138000").await.unwrap(), [new]);
}
