//! Verifying an audit offline: what was changed, cut, left out, moved, doubled or put in, by file and line.
//!
//! It reads segments and a public key, and believes nothing else. Without a pinned head a cut at the very end, back to a signed head,
//! cannot be seen: nothing that is left says that there was more.

use std::{collections::HashMap, fs, io, path::Path};

use kms_core::id::InstanceId;
use serde::Deserialize;

use super::{
    chain::{ChainHash, Position, Sealed},
    head::{AuditKey, PUBLIC_FILE, SignedHead},
    report::{Finding, Pin, Report, VerifyError, VerifyOptions, What},
    segment::{self, Header, RawLine, SegmentFile, kind_of},
};

/// Reads every segment in a directory and says what it proves.
///
/// # Errors
/// Where there is nothing to verify, or it cannot be read. What is wrong with the lines is in the [`Report`].
pub fn verify(dir: &Path, options: &VerifyOptions) -> Result<Report, VerifyError> {
    let read = |source| VerifyError::Io { path: dir.into(), source };
    let segments = segment::list(dir).map_err(read)?;
    let Some(first) = segments.first() else { return Err(VerifyError::Empty(dir.into())) };
    let key = match &options.key {
        Some(key) => key.clone(),
        None => {
            let text = fs::read_to_string(dir.join(PUBLIC_FILE)).unwrap_or_default();
            text.parse().map_err(|_| VerifyError::NoKey(dir.into()))?
        }
    };
    let header = first.header().map_err(read)?;
    let start = match header {
        Some(header) if first.number == 1 => Position::start(header.instance),
        Some(header) => header.before,
        None => Position { count: 0, hash: ChainHash([0; 32]) },
    };
    let mut walk = Walk {
        key: &key,
        instance: header.map(|header| header.instance),
        pin: options.pin,
        count: start.count,
        hash: header.map(|_| start.hash),
        loose: false,
        complete_to: start.count,
        number: first.number,
        segment: first.name().into(),
        line: 1,
        boundaries: HashMap::new(),
        deleted: None,
        findings: Vec::new(),
        wrong: 0,
        notes: Vec::new(),
    };
    walk.check_pin();
    for segment in &segments {
        walk.read(segment).map_err(read)?;
    }
    walk.finish(start, options);
    let end = Pin { count: walk.count, hash: walk.hash.unwrap_or(ChainHash([0; 32])) };
    Ok(Report {
        start: start.into(),
        end,
        segments: segments.len() as u64,
        complete_to: walk.complete_to,
        findings: walk.findings,
        wrong: walk.wrong,
        notes: walk.notes,
        key_given: options.key.is_some(),
        key,
    })
}

struct Walk<'a> {
    key: &'a AuditKey,
    instance: Option<InstanceId>,
    pin: Option<Pin>,
    /// Number that the next line should have.
    count: u64,
    /// Hash that it should follow; `None` where that is not known any more.
    hash: Option<ChainHash>,
    /// Whether the next line's number is taken as it comes, since what stood before it cannot be read.
    loose: bool,
    complete_to: u64,
    /// The segment expected next.
    number: u64,
    /// Where the walk is.
    segment: Box<str>,
    line: u64,
    /// Where segments begin.
    boundaries: HashMap<u64, ChainHash>,
    /// The end of the last deletion that a line tells of.
    deleted: Option<Pin>,
    findings: Vec<Finding>,
    wrong: u64,
    notes: Vec<Finding>,
}

impl Walk<'_> {
    fn read(&mut self, segment: &SegmentFile) -> io::Result<()> {
        self.segment = segment.name().into();
        self.line = 1;
        if segment.number != self.number {
            self.wrong(What::SegmentMissing);
            (self.hash, self.loose) = (None, true);
        }
        self.number = segment.number + 1;
        let mut lines = segment.lines()?;
        let mut empty = true;
        while let Some(line) = lines.next()? {
            self.line = line.number;
            if std::mem::take(&mut empty) {
                self.check_header(segment, &line);
            }
            self.check_line(&line);
        }
        if empty {
            self.wrong(What::WrongHeader);
        }
        Ok(())
    }

    fn check_header(&mut self, segment: &SegmentFile, line: &RawLine<'_>) {
        match Header::parse(line.bytes) {
            Some(header) if header.number == segment.number && Some(header.instance) == self.instance => {
                self.boundaries.insert(header.before.count, header.before.hash);
                // After a missing segment the next one says itself what it follows.
                self.hash = self.hash.or(Some(header.before.hash));
            }
            _ => self.wrong(What::WrongHeader),
        }
    }

    fn check_line(&mut self, line: &RawLine<'_>) {
        if !line.whole {
            return self.wrong(What::HalfLine);
        }
        let Some(sealed) = Sealed::parse(line.bytes) else {
            self.wrong(What::Malformed);
            (self.hash, self.loose) = (None, true);
            return;
        };
        let (kind, expected) = (kind_of(line.bytes).unwrap_or_default(), self.count);
        if sealed.sequence < expected {
            return self.wrong(What::OutOfPlace { sequence: sealed.sequence });
        }
        let (from, to) = (expected, sealed.sequence.saturating_sub(1));
        if sealed.sequence > expected && kind == b"gap" {
            self.wrong(What::Gap { from, to });
        } else if sealed.sequence > expected && !self.loose {
            self.wrong(What::Missing { from, to });
            self.hash = None;
        }
        if self.hash.is_some_and(|hash| !sealed.follows(hash)) {
            self.wrong(What::Changed);
        }
        match kind {
            b"head" => self.check_head(line.bytes, sealed.sequence),
            b"deleted" => self.deleted = parse_deleted(line.bytes).or(self.deleted),
            b"gap" if sealed.sequence == expected => self.note(What::Restarted),
            b"resumed" => self.note(What::Resumed),
            _ => {}
        }
        self.count = sealed.sequence.saturating_add(1);
        (self.hash, self.loose) = (Some(sealed.hash), false);
        self.check_pin();
    }

    fn check_head(&mut self, line: &[u8], sequence: u64) {
        let head = self.instance.and_then(|instance| parse_head(line, instance));
        let Some(head) = head.filter(|head| self.key.verifies(head)) else {
            return self.wrong(What::BadSignature);
        };
        if head.count != sequence || self.hash.is_some_and(|hash| hash != head.hash) {
            return self.wrong(What::OtherThanSigned { since: self.complete_to });
        }
        if self.wrong == 0 {
            self.complete_to = head.count;
        }
    }

    fn check_pin(&mut self) {
        if let Some(pin) = self.pin.filter(|pin| pin.count == self.count) {
            self.pin = None;
            match self.hash {
                Some(hash) if hash == pin.hash && self.wrong == 0 => self.complete_to = pin.count,
                Some(hash) if hash == pin.hash => {}
                _ => self.wrong(What::OtherThanPinned),
            }
        }
    }

    fn finish(&mut self, start: Position, options: &VerifyOptions) {
        match self.pin {
            Some(pin) if pin.count > self.count => {
                self.wrong(What::FewerThanPinned { pinned: pin.count, found: self.count });
            }
            // Passed without a line that ends there, or before the start: nothing here can confirm it.
            Some(_) => self.wrong(What::OtherThanPinned),
            None => {}
        }
        if let Some(given) = options.start {
            if given != start.into() {
                self.wrong(What::OtherStart);
            }
        } else if start.count > 0 {
            let accounted = |deleted: Pin| self.boundaries.get(&deleted.count) == Some(&deleted.hash);
            if !self.deleted.is_some_and(accounted) {
                self.wrong(What::StartMissing { first: start.count });
            }
        }
    }

    fn wrong(&mut self, what: What) {
        self.wrong += 1;
        if self.findings.len() < Report::MOST_FINDINGS {
            self.findings.push(Finding { segment: self.segment.clone(), line: self.line, what });
        }
    }

    fn note(&mut self, what: What) {
        if self.notes.len() < Report::MOST_FINDINGS {
            self.notes.push(Finding { segment: self.segment.clone(), line: self.line, what });
        }
    }
}

fn parse_head(line: &[u8], instance: InstanceId) -> Option<SignedHead> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        count: u64,
        head: &'a str,
        signed_ms: u64,
        signature: &'a str,
    }
    let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
    let hash = ChainHash::from_hex(fields.head.as_bytes())?;
    let mut signature = [0; 64];
    hex::decode_to_slice(fields.signature, &mut signature).ok()?;
    Some(SignedHead { instance, count: fields.count, hash, signed_ms: fields.signed_ms, signature })
}

fn parse_deleted(line: &[u8]) -> Option<Pin> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        count: u64,
        head: &'a str,
    }
    let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
    Some(Pin { count: fields.count, hash: ChainHash::from_hex(fields.head.as_bytes())? })
}
