//! The API as a stub sees it: messages in, reasons out, with nothing of the client crate between that would hide a bad one.

use std::path::Path;

use kms_client::{Kms, Profile};
use kms_proto::{
    reason::Reason,
    refusal,
    v1::{
        self, audit_client::AuditClient, crypto_client::CryptoClient, keys_client::KeysClient,
        policy_client::PolicyClient, transparency_client::TransparencyClient,
    },
};
use tonic::{Request, Response, Status, transport::Channel};
use uuid::Uuid;

use crate::{place::Place, server::Server};

/// The tenant that [`Api::ground`] makes.
pub const TENANT: &str = "acme";
/// Its key, which policy gives to the attendance service.
pub const KEY: &str = "attendance";

/// More than the server takes, so that it is the server that refuses.
const LARGE: usize = 64 << 20;

/// One caller's stubs.
#[derive(Debug, Clone)]
pub struct Api {
    /// The identity's short name.
    pub name: String,
    /// The client whose connection the stubs use.
    pub kms: Kms,
    channel: Channel,
}

/// What a call came to: its message, or the reason why not.
pub type Answer<T> = Result<T, Reason>;

impl Api {
    /// Connects as one of the five.
    pub async fn of(place: &Place, name: &str) -> Self {
        Self::with(&place.profile(name), name).await
    }

    /// Connects with a profile.
    pub async fn with(profile: &Path, name: &str) -> Self {
        let profile = Profile::load(profile).unwrap();
        Self::over(Kms::builder(profile).connections(1).connect().await.unwrap(), name)
    }

    /// The stubs of a client that is connected.
    pub fn over(kms: Kms, name: &str) -> Self {
        let channel = kms.channels().remove(0);
        Self { name: name.into(), kms, channel }
    }

    /// The operator of a server with one tenant and one key; and the service that may use the key.
    pub async fn ground(place: &Place) -> (Self, Self) {
        let (operator, attendance) = (Self::of(place, "operator").await, Self::of(place, "attendance").await);
        operator.create_tenant(TENANT).await.unwrap();
        operator.create_key(TENANT, KEY).await.unwrap();
        (operator, attendance)
    }

    /// Creates a family.
    pub async fn create_family(&self, tenant: &str, key: &str) -> Answer<v1::Key> {
        let message = v1::CreateKeyRequest {
            request_id: fresh(),
            tenant: tenant.into(),
            key: key.into(),
            family: true,
            ..v1::CreateKeyRequest::default()
        };
        answer(self.keys().create_key(message).await)
    }

    /// Ensures subjects of a family.
    pub async fn ensure(
        &self,
        tenant: &str,
        family: &str,
        subjects: &[impl AsRef<str>],
    ) -> Answer<Vec<Answer<v1::ensure_subjects_response::Subject>>> {
        use v1::ensure_subjects_response::item::Outcome;
        let message = v1::EnsureSubjectsRequest {
            tenant: tenant.into(),
            family: family.into(),
            subjects: subjects.iter().map(|subject| subject.as_ref().to_owned()).collect(),
            purpose: String::new(),
        };
        let items = answer(self.keys().ensure_subjects(message).await)?.items;
        let one = |item: v1::ensure_subjects_response::Item| match item.outcome.unwrap() {
            Outcome::Subject(subject) => Ok(subject),
            Outcome::Error(error) => Err(error.reason.parse().unwrap()),
        };
        Ok(items.into_iter().map(one).collect())
    }

    /// Its SPIFFE ID.
    pub fn identity(&self) -> String {
        format!("spiffe://dev.local/{}", self.name)
    }

    /// The connection itself.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Service `Crypto`.
    pub fn crypto(&self) -> CryptoClient<Channel> {
        CryptoClient::new(self.channel()).max_decoding_message_size(LARGE).max_encoding_message_size(LARGE)
    }

    /// Service `Keys`.
    pub fn keys(&self) -> KeysClient<Channel> {
        KeysClient::new(self.channel()).max_decoding_message_size(LARGE).max_encoding_message_size(LARGE)
    }

    /// Service `Audit`.
    pub fn audit(&self) -> AuditClient<Channel> {
        AuditClient::new(self.channel()).max_decoding_message_size(LARGE)
    }

    /// Service `Transparency`.
    pub fn log(&self) -> TransparencyClient<Channel> {
        TransparencyClient::new(self.channel())
    }

    /// Service `Policy`.
    pub fn policy(&self) -> PolicyClient<Channel> {
        PolicyClient::new(self.channel())
    }

    /// Creates a tenant.
    pub async fn create_tenant(&self, tenant: &str) -> Answer<v1::Tenant> {
        let message =
            v1::CreateTenantRequest { request_id: fresh(), tenant: tenant.into(), label: String::new() };
        answer(self.keys().create_tenant(message).await)
    }

    /// Creates a key of class L2.
    pub async fn create_key(&self, tenant: &str, key: &str) -> Answer<v1::Key> {
        self.create_key_of(tenant, key, v1::KeyClass::L2).await
    }

    /// Creates a key of a class.
    pub async fn create_key_of(&self, tenant: &str, key: &str, class: v1::KeyClass) -> Answer<v1::Key> {
        let message = v1::CreateKeyRequest {
            request_id: fresh(),
            tenant: tenant.into(),
            key: key.into(),
            key_class: class.into(),
            ..v1::CreateKeyRequest::default()
        };
        answer(self.keys().create_key(message).await)
    }

    /// Describes a key.
    pub async fn describe_key(&self, tenant: &str, key: &str) -> Answer<v1::Key> {
        let message = v1::DescribeKeyRequest { tenant: tenant.into(), key: key.into() };
        answer(self.keys().describe_key(message).await)
    }

    /// Rotates a key.
    pub async fn rotate(&self, tenant: &str, key: &str) -> Answer<v1::Key> {
        let message = v1::RotateKeyRequest {
            request_id: fresh(),
            tenant: tenant.into(),
            key: key.into(),
            ..v1::RotateKeyRequest::default()
        };
        answer(self.keys().rotate_key(message).await)
    }

    /// Suspends a key.
    pub async fn suspend(&self, tenant: &str, key: &str) -> Answer<v1::Key> {
        let (tenant, key) = (tenant.into(), key.into());
        let message = v1::SuspendKeyRequest { request_id: fresh(), tenant, key, expected_revision: None };
        answer(self.keys().suspend_key(message).await)
    }

    /// Resumes a key.
    pub async fn resume(&self, tenant: &str, key: &str) -> Answer<v1::Key> {
        let (tenant, key) = (tenant.into(), key.into());
        let message = v1::ResumeKeyRequest { request_id: fresh(), tenant, key, expected_revision: None };
        answer(self.keys().resume_key(message).await)
    }

    /// Destroys one version of a key, or all.
    pub async fn destroy(
        &self,
        tenant: &str,
        key: &str,
        version: Option<u32>,
    ) -> Answer<v1::DestroyKeyResponse> {
        answer(self.keys().destroy_key(destroy(tenant, key, version)).await)
    }

    /// Destroys a tenant.
    pub async fn destroy_tenant(&self, tenant: &str) -> Answer<v1::DestroyTenantResponse> {
        let message = v1::DestroyTenantRequest {
            request_id: fresh(),
            tenant: tenant.into(),
            reason: v1::DestroyReason::Test.into(),
            ..v1::DestroyTenantRequest::default()
        };
        answer(self.keys().destroy_tenant(message).await)
    }

    /// Seals.
    pub async fn encrypt(
        &self,
        tenant: &str,
        key: &str,
        plaintext: &[u8],
        binding: v1::Binding,
    ) -> Answer<Vec<u8>> {
        let message = v1::EncryptRequest {
            tenant: tenant.into(),
            key: key.into(),
            plaintext: plaintext.into(),
            binding: Some(binding),
            purpose: String::new(),
        };
        answer(self.crypto().encrypt(message).await).map(|sealed| sealed.ciphertext)
    }

    /// Opens.
    pub async fn decrypt(
        &self,
        tenant: &str,
        key: &str,
        ciphertext: &[u8],
        binding: v1::Binding,
    ) -> Answer<Vec<u8>> {
        let message = v1::DecryptRequest {
            tenant: tenant.into(),
            key: key.into(),
            ciphertext: ciphertext.into(),
            binding: Some(binding),
            purpose: String::new(),
        };
        answer(self.crypto().decrypt(message).await).map(|opened| opened.plaintext)
    }

    /// Opens many; all must be bound alike.
    pub async fn decrypt_each(
        &self,
        tenant: &str,
        key: &str,
        ciphertexts: impl IntoIterator<Item = Vec<u8>>,
        binding: &v1::Binding,
    ) -> Vec<Answer<Vec<u8>>> {
        use v1::decrypt_batch_response::item::Outcome;
        let item =
            |ciphertext| v1::decrypt_batch_request::Item { ciphertext, binding: Some(binding.clone()) };
        let items: Vec<_> = ciphertexts.into_iter().map(item).collect();
        let mut opened = Vec::new();
        for items in items.chunks(1_000) {
            let message = v1::DecryptBatchRequest {
                tenant: tenant.into(),
                key: key.into(),
                items: items.to_vec(),
                purpose: String::new(),
            };
            let answered = self.crypto().decrypt_batch(message).await.unwrap().into_inner();
            assert_eq!(answered.items.len(), items.len());
            opened.extend(answered.items.into_iter().map(|item| match item.outcome.unwrap() {
                Outcome::Plaintext(plaintext) => Ok(plaintext),
                Outcome::Error(error) => Err(error.reason.parse().unwrap()),
            }));
        }
        opened
    }

    /// The audit's lines that match, as JSON; this caller must be allowed to read them.
    pub async fn lines(&self, filter: v1::AuditFilter) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        let mut page_token = String::new();
        loop {
            let message =
                v1::QueryAuditRequest { filter: Some(filter.clone()), page_size: 1_000, page_token };
            let page = self.audit().query_audit(message).await.unwrap().into_inner();
            lines.extend(page.lines.iter().map(|line| serde_json::from_str(&line.json).unwrap()));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return lines;
            }
        }
    }
}

/// The message, or why not. A status without a reason is a failure of the server.
pub fn answer<T>(called: Result<Response<T>, Status>) -> Answer<T> {
    called.map(Response::into_inner).map_err(|status| reason(&status))
}

/// The reason that a status carries.
pub fn reason(status: &Status) -> Reason {
    let refusal = refusal::read(status);
    let reason = refusal.reason.unwrap_or_else(|| panic!("no reason in {status:?}"));
    assert_eq!(status.code(), reason.code(), "{reason:?} comes with its own status");
    assert!(!status.message().is_empty(), "{reason:?} comes with words");
    reason
}

/// The message, with an `x-request-id` that audit and errors will show.
pub fn named<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    request
}

/// A new request id.
pub fn fresh() -> String {
    Uuid::new_v4().to_string()
}

/// A request to destroy one version, or all.
pub fn destroy(tenant: &str, key: &str, version: Option<u32>) -> v1::DestroyKeyRequest {
    use v1::destroy_key_request::Target;
    v1::DestroyKeyRequest {
        request_id: fresh(),
        tenant: tenant.into(),
        key: key.into(),
        target: Some(version.map_or(Target::All(true), Target::Version)),
        reason: v1::DestroyReason::Test.into(),
        ..v1::DestroyKeyRequest::default()
    }
}

/// Bound to a context.
pub fn context(pairs: &[(&str, &str)]) -> v1::Binding {
    let pair = |(name, value): &(&str, &str)| v1::ContextPair {
        name: (*name).into(),
        value: value.as_bytes().to_vec(),
    };
    let pairs = pairs.iter().map(pair).collect();
    v1::Binding { binding: Some(v1::binding::Binding::Direct(v1::Context { pairs })) }
}

/// Bound to a place in a table.
pub fn field(table: &str, column: &str, record: &str) -> v1::Binding {
    let (table, column, record_id) = (table.into(), column.into(), record.as_bytes().to_vec());
    let field = v1::FieldBinding { table, column, record_id };
    v1::Binding { binding: Some(v1::binding::Binding::Field(field)) }
}

/// A place with a running server, ground made.
pub async fn started() -> (Place, Server, Api, Api) {
    let place = Place::new();
    let server = place.start();
    let (operator, attendance) = Api::ground(&place).await;
    (place, server, operator, attendance)
}
