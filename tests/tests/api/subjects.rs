//! Families and their subjects: a key each, made in batches, erased one by one; their names are in no file.

use kms_proto::{
    reason::Reason,
    v1::{
        self, LifecycleState as State, open_data_keys_request as ask, open_data_keys_response::item::Outcome,
    },
};
use kms_tests::{
    Place,
    api::{self, Answer, Api, TENANT, answer, context, field, fresh},
    search::Needles,
    server::Server,
};

/// Policy gives keys of this name to the attendance service.
const FAMILY: &str = "attendance";

async fn ground() -> (Place, Server, Api, Api) {
    let place = Place::new();
    let server = place.start();
    let (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
    operator.create_tenant(TENANT).await.unwrap();
    operator.create_family(TENANT, FAMILY).await.unwrap();
    (place, server, operator, attendance)
}

fn key(subject: &str) -> String {
    format!("{FAMILY}/{subject}")
}

fn current(subject: &str) -> ask::item::Item {
    ask::item::Item::Current(ask::Current { key: key(subject), deterministic: false })
}

fn existing(leased: &v1::LeasedDataKey, key: &str) -> ask::item::Item {
    let (version_id, data_key_id) = (leased.version_id, leased.data_key_id);
    ask::item::Item::Existing(ask::Existing { version_id, data_key_id, key: key.into() })
}

async fn lease(api: &Api, items: Vec<ask::item::Item>) -> Vec<Answer<v1::LeasedDataKey>> {
    let items = items.into_iter().map(|item| ask::Item { item: Some(item) }).collect();
    let message =
        v1::OpenDataKeysRequest { tenant: TENANT.into(), items, ..v1::OpenDataKeysRequest::default() };
    let answered = answer(api.crypto().open_data_keys(message).await).unwrap();
    let one = |item: v1::open_data_keys_response::Item| match item.outcome.unwrap() {
        Outcome::Leased(leased) => Ok(leased),
        Outcome::Error(error) => Err(error.reason.parse().unwrap()),
        Outcome::Index(_) => panic!("an index key that nobody asked for"),
    };
    answered.items.into_iter().map(one).collect()
}

async fn lease_one(api: &Api, item: ask::item::Item) -> Answer<v1::LeasedDataKey> {
    lease(api, vec![item]).await.remove(0)
}

async fn create_subject(api: &Api, subject: &str) -> Answer<v1::Key> {
    api.create_key_of(TENANT, &key(subject), v1::KeyClass::Unspecified).await
}

async fn list(api: &Api, family: &str, page_token: String) -> v1::ListKeysResponse {
    let message =
        v1::ListKeysRequest { tenant: TENANT.into(), page_size: 2, page_token, family: family.into() };
    answer(api.keys().list_keys(message).await).unwrap()
}

#[tokio::test]
async fn ensuring_makes_what_is_missing_answers_in_order_and_changes_nothing_the_second_time() {
    let (_place, _server, operator, attendance) = ground().await;
    let first = attendance.ensure(TENANT, FAMILY, &["one", "two"]).await.unwrap();
    assert!(first.iter().all(|subject| subject.as_ref().unwrap().created));
    let again = attendance.ensure(TENANT, FAMILY, &["three", "two", "one", "three"]).await.unwrap();
    let again: Vec<_> = again.into_iter().map(Result::unwrap).collect();
    let created: Vec<_> = again.iter().map(|subject| subject.created).collect();
    assert_eq!(created, [true, false, false, false], "twice in a call is once");
    assert_eq!(
        (&again[1].id, &again[2].id),
        (&first[1].as_ref().unwrap().id, &first[0].as_ref().unwrap().id)
    );
    assert_eq!((&again[0].id, again[0].version_id), (&again[3].id, again[3].version_id));
    // By whichever family: another person.
    operator.create_family(TENANT, "payroll").await.unwrap();
    let elsewhere = operator.ensure(TENANT, "payroll", &["one"]).await.unwrap().remove(0).unwrap();
    assert!(elsewhere.created && elsewhere.id != again[2].id);
}

#[tokio::test]
async fn a_family_seals_nothing_itself_and_a_plain_key_has_no_subjects() {
    let (_place, _server, operator, attendance) = ground().await;
    let family = operator.describe_key(TENANT, FAMILY).await.unwrap();
    assert!(family.family && family.versions.is_empty() && family.active_version == 0);
    assert_eq!(family.state(), State::Active);
    let bound = context(&[("row", "1")]);
    assert_eq!(attendance.encrypt(TENANT, FAMILY, b"x", bound.clone()).await, Err(Reason::KeyIsFamily));
    let to_seal = ask::item::Item::Current(ask::Current { key: FAMILY.into(), deterministic: false });
    assert_eq!(lease_one(&attendance, to_seal).await, Err(Reason::KeyIsFamily));
    let destroyed = answer(operator.keys().destroy_key(api::destroy(TENANT, FAMILY, None)).await);
    assert_eq!(destroyed.map(drop), Err(Reason::KeyIsFamily));
    // The control: its subject does.
    attendance.ensure(TENANT, FAMILY, &["one"]).await.unwrap().remove(0).unwrap();
    assert!(attendance.encrypt(TENANT, &key("one"), b"x", bound).await.is_ok());

    operator.create_key(TENANT, "plain").await.unwrap();
    let refused = operator.ensure(TENANT, "plain", &["one"]).await;
    assert_eq!(refused.map(drop), Err(Reason::KeyIsNoFamily));
    for bad in ["", "a/b", "//", "\u{e9}"] {
        let mixed = attendance.ensure(TENANT, FAMILY, &[bad, "one"]).await.unwrap();
        assert_eq!(mixed[0].as_ref().map(drop), Err(&Reason::NameInvalid), "{bad}");
        assert!(!mixed[1].as_ref().unwrap().created);
    }
}

#[tokio::test]
async fn subjects_are_sealed_for_apart_and_opened_by_name_by_version_and_by_id() {
    let (place, mut server, mut operator, mut attendance) = ground().await;
    let ensured = attendance.ensure(TENANT, FAMILY, &["one", "two"]).await.unwrap();
    let id = hex::encode(&ensured[0].as_ref().unwrap().id);
    let bound = || field("checkins", "phone", "1");
    let sealed = attendance.encrypt(TENANT, &key("one"), b"138", bound()).await.unwrap();
    let other = attendance.decrypt(TENANT, &key("two"), &sealed, bound()).await;
    assert_eq!(other, Err(Reason::KeyNotAccessible), "another subject's");
    let by_id = format!("{FAMILY}//{id}");
    for restarted in [false, true] {
        for name in [&key("one"), &by_id] {
            assert_eq!(attendance.decrypt(TENANT, name, &sealed, bound()).await.unwrap(), b"138", "{name}");
        }
        assert_eq!(operator.describe_key(TENANT, &key("one")).await.unwrap().name, by_id);
        if !restarted {
            server.kill();
            server = place.start();
            (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
        }
    }
    let leased = lease(&attendance, vec![current("two"), current("one"), current("nobody")]).await;
    assert_eq!(leased[2], Err(Reason::KeyNotAccessible));
    let [two, one] = [leased[0].clone().unwrap(), leased[1].clone().unwrap()];
    assert_eq!((&*two.key, &*one.key), (&*key("two"), &*key("one")));
    assert_ne!(one.data_key, two.data_key);
    let again = lease(&attendance, vec![existing(&one, ""), existing(&one, &key("one"))]).await;
    assert!(again.iter().all(|again| again.as_ref().unwrap().data_key == one.data_key));
    assert_eq!(again[0].as_ref().unwrap().key, by_id, "whose it is it does not know");
    let lie = lease_one(&attendance, existing(&one, &key("two"))).await;
    assert_eq!(lie, Err(Reason::KeyNotAccessible), "naming another subject");
}

#[tokio::test]
async fn a_destroyed_subject_is_not_made_again_but_by_an_operators_word_and_others_are_untouched() {
    let (place, mut server, mut operator, mut attendance) = ground().await;
    attendance.ensure(TENANT, FAMILY, &["one", "two"]).await.unwrap();
    let bound = || context(&[("row", "1")]);
    let [one, two] = [
        attendance.encrypt(TENANT, &key("one"), b"1", bound()).await.unwrap(),
        attendance.encrypt(TENANT, &key("two"), b"2", bound()).await.unwrap(),
    ];
    let destroyed = operator.destroy(TENANT, &key("one"), None).await.unwrap();
    assert!(destroyed.effaced && destroyed.destroyed_versions == [1]);
    for restarted in [false, true] {
        let late = attendance.ensure(TENANT, FAMILY, &["one", "two"]).await.unwrap();
        assert_eq!(late[0].as_ref().map(drop), Err(&Reason::KeyDestroyed), "a tombstone stays");
        assert!(!late[1].as_ref().unwrap().created);
        let gone = attendance.decrypt(TENANT, &key("one"), &one, bound()).await;
        assert_eq!(gone, Err(Reason::KeyDestroyed));
        assert_eq!(attendance.decrypt(TENANT, &key("two"), &two, bound()).await.unwrap(), b"2");
        if !restarted {
            server.kill();
            server = place.start();
            (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
        }
    }
    assert_eq!(create_subject(&attendance, "one").await, Err(Reason::KeyNotAccessible), "no operator");
    let made = create_subject(&operator, "one").await.unwrap();
    assert_eq!((made.active_version, made.state()), (2, State::Active), "numbers go on");
    assert_eq!(create_subject(&operator, "one").await, Err(Reason::AlreadyExists));
    let gone = attendance.decrypt(TENANT, &key("one"), &one, bound()).await;
    assert_eq!(gone, Err(Reason::KeyDestroyed), "what was sealed before stays closed");
    assert!(attendance.encrypt(TENANT, &key("one"), b"1", bound()).await.is_ok());
    let own = operator.create_key_of(TENANT, &key("x"), v1::KeyClass::L3).await;
    assert_eq!(own.map(drop), Err(Reason::FieldInvalid), "settings are the family's");
}

#[tokio::test]
async fn a_subject_gets_its_new_version_when_it_next_seals_after_its_family_was_rotated() {
    let (_place, _server, operator, attendance) = ground().await;
    attendance.ensure(TENANT, FAMILY, &["leases", "sealed", "idle"]).await.unwrap();
    let old = lease_one(&attendance, current("leases")).await.unwrap();
    assert!(operator.rotate(TENANT, FAMILY).await.unwrap().versions.is_empty());
    let versions =
        async |subject: &str| operator.describe_key(TENANT, &key(subject)).await.unwrap().versions.len();
    assert_eq!(versions("leases").await, 1, "no sweep");
    let new = lease_one(&attendance, current("leases")).await.unwrap();
    assert_eq!((old.version, new.version), (1, 2));
    assert_eq!(lease_one(&attendance, current("leases")).await.unwrap().version, 2, "once");
    assert_eq!(lease_one(&attendance, existing(&old, "")).await.unwrap().data_key, old.data_key);
    attendance.encrypt(TENANT, &key("sealed"), b"x", context(&[("row", "1")])).await.unwrap();
    assert_eq!((versions("sealed").await, versions("idle").await), (2, 1));
    // One made after the rotation is not behind.
    attendance.ensure(TENANT, FAMILY, &["later"]).await.unwrap();
    assert_eq!(lease_one(&attendance, current("later")).await.unwrap().version, 1);
}

#[tokio::test]
async fn subjects_have_the_settings_of_their_family_and_stop_with_it() {
    let (_place, _server, operator, attendance) = ground().await;
    attendance.ensure(TENANT, FAMILY, &["one"]).await.unwrap();
    let bound = || context(&[("row", "1")]);
    let sealed = attendance.encrypt(TENANT, &key("one"), b"1", bound()).await.unwrap();
    let update = |key: String| v1::UpdateKeyRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        key,
        lease: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
        ..v1::UpdateKeyRequest::default()
    };
    let own = answer(operator.keys().update_key(update(key("one"))).await);
    assert_eq!(own.map(drop), Err(Reason::FieldInvalid));
    answer(operator.keys().update_key(update(FAMILY.into())).await).unwrap();
    assert_eq!(lease_one(&attendance, current("one")).await.unwrap().lease.unwrap().seconds, 7);

    operator.suspend(TENANT, FAMILY).await.unwrap();
    assert_eq!(attendance.decrypt(TENANT, &key("one"), &sealed, bound()).await, Err(Reason::KeySuspended));
    assert_eq!(operator.describe_key(TENANT, &key("one")).await.unwrap().state(), State::Suspended);
    assert_eq!(attendance.ensure(TENANT, FAMILY, &["new"]).await.map(drop), Err(Reason::KeySuspended));
    assert_eq!(operator.rotate(TENANT, &key("one")).await.map(drop), Err(Reason::KeySuspended));
    operator.resume(TENANT, FAMILY).await.unwrap();
    assert_eq!(operator.rotate(TENANT, &key("one")).await.unwrap().active_version, 2, "and not 3");
    assert!(attendance.decrypt(TENANT, &key("one"), &sealed, bound()).await.is_ok());
    operator.suspend(TENANT, &key("one")).await.unwrap();
    assert_eq!(attendance.decrypt(TENANT, &key("one"), &sealed, bound()).await, Err(Reason::KeySuspended));
}

#[tokio::test]
async fn subjects_are_listed_by_id_a_page_at_a_time_and_not_among_the_tenants_keys() {
    let (_place, _server, operator, attendance) = ground().await;
    operator.create_key(TENANT, "plain").await.unwrap();
    let ensured = attendance.ensure(TENANT, FAMILY, &["a", "b", "c"]).await.unwrap();
    let names =
        |page: &v1::ListKeysResponse| page.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    let keys = list(&operator, "", String::new()).await;
    assert_eq!(names(&keys), [FAMILY, "plain"]);
    let after = list(&operator, "", keys.next_page_token).await;
    assert!(after.keys.is_empty() && after.next_page_token.is_empty());

    let first = list(&operator, FAMILY, String::new()).await;
    let second = list(&operator, FAMILY, first.next_page_token.clone()).await;
    let mut expected: Vec<_> = ensured
        .iter()
        .map(|subject| format!("{FAMILY}//{}", hex::encode(&subject.as_ref().unwrap().id)))
        .collect();
    expected.sort();
    assert_eq!([names(&first), names(&second)].concat(), expected);
    assert!(second.next_page_token.is_empty());
    assert!(list(&operator, "plain", String::new()).await.keys.is_empty());
}

#[tokio::test]
async fn nobody_without_leave_ensures_and_who_looks_at_the_subject_is_told_it() {
    let (place, server, operator, attendance) = ground().await;
    let portal = Api::of(&place, "hr-portal").await;
    assert_eq!(portal.ensure(TENANT, FAMILY, &["one"]).await.map(drop), Err(Reason::KeyNotAccessible));
    operator.create_family(TENANT, "payroll").await.unwrap();
    let elsewhere = attendance.ensure(TENANT, "payroll", &["one"]).await;
    assert_eq!(elsewhere.map(drop), Err(Reason::KeyNotAccessible));

    attendance.ensure(TENANT, FAMILY, &["one", "two"]).await.unwrap();
    let [one, two] = [current("one"), current("two")];
    let [one, two] = [lease_one(&attendance, one).await.unwrap(), lease_one(&attendance, two).await.unwrap()];
    std::fs::write(
        place.path("policies/kept.cedar"),
        r#"@id("kept") @says("nobody seals or opens for one")
           forbid (principal, action in [Action::"seals", Action::"opens"], resource is Key)
           when { resource has subject && resource.subject == "one" };"#,
    )
    .unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    let denied = Err(Reason::KeyNotAccessible);
    assert_eq!(lease_one(&attendance, current("one")).await, denied);
    assert!(lease_one(&attendance, current("two")).await.is_ok());
    // ATTACK: by its version it would not be known whose it is.
    assert_eq!(lease_one(&attendance, existing(&one, "")).await, denied);
    assert_eq!(lease_one(&attendance, existing(&two, "")).await, denied, "nor that it is not");
    assert_eq!(lease_one(&attendance, existing(&one, &key("two"))).await, denied);
    assert_eq!(lease_one(&attendance, existing(&one, &key("one"))).await, denied);
    assert!(lease_one(&attendance, existing(&two, &key("two"))).await.is_ok());
}

#[tokio::test]
async fn the_names_of_subjects_are_in_no_file_and_no_log_whatever_was_done_with_them() {
    let (place, server, operator, attendance) = ground().await;
    let names: Vec<String> = (0..100).map(|number| format!("Zebediah-Q-{number:04}-surname")).collect();
    attendance.ensure(TENANT, FAMILY, &names).await.unwrap();
    let items = names.iter().map(|name| current(name)).collect();
    let leased = lease(&attendance, items).await;
    assert!(leased.iter().all(Result::is_ok));
    operator.rotate(TENANT, FAMILY).await.unwrap();
    for name in &names[..10] {
        let sealed = attendance.encrypt(TENANT, &key(name), b"x", context(&[("row", "1")])).await.unwrap();
        attendance.decrypt(TENANT, &key(name), &sealed, context(&[("row", "2")])).await.unwrap_err();
        operator.suspend(TENANT, &key(name)).await.unwrap();
        operator.resume(TENANT, &key(name)).await.unwrap();
        operator.rotate(TENANT, &key(name)).await.unwrap();
    }
    let later = v1::DestroyKeyRequest {
        window: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..api::destroy(TENANT, &key(&names[0]), None)
    };
    answer(operator.keys().destroy_key(later).await).unwrap();
    operator.destroy(TENANT, &key(&names[1]), None).await.unwrap();
    for key in [key(&names[1]), FAMILY.into()] {
        let subject = v1::Subject { tenant: TENANT.into(), key, ..v1::Subject::default() };
        let message = v1::GetCertificateRequest { subject: Some(subject), earlier_sizes: Vec::new() };
        operator.log().get_certificate(message).await.ok();
    }
    create_subject(&operator, &names[1]).await.unwrap();
    create_subject(&operator, "Zebediah-Q-9999-surname").await.unwrap();
    let portal = Api::of(&place, "hr-portal").await;
    portal.encrypt(TENANT, &key(&names[2]), b"x", context(&[("row", "1")])).await.unwrap_err();
    attendance.encrypt(TENANT, &key("Zebediah-Q-8888-surname"), b"x", context(&[])).await.unwrap_err();

    let log = server.log();
    server.terminate();
    // What all of the names begin with, looked for in one pass.
    assert!(names.iter().all(|name| name.starts_with("Zebediah-Q-")));
    let needles = Needles::of(b"Zebediah-Q-");
    assert_eq!(needles.files(&place.dir()), Vec::<std::path::PathBuf>::new());
    assert!(!needles.are_in(log.as_bytes()));
    let family = Needles::of(FAMILY.as_bytes()).files(&place.dir());
    let inside =
        |part: &str| family.iter().any(|file| file.strip_prefix(place.dir()).unwrap().starts_with(part));
    assert!(inside("store") && inside("audit"), "the control: {family:?}");
}
