//! What certificates of a running server say, and what is not certified.

use std::collections::BTreeSet;

use kms_core::certificate::{
    check::{Given, Verdict, verify},
    risks::Risk,
};
use kms_proto::{reason::Reason, v1};
use kms_tests::api::{self, Answer, Api, KEY, TENANT, answer, fresh, started};

async fn certificate(api: &Api, tenant: &str, key: &str, version: u32) -> Answer<v1::GetCertificateResponse> {
    let subject =
        Some(v1::Subject { tenant: tenant.into(), key: key.into(), version, tenant_uid: Vec::new() });
    let message = v1::GetCertificateRequest { subject, earlier_sizes: Vec::new() };
    answer(api.log().get_certificate(message).await)
}

async fn risks(api: &Api, key: &str, version: u32) -> BTreeSet<Risk> {
    let made = certificate(api, TENANT, key, version).await.unwrap();
    assert!(made.erased);
    let outcome = verify(&made.certificate, &Given::default());
    assert_eq!(outcome.verdict, Verdict::Residual, "{:?}", outcome.failures().collect::<Vec<_>>());
    outcome.risks.iter().map(|standing| standing.risk).collect()
}

#[tokio::test]
async fn an_envelope_key_that_left_the_server_is_named_and_one_that_did_not_is_not() {
    let (place, server, operator, attendance) = started().await;
    let generate = |without_plaintext| v1::GenerateDataKeyRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        context: None,
        without_plaintext,
        purpose: String::new(),
    };
    answer(attendance.crypto().generate_data_key(generate(true)).await).unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();
    answer(attendance.crypto().generate_data_key(generate(false)).await).unwrap();
    server.kill();
    let _server = place.start();
    let operator = Api::of(&place, "operator").await;
    for (version, named) in [(1, false), (2, true)] {
        operator.destroy(TENANT, KEY, Some(version)).await.unwrap();
        assert_eq!(risks(&operator, KEY, version).await.contains(&Risk::DerivedCopies), named, "{version}");
    }
}

#[tokio::test]
async fn of_a_tenant_all_that_may_have_been_done_with_its_keys_is_named() {
    let (_place, _server, operator, _) = started().await;
    let alive = certificate(&operator, TENANT, "", 0).await;
    assert_eq!(alive.map(drop), Err(Reason::StateForbids));
    operator.destroy_tenant(TENANT).await.unwrap();
    let named = risks(&operator, "", 0).await;
    for risk in [Risk::DerivedCopies, Risk::AuditWritten, Risk::IndexValues] {
        assert!(named.contains(&risk), "{risk:?}");
    }
    let own = certificate(&operator, TENANT, KEY, 1).await;
    assert_eq!(own.map(drop), Err(Reason::FieldInvalid), "the tenant's is the proof");
}

#[tokio::test]
async fn a_tenant_whose_name_was_given_away_again_is_certified_by_its_uid() {
    let (_place, _server, operator, _) = started().await;
    let gone = operator.destroy_tenant(TENANT).await.unwrap().tenant.unwrap();
    let now = operator.create_tenant(TENANT).await.unwrap();
    let by_uid = async |tenant: &str, uid: &[u8]| {
        let tenant_uid = uid.to_vec();
        let subject = Some(v1::Subject { tenant: tenant.into(), key: String::new(), version: 0, tenant_uid });
        let wait = v1::WaitForErasureRequest { subject: subject.clone(), timeout: None };
        let waited = answer(operator.log().wait_for_erasure(wait).await).map(drop);
        let message = v1::GetCertificateRequest { subject, earlier_sizes: Vec::new() };
        let made = answer(operator.log().get_certificate(message).await);
        assert_eq!(waited, made.clone().map(drop));
        made.map(|made| made.certificate)
    };
    let certificate = by_uid(TENANT, &gone.uid).await.unwrap();
    let outcome = verify(&certificate, &Given::default());
    assert_eq!(outcome.verdict, Verdict::Residual);
    let uid = outcome.certificate.unwrap().certificate.subject.tenant_uid;
    assert_eq!(uid.0, *gone.uid);
    assert_eq!(by_uid(TENANT, &now.uid).await, Err(Reason::StateForbids), "it lives");
    assert_eq!(by_uid("another", &gone.uid).await, Err(Reason::TenantNotAccessible), "never its name");
    assert_eq!(by_uid(TENANT, &[7; 16]).await, Err(Reason::TenantNotAccessible));
    assert_eq!(by_uid(TENANT, &[7; 15]).await, Err(Reason::FieldInvalid));
}

#[tokio::test]
async fn a_key_that_went_in_the_epoch_of_its_tenant_has_the_tenants_certificate() {
    let (_place, _server, operator, _) = started().await;
    // The first destruction does not wait; the next two share an epoch, where the key's comes first.
    for turn in 0..10 {
        let tenant = format!("tenant-{turn}");
        operator.create_tenant(&tenant).await.unwrap();
        for key in ["first", KEY] {
            operator.create_key(&tenant, key).await.unwrap();
        }
        operator.destroy(&tenant, "first", None).await.unwrap();
        let of_key = api::destroy(&tenant, KEY, None);
        let of_tenant = v1::DestroyTenantRequest {
            request_id: fresh(),
            tenant: tenant.clone(),
            reason: v1::DestroyReason::ContractEnded.into(),
            ..v1::DestroyTenantRequest::default()
        };
        let (mut one, mut two) = (operator.keys(), operator.keys());
        let (key, whole) = tokio::join!(one.destroy_key(of_key), two.destroy_tenant(of_tenant));
        let (key, whole) = (answer(key), answer(whole).unwrap());
        if key.is_ok_and(|key| key.epoch == whole.epoch) {
            let own = certificate(&operator, &tenant, KEY, 1).await;
            assert_eq!(own.map(drop), Err(Reason::FieldInvalid));
            return assert!(certificate(&operator, &tenant, "", 0).await.unwrap().erased);
        }
    }
    panic!("never did the two share an epoch: the test shows nothing");
}
