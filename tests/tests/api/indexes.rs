//! Index keys under lease, as they stand on the wire; and what an index key is not for.

use kms_core::certificate::{
    body::Destroyed,
    check::{Given, verify},
};
use kms_proto::{
    reason::Reason,
    v1::{self, open_data_keys_request as ask, open_data_keys_response::item::Outcome},
};
use kms_tests::api::{Answer, Api, KEY, TENANT, answer, context, fresh, named, started};

const INDEX: &str = "attendance.index";

fn index(key: &str) -> ask::item::Item {
    ask::item::Item::Index(ask::Index { key: key.into() })
}

fn current(key: &str, deterministic: bool) -> ask::item::Item {
    ask::item::Item::Current(ask::Current { key: key.into(), deterministic })
}

fn message(items: Vec<ask::item::Item>) -> v1::OpenDataKeysRequest {
    let items = items.into_iter().map(|item| ask::Item { item: Some(item) }).collect();
    v1::OpenDataKeysRequest { tenant: TENANT.into(), items, ..v1::OpenDataKeysRequest::default() }
}

async fn ask(api: &Api, items: Vec<ask::item::Item>) -> Answer<Vec<Outcome>> {
    let answered = answer(api.crypto().open_data_keys(message(items)).await)?;
    Ok(answered.items.into_iter().map(|item| item.outcome.unwrap()).collect())
}

fn leased(outcome: Outcome) -> Answer<v1::LeasedIndex> {
    match outcome {
        Outcome::Index(leased) => Ok(leased),
        Outcome::Error(error) => Err(error.reason.parse().unwrap()),
        other => panic!("{other:?}"),
    }
}

async fn lease(api: &Api, key: &str) -> Answer<v1::LeasedIndex> {
    ask(api, vec![index(key)]).await.and_then(|mut outcomes| leased(outcomes.remove(0)))
}

/// Why one item is refused.
async fn refusal(api: &Api, item: ask::item::Item) -> Reason {
    match ask(api, vec![item]).await.map(|mut outcomes| outcomes.remove(0)) {
        Ok(Outcome::Error(error)) => error.reason.parse().unwrap(),
        Err(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_index_lease_has_every_live_version_the_newest_first_and_says_which_takes_rows() {
    let (_place, _server, operator, attendance) = started().await;
    operator.create_key(TENANT, INDEX).await.unwrap();
    let one = lease(&attendance, INDEX).await.unwrap();
    assert_eq!((one.versions.len(), one.settles_in), (1, None));
    let first = &one.versions[0];
    assert_eq!((first.version, first.data_key_id, first.budget, &*first.key), (1, 0, 0, INDEX));
    assert_eq!((first.data_key.len(), one.writes_under), (32, Some(first.version_id)));

    operator.rotate(TENANT, INDEX).await.unwrap();
    let two = lease(&attendance, INDEX).await.unwrap();
    let numbers: Vec<_> = two.versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(two.versions[1].data_key, first.data_key);
    assert_ne!(two.versions[0].data_key, first.data_key);
    // Leases that were given before do not have the second, and run as long as they run.
    assert_eq!(two.writes_under, Some(first.version_id));
    assert!(two.settles_in.unwrap().seconds >= first.lease.unwrap().seconds - 60);
}

#[tokio::test]
async fn an_index_key_seals_nothing_and_a_key_that_seals_makes_no_index() {
    let (place, server, operator, attendance) = started().await;
    operator.create_key(TENANT, INDEX).await.unwrap();
    let version = lease(&attendance, INDEX).await.unwrap().versions[0].version_id;
    assert_eq!(refusal(&attendance, index(KEY)).await, Reason::KeyUseMismatch);
    // Its number 0 is leased as an index and not as the data key of a deterministic column.
    let existing =
        ask::item::Item::Existing(ask::Existing { version_id: version, data_key_id: 0, key: String::new() });
    assert_eq!(refusal(&attendance, existing).await, Reason::KeyUseMismatch);

    // Nor does it for one whom policy lets seal with any key of the tenant.
    let profile = place.profile_of(&place.caller("acme-billing"), "acme-billing", &server);
    let billing = Api::with(&profile, "acme-billing").await;
    for deterministic in [false, true] {
        let mut asked = message(vec![current(INDEX, deterministic)]);
        asked.purpose = "billing".into();
        let refused = answer(billing.crypto().open_data_keys(asked).await).unwrap().items.remove(0);
        let Some(Outcome::Error(error)) = refused.outcome else { panic!("leased to seal") };
        assert_eq!(error.reason, Reason::KeyUseMismatch.as_str());
    }
    let bound = context(&[("purpose", "billing")]);
    let sealed = billing.encrypt(TENANT, INDEX, b"x", bound.clone()).await;
    assert_eq!(sealed, Err(Reason::KeyUseMismatch));
    let message = v1::GenerateDataKeyRequest {
        tenant: TENANT.into(),
        key: INDEX.into(),
        context: Some(v1::Context {
            pairs: vec![v1::ContextPair { name: "purpose".into(), value: b"billing".to_vec() }],
        }),
        ..v1::GenerateDataKeyRequest::default()
    };
    let envelope = answer(billing.crypto().generate_data_key(message).await);
    assert_eq!(envelope.map(drop), Err(Reason::KeyUseMismatch));
}

#[tokio::test]
async fn an_index_key_of_class_l4_is_not_leased() {
    let (_place, _server, operator, attendance) = started().await;
    operator.create_key_of(TENANT, INDEX, v1::KeyClass::L4).await.unwrap();
    assert_eq!(lease(&attendance, INDEX).await.map(drop), Err(Reason::ClassReleasesNoDataKeys));
}

#[tokio::test]
async fn an_index_counts_as_100_items() {
    let (_place, _server, operator, attendance) = started().await;
    operator.create_key(TENANT, INDEX).await.unwrap();
    let all = ask(&attendance, vec![index(INDEX); 100]).await.unwrap();
    assert!(all.into_iter().all(|outcome| leased(outcome).is_ok()));
    assert_eq!(ask(&attendance, vec![index(INDEX); 101]).await.map(drop), Err(Reason::BatchTooLarge));
    let mut mixed = vec![current(KEY, false); 9_900];
    mixed.push(index(INDEX));
    assert_eq!(ask(&attendance, mixed.clone()).await.unwrap().len(), 9_901);
    mixed.push(current(KEY, false));
    assert_eq!(ask(&attendance, mixed).await.map(drop), Err(Reason::BatchTooLarge));
}

#[tokio::test]
async fn an_index_key_has_at_most_100_live_versions() {
    let (_place, _server, operator, attendance) = started().await;
    operator.create_key(TENANT, INDEX).await.unwrap();
    for _ in 1..100 {
        operator.rotate(TENANT, INDEX).await.unwrap();
    }
    assert_eq!(operator.rotate(TENANT, INDEX).await.map(drop), Err(Reason::StateForbids));
    assert_eq!(lease(&attendance, INDEX).await.unwrap().versions.len(), 100);
    let mut forced = kms_tests::api::destroy(TENANT, INDEX, Some(50));
    forced.force = true;
    answer(operator.keys().destroy_key(forced).await).unwrap();
    operator.rotate(TENANT, INDEX).await.unwrap();
    let numbers: Vec<_> =
        lease(&attendance, INDEX).await.unwrap().versions.iter().map(|version| version.version).collect();
    assert_eq!((numbers.len(), numbers[0], numbers.contains(&50)), (100, 101, false));
}

#[tokio::test]
async fn an_index_lease_is_opening_on_record_with_its_versions() {
    let (place, _server, operator, attendance) = started().await;
    operator.create_key(TENANT, INDEX).await.unwrap();
    operator.rotate(TENANT, INDEX).await.unwrap();
    let id = fresh();
    attendance.crypto().open_data_keys(named(&id, message(vec![index(INDEX)]))).await.unwrap();
    let compliance = Api::of(&place, "compliance").await;
    let lines = compliance.lines(v1::AuditFilter { request_id: id, ..v1::AuditFilter::default() }).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["operation"], "LeaseToOpen");
    assert_eq!(lines[0]["versions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_version_that_rows_may_be_written_under_is_not_destroyed_not_after_a_restart_either() {
    let (place, server, operator, attendance) = started().await;
    operator.create_key(TENANT, INDEX).await.unwrap();
    operator.create_key(TENANT, "other.index").await.unwrap();
    lease(&attendance, INDEX).await.unwrap();
    for key in [INDEX, "other.index"] {
        operator.rotate(TENANT, key).await.unwrap();
    }
    let refused = Err(Reason::SealingLeasesRun);
    assert_eq!(operator.destroy(TENANT, INDEX, Some(1)).await.map(drop), refused);
    server.kill();
    let _server = place.start();
    let operator = Api::of(&place, "operator").await;
    assert_eq!(operator.destroy(TENANT, INDEX, Some(1)).await.map(drop), refused, "it is on record");
    let never_leased = operator.destroy(TENANT, "other.index", Some(1)).await.unwrap();
    assert_eq!(never_leased.destroyed_versions, [1]);
    // A destruction with a window waits as well, where the window is shorter than a lease.
    let mut soon = kms_tests::api::destroy(TENANT, INDEX, Some(1));
    soon.window = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    assert_eq!(answer(operator.keys().destroy_key(soon.clone()).await).map(drop), refused);

    soon.force = true;
    soon.window = Some(prost_types::Duration { seconds: 86_400, nanos: 0 });
    soon.request_id = fresh();
    answer(operator.keys().destroy_key(soon).await).unwrap();
    let attendance = Api::of(&place, "attendance").await;
    let scheduled = lease(&attendance, INDEX).await.unwrap();
    assert_eq!(scheduled.versions.len(), 2, "it is searched to its end");
    assert_eq!(scheduled.writes_under, Some(scheduled.versions[0].version_id), "and takes no rows");
}

#[tokio::test]
async fn the_data_keys_that_a_certificate_counts_include_index_keys() {
    let (_place, _server, operator, attendance) = started().await;
    operator.create_key(TENANT, INDEX).await.unwrap();
    lease(&attendance, INDEX).await.unwrap();
    operator.create_key(TENANT, "other.index").await.unwrap();
    for (key, issued) in [(INDEX, 1), ("other.index", 0)] {
        operator.destroy(TENANT, key, None).await.unwrap();
        let (tenant, key) = (TENANT.into(), key.into());
        let subject = Some(v1::Subject { tenant, key, version: 0, tenant_uid: Vec::new() });
        let message = v1::GetCertificateRequest { subject, earlier_sizes: Vec::new() };
        let made = answer(operator.log().get_certificate(message).await).unwrap();
        let certified = verify(&made.certificate, &Given::default()).certificate.unwrap().certificate;
        let Destroyed::Key(subject) = certified.subject.destroyed else { panic!("not of a key") };
        assert_eq!(subject.versions[0].data_keys_issued, issued);
    }
    assert_eq!(lease(&attendance, INDEX).await.map(drop), Err(Reason::KeyDestroyed));
}
