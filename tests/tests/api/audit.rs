//! Reading the audit, and what it never holds.

use std::{collections::BTreeMap, fs};

use kms_client::{Column, RecordId};
use kms_proto::{
    reason::Reason,
    v1::{self, open_data_keys_request as ask, open_data_keys_response::item::Outcome},
};
use kms_server::audit::{self, VerifyOptions};
use kms_tests::{
    Api, Place,
    api::{self, KEY, TENANT, answer, context, field, named, started},
    search::Needles,
};

async fn export(api: &Api) -> BTreeMap<String, Vec<u8>> {
    let mut chunks = answer(api.audit().export_audit(v1::ExportAuditRequest::default()).await).unwrap();
    let mut files = BTreeMap::<String, Vec<u8>>::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        files.entry(chunk.file).or_default().extend(chunk.content);
    }
    files
}

fn verified(place: &Place, files: &BTreeMap<String, Vec<u8>>) -> audit::Report {
    let directory = place.scratch().join(format!("export-{}", api::fresh()));
    fs::create_dir_all(&directory).unwrap();
    for (name, content) in files {
        fs::write(directory.join(name), content).unwrap();
    }
    audit::verify(&directory, &VerifyOptions::default()).unwrap()
}

#[tokio::test]
async fn a_query_finds_by_each_field_and_a_page_at_a_time() {
    let (place, _server, operator, attendance) = started().await;
    let compliance = Api::of(&place, "compliance").await;
    for _ in 0..5 {
        attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    }
    let refused = attendance.describe_key(TENANT, KEY).await;
    assert_eq!(refused.map(drop), Err(Reason::KeyNotAccessible));
    operator.create_tenant("umbrella").await.unwrap();
    let count = async |filter: v1::AuditFilter| compliance.lines(filter).await.len();
    let base = v1::AuditFilter::default;
    let encrypts = v1::AuditFilter { operation: "Encrypt".into(), ..base() };
    assert_eq!(count(encrypts.clone()).await, 5);
    assert_eq!(count(v1::AuditFilter { identity: operator.identity(), ..encrypts.clone() }).await, 0);
    assert_eq!(count(v1::AuditFilter { identity: attendance.identity(), ..base() }).await, 6);
    assert_eq!(count(v1::AuditFilter { outcome: "denied".into(), ..base() }).await, 1);
    assert_eq!(count(v1::AuditFilter { tenant: "umbrella".into(), ..base() }).await, 1);
    assert_eq!(count(v1::AuditFilter { key: KEY.into(), tenant: TENANT.into(), ..base() }).await, 7);
    let later = Some(prost_types::Timestamp { seconds: 1 << 35, nanos: 0 });
    assert_eq!(count(v1::AuditFilter { from: later, ..encrypts.clone() }).await, 0);
    assert_eq!(count(v1::AuditFilter { until: later, ..encrypts.clone() }).await, 5);

    let (mut numbers, mut page_token) = (Vec::new(), String::new());
    loop {
        let message = v1::QueryAuditRequest { filter: Some(encrypts.clone()), page_size: 2, page_token };
        let page = answer(compliance.audit().query_audit(message).await).unwrap();
        assert!(page.lines.len() <= 2);
        numbers.extend(page.lines.iter().map(|line| line.sequence));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(numbers.len() == 5 && numbers.is_sorted(), "{numbers:?}");
    for bad in [
        v1::AuditFilter { operation: "Fly".into(), ..base() },
        v1::AuditFilter { outcome: "maybe".into(), ..base() },
    ] {
        let message = v1::QueryAuditRequest { filter: Some(bad), ..v1::QueryAuditRequest::default() };
        assert_eq!(
            answer(compliance.audit().query_audit(message).await).map(drop),
            Err(Reason::FieldInvalid)
        );
    }
}

#[tokio::test]
async fn a_tail_shows_lines_as_they_are_written_and_only_those_that_match() {
    let (place, _server, operator, attendance) = started().await;
    let compliance = Api::of(&place, "compliance").await;
    let filter = Some(v1::AuditFilter { operation: "Encrypt".into(), ..v1::AuditFilter::default() });
    let mut tail = answer(compliance.audit().tail_audit(v1::TailAuditRequest { filter }).await).unwrap();
    let message = v1::EncryptRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        plaintext: vec![1],
        binding: Some(context(&[])),
        purpose: String::new(),
    };
    operator.create_tenant("umbrella").await.unwrap();
    answer(attendance.crypto().encrypt(named("tail-1", message)).await).unwrap();
    let line = tail.message().await.unwrap().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line.json).unwrap();
    assert_eq!((&line["operation"], &line["request_id"]), (&"Encrypt".into(), &"tail-1".into()));
}

#[tokio::test]
async fn an_export_verifies_and_one_with_a_changed_or_missing_line_does_not() {
    let (place, _server, _, attendance) = started().await;
    let compliance = Api::of(&place, "compliance").await;
    for _ in 0..20 {
        attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    }
    let files = export(&compliance).await;
    let report = verified(&place, &files);
    assert!(report.is_sound() && report.end.count > 20, "{report}");

    let segment = files.keys().find(|name| *name != "audit.pub").unwrap().clone();
    let text = String::from_utf8(files[&segment].clone()).unwrap();
    let changed = text.replacen("\"Encrypt\"", "\"Decrypt\"", 1);
    let missing: String = {
        let at = text.lines().position(|line| line.contains("\"Encrypt\"")).unwrap();
        text.lines()
            .enumerate()
            .filter(|(line, _)| *line != at)
            .map(|(_, line)| format!("{line}\n"))
            .collect()
    };
    for tampered in [changed, missing] {
        assert_ne!(tampered, text);
        let files =
            BTreeMap::from_iter(files.clone().into_iter().map(|(name, content)| match name == segment {
                true => (name, tampered.clone().into_bytes()),
                false => (name, content),
            }));
        assert!(!verified(&place, &files).is_sound());
    }
}

#[tokio::test]
async fn audit_is_deleted_only_by_whom_policy_names_and_only_after_export() {
    let (place, server, operator, attendance) = started().await;
    let compliance = Api::of(&place, "compliance").await;
    let delete = async |api: &Api, head_hash: Vec<u8>| {
        let message = v1::DeleteAuditRequest { request_id: api::fresh(), through_segment: 1, head_hash };
        answer(api.audit().delete_audit(message).await).map(|deleted| deleted.deleted_segments)
    };
    attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap();
    for api in [&operator, &compliance, &attendance] {
        assert_eq!(delete(api, vec![0; 32]).await, Err(Reason::PolicyDenied));
    }
    fs::write(
        place.path("policies/keeper.cedar"),
        r#"@id("keeper") @says("compliance deletes audit that was exported")
           permit (principal == Service::"spiffe://dev.local/compliance", action == Action::"DeleteAudit",
                   resource == System::"kms");"#,
    )
    .unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    assert_eq!(delete(&compliance, vec![0; 31]).await, Err(Reason::FieldInvalid));
    // Whatever the hash: the segment is still being written.
    assert_eq!(delete(&compliance, vec![0; 32]).await, Err(Reason::AuditNotExported));
    assert!(verified(&place, &export(&compliance).await).is_sound());
}

#[tokio::test]
async fn a_finished_segment_is_deleted_after_its_export_and_what_is_left_still_verifies() {
    let place = Place::new();
    let server = place.start_with(&["--set", "audit.segment_size=1 MiB"]);
    let (_operator, attendance) = Api::ground(&place).await;
    let compliance = Api::of(&place, "compliance").await;
    fs::write(
        place.path("policies/keeper.cedar"),
        r#"@id("keeper") @says("compliance deletes audit that was exported")
           permit (principal == Service::"spiffe://dev.local/compliance", action == Action::"DeleteAudit",
                   resource == System::"kms");"#,
    )
    .unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    let second = place.path("audit/audit-0000000002.jsonl");
    while !second.exists() {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let attendance = attendance.clone();
            calls.spawn(async move { attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.unwrap() });
        }
        drop(calls.join_all().await);
    }
    let files = export(&compliance).await;
    assert!(verified(&place, &files).is_sound());
    let mut first = files.clone();
    first.retain(|name, _| name.contains("0000000001") || !name.ends_with(".jsonl"));
    let end = verified(&place, &first).end;
    let delete = async |through_segment, head_hash: [u8; 32]| {
        let head_hash = head_hash.into();
        let message = v1::DeleteAuditRequest { request_id: api::fresh(), through_segment, head_hash };
        let deleted = compliance.audit().delete_audit(named("delete-1", message)).await;
        answer(deleted).map(|deleted| deleted.deleted_segments)
    };
    assert_eq!(delete(1, [0; 32]).await, Err(Reason::AuditNotExported), "not what it ends with");
    assert_eq!(delete(9, end.hash.0).await, Err(Reason::AuditNotExported), "there is none");
    assert_eq!(delete(2, end.hash.0).await, Err(Reason::AuditNotExported), "it is still written");
    assert_eq!(delete(1, end.hash.0).await, Ok(1));
    assert_eq!(delete(1, end.hash.0).await, Err(Reason::AuditNotExported), "it is gone");
    let left = export(&compliance).await;
    assert!(!left.contains_key("audit-0000000001.jsonl"));
    let report = verified(&place, &left);
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.start.count, end.count);
    let said = left.values().find_map(|content| {
        let text = String::from_utf8_lossy(content);
        let line = text.lines().find(|line| line.contains(r#""type":"deleted""#))?;
        Some(serde_json::from_str::<serde_json::Value>(line).unwrap())
    });
    let said = said.unwrap();
    assert_eq!((&said["identity"], &said["request_id"]), (&compliance.identity().into(), &"delete-1".into()));
}

/// Issue, §3: never a plaintext, a key or a context value. Not in the audit, not in the log, not in any other file either.
#[tokio::test]
async fn neither_plaintext_nor_key_nor_context_value_is_in_any_file_or_in_the_log() {
    const PLAINTEXT: &[u8] = b"canary-plaintext-4711-0815";
    const VALUE: &str = "canary-context-value-2718";
    const ROW: &str = "canary-record-id-3141-59";
    let place = Place::new();
    let server = place.start_with(&["--set", "log.filter=trace"]);
    let (operator, attendance) = Api::ground(&place).await;
    let compliance = Api::of(&place, "compliance").await;
    let bound = context(&[("canary", VALUE)]);
    let sealed = attendance.encrypt(TENANT, KEY, PLAINTEXT, bound.clone()).await.unwrap();
    attendance.decrypt(TENANT, KEY, &sealed, bound.clone()).await.unwrap();
    let wrong = attendance.decrypt(TENANT, KEY, &sealed, field("t", "c", ROW)).await;
    assert_eq!(wrong, Err(Reason::CiphertextRejected));
    let denied = operator.encrypt(TENANT, KEY, PLAINTEXT, bound.clone()).await;
    assert_eq!(denied, Err(Reason::KeyNotAccessible));
    let too_long = context(&[("canary", &VALUE.repeat(100))]);
    assert_eq!(attendance.encrypt(TENANT, KEY, PLAINTEXT, too_long).await, Err(Reason::ContextInvalid));
    let each = attendance.decrypt_each(TENANT, KEY, [sealed.clone(), PLAINTEXT.to_vec()], &bound).await;
    assert!(each[0].is_ok() && each[1].is_err());

    let message = v1::GenerateDataKeyRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        ..v1::GenerateDataKeyRequest::default()
    };
    let envelope = answer(attendance.crypto().generate_data_key(message).await).unwrap().plaintext;
    let current = ask::item::Item::Current(ask::Current { key: KEY.into(), deterministic: false });
    let message = v1::OpenDataKeysRequest {
        tenant: TENANT.into(),
        items: vec![ask::Item { item: Some(current) }],
        ..v1::OpenDataKeysRequest::default()
    };
    let leased = answer(attendance.crypto().open_data_keys(message).await).unwrap().items.remove(0);
    let Some(Outcome::Leased(leased)) = leased.outcome else { panic!("no lease") };
    let records = attendance.kms.records(&TENANT.parse().unwrap(), &KEY.parse().unwrap());
    let column = Column::randomized("checkins", "phone").unwrap();
    let row = RecordId::try_from(ROW.as_bytes()).unwrap();
    let sealed = records.seal(&column, &row, PLAINTEXT).await.unwrap();
    records.open(&column, &row, &sealed).await.unwrap();
    let message = v1::GenerateRandomRequest { length: 32 };
    let random = answer(attendance.crypto().generate_random(message).await).unwrap().random;
    operator.rotate(TENANT, KEY).await.unwrap();
    let in_use = v1::DestroyKeyRequest { force: true, ..kms_tests::api::destroy(TENANT, KEY, Some(1)) };
    answer(operator.keys().destroy_key(in_use).await).unwrap();
    let audit = export(&compliance).await;
    let log = server.log();
    server.kill();

    let seal = fs::read_to_string(place.path("seal")).unwrap();
    let seal = hex::decode(seal.trim()).unwrap_or_else(|_| seal.trim().into());
    for (what, secret) in [
        ("plaintext", PLAINTEXT),
        ("context value", VALUE.as_bytes()),
        ("record id", ROW.as_bytes()),
        ("envelope key", &envelope),
        ("data key", &leased.data_key),
        ("random bytes", &random),
        ("seal", &seal),
    ] {
        let needles = Needles::of(secret);
        let mut found = needles.files(&place.dir());
        found.retain(|path| *path != place.path("seal"));
        assert!(found.is_empty(), "{what} in {found:?}");
        assert!(!needles.are_in(log.as_bytes()), "{what} in the log");
        assert!(!audit.values().any(|content| needles.are_in(content)), "{what} in the export");
    }
    // What may be there is found, so that the search would find what may not.
    assert!(!Needles::of(KEY.as_bytes()).files(&place.path("audit")).is_empty());
    assert!(!Needles::of(seal.as_slice()).files(&place.dir()).is_empty());
}

#[tokio::test]
async fn failed_calls_and_batches_are_on_record_with_their_reasons_and_counts() {
    let (place, _server, operator, attendance) = started().await;
    let compliance = Api::of(&place, "compliance").await;
    let bound = context(&[]);
    let sealed = attendance.encrypt(TENANT, KEY, b"x", bound.clone()).await.unwrap();
    let mut flipped = sealed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let message = v1::DecryptRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        ciphertext: flipped.clone(),
        binding: Some(bound.clone()),
        purpose: String::new(),
    };
    let refused = answer(attendance.crypto().decrypt(named("failed-1", message)).await);
    assert_eq!(refused.map(drop), Err(Reason::CiphertextRejected));
    let item = |ciphertext: &[u8]| v1::decrypt_batch_request::Item {
        ciphertext: ciphertext.into(),
        binding: Some(bound.clone()),
    };
    let items = vec![item(&sealed), item(&flipped), item(&sealed)];
    let message =
        v1::DecryptBatchRequest { tenant: TENANT.into(), key: KEY.into(), items, purpose: String::new() };
    answer(attendance.crypto().decrypt_batch(named("batch-1", message)).await).unwrap();
    let key = operator.describe_key(TENANT, KEY).await.unwrap();
    let mut end = api::destroy(TENANT, KEY, Some(1));
    (end.force, end.ticket) = (true, "SEC-42".into());
    answer(operator.keys().destroy_key(named("destroy-1", end)).await).unwrap();

    let line = async |id: &str| {
        let filter = v1::AuditFilter { request_id: id.into(), ..v1::AuditFilter::default() };
        let mut lines = compliance.lines(filter).await;
        assert_eq!(lines.len(), 1, "{id}: {lines:?}");
        lines.remove(0)
    };
    let failed = line("failed-1").await;
    assert_eq!((&failed["outcome"], &failed["reason"]), (&"failed".into(), &"CIPHERTEXT_REJECTED".into()));
    let batch = line("batch-1").await;
    assert_eq!((&batch["items"], &batch["failed"]), (&3.into(), &1.into()));
    assert_eq!(batch["versions"], serde_json::json!([key.versions[0].id.to_string()]));
    let destroyed = line("destroy-1").await;
    assert_eq!((&destroyed["version"], &destroyed["ticket"]), (&1.into(), &"SEC-42".into()));
    assert_eq!((&destroyed["destroy_reason"], &destroyed["state"]), (&"test".into(), &"erased".into()));
    assert!(destroyed["epoch"].as_u64().is_some());
}
