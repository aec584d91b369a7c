//! Messages to domain types and back, once, at the edge.

use std::time::Duration;

use kms_core::names::{ColumnName, Context, RecordId, TableName};
use kms_core::state::{DestroyReason, KeyClass, LifecycleState};
use kms_proto::reason::Reason;
use kms_proto::v1;
use uuid::Uuid;

use super::status::Failure;
use crate::binding::{Binding, FieldBinding};
use crate::usecase::census;
use crate::usecase::describe::{KeyView, TenantView, VersionView};

/// Most bytes of one payload. A ciphertext may have the overhead of its format on top.
pub(super) const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes that KF1 adds at most.
pub(super) const MAX_OVERHEAD: usize = 74;
/// Most bytes of the payloads of one call.
pub(super) const MAX_CALL: usize = 4 * 1024 * 1024;
/// Most items of a batch that carries payloads.
pub(super) const MAX_ITEMS: usize = 1_000;
/// Most items of a batch of ids.
pub(super) const MAX_IDS: usize = 10_000;

pub(super) fn plaintext(payload: &[u8]) -> Result<&[u8], Failure> {
    sized("plaintext", payload, MAX_PAYLOAD)
}

pub(super) fn ciphertext(payload: &[u8]) -> Result<&[u8], Failure> {
    if payload.is_empty() {
        return Err(Failure::required("ciphertext"));
    }
    sized("ciphertext", payload, MAX_PAYLOAD + MAX_OVERHEAD)
}

fn sized<'a>(what: &str, payload: &'a [u8], max: usize) -> Result<&'a [u8], Failure> {
    if payload.len() > max {
        let message = format!("the {what} has {} bytes; one call takes {max}", payload.len());
        return Err(Failure::message(Reason::PayloadTooLarge, message));
    }
    Ok(payload)
}

/// Longest time in which a destruction can be called off.
const MAX_WINDOW: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Longest lease of a data key.
const MAX_LEASE: Duration = Duration::from_secs(86_400);

/// Refuses a batch with no items, too many items or too many bytes in all.
pub(super) fn batch(items: usize, max: usize, bytes: impl Iterator<Item = usize>) -> Result<(), Failure> {
    if items == 0 {
        return Err(Failure::required("items"));
    }
    if items > max {
        let message = format!("the batch has {items} items; one call takes {max}");
        return Err(Failure::message(Reason::BatchTooLarge, message));
    }
    let bytes: usize = bytes.sum();
    if bytes > MAX_CALL + items * MAX_OVERHEAD {
        let message = format!("the payloads of the batch have {bytes} bytes; one call takes {MAX_CALL}");
        return Err(Failure::message(Reason::PayloadTooLarge, message));
    }
    Ok(())
}

pub(super) fn binding(message: Option<v1::Binding>) -> Result<Binding, Failure> {
    use v1::binding::Binding as Wire;
    let absent = || Failure::message(Reason::BindingInvalid, Reason::BindingInvalid.words());
    Ok(match message.and_then(|message| message.binding).ok_or_else(absent)? {
        Wire::Direct(pairs) => Binding::Direct(context(Some(pairs))?),
        Wire::Field(v1::FieldBinding { table, column, record_id }) => Binding::Field(FieldBinding {
            table: TableName::try_from(&*table)?,
            column: ColumnName::try_from(&*column)?,
            record: RecordId::try_from(&*record_id)?,
        }),
    })
}

pub(super) fn context(message: Option<v1::Context>) -> Result<Context, Failure> {
    let pairs = message.unwrap_or_default().pairs;
    Ok(Context::new(pairs.iter().map(|pair| (&*pair.name, &*pair.value)))?)
}

pub(super) fn class(wire: i32) -> Result<KeyClass, Failure> {
    use v1::KeyClass as Wire;
    Ok(match Wire::try_from(wire) {
        // The default class.
        Ok(Wire::Unspecified | Wire::L2) => KeyClass::L2,
        Ok(Wire::L1) => KeyClass::L1,
        Ok(Wire::L3) => KeyClass::L3,
        Ok(Wire::L4) => KeyClass::L4,
        Err(_) => {
            return Err(Failure::message(Reason::FieldInvalid, "`key_class` is not a class; give L1 to L4"));
        }
    })
}

pub(super) fn class_to_wire(class: KeyClass) -> v1::KeyClass {
    match class {
        KeyClass::L1 => v1::KeyClass::L1,
        KeyClass::L2 => v1::KeyClass::L2,
        KeyClass::L3 => v1::KeyClass::L3,
        KeyClass::L4 => v1::KeyClass::L4,
    }
}

pub(super) fn state_to_wire(state: LifecycleState) -> v1::LifecycleState {
    use v1::LifecycleState as Wire;
    match state {
        LifecycleState::PreActive => Wire::PreActive,
        LifecycleState::Active => Wire::Active,
        LifecycleState::Suspended => Wire::Suspended,
        LifecycleState::Deactivated => Wire::Deactivated,
        LifecycleState::DestroyScheduled => Wire::DestroyScheduled,
        LifecycleState::Destroyed => Wire::Destroyed,
        LifecycleState::Erased => Wire::Erased,
    }
}

pub(super) fn destroy_reason(wire: i32) -> Result<DestroyReason, Failure> {
    use v1::DestroyReason as Wire;
    Ok(match Wire::try_from(wire) {
        Ok(Wire::Unspecified) => return Err(Failure::required("reason")),
        Ok(Wire::RetentionEnded) => DestroyReason::RetentionEnded,
        Ok(Wire::SubjectRequest) => DestroyReason::SubjectRequest,
        Ok(Wire::ContractEnded) => DestroyReason::ContractEnded,
        Ok(Wire::Compromise) => DestroyReason::Compromise,
        Ok(Wire::Superseded) => DestroyReason::Superseded,
        Ok(Wire::Test) => DestroyReason::Test,
        Ok(Wire::Other) => DestroyReason::Other,
        Err(_) => {
            return Err(Failure::message(
                Reason::FieldInvalid,
                "`reason` is not a reason this release knows",
            ));
        }
    })
}

pub(super) fn request_id(text: &str) -> Result<Uuid, Failure> {
    Uuid::try_parse(text)
        .map_err(|_| Failure::message(Reason::RequestIdInvalid, Reason::RequestIdInvalid.words()))
}

/// A duration of at least a second and at most a hundred years.
pub(super) fn duration(
    field: &'static str,
    wire: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Failure> {
    let Some(wire) = wire else { return Ok(None) };
    let range = Duration::from_secs(1)..=Duration::from_secs(100 * 366 * 86_400);
    match Duration::try_from(wire) {
        Ok(duration) if range.contains(&duration) => Ok(Some(duration)),
        _ => {
            let message = format!("`{field}` must be at least a second and at most a hundred years");
            Err(Failure::message(Reason::FieldInvalid, message))
        }
    }
}

/// In which a destruction can be called off; zero for one at once.
pub(super) fn window(wire: Option<prost_types::Duration>) -> Result<Duration, Failure> {
    match duration("window", wire)? {
        Some(window) if window > MAX_WINDOW => {
            Err(Failure::message(Reason::FieldInvalid, "`window` must be a second to ten years"))
        }
        window => Ok(window.unwrap_or_default()),
    }
}

/// A lease: a second to a day. A destruction is only quiesced when the longest lease has run out.
pub(super) fn lease(wire: Option<prost_types::Duration>) -> Result<Option<Duration>, Failure> {
    match duration("lease", wire)? {
        Some(lease) if lease > MAX_LEASE => {
            Err(Failure::message(Reason::FieldInvalid, "`lease` must be a second to a day"))
        }
        lease => Ok(lease),
    }
}

/// A duration for the wire.
pub(super) fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// An instant for the wire, from milliseconds since 1970; 0 stands for none.
pub(super) fn timestamp_to_wire(ms: i64) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    (ms != 0).then(|| prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos })
}

/// Page size of a list: 100 where none is asked for, 1,000 at most.
pub(super) fn page_size(wire: u32) -> usize {
    match wire {
        0 => 100,
        size => size.min(1_000) as usize,
    }
}

/// A tenant for the wire.
pub(super) fn tenant_to_wire(view: TenantView) -> v1::Tenant {
    let TenantView { name, state, record } = view;
    v1::Tenant {
        name: name.to_string(),
        state: state_to_wire(state).into(),
        revision: record.revision,
        created: timestamp_to_wire(record.created_ms),
        destroyed: timestamp_to_wire(record.destroyed_ms),
        uid: record.uid,
        slot: record.slot,
        label: record.label,
        destroy_due: timestamp_to_wire(record.destroy_due_ms),
    }
}

/// A key for the wire.
pub(super) fn key_to_wire(view: KeyView) -> v1::Key {
    let lease = view.lease();
    let KeyView { tenant, name, class, state, record, versions } = view;
    let period = Duration::from_millis(record.rotate_every_ms);
    v1::Key {
        tenant: tenant.to_string(),
        name: name.to_string(),
        key_class: class_to_wire(class).into(),
        state: state_to_wire(state).into(),
        purposes: record.purposes,
        lease: Some(duration_to_wire(lease)),
        rotate_every: (!period.is_zero()).then(|| duration_to_wire(period)),
        revision: record.revision,
        created: timestamp_to_wire(record.created_ms),
        active_version: record.active_version,
        deterministic_version: record.deterministic_version,
        versions: versions.iter().map(version_to_wire).collect(),
        family: record.family,
        uid: record.uid,
        destroy_due: timestamp_to_wire(record.destroy_due_ms),
        rotate_due: timestamp_to_wire(record.rotate_due_ms),
    }
}

/// Makes a reply that carries a key longer than any that the HTTP/2 library copies (up to 1,024 bytes) into the write buffer of the
/// connection: that buffer lives as long as the connection and is never wiped. Longer ones are freed, and thereby wiped, once sent.
pub(super) fn padding() -> Vec<u8> {
    vec![0; 1024]
}

/// A version for the wire.
pub(super) fn version_to_wire(view: &VersionView) -> v1::KeyVersion {
    let VersionView { id, state, record } = view;
    v1::KeyVersion {
        version: record.version,
        id: id.get(),
        state: state_to_wire(*state).into(),
        created: timestamp_to_wire(record.created_ms),
        destroyed: timestamp_to_wire(record.destroyed_ms),
        uid: record.uid.clone(),
        destroy_due: timestamp_to_wire(record.destroy_due_ms),
    }
}

pub(super) fn census_to_wire(census: census::Census) -> v1::CensusResponse {
    let versions = census.versions.into_iter().map(|one| {
        let Uses { columns, holders, left_out } = Uses::of(one.used);
        v1::VersionUse { version: one.version, version_id: one.id.get(), columns, holders, left_out }
    });
    let subjects = census.subjects.into_iter().map(|some| {
        let Uses { columns, holders, left_out } = Uses::of(some.used);
        let (rotations, is_older) = (some.rotations, some.is_older);
        v1::SubjectsUse { rotations, is_older, columns, holders, left_out }
    });
    v1::CensusResponse {
        versions: versions.collect(),
        days_kept: census::DAYS_KEPT,
        subjects: subjects.collect(),
        more_subjects: census.more_subjects,
    }
}

/// What was used and who was leased it.
struct Uses {
    columns: Vec<v1::ColumnUse>,
    holders: Vec<v1::LeaseHolder>,
    left_out: u64,
}

impl Uses {
    fn of(used: census::Used) -> Self {
        let day = |day: u32| timestamp_to_wire(i64::from(day) * 86_400_000);
        let columns = used.columns.into_iter().map(|((table, column), counted)| v1::ColumnUse {
            table,
            column,
            seals: counted.seals,
            opens: counted.opens,
            moved: counted.moved,
            last_day: day(counted.last_day),
        });
        let holders = used.holders.into_iter().map(|(identity, holder)| v1::LeaseHolder {
            identity,
            last_leased_day: day(holder.last_leased),
            last_report_day: holder.last_report.and_then(day),
        });
        Self { columns: columns.collect(), holders: holders.collect(), left_out: used.left_out }
    }
}
