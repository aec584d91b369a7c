//! What a message may carry: the same as the real server takes.

use std::time::Duration;

use kms_core::state::{DestroyReason, KeyClass};
use kms_proto::{reason::Reason, v1};

use super::super::refused::Refused;

const MAX_PAYLOAD: usize = 64 << 10;
/// Bytes that KF1 adds at most.
const MAX_OVERHEAD: usize = 74;
const MAX_CALL: usize = 4 << 20;
pub(super) const MAX_ITEMS: usize = 1_000;
pub(super) const MAX_IDS: usize = 10_000;
const MAX_LEASE: Duration = Duration::from_secs(86_400);
const MAX_PERIOD: Duration = Duration::from_secs(100 * 366 * 86_400);
const MAX_LABEL: usize = 256;
const MAX_PURPOSES: usize = 16;
const MAX_PURPOSE: usize = 128;

pub(super) fn plaintext(payload: &[u8]) -> Result<&[u8], Refused> {
    sized("plaintext", payload, MAX_PAYLOAD)
}

pub(super) fn ciphertext(payload: &[u8]) -> Result<&[u8], Refused> {
    if payload.is_empty() {
        return Err(Refused::required("ciphertext"));
    }
    sized("ciphertext", payload, MAX_PAYLOAD + MAX_OVERHEAD)
}

fn sized<'a>(what: &str, payload: &'a [u8], max: usize) -> Result<&'a [u8], Refused> {
    if payload.len() > max {
        let words = format!("the {what} has {} bytes; one call takes {max}", payload.len());
        return Err(Refused::new(Reason::PayloadTooLarge, words));
    }
    Ok(payload)
}

/// Refuses a batch with no items, too many items or too many bytes in all.
pub(super) fn batch(items: usize, max: usize, bytes: impl Iterator<Item = usize>) -> Result<(), Refused> {
    if items == 0 {
        return Err(Refused::required("items"));
    }
    if items > max {
        let words = format!("the batch has {items} items; one call takes {max}");
        return Err(Refused::new(Reason::BatchTooLarge, words));
    }
    let bytes: usize = bytes.sum();
    if bytes > MAX_CALL + items * MAX_OVERHEAD {
        let words = format!("the payloads of the batch have {bytes} bytes; one call takes {MAX_CALL}");
        return Err(Refused::new(Reason::PayloadTooLarge, words));
    }
    Ok(())
}

pub(super) fn class(wire: i32) -> Result<KeyClass, Refused> {
    use v1::KeyClass as Wire;
    Ok(match Wire::try_from(wire) {
        Ok(Wire::Unspecified | Wire::L2) => KeyClass::L2,
        Ok(Wire::L1) => KeyClass::L1,
        Ok(Wire::L3) => KeyClass::L3,
        Ok(Wire::L4) => KeyClass::L4,
        Err(_) => return Err(Refused::invalid("`key_class` is not a class; give L1 to L4")),
    })
}

pub(super) fn destroy_reason(wire: i32) -> Result<DestroyReason, Refused> {
    use v1::DestroyReason as Wire;
    Ok(match Wire::try_from(wire) {
        Ok(Wire::Unspecified) => return Err(Refused::required("reason")),
        Ok(Wire::RetentionEnded) => DestroyReason::RetentionEnded,
        Ok(Wire::SubjectRequest) => DestroyReason::SubjectRequest,
        Ok(Wire::ContractEnded) => DestroyReason::ContractEnded,
        Ok(Wire::Compromise) => DestroyReason::Compromise,
        Ok(Wire::Superseded) => DestroyReason::Superseded,
        Ok(Wire::Test) => DestroyReason::Test,
        Ok(Wire::Other) => DestroyReason::Other,
        Err(_) => return Err(Refused::invalid("`reason` is not a reason this release knows")),
    })
}

/// What is destroyed here is destroyed at once.
pub(super) fn no_window(wire: Option<prost_types::Duration>) -> Result<(), Refused> {
    match duration("window", wire, MAX_PERIOD)? {
        None => Ok(()),
        Some(_) => Err(Refused::not_in_memory("destruction that is put off: leave `window` out")),
    }
}

pub(super) fn lease(wire: Option<prost_types::Duration>) -> Result<Option<Duration>, Refused> {
    duration("lease", wire, MAX_LEASE)
}

pub(super) fn rotation_period(wire: Option<prost_types::Duration>) -> Result<Option<Duration>, Refused> {
    duration("rotate_every", wire, MAX_PERIOD)
}

fn duration(
    field: &str,
    wire: Option<prost_types::Duration>,
    longest: Duration,
) -> Result<Option<Duration>, Refused> {
    let Some(wire) = wire else { return Ok(None) };
    match Duration::try_from(wire) {
        Ok(duration) if (Duration::from_secs(1)..=longest).contains(&duration) => Ok(Some(duration)),
        _ => Err(Refused::invalid(format!("`{field}` must be at least a second and at most {longest:?}"))),
    }
}

pub(super) fn label(label: String) -> Result<String, Refused> {
    if label.len() > MAX_LABEL || label.chars().any(char::is_control) {
        let words = format!("`label` takes at most {MAX_LABEL} bytes and no control characters");
        return Err(Refused::invalid(words));
    }
    Ok(label)
}

pub(super) fn purposes(list: Vec<String>) -> Result<Vec<String>, Refused> {
    if list.len() > MAX_PURPOSES || list.iter().any(|purpose| !(1..=MAX_PURPOSE).contains(&purpose.len())) {
        let words = format!("a key takes at most {MAX_PURPOSES} purposes of 1 to {MAX_PURPOSE} bytes");
        return Err(Refused::invalid(words));
    }
    Ok(list)
}

/// Reference into the operator's ticket system.
pub(super) fn check_ticket(ticket: &str) -> Result<(), Refused> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._#/-".contains(c);
    if ticket.len() > 64 || !ticket.chars().all(fits) {
        return Err(Refused::invalid("`ticket` takes at most 64 of `A-Z a-z 0-9 . _ # / -`"));
    }
    Ok(())
}

/// Where a list goes on, and how long a page is.
pub(super) struct Paging {
    pub(super) after: Option<String>,
    limit: usize,
}

impl Paging {
    pub(super) fn of(list: &str, size: u32, token: &str) -> Result<Self, Refused> {
        let limit = if size == 0 { 100 } else { size.min(1_000) as usize };
        let after = match token {
            "" => None,
            token => {
                let after = token.strip_prefix(list).and_then(|rest| rest.strip_prefix(':'));
                Some(after.ok_or(Reason::PageTokenInvalid)?.to_owned())
            }
        };
        Ok(Self { after, limit })
    }

    /// One page, and the token of the next; empty on the last.
    pub(super) fn page<T>(
        &self,
        list: &str,
        items: impl Iterator<Item = T>,
        name: impl Fn(&T) -> String,
    ) -> (Vec<T>, String) {
        let page: Vec<T> = items.take(self.limit).collect();
        let next = match page.last() {
            Some(last) if page.len() >= self.limit => format!("{list}:{}", name(last)),
            _ => String::new(),
        };
        (page, next)
    }
}
