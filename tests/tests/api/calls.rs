//! Every call of the API, made in the same way for every test that goes through all of them.

use kms_proto::{
    reason::Reason,
    v1::{self, open_data_keys_request as open},
};
use kms_tests::api::{self, Api, KEY, answer, context, fresh, named};
use prost::Message;
use tonic::{Request, Response, Status};
use tonic_reflection::pb::{v1 as reflection, v1alpha as reflection_alpha};

/// Every call, its operation in policy and audit, and what it is done to. In an order in which each can be done after those before it.
pub(crate) const CALLS: [(&str, &str, On); 50] = [
    ("Encrypt", "Encrypt", On::Key),
    ("EncryptBatch", "Encrypt", On::Key),
    ("Decrypt", "Decrypt", On::Key),
    ("DecryptBatch", "Decrypt", On::Key),
    ("ReEncrypt", "ReEncrypt", On::Key),
    ("ReEncryptBatch", "ReEncrypt", On::Key),
    ("Reveal", "Reveal", On::Key),
    ("RevealBatch", "Reveal", On::Key),
    ("GenerateDataKey", "GenerateDataKey", On::Key),
    ("OpenDataKeys current", "LeaseToSeal", On::Key),
    ("OpenDataKeys existing", "LeaseToOpen", On::Key),
    ("GenerateRandom", "GenerateRandom", On::System),
    ("DescribeTenant", "DescribeTenant", On::Tenant),
    ("ListTenants", "ListTenants", On::System),
    ("UpdateTenant", "UpdateTenant", On::Tenant),
    ("SuspendTenant", "SuspendTenant", On::Tenant),
    ("ResumeTenant", "ResumeTenant", On::Tenant),
    ("DescribeKey", "DescribeKey", On::Key),
    ("ListKeys", "ListKeys", On::Tenant),
    ("ListVersions", "DescribeKey", On::Key),
    ("EnsureSubjects", "EnsureSubjects", On::Key),
    ("UpdateKey", "UpdateKey", On::Key),
    ("RotateKey", "RotateKey", On::Key),
    ("SuspendKey", "SuspendKey", On::Key),
    ("ResumeKey", "ResumeKey", On::Key),
    ("GetCertificate", "CertifyKey", On::Key),
    ("WaitForErasure", "CertifyKey", On::Key),
    ("DestroyKey later", "DestroyKey", On::Key),
    ("CancelDestroyKey", "CancelDestroyKey", On::Key),
    ("DestroyKey", "DestroyKey", On::Key),
    // The name is free again.
    ("CreateKey", "CreateKey", On::Key),
    ("DestroyTenant later", "DestroyTenant", On::Tenant),
    ("CancelDestroyTenant", "CancelDestroyTenant", On::Tenant),
    ("DestroyTenant", "DestroyTenant", On::Tenant),
    ("CreateTenant", "CreateTenant", On::Tenant),
    ("ConfirmClock", "ConfirmClock", On::System),
    ("GetCheckpoint", "ReadLog", On::System),
    ("GetInclusionProof", "ReadLog", On::System),
    ("GetConsistencyProof", "ReadLog", On::System),
    ("ListEntries", "ReadLog", On::System),
    ("QueryAudit", "ReadAudit", On::System),
    ("TailAudit", "ReadAudit", On::System),
    ("ExportAudit", "ReadAudit", On::System),
    ("DeleteAudit", "DeleteAudit", On::System),
    ("Explain", "ExplainPolicy", On::System),
    ("ListMasks", "ExplainPolicy", On::System),
    ("reflection v1", "Reflect", On::System),
    ("reflection v1alpha", "Reflect", On::System),
    ("reflection v1, a file", "Reflect", On::System),
    ("health", "", On::System),
];

const HOUR: prost_types::Duration = prost_types::Duration { seconds: 3600, nanos: 0 };

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum On {
    System,
    Tenant,
    Key,
}

impl On {
    pub(crate) fn denied(self) -> Reason {
        match self {
            Self::System => Reason::PolicyDenied,
            Self::Tenant => Reason::TenantNotAccessible,
            Self::Key => Reason::KeyNotAccessible,
        }
    }
}

/// What there is before the calls of one identity.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) tenant: String,
    pub(crate) key: String,
    pub(crate) ciphertext: Vec<u8>,
    /// A phone number of a column that has a mask, and is bound to [`place`].
    pub(crate) phone: Vec<u8>,
    pub(crate) leased: v1::LeasedDataKey,
}

/// Calls; gives the message as it came over the wire, or the status.
pub(crate) async fn call(api: &Api, call: &str, id: &str, ground: &Ground) -> Result<Vec<u8>, Status> {
    fn done<T: Message>(called: Result<Response<T>, Status>) -> Result<Vec<u8>, Status> {
        called.map(|response| response.into_inner().encode_to_vec())
    }
    fn begun<T>(called: Result<Response<T>, Status>) -> Result<Vec<u8>, Status> {
        called.map(|_| Vec::new())
    }
    let (tenant, key) = (ground.tenant.clone(), ground.key.clone());
    let (request_id, bound) = (fresh(), context(&[("row", "1")]));
    let (mut crypto, mut keys, mut audit, mut log) = (api.crypto(), api.keys(), api.audit(), api.log());
    match call {
        "Encrypt" => {
            let message = v1::EncryptRequest {
                tenant,
                key,
                plaintext: vec![1],
                binding: Some(bound),
                purpose: String::new(),
            };
            done(crypto.encrypt(named(id, message)).await)
        }
        "EncryptBatch" => {
            let item = v1::encrypt_batch_request::Item { plaintext: vec![1], binding: Some(bound) };
            let message = v1::EncryptBatchRequest {
                tenant,
                key,
                items: vec![item.clone(), item],
                purpose: String::new(),
            };
            done(crypto.encrypt_batch(named(id, message)).await)
        }
        "Decrypt" => {
            let ciphertext = ground.ciphertext.clone();
            let message =
                v1::DecryptRequest { tenant, key, ciphertext, binding: Some(bound), purpose: String::new() };
            done(crypto.decrypt(named(id, message)).await)
        }
        "DecryptBatch" => {
            let ciphertext = ground.ciphertext.clone();
            let item = v1::decrypt_batch_request::Item { ciphertext, binding: Some(bound) };
            let message = v1::DecryptBatchRequest {
                tenant,
                key,
                items: vec![item.clone(), item],
                purpose: String::new(),
            };
            done(crypto.decrypt_batch(named(id, message)).await)
        }
        "ReEncrypt" => {
            let message = v1::ReEncryptRequest {
                tenant,
                key,
                ciphertext: ground.ciphertext.clone(),
                source_binding: Some(bound),
                ..v1::ReEncryptRequest::default()
            };
            done(crypto.re_encrypt(named(id, message)).await)
        }
        "ReEncryptBatch" => {
            let item = v1::re_encrypt_batch_request::Item {
                ciphertext: ground.ciphertext.clone(),
                source_binding: Some(bound),
                destination_binding: None,
            };
            let (destination_key, items) = (String::new(), vec![item.clone(), item]);
            let message =
                v1::ReEncryptBatchRequest { tenant, key, destination_key, items, purpose: String::new() };
            done(crypto.re_encrypt_batch(named(id, message)).await)
        }
        "Reveal" => {
            let (ciphertext, binding) = (ground.phone.clone(), Some(place()));
            let message = v1::RevealRequest { tenant, key, ciphertext, binding, purpose: String::new() };
            done(crypto.reveal(named(id, message)).await)
        }
        "RevealBatch" => {
            let (ciphertext, binding) = (ground.phone.clone(), Some(place()));
            let item = v1::reveal_batch_request::Item { ciphertext, binding };
            let items = vec![item.clone(), item];
            let message = v1::RevealBatchRequest { tenant, key, items, purpose: String::new() };
            done(crypto.reveal_batch(named(id, message)).await)
        }
        "ListMasks" => done(api.policy().list_masks(named(id, v1::ListMasksRequest::default())).await),
        "GenerateDataKey" => {
            let message = v1::GenerateDataKeyRequest { tenant, key, ..v1::GenerateDataKeyRequest::default() };
            done(crypto.generate_data_key(named(id, message)).await)
        }
        "OpenDataKeys current" => {
            let item = open::item::Item::Current(open::Current { key, deterministic: false });
            lease(api, id, tenant, item).await
        }
        "OpenDataKeys existing" => {
            let v1::LeasedDataKey { version_id, data_key_id, .. } = ground.leased;
            lease(
                api,
                id,
                tenant,
                open::item::Item::Existing(open::Existing { version_id, data_key_id, key: String::new() }),
            )
            .await
        }
        "GenerateRandom" => {
            done(crypto.generate_random(named(id, v1::GenerateRandomRequest { length: 16 })).await)
        }
        "CreateTenant" => {
            let message = v1::CreateTenantRequest { request_id, tenant, label: String::new() };
            done(keys.create_tenant(named(id, message)).await)
        }
        "DescribeTenant" => done(keys.describe_tenant(named(id, v1::DescribeTenantRequest { tenant })).await),
        "ListTenants" => done(keys.list_tenants(named(id, v1::ListTenantsRequest::default())).await),
        "UpdateTenant" => {
            let (expected_revision, label) = (None, Some("of the grid".into()));
            let message = v1::UpdateTenantRequest { request_id, tenant, expected_revision, label };
            done(keys.update_tenant(named(id, message)).await)
        }
        "SuspendTenant" => {
            let message = v1::SuspendTenantRequest { request_id, tenant, expected_revision: None };
            done(keys.suspend_tenant(named(id, message)).await)
        }
        "ResumeTenant" => {
            let message = v1::ResumeTenantRequest { request_id, tenant, expected_revision: None };
            done(keys.resume_tenant(named(id, message)).await)
        }
        "GetCertificate" => {
            let subject = Some(v1::Subject { tenant, key, version: 1, tenant_uid: Vec::new() });
            let message = v1::GetCertificateRequest { subject, earlier_sizes: vec![1] };
            done(log.get_certificate(named(id, message)).await)
        }
        "WaitForErasure" => {
            let subject = Some(v1::Subject { tenant, key, version: 1, tenant_uid: Vec::new() });
            let message = v1::WaitForErasureRequest { subject, timeout: None };
            done(log.wait_for_erasure(named(id, message)).await)
        }
        "GetCheckpoint" => done(log.get_checkpoint(named(id, v1::GetCheckpointRequest {})).await),
        "GetInclusionProof" => {
            let message = v1::GetInclusionProofRequest { index: 0, size: 0 };
            done(log.get_inclusion_proof(named(id, message)).await)
        }
        "GetConsistencyProof" => {
            let message = v1::GetConsistencyProofRequest { from_size: 1, to_size: 0 };
            done(log.get_consistency_proof(named(id, message)).await)
        }
        "ListEntries" => {
            done(log.list_entries(named(id, v1::ListEntriesRequest { start: 0, page_size: 1 })).await)
        }
        "ConfirmClock" => done(keys.confirm_clock(named(id, v1::ConfirmClockRequest { request_id })).await),
        "CancelDestroyTenant" => {
            let message = v1::CancelDestroyTenantRequest { request_id, tenant, expected_revision: None };
            done(keys.cancel_destroy_tenant(named(id, message)).await)
        }
        "CancelDestroyKey" => {
            let target = Some(v1::cancel_destroy_key_request::Target::All(true));
            let message =
                v1::CancelDestroyKeyRequest { request_id, tenant, key, target, expected_revision: None };
            done(keys.cancel_destroy_key(named(id, message)).await)
        }
        "DestroyTenant" | "DestroyTenant later" => {
            let message = v1::DestroyTenantRequest {
                request_id,
                tenant,
                reason: v1::DestroyReason::ContractEnded.into(),
                window: call.ends_with("later").then_some(HOUR),
                ..v1::DestroyTenantRequest::default()
            };
            done(keys.destroy_tenant(named(id, message)).await)
        }
        "CreateKey" => {
            let message = v1::CreateKeyRequest { request_id, tenant, key, ..v1::CreateKeyRequest::default() };
            done(keys.create_key(named(id, message)).await)
        }
        "EnsureSubjects" => {
            let (tenant, subjects) = (families(&tenant), vec!["employee-17".into()]);
            let message = v1::EnsureSubjectsRequest { tenant, family: key, subjects, purpose: String::new() };
            done(keys.ensure_subjects(named(id, message)).await)
        }
        "DescribeKey" => done(keys.describe_key(named(id, v1::DescribeKeyRequest { tenant, key })).await),
        "ListKeys" => done(
            keys.list_keys(named(id, v1::ListKeysRequest { tenant, ..v1::ListKeysRequest::default() })).await,
        ),
        "ListVersions" => {
            let message = v1::ListVersionsRequest { tenant, key, ..v1::ListVersionsRequest::default() };
            done(keys.list_versions(named(id, message)).await)
        }
        "UpdateKey" => {
            let lease = Some(prost_types::Duration { seconds: 60, nanos: 0 });
            let message =
                v1::UpdateKeyRequest { request_id, tenant, key, lease, ..v1::UpdateKeyRequest::default() };
            done(keys.update_key(named(id, message)).await)
        }
        "RotateKey" => {
            let message = v1::RotateKeyRequest { request_id, tenant, key, ..v1::RotateKeyRequest::default() };
            done(keys.rotate_key(named(id, message)).await)
        }
        "SuspendKey" => {
            let message = v1::SuspendKeyRequest { request_id, tenant, key, expected_revision: None };
            done(keys.suspend_key(named(id, message)).await)
        }
        "ResumeKey" => {
            let message = v1::ResumeKeyRequest { request_id, tenant, key, expected_revision: None };
            done(keys.resume_key(named(id, message)).await)
        }
        "DestroyKey" | "DestroyKey later" => {
            let window = call.ends_with("later").then_some(HOUR);
            let message = v1::DestroyKeyRequest { window, ..api::destroy(&tenant, &key, None) };
            done(keys.destroy_key(named(id, message)).await)
        }
        "QueryAudit" => done(
            audit.query_audit(named(id, v1::QueryAuditRequest { page_size: 1, ..Default::default() })).await,
        ),
        "TailAudit" => begun(audit.tail_audit(named(id, v1::TailAuditRequest::default())).await),
        "ExportAudit" => begun(audit.export_audit(named(id, v1::ExportAuditRequest::default())).await),
        "DeleteAudit" => {
            let (through_segment, head_hash) = (0, vec![0; 32]);
            done(
                audit
                    .delete_audit(named(
                        id,
                        v1::DeleteAuditRequest { request_id, through_segment, head_hash },
                    ))
                    .await,
            )
        }
        "Explain" => {
            let (identity, operation) = (api.identity(), "Encrypt".into());
            let message = v1::ExplainRequest { identity, operation, tenant, key, purpose: String::new() };
            done(api.policy().explain(named(id, message)).await)
        }
        "reflection v1" => reflect(api, id, None).await,
        "reflection v1, a file" => reflect(api, id, Some("kms.v1.Crypto")).await,
        "reflection v1alpha" => {
            use reflection_alpha::server_reflection_request::MessageRequest;
            let ask = MessageRequest::ListServices(String::new());
            let ask =
                reflection_alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
            let mut client =
                reflection_alpha::server_reflection_client::ServerReflectionClient::new(api.channel());
            let mut answers = client.server_reflection_info(stream(id, ask)).await?.into_inner();
            let answered = answers.message().await.unwrap().unwrap().message_response.unwrap();
            assert!(format!("{answered:?}").contains("kms.v1.Crypto"));
            Ok(Vec::new())
        }
        "health" => {
            let mut client = tonic_health::pb::health_client::HealthClient::new(api.channel());
            let answered = client.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
            assert_eq!(answered.into_inner().status, 1);
            Ok(Vec::new())
        }
        other => panic!("{other}"),
    }
}

async fn lease(api: &Api, id: &str, tenant: String, item: open::item::Item) -> Result<Vec<u8>, Status> {
    let items = vec![open::Item { item: Some(item) }];
    let message = v1::OpenDataKeysRequest { tenant, items, ..v1::OpenDataKeysRequest::default() };
    api.crypto()
        .open_data_keys(named(id, message))
        .await
        .map(|response| response.into_inner().encode_to_vec())
}

fn stream<T>(id: &str, message: T) -> Request<tokio_stream::Once<T>> {
    named(id, tokio_stream::once(message))
}

async fn reflect(api: &Api, id: &str, symbol: Option<&str>) -> Result<Vec<u8>, Status> {
    use reflection::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let ask = match symbol {
        None => MessageRequest::ListServices(String::new()),
        Some(symbol) => MessageRequest::FileContainingSymbol(symbol.into()),
    };
    let ask = reflection::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(api.channel());
    let mut answers = client.server_reflection_info(stream(id, ask)).await?.into_inner();
    match answers.message().await.unwrap().unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
            for served in
                ["Crypto", "Keys", "Audit", "Policy", "Transparency"].map(|name| format!("kms.v1.{name}"))
            {
                assert!(names.contains(&&*served), "{served}: {names:?}");
            }
        }
        MessageResponse::FileDescriptorResponse(files) => {
            let all = files.file_descriptor_proto.concat();
            assert!(String::from_utf8_lossy(&all).contains("EncryptBatchRequest"));
        }
        other => panic!("{other:?}"),
    }
    Ok(Vec::new())
}

/// Where the phone number of [`Ground`] stands.
fn place() -> v1::Binding {
    api::field("checkins", "phone", "1")
}

/// The tenant beside another, in which the key of the same name is a family.
pub(crate) fn families(tenant: &str) -> String {
    format!("{tenant}-f")
}

/// A tenant of somebody's own, with a key of which version 1 is destroyed.
pub(crate) async fn ground(operator: &Api, attendance: &Api, who: &str) -> Ground {
    let tenant = format!("of-{who}");
    operator.create_tenant(&tenant).await.unwrap();
    operator.create_key(&tenant, KEY).await.unwrap();
    operator.rotate(&tenant, KEY).await.unwrap();
    operator.destroy(&tenant, KEY, Some(1)).await.unwrap();
    operator.create_tenant(&families(&tenant)).await.unwrap();
    operator.create_family(&families(&tenant), KEY).await.unwrap();
    let ciphertext = attendance.encrypt(&tenant, KEY, b"1", context(&[("row", "1")])).await.unwrap();
    let phone = attendance.encrypt(&tenant, KEY, b"13800131234", place()).await.unwrap();
    let current = open::item::Item::Current(open::Current { key: KEY.into(), deterministic: false });
    let message = v1::OpenDataKeysRequest {
        tenant: tenant.clone(),
        items: vec![open::Item { item: Some(current) }],
        ..v1::OpenDataKeysRequest::default()
    };
    let leased = answer(attendance.crypto().open_data_keys(message).await).unwrap();
    let leased = match leased.items.into_iter().next().unwrap().outcome.unwrap() {
        v1::open_data_keys_response::item::Outcome::Leased(leased) => leased,
        other => panic!("{other:?}"),
    };
    Ground { tenant, key: KEY.into(), ciphertext, phone, leased }
}
