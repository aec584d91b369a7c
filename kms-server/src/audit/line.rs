//! Writing the body of a line: JSON by hand, into a buffer that is used again.
//!
//! Field names are this file's own; values are numbers, hexadecimal, codes, or text that is escaped.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    Entry, RequestId, ServerEvent,
    chain::{ChainHash, Position},
    export::Deleter,
    head::SignedHead,
};
use crate::identity::{Identity, IdentityName};
use kms_core::id::InstanceId;

/// Longest text of a foreign make (a policy id, an identity) that a line repeats.
const MAX_TEXT: usize = 2048;

/// Writes the body of a request's line.
pub(super) fn request(out: &mut Vec<u8>, now: SystemTime, entry: &Entry<'_>) {
    let mut body = Body::new(out, "request", now);
    body.caller(entry.request_id, entry.identity);
    body.text("group", entry.identity.group.as_str());
    body.text("operation", entry.operation.as_str());
    if let Some(tenant) = entry.tenant {
        body.text("tenant", tenant.as_str());
    }
    if let Some(key) = entry.key {
        body.text("key", key.as_str());
    }
    if let Some(uid) = &entry.uid {
        body.hex("uid", &uid.0);
    }
    if let Some(class) = entry.class {
        body.text("class", class.as_str());
    }
    if let Some((tenant, key)) = entry.destination {
        body.text("to_tenant", tenant.as_str());
        body.text("to_key", key.as_str());
    }
    if !entry.versions.is_empty() {
        // Decimal text: they use all 64 bits, and many readers of JSON have 53.
        body.list("versions", entry.versions, |out, version| {
            out.push(b'"');
            push_number(out, version.get());
            out.push(b'"');
        });
    }
    body.text("outcome", entry.outcome.as_str());
    if let Some(reason) = entry.outcome.reason() {
        body.text("reason", reason.as_str());
    }
    body.list("rules", entry.rules, |out, rule| push_text(out, rule));
    if let Some(counts) = entry.counts {
        body.number("items", counts.items.into());
        body.number("failed", counts.failed.into());
    }
    if entry.suppressed > 0 {
        body.number("suppressed", entry.suppressed);
    }
    if entry.alarm {
        body.text("alarm", "destroy-scheduled");
    }
    if let Some(change) = &entry.change {
        if let Some(state) = change.state {
            body.text("state", state.as_str());
        }
        if let Some(epoch) = change.epoch {
            body.number("epoch", epoch.0);
        }
        if let Some(revision) = change.revision {
            body.number("revision", revision.0);
        }
        if let Some(version) = change.version {
            body.number("version", version.into());
        }
        if let Some(reason) = change.reason {
            body.text("destroy_reason", reason.as_str());
        }
        if let Some(ticket) = change.ticket {
            body.text("ticket", ticket.as_str());
        }
    }
}

/// Writes the body of a line about the server itself.
pub(super) fn server(out: &mut Vec<u8>, now: SystemTime, event: ServerEvent) {
    let mut body = Body::new(out, "server", now);
    body.text("event", event.as_str());
    match event {
        ServerEvent::RolledForward { epoch, revision } => {
            body.number("epoch", epoch.0);
            body.number("revision", revision.0);
        }
        ServerEvent::DestructionDue { uid, epoch } => {
            body.hex("uid", &uid.0);
            body.number("epoch", epoch.0);
        }
        ServerEvent::RotationDue { uid, version } => {
            body.hex("uid", &uid.0);
            body.number("version", version.into());
        }
        ServerEvent::DestructionFailed { uid } | ServerEvent::RotationFailed { uid } => {
            body.hex("uid", &uid.0);
        }
        ServerEvent::ClockForward { forward_ms } => body.number("forward_ms", forward_ms),
        _ => {}
    }
    if event.is_alarm() {
        body.text("alarm", event.as_str());
    }
}

/// Writes the body of a segment's first line: it names the instance, the segment and the hash that it follows.
pub(super) fn segment(
    out: &mut Vec<u8>,
    now: SystemTime,
    instance: InstanceId,
    number: u64,
    previous: ChainHash,
) {
    let mut body = Body::new(out, "segment", now);
    body.hex("instance", &instance.0);
    body.number("segment", number);
    body.hex("previous", &previous.0);
}

/// Writes the body of a line that holds a signed head, and how many handshakes have failed since the start of the process.
pub(super) fn head(out: &mut Vec<u8>, now: SystemTime, head: &SignedHead, failed_handshakes: u64) {
    let mut body = Body::new(out, "head", now);
    body.number("count", head.count);
    body.hex("head", &head.hash.0);
    body.number("signed_ms", head.signed_ms);
    body.hex("signature", &head.signature);
    body.number("failed_handshakes", failed_handshakes);
}

/// Writes the body of the first line after requests were refused because the audit could not be written.
pub(super) fn resumed(out: &mut Vec<u8>, now: SystemTime, refused: u64) {
    Body::new(out, "resumed", now).number("refused", refused);
}

/// Writes the body of a line that says lines are missing: the chain went on from `found`, numbers go on from this line's own.
pub(super) fn gap(out: &mut Vec<u8>, now: SystemTime, found: Position, set_aside: Option<(&str, u64)>) {
    let mut body = Body::new(out, "gap", now);
    body.number("found", found.count);
    body.hex("previous", &found.hash.0);
    if let Some((file, bytes)) = set_aside {
        body.text("set_aside", file);
        body.number("bytes", bytes);
    }
}

/// Writes the body of a line that says which segments are about to be deleted, by whom, and where the chain stands after them.
pub(super) fn deleted(out: &mut Vec<u8>, now: SystemTime, by: &Deleter<'_>, through: u64, end: Position) {
    let mut body = Body::new(out, "deleted", now);
    body.caller(by.request_id, by.identity);
    body.number("through_segment", through);
    body.number("count", end.count);
    body.hex("head", &end.hash.0);
}

/// A body being written: `"type":…,"time":…` and what follows.
pub(super) struct Body<'a>(&'a mut Vec<u8>);

impl<'a> Body<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, kind: &str, now: SystemTime) -> Self {
        out.extend_from_slice(b"\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"time\":\"");
        push_time(out, now);
        out.push(b'"');
        Self(out)
    }

    /// Which call, and whose.
    fn caller(&mut self, request_id: &RequestId, identity: &Identity) {
        self.text("request_id", request_id.as_str());
        match &identity.name {
            IdentityName::Spiffe(id) => self.text("identity", id),
            spki @ IdentityName::Spki(_) => self.text("identity", &spki.to_string()),
        }
        self.hex("certificate", &identity.certificate);
    }

    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        push_number(self.0, number);
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        push_text(self.0, text);
    }

    pub(super) fn hex(&mut self, name: &str, bytes: &[u8]) {
        self.name(name);
        self.0.push(b'"');
        push_hex(self.0, bytes);
        self.0.push(b'"');
    }

    fn list<T>(&mut self, name: &str, items: &[T], mut push: impl FnMut(&mut Vec<u8>, &T)) {
        self.name(name);
        self.0.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.0.push(b',');
            }
            push(self.0, item);
        }
        self.0.push(b']');
    }
}

pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

pub(super) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    out.extend(bytes.iter().flat_map(digits));
}

/// A JSON string; RFC 8259, section 7. What is longer than [`MAX_TEXT`] is cut, at a character.
fn push_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    // ATTACK: a line break in a name would forge a line; nothing below 0x20 passes unescaped.
    let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| !plain(byte)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                out.extend_from_slice(b"\\u00");
                push_hex(out, &[byte]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Milliseconds since 1970; negative before.
pub(super) fn unix_millis(time: SystemTime) -> i64 {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

/// RFC 3339 in UTC with milliseconds. The calendar is Howard Hinnant's `civil_from_days`.
fn push_time(out: &mut Vec<u8>, time: SystemTime) {
    let millis = unix_millis(time).max(0).unsigned_abs();
    let (days, in_day) = (millis / 86_400_000, millis % 86_400_000);
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    let fields = [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T'), (hour, 2, b':'), (minute, 2, b':')];
    for (number, width, after) in fields.into_iter().chain([(second, 2, b'.'), (milli, 3, b'Z')]) {
        push_padded(out, number, width);
        out.push(after);
    }
}

fn push_padded(out: &mut Vec<u8>, number: u64, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + u8::try_from(number / 10_u64.pow(place) % 10).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_392_180_042, "2026-11-23T00:03:00.042Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            push_time(&mut out, UNIX_EPOCH + Duration::from_millis(millis));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn text_cannot_break_out_of_its_string() {
        let mut out = Vec::new();
        let wild = "a\"b\\c\n\u{0}\u{7f}é";
        push_text(&mut out, wild);
        assert!(!out.contains(&b'\n'));
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), wild);
        let mut long = Vec::new();
        push_text(&mut long, &"é".repeat(3000));
        assert_eq!(long.len(), MAX_TEXT + 2);
    }
}
