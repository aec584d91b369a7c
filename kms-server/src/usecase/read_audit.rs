//! Reads the audit: a page, a tail, an export; and deletes what was exported. That is itself on record.

use super::refused::Refused;
use crate::audit::{AuditLog, ChainHash, DeleteError, Deleted, Deleter, Export, Filter, Page, Tail};
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};

/// Lines that match, from a number on.
pub async fn query(
    permit: Permit<op::ReadAudit>,
    audit: &AuditLog,
    filter: Filter,
    from: u64,
    limit: usize,
) -> Unrecorded<Result<Page, Refused>> {
    let result = audit.query(filter, from, limit).await.map_err(Refused::internal);
    permit.finish(result, Note::default())
}

/// Lines that match, from now on.
pub fn tail(
    permit: Permit<op::ReadAudit>,
    audit: &AuditLog,
    filter: Filter,
) -> Unrecorded<Result<Tail, Refused>> {
    permit.finish(Ok(audit.tail(filter)), Note::default())
}

/// The segments as they stand on disk.
pub async fn export(
    permit: Permit<op::ReadAudit>,
    audit: &AuditLog,
    from_segment: u64,
) -> Unrecorded<Result<Export, Refused>> {
    let result = audit.export(from_segment).await.map_err(Refused::internal);
    permit.finish(result, Note::default())
}

/// Deletes exported segments.
pub async fn delete(
    permit: Permit<op::DeleteAudit>,
    audit: &AuditLog,
    through_segment: u64,
    head: ChainHash,
) -> Unrecorded<Result<Deleted, Refused>> {
    let caller = permit.caller();
    let by = Deleter { request_id: &caller.request_id, identity: &caller.identity };
    let result = audit.delete(by, through_segment, head).await.map_err(|error| match error {
        DeleteError::NoSuchSegment(_) | DeleteError::InUse(_) | DeleteError::OtherHash(_) => {
            Refused::AuditNotExported(error.to_string())
        }
        other => Refused::internal(other),
    });
    permit.finish(result, Note::default())
}
