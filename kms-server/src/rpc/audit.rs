//! Service `kms.v1.Audit`.

use std::pin::Pin;
use std::time::SystemTime;

use kms_core::names::{KeyName, TenantName};
use kms_proto::reason::Reason;
use kms_proto::v1;
use kms_proto::v1::audit_server::Audit;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert;
use super::page::PageToken;
use super::status::Failure;
use super::{Core, accept, answer};
use crate::audit::{ChainHash, Filter, Line, RequestId};
use crate::gate::Caller;
use crate::gate::target::System;
use crate::usecase::read_audit;

/// The service.
pub struct AuditService(pub Core);

/// Chunks or lines that may wait for a slow reader.
const AHEAD: usize = 8;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Core {
    async fn query_audit(
        &self,
        caller: &Caller,
        message: v1::QueryAuditRequest,
    ) -> Result<v1::QueryAuditResponse, Failure> {
        let filter = filter(message.filter)?;
        let from = match PageToken::read("audit", &message.page_token)? {
            Some(from) => from.parse().map_err(|_| PageToken::invalid())?,
            None => 0,
        };
        let limit = convert::page_size(message.page_size);
        let permit = self.gate.authorize(caller, System, None).await?;
        let page = read_audit::query(permit, self.gate.audit(), filter, from, limit).await;
        let page = self.gate.record(page).await??;
        let next_page_token =
            page.next.map(|next| PageToken::of("audit", &next.to_string())).unwrap_or_default();
        Ok(v1::QueryAuditResponse {
            lines: page.lines.into_iter().map(line_to_wire).collect(),
            next_page_token,
        })
    }

    async fn tail_audit(
        &self,
        caller: &Caller,
        message: v1::TailAuditRequest,
    ) -> Result<Answers<v1::AuditLine>, Failure> {
        let filter = filter(message.filter)?;
        let permit = self.gate.authorize(caller, System, None).await?;
        let mut tail = self.gate.record(read_audit::tail(permit, self.gate.audit(), filter)).await??;
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        tokio::spawn(async move {
            // Ends when the reader goes away, which only sending or waiting for it tells.
            loop {
                let lines = tokio::select! {
                    lines = tail.next() => lines,
                    () = sender.closed() => return,
                };
                let Ok(lines) = lines else { return };
                for line in lines {
                    if sender.send(Ok(line_to_wire(line))).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }

    async fn export_audit(
        &self,
        caller: &Caller,
        message: v1::ExportAuditRequest,
    ) -> Result<Answers<v1::ExportAuditChunk>, Failure> {
        let permit = self.gate.authorize(caller, System, None).await?;
        let export = read_audit::export(permit, self.gate.audit(), message.from_segment).await;
        let export = self.gate.record(export).await??;
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let request_id = caller.request_id.clone();
        tokio::task::spawn_blocking(move || {
            for chunk in export {
                let chunk = chunk
                    .map(|chunk| v1::ExportAuditChunk { file: chunk.file.into(), content: chunk.content })
                    .map_err(|error| {
                        let refused = crate::usecase::refused::Refused::internal(error);
                        Failure::from(refused).status(request_id.as_str())
                    });
                let failed = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }

    async fn delete_audit(
        &self,
        caller: &Caller,
        message: v1::DeleteAuditRequest,
    ) -> Result<v1::DeleteAuditResponse, Failure> {
        let head: [u8; 32] = message.head_hash.as_slice().try_into().map_err(|_| {
            Failure::message(
                Reason::FieldInvalid,
                "`head_hash` has 32 bytes: the hash of the last exported line",
            )
        })?;
        let permit = self.gate.authorize(caller, System, None).await?;
        let deleted =
            read_audit::delete(permit, self.gate.audit(), message.through_segment, ChainHash(head)).await;
        let deleted = self.gate.record(deleted).await??;
        Ok(v1::DeleteAuditResponse { deleted_segments: deleted.segments, first_sequence: deleted.first })
    }
}

fn filter(message: Option<v1::AuditFilter>) -> Result<Filter, Failure> {
    let v1::AuditFilter { tenant, key, identity, operation, outcome, request_id, from, until } =
        message.unwrap_or_default();
    let invalid = |error: &dyn std::error::Error| Failure::message(Reason::FieldInvalid, error.to_string());
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Filter {
        tenant: given(&tenant).map(|name| TenantName::try_from(&*name)).transpose()?,
        key: given(&key).map(|name| KeyName::try_from(&*name)).transpose()?,
        identity: given(&identity).map(String::into_boxed_str),
        operation: given(&operation)
            .map(|word| word.parse())
            .transpose()
            .map_err(|error: crate::operation::UnknownOperation| invalid(&error))?,
        outcome: given(&outcome)
            .map(|word| word.parse())
            .transpose()
            .map_err(|error: crate::audit::query::UnknownOutcome| invalid(&error))?,
        request_id: given(&request_id)
            .map(|id| RequestId::try_from(&*id))
            .transpose()
            .map_err(|error| invalid(&error))?,
        from: from.map(instant).transpose()?,
        until: until.map(instant).transpose()?,
    })
}

fn instant(wire: prost_types::Timestamp) -> Result<SystemTime, Failure> {
    SystemTime::try_from(wire)
        .map_err(|_| Failure::message(Reason::FieldInvalid, "an instant of the filter is out of range"))
}

fn line_to_wire(line: Line) -> v1::AuditLine {
    v1::AuditLine { sequence: line.sequence, json: line.json }
}

#[tonic::async_trait]
impl Audit for AuditService {
    type TailAuditStream = Answers<v1::AuditLine>;
    type ExportAuditStream = Answers<v1::ExportAuditChunk>;

    async fn query_audit(
        &self,
        request: Request<v1::QueryAuditRequest>,
    ) -> Result<Response<v1::QueryAuditResponse>, Status> {
        let (caller, message) = accept(request)?;
        answer(&caller, self.0.query_audit(&caller, message).await)
    }

    async fn tail_audit(
        &self,
        request: Request<v1::TailAuditRequest>,
    ) -> Result<Response<Self::TailAuditStream>, Status> {
        let (caller, message) = accept(request)?;
        answer(&caller, self.0.tail_audit(&caller, message).await)
    }

    async fn export_audit(
        &self,
        request: Request<v1::ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        let (caller, message) = accept(request)?;
        answer(&caller, self.0.export_audit(&caller, message).await)
    }

    async fn delete_audit(
        &self,
        request: Request<v1::DeleteAuditRequest>,
    ) -> Result<Response<v1::DeleteAuditResponse>, Status> {
        let (caller, message) = accept(request)?;
        answer(&caller, self.0.delete_audit(&caller, message).await)
    }
}
