//! The transparency log, and certificates of destruction.

use std::time::Duration;

use kms_core::{
    id::Uid,
    names::{KeyName, TenantName},
    state::LifecycleState,
};
use kms_proto::v1::{self, transparency_client::TransparencyClient};
use tonic::transport::Channel;

use super::{convert, crypto::MAX_MESSAGE};
use crate::{error::Error, kms::Kms};

/// Something that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// One version of a key.
    Version(TenantName, KeyName, u32),
    /// Every version of a key.
    Key(TenantName, KeyName),
    /// A tenant with all its keys.
    Tenant(TenantName),
    /// The same, where its name was given away again.
    FormerTenant(TenantName, Uid),
}

/// The head of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// A C2SP signed note.
    pub note: String,
    /// The C2SP verifier key of the log, as the server says it: compare it with one that came another way.
    pub verifier_key: String,
}

/// Entries of the log, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries {
    /// As they were hashed.
    pub entries: Vec<Vec<u8>>,
    /// How many the log has.
    pub size: u64,
}

/// A certificate of destruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file, to be kept as it is.
    pub file: Vec<u8>,
    /// Whether everything has happened that has to.
    pub erased: bool,
    /// Where a subject was named: the salt that its name stands in the file with, for those who may know whom it is about. Empty elsewhere.
    pub name_salt: Vec<u8>,
}

impl Kms {
    /// The log's head, signed.
    pub async fn checkpoint(&self) -> Result<SignedCheckpoint, Error> {
        let called = self.call(v1::GetCheckpointRequest {}, |channel, request| async move {
            client(channel).get_checkpoint(request).await
        });
        let v1::GetCheckpointResponse { note, verifier_key } = called.await?.answer;
        Ok(SignedCheckpoint { note, verifier_key })
    }

    /// Entries of the log from an index on, as many as the server gives at once.
    pub async fn log_entries(&self, start: u64) -> Result<Entries, Error> {
        let message = v1::ListEntriesRequest { start, page_size: 1_000 };
        let called =
            self.call(message, |channel, request| async move { client(channel).list_entries(request).await });
        let v1::ListEntriesResponse { entries, size } = called.await?.answer;
        Ok(Entries { entries, size })
    }

    /// Hands in a checkpoint that witnesses cosigned; gives its size and the witnesses that the server knows.
    pub async fn add_cosignatures(&self, note: String) -> Result<(u64, Vec<String>), Error> {
        let message = v1::AddCosignaturesRequest { note };
        let called = self
            .call(message, |channel, request| async move { client(channel).add_cosignatures(request).await });
        let v1::AddCosignaturesResponse { size, witnesses } = called.await?.answer;
        Ok((size, witnesses))
    }

    /// The certificate of a destruction, also while its erasure is pending. It proves that checkpoints of `earlier` sizes are a
    /// beginning of its own.
    pub async fn certificate(&self, of: &Gone, earlier: &[u64]) -> Result<Certificate, Error> {
        let message =
            v1::GetCertificateRequest { subject: Some(subject(of)), earlier_sizes: earlier.to_vec() };
        let called = self
            .call(message, |channel, request| async move { client(channel).get_certificate(request).await });
        let v1::GetCertificateResponse { certificate, erased, name_salt } = called.await?.answer;
        Ok(Certificate { file: certificate, erased, name_salt })
    }

    /// Waits until what was destroyed is erased, at most so long (and at most 20 seconds a call); gives its state then.
    pub async fn wait_for_erasure(&self, of: &Gone, timeout: Duration) -> Result<LifecycleState, Error> {
        let timeout = convert::duration_message(timeout);
        let message = v1::WaitForErasureRequest { subject: Some(subject(of)), timeout: Some(timeout) };
        let called = self
            .call(message, |channel, request| async move { client(channel).wait_for_erasure(request).await });
        called.await?.convert(|answer| convert::state(answer.state))
    }
}

fn client(channel: Channel) -> TransparencyClient<Channel> {
    TransparencyClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

fn subject(of: &Gone) -> v1::Subject {
    let (tenant, key, version) = match of {
        Gone::Version(tenant, key, version) => (tenant, key.to_string(), *version),
        Gone::Key(tenant, key) => (tenant, key.to_string(), 0),
        Gone::Tenant(tenant) | Gone::FormerTenant(tenant, _) => (tenant, String::new(), 0),
    };
    let tenant_uid = match of {
        Gone::FormerTenant(_, uid) => uid.0.to_vec(),
        _ => Vec::new(),
    };
    v1::Subject { tenant: tenant.to_string(), key, version, tenant_uid }
}
