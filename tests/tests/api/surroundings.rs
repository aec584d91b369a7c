//! Health, reflection, explain, request ids, limits.

use kms_client::api::Health;
use kms_proto::{reason::Reason, refusal, v1};
use kms_tests::{
    Api, Place,
    api::{KEY, TENANT, answer, context, named, started},
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

#[tokio::test]
async fn health_says_serving_for_the_server_and_for_each_service() {
    let (_place, server, operator, _) = started().await;
    for service in ["", "kms.v1.Crypto", "kms.v1.Keys", "kms.v1.Audit", "kms.v1.Policy"] {
        assert_eq!(operator.kms.health(service).await.unwrap(), Health::Serving, "`{service}`");
    }
    assert_eq!(server.admin("/readyz").0, 200);
}

#[tokio::test]
async fn reflection_is_denied_where_no_policy_lets_and_not_served_where_it_is_off() {
    async fn ask(api: &Api) -> Result<(), tonic::Status> {
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let ask = ServerReflectionRequest { host: String::new(), message_request };
        let mut client = ServerReflectionClient::new(api.channel());
        client.server_reflection_info(tokio_stream::once(ask)).await?.into_inner().message().await.map(drop)
    }
    let place = Place::new();
    let server = place.start();
    let operator = Api::of(&place, "operator").await;
    assert!(ask(&operator).await.is_ok());
    std::fs::remove_file(place.path("policies/reflection.cedar")).unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    let refused = ask(&operator).await.unwrap_err();
    assert_eq!(refusal::read(&refused).reason, Some(Reason::PolicyDenied));
    server.kill();
    let _server = place.start_with(&["--set", "reflection=false"]);
    let operator = Api::of(&place, "operator").await;
    assert_eq!(ask(&operator).await.unwrap_err().code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn explain_says_what_would_be_decided_and_what_it_says_is_what_happens() {
    let (place, _server, operator, attendance) = started().await;
    let explain = async |identity: &str, operation: &str| {
        let message = v1::ExplainRequest {
            identity: identity.into(),
            operation: operation.into(),
            tenant: TENANT.into(),
            key: KEY.into(),
            purpose: String::new(),
        };
        answer(operator.policy().explain(message).await)
    };
    let yes = explain(&attendance.identity(), "Encrypt").await.unwrap();
    assert!(yes.allowed && yes.errors.is_empty(), "{yes:?}");
    assert_eq!(yes.policies, ["attendance-seals-and-opens"]);
    assert!(yes.explanation.contains("attendance"), "{}", yes.explanation);
    let no = explain(&operator.identity(), "Encrypt").await.unwrap();
    assert!(!no.allowed && no.policies == ["people-never-open"], "{no:?}");
    assert!(attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.is_ok());
    assert_eq!(operator.encrypt(TENANT, KEY, b"x", context(&[])).await, Err(Reason::KeyNotAccessible));
    for (identity, operation) in [("somebody", "Encrypt"), ("spiffe://dev.local/attendance", "Fly")] {
        assert_eq!(explain(identity, operation).await.map(drop), Err(Reason::FieldInvalid));
    }
    let hr = Api::of(&place, "hr-portal").await;
    let denied = answer(
        hr.policy()
            .explain(v1::ExplainRequest {
                identity: hr.identity(),
                operation: "ListTenants".into(),
                ..v1::ExplainRequest::default()
            })
            .await,
    );
    assert_eq!(denied.map(drop), Err(Reason::PolicyDenied));
}

#[tokio::test]
async fn a_call_is_named_as_its_caller_says_or_by_the_server() {
    let (_place, _server, operator, _) = started().await;
    let message = v1::DescribeKeyRequest { tenant: TENANT.into(), key: "nowhere".into() };
    let refused = operator.keys().describe_key(named("my-own-id", message.clone())).await.unwrap_err();
    assert_eq!(refusal::read(&refused).request_id.as_deref(), Some("my-own-id"));
    let refused = operator.keys().describe_key(message.clone()).await.unwrap_err();
    let made = refusal::read(&refused).request_id.unwrap();
    assert!(uuid::Uuid::try_parse(&made).is_ok(), "{made}");
    let long = "x".repeat(1_000);
    let refused = operator.keys().describe_key(named(&long, message)).await.unwrap_err();
    assert_ne!(refusal::read(&refused).request_id, Some(long));
}

#[tokio::test]
async fn a_caller_over_its_rate_is_told_when_to_come_back_and_others_are_not_touched() {
    let place = Place::new();
    let _server = place.start_with(&["--set", "limits.rate=1", "--set", "limits.burst=5"]);
    let (operator, second) = (Api::of(&place, "operator").await, Api::of(&place, "second-operator").await);
    let mut told = None;
    for _ in 0..20 {
        if let Err(status) = operator.keys().list_tenants(v1::ListTenantsRequest::default()).await {
            told = Some(refusal::read(&status));
        }
    }
    let told = told.unwrap();
    assert_eq!(told.reason, Some(Reason::RateLimited));
    assert!(told.retry_after.is_some_and(|wait| !wait.is_zero()));
    assert!(second.keys().list_tenants(v1::ListTenantsRequest::default()).await.is_ok());
}

#[tokio::test]
async fn denials_beyond_a_burst_are_refused_without_a_line() {
    let (place, _server, _, _) = started().await;
    let (hr, compliance) = (Api::of(&place, "hr-portal").await, Api::of(&place, "compliance").await);
    let mut unrecorded = 0;
    for _ in 0..400 {
        match hr.describe_key(TENANT, KEY).await.map(drop) {
            Err(Reason::KeyNotAccessible) => {}
            Err(Reason::RateLimited) => unrecorded += 1,
            other => panic!("{other:?}"),
        }
    }
    let filter = v1::AuditFilter { identity: hr.identity(), ..v1::AuditFilter::default() };
    assert_eq!((compliance.lines(filter).await.len() + unrecorded, unrecorded > 0), (400, true));
}
