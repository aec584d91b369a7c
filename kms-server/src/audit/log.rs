//! The state behind the log: the chain's end, the segment being written, and what a failed write does to both.
//!
//! Two locks, always taken in this order: `writer` (the file; held during write(2)), then `tail` (the chain's end; held while a line is
//! hashed). Neither is ever held over an await.

use std::{fs::File, mem, sync::Arc, time::Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Durability, Options,
    bell::Bell,
    chain::Position,
    disk::Disk,
    group::{Group, Reached, Recording, Unavailable},
    head::{HeadKey, SignedHead},
};

/// Bytes that may wait for a sync: a disk that takes writes and never finishes a sync must not eat the memory.
const MOST_UNSYNCED: u64 = 64 << 20;

/// What the handles and the sync thread share.
pub(super) struct Core {
    pub(super) options: Options,
    pub(super) disk: Box<dyn Disk>,
    pub(super) key: HeadKey,
    pub(super) writer: Mutex<Writer>,
    pub(super) tail: Mutex<Tail>,
    pub(super) bell: Bell,
    /// Where the chain stands on the medium.
    pub(super) synced: watch::Sender<Position>,
    /// The last head signed on demand.
    pub(super) head: Mutex<Option<SignedHead>>,
    pub(super) handshakes: super::handshakes::Handshakes,
}

/// The end of the chain.
pub(super) struct Tail {
    /// After the last line that was accepted, written or not.
    pub(super) at: Position,
    /// Lines that are not yet handed to the operating system.
    pub(super) pending: Vec<u8>,
    pub(super) group: Arc<Group>,
    /// Whether the group has somebody who writes it.
    led: bool,
    /// Whether somebody of the group waits for the sync.
    awaits_sync: bool,
    /// Where the chain stood after the last line that holds a signed head.
    pub(super) head_at: u64,
    /// Why nothing is accepted, while that is so.
    pub(super) refusing: Option<Refusing>,
    /// Lines refused and not yet confessed in a line.
    pub(super) refused: u64,
}

/// Why lines are refused.
#[derive(Debug, Clone)]
pub(super) struct Refusing {
    pub(super) since: Instant,
    pub(super) why: Arc<str>,
}

/// The segment being written.
pub(super) struct Writer {
    pub(super) file: Arc<File>,
    pub(super) segment: u64,
    /// When it was begun, for rotation by age.
    pub(super) begun: Instant,
    /// Bytes of whole, accepted lines.
    pub(super) length: u64,
    /// After the last line of them.
    pub(super) at: Position,
    /// What was written and not synced, kept so that it can be written again: after a failed fsync the pages count as clean.
    pub(super) unsynced: Vec<Vec<u8>>,
    /// Bytes that are on the medium.
    pub(super) synced_length: u64,
    pub(super) awaiting: Vec<Arc<Group>>,
    pub(super) spare: Vec<Vec<u8>>,
    /// Whether bytes beyond `length` may be in the file.
    pub(super) torn: bool,
    /// Whether `unsynced` must be written again.
    pub(super) rewrite: bool,
}

impl Tail {
    pub(super) fn new(at: Position, head_at: u64) -> Self {
        Self {
            at,
            pending: Vec::new(),
            group: Arc::default(),
            led: false,
            awaits_sync: false,
            head_at,
            refusing: None,
            refused: 0,
        }
    }

    /// Waits for the sync of the last line that was added, which must not be written yet.
    pub(super) fn follow<'a>(&mut self, core: &'a Core) -> Recording<'a> {
        self.awaits_sync = true;
        let last = self.at.count.saturating_sub(1);
        Recording::submitted(core, Durability::Synced, last, Arc::clone(&self.group), false)
    }

    /// Takes the group that is being gathered.
    pub(super) fn take(&mut self, spare: Vec<u8>) -> Taken {
        self.led = false;
        Taken {
            bytes: mem::replace(&mut self.pending, spare),
            group: mem::take(&mut self.group),
            awaits_sync: mem::take(&mut self.awaits_sync),
            at: self.at,
        }
    }
}

/// A group on its way to the file.
pub(super) struct Taken {
    pub(super) bytes: Vec<u8>,
    pub(super) group: Arc<Group>,
    pub(super) awaits_sync: bool,
    at: Position,
}

impl Writer {
    pub(super) fn new(file: File, segment: u64, length: u64, at: Position, begun: Instant) -> Self {
        Self {
            file: Arc::new(file),
            segment,
            begun,
            length,
            at,
            unsynced: Vec::new(),
            synced_length: length,
            awaiting: Vec::new(),
            spare: Vec::new(),
            torn: false,
            rewrite: false,
        }
    }

    /// Counts a group as written.
    pub(super) fn accept(&mut self, taken: Taken) -> Arc<Group> {
        self.length += u64::try_from(taken.bytes.len()).unwrap_or(u64::MAX);
        self.at = taken.at;
        self.unsynced.push(taken.bytes);
        if taken.awaits_sync {
            self.awaiting.push(Arc::clone(&taken.group));
        }
        taken.group
    }

    /// Takes buffers back that are on the medium.
    pub(super) fn recycle(&mut self, buffers: Vec<Vec<u8>>) {
        for mut buffer in buffers {
            if self.spare.len() < 64 && buffer.capacity() <= 64 << 10 {
                buffer.clear();
                self.spare.push(buffer);
            }
        }
    }
}

impl Core {
    /// Adds a line to the group being gathered. The body is not kept.
    pub(super) fn submit(&self, body: &[u8], wants: Durability) -> Recording<'_> {
        let (sequence, group, leads, first);
        {
            let mut tail = self.tail.lock();
            if tail.refusing.is_some() || wants == Durability::Synced && self.bell.sync_is_stalled() {
                tail.refused += 1;
                return Recording::refused(self, wants);
            }
            let tail = &mut *tail;
            first = tail.pending.is_empty();
            sequence = tail.at.append(&mut tail.pending, body);
            group = Arc::clone(&tail.group);
            leads = wants == Durability::Written && !tail.led;
            tail.led |= leads;
            tail.awaits_sync |= wants == Durability::Synced;
        }
        if wants == Durability::Synced {
            self.bell.want_sync();
        } else if first {
            self.bell.soon();
        }
        Recording::submitted(self, wants, sequence, group, leads)
    }

    /// Whether a synced line would be accepted now; counts a refusal where not.
    pub(super) fn ready(&self) -> Result<(), Unavailable> {
        let mut tail = self.tail.lock();
        if tail.refusing.is_some() || self.bell.sync_is_stalled() {
            tail.refused += 1;
            return Err(Unavailable);
        }
        Ok(())
    }

    /// Hands the group being gathered to the operating system, in one write.
    pub(super) fn write_pending(&self) {
        // While the log looks for a way back from a failed disk, it holds the writer and nothing is pending: nobody waits for it here.
        if self.tail.lock().pending.is_empty() {
            return;
        }
        let mut writer = self.writer.lock();
        let taken = {
            let mut tail = self.tail.lock();
            if tail.pending.is_empty() {
                return;
            }
            tail.take(writer.spare.pop().unwrap_or_default())
        };
        let result = if writer.length - writer.synced_length > MOST_UNSYNCED {
            Err(std::io::Error::other("the disk has not finished a sync for too long"))
        } else {
            self.disk.write_at(&writer.file, &taken.bytes, writer.length)
        };
        match result {
            Ok(()) => {
                let group = writer.accept(taken);
                drop(writer);
                group.settle(Reached::Written);
            }
            Err(error) => {
                self.refuse(&mut writer, &error);
                drop(writer);
                taken.group.settle(Reached::Failed);
            }
        }
    }

    /// Accepts no more lines, takes back those not written, and lets the sync thread look for a way back.
    pub(super) fn refuse(&self, writer: &mut Writer, error: &std::io::Error) {
        tracing::error!(%error, "the audit cannot be written; requests are refused until it can");
        let group = {
            let mut tail = self.tail.lock();
            let taken = tail.take(Vec::new());
            (tail.at, tail.head_at) = (writer.at, 0);
            let why = error.to_string().into();
            tail.refusing.get_or_insert(Refusing { since: Instant::now(), why });
            taken.group
        };
        // INVARIANT: nothing but whole, accepted lines stays in the file. Should the cut fail too, it is made before the next write.
        writer.torn = self.disk.cut(&writer.file, writer.length).is_err();
        group.settle(Reached::Failed);
        self.bell.want_sync();
    }

    /// The signed head of what is on the medium.
    pub(super) fn signed_head(&self) -> SignedHead {
        let at = *self.synced.borrow();
        let mut head = self.head.lock();
        match &*head {
            Some(signed) if signed.position() == at => *signed,
            _ => *head.insert(self.key.sign(at, std::time::SystemTime::now())),
        }
    }
}
