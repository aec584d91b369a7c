//! Taking segments elsewhere, and deleting those that were. Nothing else deletes a line.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use super::{
    ChainHash, Durability, RequestId, Unavailable,
    chain::Position,
    group::Recording,
    head::PUBLIC_FILE,
    line,
    log::Core,
    segment::{self, SegmentFile},
    sync::add_head,
};
use crate::identity::Identity;

/// Bytes of a chunk.
const CHUNK: u64 = 256 << 10;

/// The next bytes of a file of the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its name, below the directory of the export.
    pub file: Box<str>,
    /// What follows in it.
    pub content: Vec<u8>,
}

/// The public key and the segments, file by file, as chunks. Reading blocks.
pub struct Export {
    /// Files to come, the next one last.
    files: Vec<(PathBuf, Box<str>, u64)>,
    open: Option<(File, Box<str>, u64)>,
}

impl Iterator for Export {
    type Item = io::Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((file, name, left)) = &mut self.open {
                let mut content = Vec::new();
                if let Err(error) = file.take((*left).min(CHUNK)).read_to_end(&mut content) {
                    return Some(Err(error));
                }
                *left -= content.len() as u64;
                if !content.is_empty() {
                    return Some(Ok(Chunk { file: name.clone(), content }));
                }
            }
            let (path, name, length) = self.files.pop()?;
            match File::open(path) {
                Ok(file) => self.open = Some((file, name, length)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Core {
    /// Everything from a segment on, up to what is written now.
    pub(super) fn export(&self, from_segment: u64) -> io::Result<Export> {
        let (current, length) = {
            let writer = self.writer.lock();
            (writer.segment, writer.length)
        };
        let mut files = vec![(self.options.dir.join(PUBLIC_FILE), PUBLIC_FILE.into(), u64::MAX)];
        for segment in segment::list(&self.options.dir)? {
            if segment.number >= from_segment && segment.number <= current {
                let length = if segment.number == current { length } else { u64::MAX };
                let name = segment.name().into();
                files.push((segment.path, name, length));
            }
        }
        files.reverse();
        Ok(Export { files, open: None })
    }

    /// Adds a signed head, unless the last line on the medium is one.
    pub(super) fn anchor(&self) -> Option<Recording<'_>> {
        let recording = {
            let mut tail = self.tail.lock();
            if tail.refusing.is_some() {
                return Some(Recording::refused(self, Durability::Synced));
            }
            if tail.head_at == tail.at.count && self.synced.borrow().count == tail.at.count {
                return None;
            }
            add_head(self, &mut tail);
            tail.follow(self)
        };
        self.bell.want_sync();
        Some(recording)
    }
}

/// Who deletes, for the line that is written before anything is gone.
#[derive(Debug, Clone, Copy)]
pub struct Deleter<'a> {
    /// Names the call.
    pub request_id: &'a RequestId,
    /// Whose call it is.
    pub identity: &'a Identity,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// How many segments.
    pub segments: u64,
    /// Number of the first line that is left.
    pub first: u64,
}

/// Nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// There is no such segment.
    #[error("there is no audit segment {0}; `kms audit export` shows those there are")]
    NoSuchSegment(u64),
    /// It is being written.
    #[error("audit segment {0} is still being written; only finished ones can be deleted")]
    InUse(u64),
    /// The export is not of these lines.
    #[error(
        "segment {0} does not end with the given hash; export it again and give the hash of its last line"
    )]
    OtherHash(u64),
    /// That they are deleted could not be recorded.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Input or output failed; some may be deleted, and a line says up to where.
    #[error("audit segments cannot be deleted: {0}")]
    Io(#[from] io::Error),
}

/// Segments that may be deleted.
pub(super) struct Condemned {
    segments: Vec<SegmentFile>,
    through: u64,
    end: Position,
}

impl Core {
    /// Checks that segments are finished and that the caller holds what they end with.
    pub(super) fn condemn(&self, through: u64, hash: ChainHash) -> Result<Condemned, DeleteError> {
        let mut segments = segment::list(&self.options.dir)?;
        if !segments.iter().any(|segment| segment.number == through) {
            return Err(DeleteError::NoSuchSegment(through));
        }
        if through >= self.writer.lock().segment {
            return Err(DeleteError::InUse(through));
        }
        segments.retain(|segment| segment.number <= through);
        let end = match segments.last() {
            Some(last) => last.claimed_end()?,
            None => None,
        };
        match end.filter(|end| end.hash == hash) {
            Some(end) => Ok(Condemned { segments, through, end }),
            None => Err(DeleteError::OtherHash(through)),
        }
    }

    /// Deletes them. ORDER: the line that says so is on the medium before; a crash from here on leaves the younger of them.
    pub(super) fn delete(&self, condemned: &Condemned) -> io::Result<Deleted> {
        for segment in &condemned.segments {
            std::fs::remove_file(&segment.path)?;
        }
        super::disk::sync_dir(&self.options.dir)?;
        Ok(Deleted { segments: condemned.segments.len() as u64, first: condemned.end.count })
    }
}

impl Condemned {
    /// Writes the body of the line that says so.
    pub(super) fn announce(&self, by: &Deleter<'_>, body: &mut Vec<u8>) {
        line::deleted(body, std::time::SystemTime::now(), by, self.through, self.end);
    }
}
