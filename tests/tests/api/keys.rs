//! Tenants, keys and versions through their lives.

use kms_proto::{reason::Reason, v1};
use kms_tests::api::{Api, KEY, TENANT, answer, context, fresh, started};
use v1::LifecycleState as State;

fn states(key: &v1::Key) -> Vec<State> {
    key.versions.iter().map(v1::KeyVersion::state).collect()
}

#[tokio::test]
async fn a_new_key_says_what_it_was_given_and_defaults_to_l2() {
    let (_place, _server, operator, _) = started().await;
    let message = v1::CreateKeyRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        key: "payroll".into(),
        purposes: vec!["billing".into()],
        lease: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
        rotate_every: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        ..v1::CreateKeyRequest::default()
    };
    let made = answer(operator.keys().create_key(message).await).unwrap();
    assert_eq!((&*made.tenant, &*made.name), (TENANT, "payroll"));
    assert_eq!((made.key_class(), made.state(), made.revision), (v1::KeyClass::L2, State::Active, 1));
    assert_eq!((made.lease.unwrap().seconds, made.rotate_every.unwrap().seconds), (90, 86_400));
    assert_eq!(
        (made.purposes.clone(), made.active_version, made.uid.len()),
        (vec!["billing".to_owned()], 1, 16)
    );
    assert_eq!(states(&made), [State::Active]);
    assert_eq!(operator.describe_key(TENANT, "payroll").await.unwrap(), made);
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let (_place, _server, operator, _) = started().await;
    let before = operator.describe_key(TENANT, KEY).await.unwrap();
    let message = v1::UpdateKeyRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        key: KEY.into(),
        lease: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
        ..v1::UpdateKeyRequest::default()
    };
    let after = answer(operator.keys().update_key(message).await).unwrap();
    let expected = v1::Key { lease: after.lease, revision: before.revision + 1, ..before };
    assert_eq!((after.lease.unwrap().seconds, &after), (7, &expected));

    let message = v1::UpdateTenantRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        expected_revision: None,
        label: Some("Acme & Söhne".into()),
    };
    let tenant = answer(operator.keys().update_tenant(message).await).unwrap();
    assert_eq!((&*tenant.label, tenant.revision), ("Acme & Söhne", 2));
}

#[tokio::test]
async fn a_purpose_given_to_a_key_keeps_out_callers_without_it() {
    let (_place, _server, operator, attendance) = started().await;
    let message = v1::UpdateKeyRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        key: KEY.into(),
        purposes: Some(v1::Purposes { purposes: vec!["check-in".into()] }),
        ..v1::UpdateKeyRequest::default()
    };
    answer(operator.keys().update_key(message).await).unwrap();
    let seal = |bound| attendance.encrypt(TENANT, KEY, b"x", bound);
    assert!(seal(context(&[("purpose", "check-in")])).await.is_ok());
    assert_eq!(seal(context(&[("purpose", "curiosity")])).await, Err(Reason::KeyNotAccessible));
    assert_eq!(seal(context(&[])).await, Err(Reason::KeyNotAccessible));
}

#[tokio::test]
async fn an_update_is_decided_on_the_key_as_it_is_and_as_it_will_be() {
    let (place, server, operator, _) = started().await;
    std::fs::write(
        place.path("policies/guarded.cedar"),
        r#"@id("guarded") @says("nobody gives a key the purpose `guarded`, or takes it away")
           forbid (principal, action == Action::"UpdateKey", resource is Key)
           when { resource.purposes.contains("guarded") };"#,
    )
    .unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    let update = async |key: &str, purposes: Option<&[&str]>| {
        let purposes = purposes.map(|list| v1::Purposes {
            purposes: list.iter().map(|purpose| (*purpose).to_owned()).collect(),
        });
        let message = v1::UpdateKeyRequest {
            request_id: fresh(),
            tenant: TENANT.into(),
            key: key.into(),
            purposes,
            lease: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..v1::UpdateKeyRequest::default()
        };
        answer(operator.keys().update_key(message).await).map(|key| key.purposes)
    };
    assert_eq!(update(KEY, Some(&["open"])).await.unwrap(), ["open"]);
    assert_eq!(update(KEY, Some(&["open", "guarded"])).await, Err(Reason::KeyNotAccessible));
    assert_eq!(update(KEY, None).await.unwrap(), ["open"], "nothing of the denied one was done");
    let message = v1::CreateKeyRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        key: "vault".into(),
        purposes: vec!["guarded".into()],
        ..v1::CreateKeyRequest::default()
    };
    answer(operator.keys().create_key(message).await).unwrap();
    for purposes in [None, Some(["open"].as_slice())] {
        assert_eq!(update("vault", purposes).await, Err(Reason::KeyNotAccessible));
    }
}

#[tokio::test]
async fn a_rotated_key_seals_under_the_new_version_and_opens_under_both() {
    let (_place, _server, operator, attendance) = started().await;
    let old = attendance.encrypt(TENANT, KEY, b"old", context(&[])).await.unwrap();
    let rotated = operator.rotate(TENANT, KEY).await.unwrap();
    assert_eq!((rotated.active_version, states(&rotated)), (2, vec![State::Deactivated, State::Active]));
    let message = v1::EncryptRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        plaintext: b"new".into(),
        binding: Some(context(&[])),
        purpose: String::new(),
    };
    let new = answer(attendance.crypto().encrypt(message).await).unwrap();
    assert_eq!(new.version, 2);
    assert_eq!(attendance.decrypt(TENANT, KEY, &old, context(&[])).await.unwrap(), b"old");
    assert_eq!(attendance.decrypt(TENANT, KEY, &new.ciphertext, context(&[])).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_suspended_key_neither_seals_nor_opens_nor_leases_until_it_is_resumed() {
    let (_place, _server, operator, attendance) = started().await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    assert_eq!(operator.suspend(TENANT, KEY).await.unwrap().state(), State::Suspended);
    unusable(&attendance, &sealed, Reason::KeySuspended).await;
    assert_eq!(operator.rotate(TENANT, KEY).await.map(drop), Err(Reason::StateForbids));
    assert_eq!(operator.resume(TENANT, KEY).await.unwrap().state(), State::Active);
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
    assert!(attendance.encrypt(TENANT, KEY, b"y", context(&[])).await.is_ok());
}

#[tokio::test]
async fn a_suspended_key_stays_suspended_when_its_active_version_is_destroyed() {
    let (_place, _server, operator, attendance) = started().await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();
    operator.suspend(TENANT, KEY).await.unwrap();
    let destroyed = operator.destroy(TENANT, KEY, Some(2)).await.unwrap();
    assert_eq!(destroyed.key.unwrap().state(), State::Suspended);
    unusable(&attendance, &sealed, Reason::KeySuspended).await;
    assert_eq!(operator.rotate(TENANT, KEY).await.map(drop), Err(Reason::StateForbids));
    // Resumed, it is what its versions make of it: it opens, and seals again once it is rotated.
    assert_eq!(operator.resume(TENANT, KEY).await.unwrap().state(), State::Deactivated);
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
    let refused = attendance.encrypt(TENANT, KEY, b"y", context(&[])).await;
    assert_eq!(refused, Err(Reason::KeyDeactivated));
    operator.suspend(TENANT, KEY).await.unwrap();
    let destroyed = operator.destroy(TENANT, KEY, None).await.unwrap();
    assert_eq!(destroyed.key.unwrap().state(), State::Erased);
    assert_eq!(operator.resume(TENANT, KEY).await.map(drop), Err(Reason::KeyDestroyed));
}

#[tokio::test]
async fn a_suspended_tenant_stops_its_keys_and_nobody_elses() {
    let (_place, _server, operator, attendance) = started().await;
    operator.create_tenant("umbrella").await.unwrap();
    operator.create_key("umbrella", KEY).await.unwrap();
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    let (request_id, tenant) = (fresh(), TENANT.to_owned());
    let message = v1::SuspendTenantRequest { request_id, tenant, expected_revision: None };
    assert_eq!(answer(operator.keys().suspend_tenant(message).await).unwrap().state(), State::Suspended);
    unusable(&attendance, &sealed, Reason::TenantSuspended).await;
    assert_eq!(operator.create_key(TENANT, "other").await.map(drop), Err(Reason::TenantSuspended));
    assert!(attendance.encrypt("umbrella", KEY, b"y", context(&[])).await.is_ok());
    let (request_id, tenant) = (fresh(), TENANT.to_owned());
    let message = v1::ResumeTenantRequest { request_id, tenant, expected_revision: None };
    assert_eq!(answer(operator.keys().resume_tenant(message).await).unwrap().state(), State::Active);
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
}

/// Every way to use the key is refused with this reason.
async fn unusable(service: &Api, sealed: &[u8], reason: Reason) {
    use v1::open_data_keys_request::{Current, Item, item};
    assert_eq!(service.encrypt(TENANT, KEY, b"y", context(&[])).await, Err(reason));
    assert_eq!(service.decrypt(TENANT, KEY, sealed, context(&[])).await, Err(reason));
    let message = v1::ReEncryptRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        ciphertext: sealed.into(),
        source_binding: Some(context(&[])),
        ..v1::ReEncryptRequest::default()
    };
    assert_eq!(answer(service.crypto().re_encrypt(message).await).map(drop), Err(reason));
    let message = v1::GenerateDataKeyRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        ..v1::GenerateDataKeyRequest::default()
    };
    assert_eq!(answer(service.crypto().generate_data_key(message).await).map(drop), Err(reason));
    let current = item::Item::Current(Current { key: KEY.into(), deterministic: false });
    let message = v1::OpenDataKeysRequest {
        tenant: TENANT.into(),
        items: vec![Item { item: Some(current) }],
        ..v1::OpenDataKeysRequest::default()
    };
    let leased = answer(service.crypto().open_data_keys(message).await).unwrap();
    match leased.items[0].outcome.as_ref().unwrap() {
        v1::open_data_keys_response::item::Outcome::Error(error) => assert_eq!(error.reason, reason.as_str()),
        leased => panic!("{leased:?} although {reason:?}"),
    }
}

#[tokio::test]
async fn a_destroyed_version_takes_its_values_along_and_no_others() {
    let (_place, _server, operator, attendance) = started().await;
    let mut sealed = Vec::new();
    for round in 0..3 {
        sealed.push(attendance.encrypt(TENANT, KEY, &[round], context(&[])).await.unwrap());
        operator.rotate(TENANT, KEY).await.unwrap();
    }
    let destroyed = operator.destroy(TENANT, KEY, Some(2)).await.unwrap();
    assert_eq!((destroyed.destroyed_versions, destroyed.effaced), (vec![2], true));
    let key = destroyed.key.unwrap();
    assert_eq!(states(&key), [State::Deactivated, State::Erased, State::Deactivated, State::Active]);
    assert!(key.versions[1].destroyed.is_some() && key.versions[0].destroyed.is_none());
    let opened = attendance.decrypt_each(TENANT, KEY, sealed, &context(&[])).await;
    assert_eq!(opened, [Ok(vec![0]), Err(Reason::KeyDestroyed), Ok(vec![2])]);
    assert_eq!(operator.destroy(TENANT, KEY, Some(2)).await.map(drop), Err(Reason::KeyDestroyed));
    assert_eq!(operator.destroy(TENANT, KEY, Some(9)).await.map(drop), Err(Reason::VersionNotFound));
}

#[tokio::test]
async fn a_key_without_its_active_version_opens_and_seals_again_after_a_rotation() {
    let (_place, _server, operator, attendance) = started().await;
    let sealed = attendance.encrypt(TENANT, KEY, b"one", context(&[])).await.unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();
    operator.destroy(TENANT, KEY, Some(2)).await.unwrap();
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"one");
    let refused = attendance.encrypt(TENANT, KEY, b"two", context(&[])).await;
    assert_eq!(refused, Err(Reason::KeyDeactivated));
    assert_eq!(operator.rotate(TENANT, KEY).await.unwrap().active_version, 3);
    assert!(attendance.encrypt(TENANT, KEY, b"three", context(&[])).await.is_ok());
}

#[tokio::test]
async fn the_name_of_a_destroyed_key_is_free_and_its_old_values_stay_closed() {
    let (_place, _server, operator, attendance) = started().await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    let first = operator.rotate(TENANT, KEY).await.unwrap();
    let destroyed = operator.destroy(TENANT, KEY, None).await.unwrap();
    assert_eq!(destroyed.destroyed_versions, [1, 2]);
    assert_eq!(destroyed.key.unwrap().state(), State::Erased);
    let refused = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await;
    assert_eq!(refused, Err(Reason::KeyDestroyed));
    assert_eq!(operator.resume(TENANT, KEY).await.map(drop), Err(Reason::KeyDestroyed));
    assert_eq!(operator.rotate(TENANT, KEY).await.map(drop), Err(Reason::KeyDestroyed));

    let second = operator.create_key(TENANT, KEY).await.unwrap();
    assert_ne!(second.uid, first.uid);
    assert_eq!((second.active_version, second.versions.len()), (3, 1), "numbers go on");
    let opened = attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await;
    assert_eq!(opened, Err(Reason::KeyDestroyed));
    assert!(attendance.encrypt(TENANT, KEY, b"y", context(&[])).await.is_ok());
    assert_eq!(operator.create_key(TENANT, KEY).await.map(drop), Err(Reason::AlreadyExists));
}

#[tokio::test]
async fn a_destroyed_tenant_takes_every_key_along_and_its_name_is_free() {
    let (_place, _server, operator, attendance) = started().await;
    let first = operator.describe_key(TENANT, KEY).await.unwrap();
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    let destroyed = operator.destroy_tenant(TENANT).await.unwrap();
    assert!(destroyed.effaced);
    assert_eq!(destroyed.tenant.as_ref().unwrap().state(), State::Erased);
    let gone = operator.describe_key(TENANT, KEY).await.unwrap();
    assert_eq!((gone.state(), gone.active_version, gone.deterministic_version), (State::Erased, 0, 0));
    assert!(states(&gone) == [State::Erased] && gone.versions[0].destroyed.is_some());
    let refused = [Err(Reason::TenantDestroyed), Err(Reason::KeyDestroyed)];
    assert!(refused.contains(&attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await));
    assert!(refused.contains(&attendance.encrypt(TENANT, KEY, b"y", context(&[])).await));
    assert_eq!(operator.create_key(TENANT, "other").await.map(drop), Err(Reason::TenantDestroyed));

    let second = operator.create_tenant(TENANT).await.unwrap();
    assert_ne!(second.slot, destroyed.tenant.unwrap().slot);
    let nothing = attendance.encrypt(TENANT, KEY, b"y", context(&[])).await;
    assert_eq!(nothing, Err(Reason::KeyNotAccessible), "the new tenant has no keys");
    let key = operator.create_key(TENANT, KEY).await.unwrap();
    assert_ne!((key.uid, key.versions[0].id), (first.uid, first.versions[0].id));
    let opened = attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await;
    assert_eq!(opened, Err(Reason::KeyNotAccessible));
    assert_eq!(operator.create_tenant(TENANT).await.map(drop), Err(Reason::AlreadyExists));
}

#[tokio::test]
async fn lists_are_complete_in_order_and_a_page_at_a_time() {
    let (_place, _server, operator, _) = started().await;
    for at in 0..4 {
        operator.create_tenant(&format!("tenant-{at}")).await.unwrap();
        operator.create_key(TENANT, &format!("key-{at}")).await.unwrap();
        operator.rotate(TENANT, KEY).await.unwrap();
    }
    let (mut tenants, mut keys, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    let mut page_token = String::new();
    loop {
        let message = v1::ListTenantsRequest { page_size: 2, page_token };
        let page = answer(operator.keys().list_tenants(message).await).unwrap();
        assert!(page.tenants.len() <= 2);
        tenants.extend(page.tenants.into_iter().map(|tenant| tenant.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    loop {
        let message =
            v1::ListKeysRequest { tenant: TENANT.into(), page_size: 2, page_token, family: String::new() };
        let page = answer(operator.keys().list_keys(message).await).unwrap();
        keys.extend(page.keys.into_iter().map(|key| key.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    loop {
        let message =
            v1::ListVersionsRequest { tenant: TENANT.into(), key: KEY.into(), page_size: 2, page_token };
        let page = answer(operator.keys().list_versions(message).await).unwrap();
        versions.extend(page.versions.into_iter().map(|version| version.version));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(tenants, [TENANT, "tenant-0", "tenant-1", "tenant-2", "tenant-3"]);
    assert_eq!(keys, [KEY, "key-0", "key-1", "key-2", "key-3"]);
    assert_eq!(versions, [1, 2, 3, 4, 5]);

    let first = v1::ListTenantsRequest { page_size: 2, page_token: String::new() };
    let of_tenants = answer(operator.keys().list_tenants(first).await).unwrap().next_page_token;
    for page_token in [of_tenants, "!".into(), "bm90IG91cnM".into()] {
        let message =
            v1::ListKeysRequest { tenant: TENANT.into(), page_size: 2, page_token, family: String::new() };
        let refused = answer(operator.keys().list_keys(message).await);
        assert_eq!(refused.map(drop), Err(Reason::PageTokenInvalid));
    }
}

#[tokio::test]
async fn a_subject_is_made_under_a_family_only_and_a_family_under_a_name_that_no_key_had() {
    let (_place, _server, operator, _) = started().await;
    let create = async |key: &str, family| {
        let message = v1::CreateKeyRequest {
            request_id: fresh(),
            tenant: TENANT.into(),
            key: key.into(),
            family,
            ..v1::CreateKeyRequest::default()
        };
        answer(operator.keys().create_key(message).await).map(drop)
    };
    assert_eq!(create("attendance/employee-17", false).await, Err(Reason::KeyIsNoFamily));
    assert_eq!(create("nothing/employee-17", false).await, Err(Reason::KeyNotAccessible));
    let by_id = format!("attendance//{}", "ab".repeat(16));
    assert_eq!(create(&by_id, false).await, Err(Reason::NameInvalid));
    operator.destroy(TENANT, KEY, None).await.unwrap();
    assert_eq!(create(KEY, true).await, Err(Reason::StateForbids));
    assert_eq!(create("people", true).await, Ok(()));
    assert_eq!(create("people/employee-17", true).await, Err(Reason::FieldInvalid));
    assert_eq!(create("people/employee-17", false).await, Ok(()));
}
