//! Reading the audit while it is written: pages of lines that match, and a tail. Memory is bounded by the page, not by the audit.

use std::{borrow::Cow, io, sync::Arc, time::SystemTime};

use kms_core::names::{KeyName, TenantName};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::watch;

use super::{
    RequestId,
    chain::{Position, sequence_of},
    log::Core,
    segment::{self, Lines, MAX_LINE, SegmentFile, kind_of},
};
use crate::operation::Operation;

/// Bytes read for one page. A page that matches little ends here, short or empty, and says where to go on.
const PAGE_BYTES: u64 = 64 << 20;
/// Lines that a tail hands over at once.
const TAIL_LINES: usize = 256;

/// Conditions that a line must meet, all of them. Without any, every line but those that hold the chain together.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Its tenant.
    pub tenant: Option<TenantName>,
    /// Its key; of `FAMILY/SUBJECT` the family, for lines name no subject.
    pub key: Option<KeyName>,
    /// The caller's full name.
    pub identity: Option<Box<str>>,
    /// What was asked.
    pub operation: Option<Operation>,
    /// What came of it.
    pub outcome: Option<OutcomeKind>,
    /// The call.
    pub request_id: Option<RequestId>,
    /// Not before.
    pub from: Option<SystemTime>,
    /// Before.
    pub until: Option<SystemTime>,
}

/// What came of a call, without the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// It was done.
    Allowed,
    /// It was not to be done.
    Denied,
    /// It could not be done; of a batch, in part or whole.
    Failed,
}

impl OutcomeKind {
    /// The word in the line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for OutcomeKind {
    type Err = UnknownOutcome;
    fn from_str(word: &str) -> Result<Self, UnknownOutcome> {
        let known = [Self::Allowed, Self::Denied, Self::Failed];
        known.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| UnknownOutcome(word.into()))
    }
}

/// A word that names no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an outcome; give `allowed`, `denied` or `failed`")]
pub struct UnknownOutcome(Box<str>);

/// A line, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub sequence: u64,
    /// Its text, without the line break.
    pub json: String,
}

/// Lines that match, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The lines.
    pub lines: Vec<Line>,
    /// The number to go on from; `None` where all was read. A page may be empty and still have one.
    pub next: Option<u64>,
}

/// The fields that conditions look at.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tenant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    to_tenant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    to_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    identity: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    outcome: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    failed: Option<u64>,
}

impl Fields<'_> {
    fn came_to(&self, wanted: OutcomeKind) -> bool {
        let items_failed = wanted == OutcomeKind::Failed && self.failed.is_some_and(|items| items > 0);
        items_failed || self.outcome.as_deref() == Some(wanted.as_str())
    }
}

impl Filter {
    fn is_empty(&self) -> bool {
        let Self { tenant, key, identity, operation, outcome, request_id, from, until } = self;
        let names = tenant.is_none() && key.is_none() && identity.is_none() && request_id.is_none();
        names && operation.is_none() && outcome.is_none() && from.is_none() && until.is_none()
    }

    /// Whether a line meets all conditions. What is not JSON meets none: `verify` is for that.
    fn matches(&self, line: &[u8]) -> bool {
        if matches!(kind_of(line), Some(b"segment" | b"head") | None) {
            return false;
        }
        if self.is_empty() {
            return true;
        }
        let Ok(fields) = serde_json::from_slice::<Fields<'_>>(line) else { return false };
        let is = |wanted: Option<&str>, found: &Option<Cow<'_, str>>| {
            wanted.is_none_or(|wanted| found.as_deref() == Some(wanted))
        };
        let tenant = self.tenant.as_ref().map(TenantName::as_str);
        let key = self.key.as_ref().map(|key| key.family().as_str());
        let key_matches = is(tenant, &fields.tenant) && is(key, &fields.key);
        let destination_matches =
            fields.to_key.is_some() && is(tenant, &fields.to_tenant) && is(key, &fields.to_key);
        (key_matches || destination_matches)
            && is(self.identity.as_deref(), &fields.identity)
            && is(self.operation.map(Operation::as_str), &fields.operation)
            && self.outcome.is_none_or(|wanted| fields.came_to(wanted))
            && is(self.request_id.as_ref().map(RequestId::as_str), &fields.request_id)
            && self.time_matches(fields.time.as_deref())
    }

    fn time_matches(&self, time: Option<&str>) -> bool {
        if self.from.is_none() && self.until.is_none() {
            return true;
        }
        let Some(Ok(time)) = time.map(|time| OffsetDateTime::parse(time, &Rfc3339)) else { return false };
        let time = SystemTime::from(time);
        self.from.is_none_or(|from| time >= from) && self.until.is_none_or(|until| time < until)
    }
}

/// Reads the page that begins at line `from`. Calls block.
pub(super) fn page(core: &Core, filter: &Filter, from: u64, most: usize) -> io::Result<Page> {
    // Lines beyond this may still be taken back, should their write fail.
    let end = core.writer.lock().at.count;
    let segments = segment::list(&core.options.dir)?;
    let first = segment_of(&segments, from)?;
    let (mut lines, mut budget, mut at) = (Vec::new(), PAGE_BYTES, from);
    for segment in &segments[first..] {
        let mut reader = match Lines::open(&segment.path, offset_of(segment, at)?) {
            Ok(reader) => reader,
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        while let Some(line) = reader.next()? {
            let Some(sequence) = sequence_of(line.bytes).filter(|_| line.whole) else { continue };
            if sequence >= end {
                return Ok(Page { lines, next: None });
            }
            if sequence < from {
                continue;
            }
            let length = line.bytes.len() as u64;
            if lines.len() == most || budget < length {
                return Ok(Page { lines, next: Some(sequence) });
            }
            budget -= length;
            at = sequence + 1;
            if filter.matches(line.bytes) {
                lines.push(Line { sequence, json: String::from_utf8_lossy(line.bytes).into_owned() });
            }
        }
    }
    Ok(Page { lines, next: None })
}

/// Which segment holds a line: the last that does not begin after it.
fn segment_of(segments: &[SegmentFile], sequence: u64) -> io::Result<usize> {
    let (mut low, mut high) = (0, segments.len());
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        let begins =
            segments[middle].header().map_or(None, |header| header.map(|header| header.before.count));
        if begins.is_some_and(|begins| begins <= sequence) { low = middle } else { high = middle }
    }
    Ok(low)
}

/// Where in a segment to begin reading for a line: at most two lines' length before it. Found by halving, for numbers rise.
fn offset_of(segment: &SegmentFile, sequence: u64) -> io::Result<u64> {
    let size = match std::fs::metadata(&segment.path) {
        Ok(metadata) => metadata.len(),
        Err(_) => return Ok(0),
    };
    let (mut low, mut high) = (0, size);
    while high - low > 2 * MAX_LINE as u64 {
        let middle = u64::midpoint(low, high);
        let mut lines = Lines::open(&segment.path, middle)?;
        let skipped = lines.next()?.map(|line| line.offset + line.bytes.len() as u64 + 1);
        let begins = lines.next()?.and_then(|line| sequence_of(line.bytes));
        match (skipped, begins) {
            (Some(offset), Some(begins)) if begins <= sequence => low = offset,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Lines that match, as they come.
pub struct Tail {
    core: Arc<Core>,
    filter: Arc<Filter>,
    next: u64,
    synced: watch::Receiver<Position>,
}

impl Tail {
    /// From the first line on that is not synced now.
    pub(super) fn new(core: Arc<Core>, filter: Filter) -> Self {
        let synced = core.synced.subscribe();
        let next = synced.borrow().count;
        Self { core, filter: Arc::new(filter), next, synced }
    }

    /// The next lines that match, at least one; waits for them. They survive power loss before they are shown.
    ///
    /// # Errors
    /// Where the segments cannot be read.
    pub async fn next(&mut self) -> io::Result<Vec<Line>> {
        loop {
            let next = self.next;
            let arrived = self.synced.wait_for(|at| at.count > next).await;
            let end = arrived.map_err(|_| io::Error::other("the audit was closed"))?.count;
            let (core, filter) = (Arc::clone(&self.core), Arc::clone(&self.filter));
            let read = tokio::task::spawn_blocking(move || page(&core, &filter, next, TAIL_LINES));
            let mut page = read.await.map_err(io::Error::other)??;
            page.lines.retain(|line| line.sequence < end);
            self.next = page.next.map_or(end, |next| next.min(end));
            if !page.lines.is_empty() {
                return Ok(page.lines);
            }
        }
    }
}
