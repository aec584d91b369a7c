//! Segments: the files of the chain, their names, and reading their lines with bounded memory.
//!
//! `audit-0000000001.jsonl`, numbered from 1, so that names sort. The first line of each names instance, segment, first sequence and
//! the hash that it follows, so that a chain whose older segments were exported and deleted still shows where it came from.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use kms_core::id::InstanceId;
use serde::Deserialize;

use super::chain::{ChainHash, Position, Sealed};

/// Longest line that is read; the longest written names 10,000 key versions in a quarter of it.
pub(super) const MAX_LINE: usize = 1 << 20;

/// File name of a segment.
pub(super) fn file_name(number: u64) -> String {
    format!("audit-{number:010}.jsonl")
}

/// A segment in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
}

impl SegmentFile {
    /// The name, for reports.
    pub(super) fn name(&self) -> String {
        file_name(self.number)
    }

    /// Reads its lines from the start.
    pub(super) fn lines(&self) -> io::Result<Lines> {
        Lines::open(&self.path, 0)
    }

    /// Where the chain stands after it, as its last line claims.
    pub(super) fn claimed_end(&self) -> io::Result<Option<Position>> {
        let mut file = File::open(&self.path)?;
        let (length, most) = (file.metadata()?.len(), MAX_LINE as u64 + 1);
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut end = Vec::new();
        file.take(most).read_to_end(&mut end)?;
        let Some(lines) = end.strip_suffix(b"\n") else { return Ok(None) };
        let last = lines.rsplit(|byte| *byte == b'\n').next().and_then(Sealed::parse);
        Ok(last.map(|line| Position { count: line.sequence.saturating_add(1), hash: line.hash }))
    }

    /// Reads what its first line says; `None` where that is not the first line of a segment.
    pub(super) fn header(&self) -> io::Result<Option<Header>> {
        let mut lines = self.lines()?;
        Ok(lines.next()?.filter(|line| line.whole).and_then(|line| Header::parse(line.bytes)))
    }
}

/// The segments in a directory, in order.
pub(super) fn list(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"));
        if let Some(Ok(number)) = number.map(str::parse)
            && name.to_str() == Some(&*file_name(number))
        {
            segments.push(SegmentFile { number, path: entry.path() });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

/// What the first line of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) instance: InstanceId,
    pub(super) number: u64,
    /// Where the chain stood before this line.
    pub(super) before: Position,
}

impl Header {
    /// Reads a first line; `None` where it is not one, or its hash is not its own.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            r#type: &'a str,
            instance: &'a str,
            segment: u64,
            previous: &'a str,
        }
        let sealed = Sealed::parse(line)?;
        let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
        let mut instance = [0; 16];
        hex::decode_to_slice(fields.instance, &mut instance).ok()?;
        let hash = ChainHash::from_hex(fields.previous.as_bytes())?;
        let before = Position { count: sealed.sequence, hash };
        let header = Self { instance: InstanceId(instance), number: fields.segment, before };
        (fields.r#type == "segment" && sealed.follows(hash)).then_some(header)
    }
}

/// Lines of a segment, one after the other, in one buffer.
pub(super) struct Lines {
    reader: BufReader<File>,
    buffer: Vec<u8>,
    offset: u64,
    number: u64,
}

/// A line as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawLine<'a> {
    /// Without its line break.
    pub(super) bytes: &'a [u8],
    /// Whether it has a line break and an allowed length.
    pub(super) whole: bool,
    /// Where it begins.
    pub(super) offset: u64,
    /// Counted from 1; only where the file was read from its start.
    pub(super) number: u64,
}

impl Lines {
    /// Reads from `offset`, which must be the beginning of a line.
    pub(super) fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { reader: BufReader::with_capacity(256 << 10, file), buffer: Vec::new(), offset, number: 0 })
    }

    /// The next line.
    pub(super) fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        self.buffer.clear();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX) + 1;
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += u64::try_from(read).unwrap_or(u64::MAX);
        self.number += 1;
        let whole = self.buffer.last() == Some(&b'\n');
        let bytes = if whole { &self.buffer[..read - 1] } else { &self.buffer[..] };
        Ok(Some(RawLine { bytes, whole, offset, number: self.number }))
    }
}

/// The type that a line's body begins with.
pub(super) fn kind_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(super::chain::PREFIX)?;
    let rest = &rest[rest.iter().position(|byte| *byte == b',')? + 1..];
    let rest = rest.strip_prefix(b"\"type\":\"")?;
    Some(&rest[..rest.iter().position(|byte| *byte == b'"')?])
}

/// Where a chain stands after a line, if the line follows: the next number, or any later one where it says that lines are missing.
pub(super) fn step(at: Position, line: &[u8]) -> Option<Position> {
    let sealed = Sealed::parse(line)?;
    let numbered = sealed.sequence == at.count || sealed.sequence > at.count && kind_of(line) == Some(b"gap");
    let count = sealed.sequence.checked_add(1)?;
    (numbered && sealed.follows(at.hash)).then_some(Position { count, hash: sealed.hash })
}
