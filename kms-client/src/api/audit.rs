//! Who did what: query, tail, export, delete.

use std::{sync::Arc, time::SystemTime};

use futures_util::stream::{self, StreamExt as _};
use kms_core::names::{KeyName, TenantName};
use kms_proto::v1::{self, audit_client::AuditClient};
use tonic::{Streaming, transport::Channel};
use uuid::Uuid;

use super::{
    crypto::MAX_MESSAGE,
    list::{self, Items, Page, PageRequest},
};
use crate::{error::Error, kms::Kms};

/// Conditions that a line must meet, all of them; what is `None` matches everything.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Lines about this tenant.
    pub tenant: Option<TenantName>,
    /// Lines about this key.
    pub key: Option<KeyName>,
    /// Full identity of who asked.
    pub identity: Option<String>,
    /// For example `Encrypt`.
    pub operation: Option<String>,
    /// `allowed`, `denied` or `failed`.
    pub outcome: Option<String>,
    /// Lines of one call.
    pub request_id: Option<String>,
    /// Not before.
    pub from: Option<SystemTime>,
    /// Before.
    pub until: Option<SystemTime>,
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its number in the chain, from 0.
    pub sequence: u64,
    /// The line as written.
    pub json: String,
}

/// The next bytes of one file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedChunk {
    /// File name below the export directory, as the server gave it: check it before you write.
    pub file: String,
    /// The bytes.
    pub content: Vec<u8>,
}

/// What a deletion left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedAudit {
    /// How many segments are gone.
    pub segments: u64,
    /// Number of the first line that is left.
    pub first_sequence: u64,
}

fn client(channel: Channel) -> AuditClient<Channel> {
    AuditClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

impl From<&AuditFilter> for v1::AuditFilter {
    fn from(filter: &AuditFilter) -> Self {
        Self {
            tenant: filter.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            key: filter.key.as_ref().map(ToString::to_string).unwrap_or_default(),
            identity: filter.identity.clone().unwrap_or_default(),
            operation: filter.operation.clone().unwrap_or_default(),
            outcome: filter.outcome.clone().unwrap_or_default(),
            request_id: filter.request_id.clone().unwrap_or_default(),
            from: filter.from.map(Into::into),
            until: filter.until.map(Into::into),
        }
    }
}

fn line(message: v1::AuditLine) -> AuditLine {
    AuditLine { sequence: message.sequence, json: message.json }
}

impl Kms {
    /// Lines that match, oldest first, one after the other.
    pub fn query_audit(&self, filter: AuditFilter) -> Items<AuditLine> {
        let (kms, filter) = (self.clone(), Arc::new(filter));
        list::items(move |page| {
            let (kms, filter) = (kms.clone(), filter.clone());
            async move { kms.query_audit_page(&filter, page).await }
        })
    }

    /// One page of lines that match.
    pub async fn query_audit_page(
        &self,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditLine>, Error> {
        let message = v1::QueryAuditRequest {
            filter: Some(filter.into()),
            page_size: page.size,
            page_token: page.token,
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).query_audit(request).await });
        called.await?.convert(|page| Page::new(page.lines, |one| Ok(line(one)), page.next_page_token))
    }

    /// Lines that match from now on. Has no deadline; ends with an error where the connection does.
    pub async fn tail_audit(&self, filter: &AuditFilter) -> Result<Items<AuditLine>, Error> {
        let message = v1::TailAuditRequest { filter: Some(filter.into()) };
        let (request_id, connection) = (Uuid::new_v4().to_string(), self.shared.pool.borrow());
        let started = client(connection.channel()).tail_audit(self.request(message, &request_id)).await;
        self.streamed(started, request_id, line)
    }

    /// The segments as they stand on the server's disk. Has no deadline.
    pub async fn export_audit(&self, from_segment: u64) -> Result<Items<ExportedChunk>, Error> {
        let message = v1::ExportAuditRequest { from_segment };
        let (request_id, connection) = (Uuid::new_v4().to_string(), self.shared.pool.borrow());
        let started = client(connection.channel()).export_audit(self.request(message, &request_id)).await;
        self.streamed(started, request_id, |chunk| ExportedChunk { file: chunk.file, content: chunk.content })
    }

    /// Deletes exported segments up to and with one; `head_hash` is the chain hash after its last line, from the export.
    pub async fn delete_audit(
        &self,
        through_segment: u64,
        head_hash: &[u8],
        request_id: Option<Uuid>,
    ) -> Result<DeletedAudit, Error> {
        let message = v1::DeleteAuditRequest {
            request_id: request_id.unwrap_or_else(Uuid::new_v4).to_string(),
            through_segment,
            head_hash: head_hash.to_vec(),
        };
        let called =
            self.call(message, |channel, request| async move { client(channel).delete_audit(request).await });
        let done = called.await?.answer;
        Ok(DeletedAudit { segments: done.deleted_segments, first_sequence: done.first_sequence })
    }

    fn streamed<M: 'static, T: Send + 'static>(
        &self,
        started: Result<tonic::Response<Streaming<M>>, tonic::Status>,
        request_id: String,
        convert: fn(M) -> T,
    ) -> Result<Items<T>, Error> {
        let request_id: Arc<str> = request_id.into();
        let stream = started.map_err(|status| self.error_of(&status, &request_id))?.into_inner();
        let start = (self.clone(), stream, request_id);
        Ok(stream::try_unfold(start, move |(kms, mut stream, request_id)| async move {
            let next = stream.message().await.map_err(|status| kms.error_of(&status, &request_id))?;
            Ok(next.map(|message| (convert(message), (kms, stream, request_id))))
        })
        .boxed())
    }
}
