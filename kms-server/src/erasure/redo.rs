//! The redo: everything that the commits of one epoch write, durable before the first of them is.
//!
//! ```text
//! 0 4 "KMRD"   4 1 schema (2)   5 3 zero   8 16 instance   24 8 epoch   32 16 attempt   48 8 base commit   56 8 length
//! 64 .. RedoRecord || 32 SHA-256 over all before
//! ```
//!
//! One that was cut or changed is no redo. Whoever writes one needs the epoch's secret in the medium for it to count, and that
//! secret together with the seal's for its root to open: an attacker who can change the file can make it vanish, no more.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use kms_core::id::{Attempt, CommitNumber, Epoch, InstanceId};
use kms_proto::storage::{RedoBatch, RedoRecord, RedoWrite};
use prost::Message;
use rustix::fs::{FallocateFlags, fallocate};
use sha2::{Digest, Sha256};

use super::{
    head::Head,
    view::{self, RecordError},
};
use crate::{
    records::{key_bytes, tree},
    store::Batch,
};

const MAGIC: &[u8; 4] = b"KMRD";
const SCHEMA: u8 = 2;
/// The schema before, which had no `tail`; a server that was updated may find one.
const WITHOUT_TAIL: u8 = 1;
const HEAD: usize = 64;
const CHECKSUM: usize = 32;
/// Room that is kept ready: enough for an epoch of some hundred nodes.
const SPARE: u64 = 1024 * 1024;

/// One epoch's redo.
pub(super) struct Redo {
    pub(super) instance: InstanceId,
    pub(super) epoch: Epoch,
    pub(super) attempt: Attempt,
    /// Number of the commit that it builds on.
    pub(super) base: CommitNumber,
    /// Commits that nothing reaches before the last one.
    pub(super) staged: Vec<Batch>,
    /// The commit that switches the epoch, head included.
    pub(super) head: Batch,
    /// What that commit had no room for. Nobody reads before all of it is written: readers see what was there before, and a restart
    /// repeats all commits.
    pub(super) tail: Vec<Batch>,
}

impl Redo {
    pub(super) fn encode(&self) -> Vec<u8> {
        let all = |batches: &[Batch]| batches.iter().map(to_record).collect();
        let (staged, head, tail) = (all(&self.staged), Some(to_record(&self.head)), all(&self.tail));
        let body = RedoRecord { staged, head, tail }.encode_to_vec();
        let mut bytes = Vec::with_capacity(HEAD + body.len() + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[SCHEMA, 0, 0, 0]);
        bytes.extend_from_slice(&self.instance.0);
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&self.attempt.0);
        bytes.extend_from_slice(&self.base.0.to_be_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&Sha256::digest(&bytes));
        bytes
    }

    /// Reads a redo; `None` where it was cut or changed. What follows it, of preallocated space, does not matter.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let (instance, epoch) = (head[8..24].try_into().ok()?, head[24..32].try_into().ok()?);
        let (attempt, base) = (head[32..48].try_into().ok()?, head[48..56].try_into().ok()?);
        let length = usize::try_from(u64::from_be_bytes(head[56..64].try_into().ok()?)).ok()?;
        let (body, rest) = rest.split_at_checked(length)?;
        let checksum = rest.first_chunk::<CHECKSUM>()?;
        let whole = Sha256::new().chain_update(head).chain_update(body).finalize();
        if head[..4] != *MAGIC || !matches!(head[4], WITHOUT_TAIL | SCHEMA) || whole[..] != checksum[..] {
            return None;
        }
        let record = RedoRecord::decode(body).ok()?;
        Some(Self {
            instance: InstanceId(instance),
            epoch: Epoch(u64::from_be_bytes(epoch)),
            attempt: Attempt(attempt),
            base: CommitNumber(u64::from_be_bytes(base)),
            staged: record.staged.into_iter().map(from_record).collect(),
            head: from_record(record.head?),
            tail: record.tail.into_iter().map(from_record).collect(),
        })
    }
}

fn to_record(batch: &Batch) -> RedoBatch {
    let writes = batch.writes.iter().map(|(key, value)| RedoWrite { key: key.clone(), value: value.clone() });
    RedoBatch { writes: writes.collect() }
}

fn from_record(batch: RedoBatch) -> Batch {
    let writes = batch.writes.into_iter().map(|write| (write.key, write.value)).collect();
    Batch { writes, ..Batch::default() }
}

/// Where redos are kept: at most one at a time, besides what an interrupted delete left.
pub(super) trait RedoStore: Send {
    /// Writes the redo of an epoch; durable on return.
    fn write(&mut self, epoch: Epoch, bytes: &[u8]) -> io::Result<()>;
    /// Everything there, whole or not.
    fn read(&self) -> io::Result<Vec<(Epoch, Vec<u8>)>>;
    /// Removes the redo of an epoch, if it is there; durable on return.
    fn delete(&mut self, epoch: Epoch) -> io::Result<()>;
    /// Makes room for the next one. A failure only means that the next one may not find room.
    fn prepare(&mut self) -> io::Result<()>;
}

/// Redos in a directory: `EPOCH.redo`, and `spare`, preallocated.
pub(super) struct RedoDirectory(PathBuf);

impl RedoDirectory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        // A redo is no use in a directory that power loss takes away.
        File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()?;
        Ok(Self(path.to_path_buf()))
    }

    fn path(&self, epoch: Epoch) -> PathBuf {
        self.0.join(format!("{epoch}.redo"))
    }

    fn spare(&self) -> PathBuf {
        self.0.join("spare")
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl RedoStore for RedoDirectory {
    fn write(&mut self, epoch: Epoch, bytes: &[u8]) -> io::Result<()> {
        let spare = self.spare();
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&spare)?;
        if file.metadata()?.len() < bytes.len() as u64 {
            fallocate(&file, FallocateFlags::empty(), 0, bytes.len() as u64)?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        // ORDER: a crash before the rename leaves a spare with old content, which nobody reads.
        fs::rename(&spare, self.path(epoch))?;
        self.sync()
    }

    fn read(&self) -> io::Result<Vec<(Epoch, Vec<u8>)>> {
        let mut redos = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let Some(epoch) = stem.filter(|_| path.extension().is_some_and(|end| end == "redo")) {
                redos.push((Epoch(epoch), fs::read(&path)?));
            }
        }
        Ok(redos)
    }

    fn delete(&mut self, epoch: Epoch) -> io::Result<()> {
        match fs::remove_file(self.path(epoch)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync(),
        }
    }

    fn prepare(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.spare())?;
        if file.metadata()?.len() < SPARE {
            fallocate(&file, FallocateFlags::empty(), 0, SPARE)?;
            file.sync_all()?;
        }
        Ok(())
    }
}

impl Redo {
    /// The head that the last commit writes, under the number that it gets.
    pub(super) fn last_head(&self, commit: CommitNumber) -> Result<Head, RecordError> {
        let key = key_bytes::<tree::Head>(&());
        let written = self.head.writes.iter().rev().find(|(other, _)| *other == key);
        let value = written.and_then(|(_, value)| value.as_ref()).ok_or(RecordError::Damaged("redo"))?;
        Ok(Head { commit, ..Head::from_record(&view::decode::<tree::Head>(value)?)? })
    }
}
