//! Who has no rights somewhere learns nothing of what is there: every call, on what exists and on what does not.

use kms_proto::v1::{self, open_data_keys_request as open};
use kms_tests::{
    Place,
    api::{Api, KEY, TENANT, context, named, started},
};
use prost::Message as _;
use tonic::Status;

use crate::calls::{CALLS, Ground, On, call, ground};

/// All that a caller sees of a refusal.
fn seen(called: Result<Vec<u8>, Status>) -> (tonic::Code, String, Vec<u8>) {
    match called {
        Ok(message) => (tonic::Code::Ok, String::new(), message),
        Err(status) => (status.code(), status.message().to_owned(), status.details().to_vec()),
    }
}

async fn denied_lines(compliance: &Api, id: &str) -> usize {
    let filter = v1::AuditFilter { request_id: id.into(), ..v1::AuditFilter::default() };
    let lines = compliance.lines(filter).await;
    assert!(lines.iter().all(|line| line["outcome"] == "denied"), "{id}: {lines:?}");
    lines.len()
}

#[tokio::test]
async fn no_call_tells_a_stranger_whether_a_tenant_or_a_key_exists() {
    let place = Place::new();
    let _server = place.start();
    let (operator, attendance) = (Api::of(&place, "operator").await, Api::of(&place, "attendance").await);
    let (portal, compliance) = (Api::of(&place, "hr-portal").await, Api::of(&place, "compliance").await);
    let there = ground(&operator, &attendance, "strangers").await;
    let mut no_version = there.clone();
    no_version.leased.version_id = u64::MAX;
    let no_key = Ground { key: "nothing".into(), ..no_version.clone() };
    let no_tenant = Ground { tenant: "nobody".into(), ..no_version.clone() };
    let mut told = Vec::new();
    for (name, _, on) in CALLS {
        if on == On::System && name != "Explain" {
            continue;
        }
        // One name for all, since a refusal shows it.
        let id = format!("stranger-{}", name.replace(' ', "-"));
        // The portal may reveal.
        let stranger = if name.starts_with("Reveal") { &compliance } else { &portal };
        let existing = seen(call(stranger, name, &id, &there).await);
        let mut lines = denied_lines(&compliance, &id).await;
        assert_eq!(lines, 1, "{name}");
        for (what, absent) in [("version", &no_version), ("key", &no_key), ("tenant", &no_tenant)] {
            if what == "version" && name != "OpenDataKeys existing" {
                continue;
            }
            let found = seen(call(stranger, name, &id, absent).await);
            if found != existing {
                told.push(format!("{name} without a {what}: {found:?}\n    with it: {existing:?}"));
            }
            let more = denied_lines(&compliance, &id).await;
            if more != lines + 1 {
                told.push(format!("{name} without a {what}: {} lines", more - lines));
            }
            lines = more;
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// Each of many items that are denied, and of many that name nothing, cost the same one line, and the same count of denials.
#[tokio::test]
async fn a_call_for_many_keys_tells_a_stranger_no_more_than_a_call_for_one() {
    let (place, _server, operator, _) = started().await;
    let (stranger, compliance) = (Api::of(&place, "hr-portal").await, Api::of(&place, "compliance").await);
    for number in 0..3 {
        operator.create_key(TENANT, &format!("key-{number}")).await.unwrap();
    }
    let ask = async |prefix: &str, count: usize| {
        let item = |number| {
            let current = open::Current { key: format!("{prefix}-{number}"), deterministic: false };
            open::Item { item: Some(open::item::Item::Current(current)) }
        };
        let items = (0..count).map(item).collect();
        let message =
            v1::OpenDataKeysRequest { tenant: TENANT.into(), items, ..v1::OpenDataKeysRequest::default() };
        let id = format!("many-{prefix}-{count}");
        let answered = stranger.crypto().open_data_keys(named(&id, message)).await;
        let lines = denied_lines(&compliance, &id).await;
        (seen(answered.map(|response| response.into_inner().encode_to_vec())), lines)
    };
    let (there, nowhere) = (ask("key", 3).await, ask("nothing", 3).await);
    assert_eq!(there, nowhere);
    assert_eq!(there.1, 1);
    // One after the other, until denials are not let through any more: both kinds count.
    let mut limited = [0, 0];
    for _ in 0..2_000 {
        if limited.iter().all(|limited| *limited > 0) {
            return;
        }
        for (at, prefix) in ["key", "nothing"].into_iter().enumerate() {
            let item =
                open::item::Item::Current(open::Current { key: format!("{prefix}-0"), deterministic: false });
            let message = v1::OpenDataKeysRequest {
                tenant: TENANT.into(),
                items: vec![open::Item { item: Some(item) }],
                ..v1::OpenDataKeysRequest::default()
            };
            limited[at] += usize::from(stranger.crypto().open_data_keys(message).await.is_err());
        }
    }
    panic!("{limited:?}");
}

#[tokio::test]
async fn who_may_make_keys_anywhere_is_told_that_a_tenant_is_not_there() {
    let (_place, _server, operator, _) = started().await;
    let made = operator.create_key("nobody", KEY).await.map(drop);
    assert_eq!(made, Err(kms_proto::reason::Reason::TenantNotAccessible));
    assert!(operator.create_key(TENANT, "another").await.is_ok());
}

#[tokio::test]
async fn policy_is_asked_about_a_key_that_is_not_there_as_about_one_that_is() {
    let (place, _server, operator, _) = started().await;
    let compliance = Api::of(&place, "compliance").await;
    let mut rules = Vec::new();
    for key in [KEY, "nothing"] {
        let current = open::Current { key: key.into(), deterministic: false };
        let items = vec![open::Item { item: Some(open::item::Item::Current(current)) }];
        let lease =
            v1::OpenDataKeysRequest { tenant: TENANT.into(), items, ..v1::OpenDataKeysRequest::default() };
        let seal = v1::EncryptRequest {
            tenant: TENANT.into(),
            key: key.into(),
            plaintext: vec![1],
            binding: Some(context(&[])),
            purpose: String::new(),
        };
        let (leases, seals) = (format!("leases-{key}"), format!("seals-{key}"));
        operator.crypto().open_data_keys(named(&leases, lease)).await.unwrap();
        operator.crypto().encrypt(named(&seals, seal)).await.unwrap_err();
        for id in [leases, seals] {
            let filter = v1::AuditFilter { request_id: id, ..v1::AuditFilter::default() };
            let line = compliance.lines(filter).await.remove(0);
            assert_eq!((&line["key"], &line["outcome"]), (&key.into(), &"denied".into()));
            rules.push(line["rules"].clone());
        }
    }
    assert!(rules.iter().all(|rule| *rule == serde_json::json!(["people-never-open"])), "{rules:?}");
}
