//! Data keys under lease.

use kms_client::{Column, RecordId};
use kms_proto::{
    reason::Reason,
    v1::{self, open_data_keys_request as ask, open_data_keys_response::item::Outcome},
};
use kms_tests::api::{Answer, Api, KEY, TENANT, answer, field, started};

type Leased = Result<v1::LeasedDataKey, Reason>;

fn to_seal(key: &str) -> ask::item::Item {
    ask::item::Item::Current(ask::Current { key: key.into(), deterministic: false })
}

fn to_open(version_id: u64, data_key_id: u32) -> ask::item::Item {
    ask::item::Item::Existing(ask::Existing { version_id, data_key_id, key: String::new() })
}

fn to_seal_deterministically(key: &str) -> ask::item::Item {
    ask::item::Item::Current(ask::Current { key: key.into(), deterministic: true })
}

async fn lease(api: &Api, tenant: &str, items: Vec<ask::item::Item>) -> Answer<Vec<Leased>> {
    let items = items.into_iter().map(|item| ask::Item { item: Some(item) }).collect();
    let message =
        v1::OpenDataKeysRequest { tenant: tenant.into(), items, ..v1::OpenDataKeysRequest::default() };
    let answered = answer(api.crypto().open_data_keys(message).await)?;
    let one = |item: v1::open_data_keys_response::Item| match item.outcome.unwrap() {
        Outcome::Leased(leased) => Ok(leased),
        Outcome::Error(error) => Err(error.reason.parse().unwrap()),
        Outcome::Index(_) => panic!("an index was not asked for"),
    };
    Ok(answered.items.into_iter().map(one).collect())
}

async fn lease_one(api: &Api, tenant: &str, item: ask::item::Item) -> Leased {
    lease(api, tenant, vec![item]).await.and_then(|mut leased| leased.remove(0))
}

#[tokio::test]
async fn what_a_client_seals_under_a_lease_the_server_opens_and_the_other_way_round() {
    let (_place, _server, _, attendance) = started().await;
    let records = attendance.kms.records(&TENANT.parse().unwrap(), &KEY.parse().unwrap());
    let column = Column::randomized("checkins", "phone").unwrap();
    let row = RecordId::try_from(&b"row-1"[..]).unwrap();
    let bound = field("checkins", "phone", "row-1");
    let sealed = records.seal(&column, &row, b"138 0013 8000").await.unwrap();
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, bound.clone()).await.unwrap(), b"138 0013 8000");
    let elsewhere = attendance.decrypt(TENANT, KEY, &sealed, field("checkins", "phone", "row-2")).await;
    assert_eq!(elsewhere, Err(Reason::CiphertextRejected));
    // What the server sealed itself stands under a data key that it keeps: the client has it opened.
    let sealed = attendance.encrypt(TENANT, KEY, b"by the server", bound).await.unwrap();
    assert_eq!(records.open(&column, &row, &sealed).await.unwrap().as_bytes(), b"by the server");
}

#[tokio::test]
async fn no_data_key_is_leased_to_open_that_was_never_leased_to_seal() {
    let (_place, _server, operator, attendance) = started().await;
    let version = operator.describe_key(TENANT, KEY).await.unwrap().versions[0].id;
    // ATTACK: it would be on no record, and a certificate would say that none was handed out.
    for data_key in [0, 1, 2] {
        let refused = lease_one(&attendance, TENANT, to_open(version, data_key)).await;
        assert_eq!(refused.map(drop), Err(Reason::CiphertextRejected), "{data_key}");
    }
    lease_one(&attendance, TENANT, to_seal_deterministically(KEY)).await.unwrap();
    assert!(lease_one(&attendance, TENANT, to_open(version, 0)).await.is_ok());
}

#[tokio::test]
async fn the_revision_that_comes_with_a_lease_is_one_from_before_it() {
    let (_place, _server, _, attendance) = started().await;
    let revision = async || {
        let items = vec![ask::Item { item: Some(to_seal(KEY)) }];
        let message =
            v1::OpenDataKeysRequest { tenant: TENANT.into(), items, ..v1::OpenDataKeysRequest::default() };
        answer(attendance.crypto().open_data_keys(message).await).unwrap().store_revision
    };
    // The first lease of a version is put on record, in a commit that comes before its data key leaves; and so has a number that no
    // reply had before. ATTACK: with that number a destruction that comes while it leases would pass for one that came before.
    let first = revision().await;
    assert!(first < revision().await, "{first}");
}

#[tokio::test]
async fn a_lease_says_its_terms_and_is_opened_again_by_what_a_ciphertext_names() {
    let (_place, _server, operator, attendance) = started().await;
    let first = lease_one(&attendance, TENANT, to_seal(KEY)).await.unwrap();
    assert_eq!((first.data_key.len(), first.version, &*first.key), (32, 1, KEY));
    assert!(first.budget > 0 && first.lease.unwrap().seconds > 0);
    let again = lease_one(&attendance, TENANT, to_open(first.version_id, first.data_key_id)).await.unwrap();
    assert_eq!((&again.data_key, again.budget), (&first.data_key, 0), "the same key, to open only");

    operator.rotate(TENANT, KEY).await.unwrap();
    let second = lease_one(&attendance, TENANT, to_seal(KEY)).await.unwrap();
    assert_eq!(second.version, 2);
    assert_ne!(second.data_key, first.data_key);
    let old = lease_one(&attendance, TENANT, to_open(first.version_id, first.data_key_id)).await.unwrap();
    assert_eq!(old.data_key, first.data_key);
}

#[tokio::test]
async fn class_l4_releases_no_data_key_and_is_sealed_by_the_server() {
    let (_place, _server, operator, attendance) = started().await;
    operator.create_tenant("guarded").await.unwrap();
    let made = operator.create_key_of("guarded", KEY, v1::KeyClass::L4).await.unwrap();
    let refused = Err(Reason::ClassReleasesNoDataKeys);
    assert_eq!(lease_one(&attendance, "guarded", to_seal(KEY)).await, refused);
    for data_key in [0, 1, 2] {
        let item = to_open(made.versions[0].id, data_key);
        assert_eq!(lease_one(&attendance, "guarded", item).await, refused);
    }
    let bound = field("checkins", "phone", "1");
    let sealed = attendance.encrypt("guarded", KEY, b"value", bound.clone()).await.unwrap();
    assert_eq!(attendance.decrypt("guarded", KEY, &sealed, bound).await.unwrap(), b"value");
}

#[tokio::test]
async fn a_data_key_that_was_never_handed_out_or_that_the_server_keeps_is_not_leased() {
    let (_place, _server, _, attendance) = started().await;
    let leased = lease_one(&attendance, TENANT, to_seal(KEY)).await.unwrap();
    let ahead = lease_one(&attendance, TENANT, to_open(leased.version_id, leased.data_key_id + 1_000)).await;
    assert_eq!(ahead, Err(Reason::CiphertextRejected));
    let sealed = attendance.encrypt(TENANT, KEY, b"x", field("t", "c", "1")).await.unwrap();
    let header = kms_core::field::Header::parse(&sealed).unwrap();
    let own = lease_one(&attendance, TENANT, to_open(header.version.get(), header.data_key.get())).await;
    assert_eq!(own, Err(Reason::ServerOwnDataKey));
}

#[tokio::test]
async fn items_of_one_call_fail_alone_and_another_tenants_are_not_there() {
    let (_place, _server, operator, attendance) = started().await;
    operator.create_tenant("umbrella").await.unwrap();
    operator.create_key("umbrella", KEY).await.unwrap();
    operator.create_key(TENANT, "payroll").await.unwrap();
    let foreign = lease_one(&attendance, "umbrella", to_seal(KEY)).await.unwrap();
    let items = vec![
        to_seal(KEY),
        to_seal("payroll"),
        to_seal("nowhere"),
        to_open(foreign.version_id, foreign.data_key_id),
        to_open(u64::MAX, 1),
        to_seal(KEY),
    ];
    let leased = lease(&attendance, TENANT, items).await.unwrap();
    assert!(leased[0].is_ok() && leased[5].is_ok(), "{leased:?}");
    for refused in &leased[1..5] {
        assert_eq!(refused, &Err(Reason::KeyNotAccessible));
    }
}

#[tokio::test]
async fn a_batch_takes_10_000_items_and_no_more() {
    let (_place, _server, _, attendance) = started().await;
    let leased = lease_one(&attendance, TENANT, to_seal(KEY)).await.unwrap();
    let many = |count| vec![to_open(leased.version_id, leased.data_key_id); count];
    assert_eq!(lease(&attendance, TENANT, many(10_000)).await.unwrap().len(), 10_000);
    assert_eq!(lease(&attendance, TENANT, many(10_001)).await, Err(Reason::BatchTooLarge));
}

#[tokio::test]
async fn the_active_version_is_not_destroyed_while_sealing_leases_run_unless_forced() {
    let (_place, _server, operator, attendance) = started().await;
    lease_one(&attendance, TENANT, to_seal(KEY)).await.unwrap();
    let refused = operator.destroy(TENANT, KEY, Some(1)).await;
    assert_eq!(refused.map(|destroyed| destroyed.destroyed_versions), Err(Reason::SealingLeasesRun));
    let mut forced = kms_tests::api::destroy(TENANT, KEY, Some(1));
    forced.force = true;
    let destroyed = answer(operator.keys().destroy_key(forced).await).unwrap();
    assert_eq!(destroyed.destroyed_versions, [1]);
}

#[tokio::test]
async fn the_version_of_deterministic_columns_is_not_destroyed_while_they_are_leased_not_after_a_restart_either()
 {
    let (place, server, operator, attendance) = started().await;
    operator.create_key(TENANT, "attendance-2").await.unwrap();
    lease_one(&attendance, TENANT, to_seal_deterministically(KEY)).await.unwrap();
    // Deterministic columns stay where they are.
    assert_eq!(operator.rotate(TENANT, KEY).await.unwrap().deterministic_version, 1);
    operator.rotate(TENANT, "attendance-2").await.unwrap();
    // Leased for randomized columns only, which seal under another version by now.
    operator.create_tenant("umbrella").await.unwrap();
    operator.create_key("umbrella", KEY).await.unwrap();
    lease_one(&attendance, "umbrella", to_seal(KEY)).await.unwrap();
    operator.rotate("umbrella", KEY).await.unwrap();
    assert_eq!(operator.destroy("umbrella", KEY, Some(1)).await.unwrap().destroyed_versions, [1]);
    let refused = operator.destroy(TENANT, KEY, Some(1)).await.map(|destroyed| destroyed.destroyed_versions);
    assert_eq!(refused, Err(Reason::SealingLeasesRun));
    server.kill();
    let _server = place.start();
    let operator = Api::of(&place, "operator").await;
    let refused = operator.destroy(TENANT, KEY, Some(1)).await.map(|destroyed| destroyed.destroyed_versions);
    assert_eq!(refused, Err(Reason::SealingLeasesRun), "it is on record that it was leased");
    let never_leased = operator.destroy(TENANT, "attendance-2", Some(1)).await;
    assert_eq!(never_leased.unwrap().destroyed_versions, [1]);
}

#[tokio::test]
async fn of_a_batch_for_many_versions_each_is_leased_although_all_are_cold() {
    let (place, server, operator, attendance) = started().await;
    let mut versions = Vec::new();
    for _ in 0..20 {
        let leased = lease_one(&attendance, TENANT, to_seal(KEY)).await.unwrap();
        versions.push((leased.version_id, leased.data_key_id, leased.data_key));
        operator.rotate(TENANT, KEY).await.unwrap();
    }
    server.kill();
    let _server = place.start();
    let attendance = Api::of(&place, "attendance").await;
    let items = versions.iter().cycle().take(100).map(|(version, data_key, _)| to_open(*version, *data_key));
    let leased = lease(&attendance, TENANT, items.collect()).await.unwrap();
    for (leased, (_, _, data_key)) in leased.iter().zip(versions.iter().cycle()) {
        assert_eq!(&leased.as_ref().unwrap().data_key, data_key);
    }
}
