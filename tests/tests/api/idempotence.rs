//! The same request twice, and two operators at once.

use kms_proto::{reason::Reason, v1};
use kms_tests::api::{self, Answer, Api, KEY, TENANT, answer, fresh, started};

async fn create(api: &Api, request_id: &str, key: &str) -> Answer<v1::Key> {
    let message = v1::CreateKeyRequest {
        request_id: request_id.into(),
        tenant: TENANT.into(),
        key: key.into(),
        ..v1::CreateKeyRequest::default()
    };
    answer(api.keys().create_key(message).await)
}

fn rotate(request_id: &str, expected_revision: Option<u64>) -> v1::RotateKeyRequest {
    v1::RotateKeyRequest {
        request_id: request_id.into(),
        tenant: TENANT.into(),
        key: KEY.into(),
        expected_revision,
        deterministic: false,
    }
}

#[tokio::test]
async fn the_same_request_twice_happens_once_and_answers_alike_also_after_a_restart() {
    let (place, server, operator, _) = started().await;
    let id = fresh();
    let made = create(&operator, &id, "payroll").await.unwrap();
    assert_eq!(create(&operator, &id, "payroll").await.unwrap(), made);
    let turn = rotate(&fresh(), None);
    let rotated = answer(operator.keys().rotate_key(turn.clone()).await).unwrap();
    assert_eq!(answer(operator.keys().rotate_key(turn.clone()).await).unwrap(), rotated);
    let end = api::destroy(TENANT, KEY, Some(1));
    let destroyed = answer(operator.keys().destroy_key(end.clone()).await).unwrap();
    assert_eq!(answer(operator.keys().destroy_key(end.clone()).await).unwrap(), destroyed);

    server.kill();
    let _server = place.start();
    let operator = Api::of(&place, "operator").await;
    assert_eq!(create(&operator, &id, "payroll").await.unwrap(), made);
    assert_eq!(answer(operator.keys().destroy_key(end).await).unwrap(), destroyed);
    assert_eq!(answer(operator.keys().rotate_key(turn).await).unwrap().versions.len(), 2, "no third version");
}

#[tokio::test]
async fn a_request_id_with_other_content_is_refused_and_nothing_happens() {
    let (_place, _server, operator, _) = started().await;
    let id = fresh();
    create(&operator, &id, "payroll").await.unwrap();
    assert_eq!(create(&operator, &id, "billing").await.map(drop), Err(Reason::RequestIdReused));
    assert_eq!(operator.describe_key(TENANT, "billing").await.map(drop), Err(Reason::KeyNotAccessible));
    let id = fresh();
    operator.rotate(TENANT, KEY).await.unwrap();
    answer(operator.keys().rotate_key(rotate(&id, None)).await).unwrap();
    let other = answer(operator.keys().rotate_key(rotate(&id, Some(3))).await);
    assert_eq!(other.map(drop), Err(Reason::RequestIdReused));
}

#[tokio::test]
async fn request_ids_of_two_operators_and_of_two_operations_do_not_meet() {
    let (place, _server, operator, _) = started().await;
    let second = Api::of(&place, "second-operator").await;
    let id = fresh();
    create(&operator, &id, "payroll").await.unwrap();
    create(&second, &id, "billing").await.unwrap();
    let rotated = answer(operator.keys().rotate_key(rotate(&id, None)).await).unwrap();
    assert_eq!(rotated.active_version, 2);
}

#[tokio::test]
async fn a_request_that_failed_may_be_made_again_with_its_id() {
    let (_place, _server, operator, _) = started().await;
    let id = fresh();
    assert_eq!(create(&operator, &id, KEY).await.map(drop), Err(Reason::AlreadyExists));
    operator.destroy(TENANT, KEY, None).await.unwrap();
    assert!(create(&operator, &id, KEY).await.is_ok());
}

#[tokio::test]
async fn a_request_id_must_be_there_and_be_a_uuid() {
    let (_place, _server, operator, _) = started().await;
    assert_eq!(create(&operator, "", "payroll").await.map(drop), Err(Reason::FieldRequired));
    for bad in ["1", "not-a-uuid", "123e4567-e89b-12d3-a456-42661417400"] {
        assert_eq!(create(&operator, bad, "payroll").await.map(drop), Err(Reason::RequestIdInvalid), "{bad}");
    }
}

#[tokio::test]
async fn of_sixteen_equal_requests_at_once_one_happens() {
    let (_place, _server, operator, _) = started().await;
    let id = fresh();
    let calls = (0..16).map(|_| {
        let (api, message) = (operator.clone(), rotate(&id, None));
        tokio::spawn(async move { answer(api.keys().rotate_key(message).await).unwrap().active_version })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), 2);
    }
    assert_eq!(operator.describe_key(TENANT, KEY).await.unwrap().versions.len(), 2);
}

#[tokio::test]
async fn every_change_on_a_stale_revision_is_refused_and_on_the_current_one_done() {
    let (_place, _server, operator, _) = started().await;
    // What each change is asked on: revision `expected` of the key or of the tenant.
    async fn change(api: &Api, what: &str, expected: u64) -> Answer<u64> {
        let (request_id, tenant, key) = (fresh(), TENANT.to_owned(), KEY.to_owned());
        let expected_revision = Some(expected);
        let mut keys = api.keys();
        let of_key = |key: v1::Key| key.revision;
        let of_tenant = |tenant: v1::Tenant| tenant.revision;
        match what {
            "update key" => {
                let message = v1::UpdateKeyRequest {
                    request_id,
                    tenant,
                    key,
                    expected_revision,
                    lease: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
                    ..v1::UpdateKeyRequest::default()
                };
                answer(keys.update_key(message).await).map(of_key)
            }
            "suspend key" => {
                let message = v1::SuspendKeyRequest { request_id, tenant, key, expected_revision };
                answer(keys.suspend_key(message).await).map(of_key)
            }
            "resume key" => {
                let message = v1::ResumeKeyRequest { request_id, tenant, key, expected_revision };
                answer(keys.resume_key(message).await).map(of_key)
            }
            "rotate key" => answer(keys.rotate_key(rotate(&request_id, expected_revision)).await).map(of_key),
            "destroy key" => {
                let message =
                    v1::DestroyKeyRequest { expected_revision, ..api::destroy(&tenant, &key, None) };
                answer(keys.destroy_key(message).await).map(|destroyed| destroyed.key.unwrap().revision)
            }
            "update tenant" => {
                let label = Some("new".into());
                let message = v1::UpdateTenantRequest { request_id, tenant, expected_revision, label };
                answer(keys.update_tenant(message).await).map(of_tenant)
            }
            "suspend tenant" => {
                let message = v1::SuspendTenantRequest { request_id, tenant, expected_revision };
                answer(keys.suspend_tenant(message).await).map(of_tenant)
            }
            "resume tenant" => {
                let message = v1::ResumeTenantRequest { request_id, tenant, expected_revision };
                answer(keys.resume_tenant(message).await).map(of_tenant)
            }
            "destroy tenant" => {
                let message = v1::DestroyTenantRequest {
                    request_id,
                    tenant,
                    reason: v1::DestroyReason::Test.into(),
                    expected_revision,
                    ..v1::DestroyTenantRequest::default()
                };
                answer(keys.destroy_tenant(message).await).map(|destroyed| destroyed.tenant.unwrap().revision)
            }
            other => panic!("{other}"),
        }
    }
    for changes in [
        ["update key", "suspend key", "resume key", "rotate key", "destroy key"].as_slice(),
        &["update tenant", "suspend tenant", "resume tenant", "destroy tenant"],
    ] {
        for (revision, what) in (1..).zip(changes) {
            for stale in [revision - 1, revision + 1] {
                assert_eq!(change(&operator, what, stale).await, Err(Reason::RevisionMismatch), "{what}");
            }
            assert_eq!(change(&operator, what, revision).await, Ok(revision + 1), "{what}");
        }
    }
}

#[tokio::test]
async fn of_two_operators_on_one_revision_one_is_told() {
    let (place, _server, operator, _) = started().await;
    let second = Api::of(&place, "second-operator").await;
    let (first, other) = (rotate(&fresh(), Some(1)), rotate(&fresh(), Some(1)));
    let (mut keys, mut other_keys) = (operator.keys(), second.keys());
    let (one, two) = tokio::join!(keys.rotate_key(first), other_keys.rotate_key(other));
    let mut told = [answer(one).map(drop), answer(two).map(drop)];
    told.sort();
    assert_eq!(told, [Ok(()), Err(Reason::RevisionMismatch)]);
    assert_eq!(operator.describe_key(TENANT, KEY).await.unwrap().versions.len(), 2);
}
