//! What the server does by itself later: destructions that can be called off until then, rotations by period.

use kms_proto::{reason::Reason, v1};
use kms_tests::{
    Place,
    api::{self, Api, KEY, TENANT, answer, context, fresh, named, started},
};
use serde_json::Value;
use v1::LifecycleState as State;

const HOUR: i64 = 3600;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

async fn schedule(operator: &Api, version: Option<u32>, window: i64) -> Result<v1::Key, Reason> {
    let message = v1::DestroyKeyRequest { window: seconds(window), ..api::destroy(TENANT, KEY, version) };
    answer(operator.keys().destroy_key(message).await).map(|scheduled| {
        assert_eq!((scheduled.destroyed_versions.len(), scheduled.epoch), (0, 0));
        scheduled.key.unwrap()
    })
}

async fn cancel(operator: &Api, version: Option<u32>) -> Result<v1::Key, Reason> {
    use v1::cancel_destroy_key_request::Target;
    let message = v1::CancelDestroyKeyRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        key: KEY.into(),
        target: Some(version.map_or(Target::All(true), Target::Version)),
        expected_revision: None,
    };
    answer(operator.keys().cancel_destroy_key(message).await)
}

/// Entries of the log of one type.
async fn logged(operator: &Api, kind: &str) -> Vec<Value> {
    let message = v1::ListEntriesRequest { start: 0, page_size: 1_000 };
    let page = answer(operator.log().list_entries(message).await).unwrap();
    let entries = page.entries.iter().map(|entry| serde_json::from_slice::<Value>(entry).unwrap());
    entries.filter(|entry| entry["type"] == kind).collect()
}

/// The next line of the audit about the server itself that says this.
async fn event(lines: &mut tonic::Streaming<v1::AuditLine>, event: &str) -> Value {
    loop {
        let line: Value = serde_json::from_str(&lines.message().await.unwrap().unwrap().json).unwrap();
        if line["event"] == event {
            return line;
        }
    }
}

async fn tail(compliance: &Api) -> tonic::Streaming<v1::AuditLine> {
    compliance.audit().tail_audit(v1::TailAuditRequest::default()).await.unwrap().into_inner()
}

async fn alarm(compliance: &Api, request_id: &str) -> Value {
    let filter = v1::AuditFilter { request_id: request_id.into(), ..v1::AuditFilter::default() };
    compliance.lines(filter).await.remove(0)["alarm"].clone()
}

async fn decrypt(api: &Api, id: &str, ciphertext: &[u8]) -> Result<Vec<u8>, Reason> {
    let message = v1::DecryptRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        ciphertext: ciphertext.into(),
        binding: Some(context(&[])),
        purpose: String::new(),
    };
    answer(api.crypto().decrypt(named(id, message)).await).map(|opened| opened.plaintext)
}

#[tokio::test]
async fn a_key_that_is_to_be_destroyed_opens_with_an_alarm_and_does_not_seal_until_that_is_called_off() {
    let (place, _server, operator, attendance) = started().await;
    let compliance = Api::of(&place, "compliance").await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    decrypt(&attendance, "before", &sealed).await.unwrap();
    assert_eq!(alarm(&compliance, "before").await, Value::Null);

    let key = schedule(&operator, None, HOUR).await.unwrap();
    assert_eq!((key.state(), key.versions[0].state()), (State::DestroyScheduled, State::DestroyScheduled));
    assert!(key.destroy_due.is_some());
    assert_eq!(decrypt(&attendance, "during", &sealed).await.unwrap(), b"x");
    assert_eq!(alarm(&compliance, "during").await, "destroy-scheduled");
    let refused = attendance.encrypt(TENANT, KEY, b"y", context(&[])).await;
    assert_eq!(refused, Err(Reason::KeyDeactivated));
    assert_eq!(operator.rotate(TENANT, KEY).await.map(drop), Err(Reason::StateForbids));
    assert_eq!(schedule(&operator, None, 2 * HOUR).await.map(drop), Err(Reason::StateForbids), "twice");
    // Suspending it shows who misses it; that does not call the destruction off.
    operator.suspend(TENANT, KEY).await.unwrap();
    assert_eq!(operator.resume(TENANT, KEY).await.unwrap().state(), State::DestroyScheduled);

    let key = cancel(&operator, None).await.unwrap();
    assert_eq!((key.state(), key.destroy_due), (State::Active, None));
    assert!(attendance.encrypt(TENANT, KEY, b"y", context(&[])).await.is_ok());
    decrypt(&attendance, "after", &sealed).await.unwrap();
    assert_eq!(alarm(&compliance, "after").await, Value::Null);
    assert_eq!(cancel(&operator, None).await.map(drop), Err(Reason::StateForbids), "nothing is scheduled");

    let (scheduled, cancelled) =
        (logged(&operator, "DESTROY_SCHEDULED").await, logged(&operator, "DESTROY_CANCELLED").await);
    assert_eq!((scheduled.len(), cancelled.len()), (1, 1));
    assert_eq!((&scheduled[0]["scope"], &scheduled[0]["reason"]), (&"key".into(), &"test".into()));
    assert_eq!(scheduled[0]["by"], operator.identity());
}

#[tokio::test]
async fn a_version_that_is_to_be_destroyed_is_replaced_or_seals_again_once_that_is_called_off() {
    let (place, _server, operator, attendance) = started().await;
    let compliance = Api::of(&place, "compliance").await;
    let sealed = attendance.encrypt(TENANT, KEY, b"one", context(&[])).await.unwrap();
    let key = schedule(&operator, Some(1), HOUR).await.unwrap();
    assert_eq!((key.state(), key.active_version), (State::Deactivated, 0));
    assert_eq!(key.versions[0].state(), State::DestroyScheduled);
    let refused = attendance.encrypt(TENANT, KEY, b"y", context(&[])).await;
    assert_eq!(refused, Err(Reason::KeyDeactivated));
    let key = cancel(&operator, Some(1)).await.unwrap();
    assert_eq!((key.state(), key.active_version, key.deterministic_version), (State::Active, 1, 1));

    schedule(&operator, Some(1), HOUR).await.unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();
    let second = attendance.encrypt(TENANT, KEY, b"two", context(&[])).await.unwrap();
    decrypt(&attendance, "first", &sealed).await.unwrap();
    decrypt(&attendance, "second", &second).await.unwrap();
    assert_eq!(alarm(&compliance, "first").await, "destroy-scheduled");
    assert_eq!(alarm(&compliance, "second").await, Value::Null, "the other version is not to be destroyed");
    let key = cancel(&operator, Some(1)).await.unwrap();
    assert_eq!(key.active_version, 2, "what took its place stays");
    assert_eq!(cancel(&operator, Some(1)).await.map(drop), Err(Reason::StateForbids));
    assert_eq!(cancel(&operator, Some(9)).await.map(drop), Err(Reason::VersionNotFound));

    // At once all the same: nothing is left that falls due.
    schedule(&operator, Some(1), HOUR).await.unwrap();
    assert_eq!(operator.destroy(TENANT, KEY, Some(1)).await.unwrap().destroyed_versions, [1]);
    assert_eq!(schedule(&operator, Some(1), HOUR).await.map(drop), Err(Reason::KeyDestroyed));
    assert_eq!(cancel(&operator, Some(1)).await.map(drop), Err(Reason::KeyDestroyed));
}

#[tokio::test]
async fn a_window_shorter_than_the_leases_of_what_seals_takes_force() {
    let (_place, _server, operator, attendance) = started().await;
    let records = attendance.kms.records(&TENANT.parse().unwrap(), &KEY.parse().unwrap());
    let column = kms_client::Column::randomized("checkins", "phone").unwrap();
    let row = kms_client::RecordId::try_from(&b"row-1"[..]).unwrap();
    records.seal(&column, &row, b"138 0013 8000").await.unwrap();
    assert_eq!(schedule(&operator, Some(1), 10).await.map(drop), Err(Reason::SealingLeasesRun));
    let message =
        v1::DestroyKeyRequest { window: seconds(10), force: true, ..api::destroy(TENANT, KEY, Some(1)) };
    assert!(answer(operator.keys().destroy_key(message).await).is_ok());
}

#[tokio::test]
async fn a_destruction_falls_due_after_a_kill_and_a_restart_and_stands_in_log_audit_and_certificate() {
    let (place, server, operator, attendance) = started().await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();
    let id = fresh();
    let message = v1::DestroyKeyRequest {
        request_id: id.clone(),
        window: seconds(3),
        ticket: "OPS-7".into(),
        ..api::destroy(TENANT, KEY, Some(1))
    };
    let first = answer(operator.keys().destroy_key(message.clone()).await).unwrap();
    assert_eq!(answer(operator.keys().destroy_key(message).await), Ok(first.clone()), "once, however often");
    server.kill();
    let _server = place.start();
    let (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
    let mut lines = tail(&Api::of(&place, "compliance").await).await;
    assert_eq!(decrypt(&attendance, "until then", &sealed).await.unwrap(), b"x");
    let done = event(&mut lines, "destruction-due").await;
    assert_eq!(done["uid"], hex::encode(&first.key.unwrap().versions[0].uid));
    assert_eq!(decrypt(&attendance, "too late", &sealed).await, Err(Reason::KeyDestroyed));
    let key = operator.describe_key(TENANT, KEY).await.unwrap();
    assert_eq!((key.state(), key.versions[0].state()), (State::Active, State::Erased));
    let destroyed = logged(&operator, "DESTROY").await;
    assert_eq!(
        (&destroyed[0]["by"], &destroyed[0]["ticket"]),
        (&operator.identity().into(), &"OPS-7".into())
    );
    let subject =
        Some(v1::Subject { tenant: TENANT.into(), key: KEY.into(), version: 1, tenant_uid: Vec::new() });
    let message = v1::GetCertificateRequest { subject, earlier_sizes: Vec::new() };
    assert!(answer(operator.log().get_certificate(message).await).unwrap().erased);
}

#[tokio::test]
async fn a_tenant_that_is_to_be_destroyed_opens_and_makes_nothing_new() {
    let (place, _server, operator, attendance) = started().await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    let message = |window| v1::DestroyTenantRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        reason: v1::DestroyReason::ContractEnded.into(),
        window: seconds(window),
        ..v1::DestroyTenantRequest::default()
    };
    let scheduled = answer(operator.keys().destroy_tenant(message(HOUR)).await).unwrap();
    assert_eq!((scheduled.tenant.unwrap().state(), scheduled.epoch), (State::DestroyScheduled, 0));
    assert_eq!(operator.describe_key(TENANT, KEY).await.unwrap().state(), State::DestroyScheduled);
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
    for refused in [
        attendance.encrypt(TENANT, KEY, b"y", context(&[])).await.map(drop),
        operator.rotate(TENANT, KEY).await.map(drop),
        operator.create_key(TENANT, "another").await.map(drop),
    ] {
        assert_eq!(refused, Err(Reason::KeyDeactivated));
    }
    let off = v1::CancelDestroyTenantRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        expected_revision: None,
    };
    let off = answer(operator.keys().cancel_destroy_tenant(off).await).unwrap();
    assert_eq!((off.state(), off.destroy_due), (State::Active, None));
    assert!(attendance.encrypt(TENANT, KEY, b"y", context(&[])).await.is_ok());

    let mut lines = tail(&Api::of(&place, "compliance").await).await;
    answer(operator.keys().destroy_tenant(message(1)).await).unwrap();
    event(&mut lines, "destruction-due").await;
    let gone =
        answer(operator.keys().describe_tenant(v1::DescribeTenantRequest { tenant: TENANT.into() }).await);
    assert_eq!(gone.unwrap().state(), State::Erased);
}

#[tokio::test]
async fn a_key_with_a_period_is_rotated_again_and_again_and_one_that_is_suspended_is_not() {
    let place = Place::new();
    let _server = place.start_with(&["--set", "limits.least_rotation=1s"]);
    let (operator, attendance) = Api::ground(&place).await;
    let mut lines = tail(&Api::of(&place, "compliance").await).await;
    let message = every(1);
    let key = answer(operator.keys().update_key(message).await).unwrap();
    assert!(key.rotate_due.is_some());
    let sealed = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    for version in [2, 3] {
        let rotated = event(&mut lines, "rotation-due").await;
        assert_eq!((&rotated["version"], &rotated["uid"]), (&version.into(), &hex::encode(&key.uid).into()));
    }
    let rotations = logged(&operator, "KEY_ROTATE").await;
    assert!(rotations.len() >= 2 && rotations.iter().all(|entry| entry["by"] == "kms"));
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, context(&[])).await.unwrap(), b"x");
    operator.suspend(TENANT, KEY).await.unwrap();
    let failed = event(&mut lines, "rotation-failed").await;
    assert_eq!(failed["alarm"], "rotation-failed");
    assert_eq!(operator.describe_key(TENANT, KEY).await.unwrap().state(), State::Suspended);
}

fn every(period: i64) -> v1::UpdateKeyRequest {
    v1::UpdateKeyRequest {
        request_id: fresh(),
        tenant: TENANT.into(),
        key: KEY.into(),
        rotate_every: seconds(period),
        ..v1::UpdateKeyRequest::default()
    }
}

#[tokio::test]
async fn a_key_is_not_rotated_more_often_than_the_configuration_lets() {
    let (_place, _server, operator, _) = started().await;
    assert_eq!(answer(operator.keys().update_key(every(3599)).await).map(drop), Err(Reason::FieldInvalid));
    assert!(answer(operator.keys().update_key(every(3600)).await).is_ok());
}

#[tokio::test]
async fn windows_that_are_none_are_refused() {
    let (_place, _server, operator, _) = started().await;
    for window in [-1, 0, 11 * 366 * 86_400] {
        assert_eq!(schedule(&operator, None, window).await.map(drop), Err(Reason::FieldInvalid), "{window}");
    }
    assert_eq!(operator.describe_key(TENANT, KEY).await.unwrap().state(), State::Active);
}
