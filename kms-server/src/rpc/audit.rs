//! Service `kms.v1.Audit`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, future, stream};
use kms_core::names::{KeyName, TenantName};
use kms_proto::reason::Reason;
use kms_proto::v1;
use kms_proto::v1::audit_server::Audit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert;
use super::page::PageToken;
use super::status::Failure;
use super::{Core, accept, answer, run_to_end};
use crate::audit::{ChainHash, Export, Filter, Line, RequestId};
use crate::gate::Caller;
use crate::gate::target::System;
use crate::usecase::read_audit;
use crate::usecase::refused::Refused;

/// The service.
pub struct AuditService {
    core: Core,
    /// Places of exports under way.
    exports: Arc<Semaphore>,
}

/// Lines that may wait for a slow reader.
const AHEAD: usize = 8;
/// Chunks that may.
const CHUNKS_AHEAD: usize = 2;
/// Exports under way at a time.
const EXPORTS: usize = 4;
/// How long a reader may leave an export waiting before it is cut.
const STALLED: Duration = Duration::from_secs(30);

impl AuditService {
    /// The service over what all rest on.
    pub fn new(core: Core) -> Self {
        Self { core, exports: Arc::new(Semaphore::new(EXPORTS)) }
    }
}

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
        let (sender, receiver) = mpsc::channel(AHEAD);
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
        place: OwnedSemaphorePermit,
    ) -> Result<Answers<v1::ExportAuditChunk>, Failure> {
        let permit = self.gate.authorize(caller, System, None).await?;
        let export = read_audit::export(permit, self.gate.audit(), message.from_segment).await;
        let export = self.gate.record(export).await??;
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let request_id = caller.request_id.clone();
        // An export that was cut must not look like a whole one: its error follows the last chunk.
        let (cut, why) = oneshot::channel();
        tokio::spawn(async move {
            if let Err(failure) = send_chunks(export, &sender, STALLED).await {
                // An error means that nobody reads any more.
                cut.send(failure.status(request_id.as_str())).ok();
            }
            drop(place);
        });
        let end = stream::once(why).filter_map(|why| future::ready(why.ok().map(Err)));
        Ok(Box::pin(ReceiverStream::new(receiver).chain(end)))
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

/// Sends an export, no faster than it is read; one that nobody reads is given up.
async fn send_chunks(
    mut export: Export,
    sender: &mpsc::Sender<Result<v1::ExportAuditChunk, Status>>,
    patience: Duration,
) -> Result<(), Failure> {
    loop {
        // A place first: reading blocks a thread, and none is held while the reader does not read.
        let place = match tokio::time::timeout(patience, sender.reserve()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                let words = "the export was not read for too long and was cut; ask for it again";
                return Err(Failure::message(Reason::DeadlineExceeded, words));
            }
        };
        let read = tokio::task::spawn_blocking(move || {
            let chunk = export.next();
            (export, chunk)
        });
        let (rest, chunk) = read.await.map_err(Refused::internal)?;
        let Some(chunk) = chunk.transpose().map_err(Refused::internal)? else { return Ok(()) };
        place.send(Ok(v1::ExportAuditChunk { file: chunk.file.into(), content: chunk.content }));
        export = rest;
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
        answer(&caller, self.core.query_audit(&caller, message).await)
    }

    async fn tail_audit(
        &self,
        request: Request<v1::TailAuditRequest>,
    ) -> Result<Response<Self::TailAuditStream>, Status> {
        let (caller, message) = accept(request)?;
        answer(&caller, self.core.tail_audit(&caller, message).await)
    }

    async fn export_audit(
        &self,
        request: Request<v1::ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        let (caller, message) = accept(request)?;
        let full = || {
            Failure::message(Reason::Overloaded, "other exports are under way; try again when one has ended")
        };
        let exported = match Arc::clone(&self.exports).try_acquire_owned() {
            Ok(place) => self.core.export_audit(&caller, message, place).await,
            Err(_) => Err(full()),
        };
        answer(&caller, exported)
    }

    async fn delete_audit(
        &self,
        request: Request<v1::DeleteAuditRequest>,
    ) -> Result<Response<v1::DeleteAuditResponse>, Status> {
        let call = |core: Core, caller, message| async move { core.delete_audit(&caller, message).await };
        run_to_end(&self.core, request, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::failing::failing;

    #[tokio::test]
    async fn an_export_that_nobody_reads_is_cut_with_a_reason_and_one_that_is_read_ends_well() {
        let (_dir, audit, _disk) = failing();
        let (sender, mut reader) = mpsc::channel(1);
        let cut = send_chunks(audit.export(0).await.unwrap(), &sender, Duration::from_millis(10)).await;
        assert_eq!(cut.map_err(|failure| failure.reason()), Err(Reason::DeadlineExceeded));
        assert!(reader.recv().await.unwrap().is_ok());
        let read = async { while reader.recv().await.is_some() {} };
        let whole = async {
            let sent = send_chunks(audit.export(0).await.unwrap(), &sender, Duration::from_secs(60)).await;
            drop(sender);
            sent
        };
        let (sent, ()) = tokio::join!(whole, read);
        assert!(sent.is_ok());
        let (sender, reader) = mpsc::channel(1);
        drop(reader);
        assert!(
            send_chunks(audit.export(0).await.unwrap(), &sender, STALLED).await.is_ok(),
            "nobody is left"
        );
    }
}
