//! Service `kms.v1.Transparency`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kms_core::commitment::Hash;
use kms_core::id::Uid;
use kms_core::names::TenantName;
use kms_proto::reason::Reason;
use kms_proto::v1;
use kms_proto::v1::transparency_server::Transparency;
use tonic::{Request, Response, Status};

use super::convert;
use super::status::Failure;
use super::{Core, accept, answer, calls};
use crate::gate::permit::op;
use crate::gate::target::System;
use crate::gate::{Caller, Permit};
use crate::keyring::KeyEntry;
use crate::operation::Operation;
use crate::transparency::certificate::MAX_EARLIER;
use crate::transparency::witnessed::Accepted;
use crate::usecase::{certify, read_log};

/// The service.
pub struct TransparencyService(pub Core);

/// Most entries of one answer; fewer where none are named.
const MAX_ENTRIES: u32 = 1_000;
const ENTRIES: u32 = 256;
/// Longest wait of one call.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// What a call is about.
enum Subject {
    Key(Permit<op::CertifyKey>, Option<u32>),
    Tenant(Permit<op::CertifyTenant>, Option<Uid>),
}

impl Core {
    async fn get_checkpoint(
        &self,
        caller: &Caller,
        _: v1::GetCheckpointRequest,
    ) -> Result<v1::GetCheckpointResponse, Failure> {
        let permit = self.gate.authorize(caller, System, None).await?;
        let signed = read_log::checkpoint(permit, &self.log).await;
        let note = self.gate.record(signed).await??.to_string();
        Ok(v1::GetCheckpointResponse { note, verifier_key: self.log.verifier().to_string() })
    }

    async fn get_inclusion_proof(
        &self,
        caller: &Caller,
        message: v1::GetInclusionProofRequest,
    ) -> Result<v1::GetInclusionProofResponse, Failure> {
        let permit = self.gate.authorize(caller, System, None).await?;
        let proven = read_log::inclusion(permit, &self.log, message.index, unless_zero(message.size)).await;
        let read_log::Inclusion { entry, size, path } = self.gate.record(proven).await??;
        Ok(v1::GetInclusionProofResponse { entry, size, hashes: hashes(&path) })
    }

    async fn get_consistency_proof(
        &self,
        caller: &Caller,
        message: v1::GetConsistencyProofRequest,
    ) -> Result<v1::GetConsistencyProofResponse, Failure> {
        let permit = self.gate.authorize(caller, System, None).await?;
        let (from, to) = (message.from_size, unless_zero(message.to_size));
        let proven = read_log::consistency(permit, &self.log, from, to).await;
        let (to_size, proof) = self.gate.record(proven).await??;
        Ok(v1::GetConsistencyProofResponse { to_size, hashes: hashes(&proof) })
    }

    async fn add_cosignatures(
        &self,
        caller: &Caller,
        message: v1::AddCosignaturesRequest,
    ) -> Result<v1::AddCosignaturesResponse, Failure> {
        let permit = self.gate.authorize(caller, System, None).await?;
        let taken = read_log::cosign(permit, &self.log, message.note).await;
        let Accepted { size, witnesses } = self.gate.record(taken).await??;
        Ok(v1::AddCosignaturesResponse { size, witnesses })
    }

    async fn list_entries(
        &self,
        caller: &Caller,
        message: v1::ListEntriesRequest,
    ) -> Result<v1::ListEntriesResponse, Failure> {
        let limit = match message.page_size {
            0 => ENTRIES,
            size => size.min(MAX_ENTRIES),
        };
        let permit = self.gate.authorize(caller, System, None).await?;
        let read = read_log::entries(permit, &self.log, message.start, limit.into()).await;
        let read_log::Entries { entries, size } = self.gate.record(read).await??;
        Ok(v1::ListEntriesResponse { entries, size })
    }

    async fn get_certificate(
        &self,
        caller: &Caller,
        message: v1::GetCertificateRequest,
    ) -> Result<v1::GetCertificateResponse, Failure> {
        if message.earlier_sizes.len() > MAX_EARLIER {
            let message = format!("a certificate leads from at most {MAX_EARLIER} earlier checkpoints");
            return Err(Failure::message(Reason::FieldInvalid, message));
        }
        let earlier: BTreeSet<u64> = message.earlier_sizes.into_iter().collect();
        let made = match self.subject(caller, message.subject).await? {
            Subject::Key(permit, version) => certify::certify_key(permit, &self.log, version, earlier).await,
            Subject::Tenant(permit, uid) => certify::certify_tenant(permit, &self.log, uid, earlier).await,
        };
        let certify::Certificate { file, erased, salt } = self.gate.record(made).await??;
        let name_salt = salt.map(Vec::from).unwrap_or_default();
        Ok(v1::GetCertificateResponse { certificate: file, erased, name_salt })
    }

    async fn wait_for_erasure(
        &self,
        caller: &Caller,
        message: v1::WaitForErasureRequest,
    ) -> Result<v1::WaitForErasureResponse, Failure> {
        let timeout = convert::duration("timeout", message.timeout)?.unwrap_or(MAX_WAIT).min(MAX_WAIT);
        let waited = match self.subject(caller, message.subject).await? {
            Subject::Key(permit, version) => {
                certify::wait_for_key(permit, &self.keyring, version, timeout).await
            }
            Subject::Tenant(permit, uid) => {
                certify::wait_for_tenant(permit, &self.keyring, uid, timeout).await
            }
        };
        let state = self.gate.record(waited).await??;
        Ok(v1::WaitForErasureResponse { state: convert::state_to_wire(state).into() })
    }

    async fn subject(&self, caller: &Caller, subject: Option<v1::Subject>) -> Result<Subject, Failure> {
        let v1::Subject { tenant, key, version, tenant_uid } =
            subject.ok_or_else(|| Failure::required("subject"))?;
        if key.is_empty() {
            if version != 0 {
                return Err(Failure::required("subject.key"));
            }
            let tenant = TenantName::try_from(&*tenant)?;
            let uid = former(&tenant_uid)?;
            return Ok(Subject::Tenant(self.gate.authorize(caller, tenant, None).await?, uid));
        }
        let entry: Arc<KeyEntry> = self.entry(caller, Operation::CertifyKey, (&tenant, &key), None).await?;
        let permit = self.gate.authorize(caller, entry, None).await?;
        Ok(Subject::Key(permit, (version != 0).then_some(version)))
    }
}

fn former(uid: &[u8]) -> Result<Option<Uid>, Failure> {
    let invalid = |_| Failure::message(Reason::FieldInvalid, "`tenant_uid` has 16 bytes");
    (!uid.is_empty()).then(|| Uid::try_from(uid).map_err(invalid)).transpose()
}

fn unless_zero(size: u64) -> Option<u64> {
    (size != 0).then_some(size)
}

fn hashes(path: &[Hash]) -> Vec<Vec<u8>> {
    path.iter().map(|hash| hash.to_vec()).collect()
}

calls! {
    TransparencyService: Transparency {
        get_checkpoint(GetCheckpointRequest) -> v1::GetCheckpointResponse;
        get_inclusion_proof(GetInclusionProofRequest) -> v1::GetInclusionProofResponse;
        get_consistency_proof(GetConsistencyProofRequest) -> v1::GetConsistencyProofResponse;
        list_entries(ListEntriesRequest) -> v1::ListEntriesResponse;
        add_cosignatures(AddCosignaturesRequest) -> v1::AddCosignaturesResponse;
        get_certificate(GetCertificateRequest) -> v1::GetCertificateResponse;
        wait_for_erasure(WaitForErasureRequest) -> v1::WaitForErasureResponse;
    }
}
