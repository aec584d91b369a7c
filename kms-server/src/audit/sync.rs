//! The sync thread: one fdatasync for whoever waits, heads at an interval, rotation, and the way back from a failed disk.

use std::{
    fs::File,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    disk::sync_dir,
    group::{Reached, Waiting},
    line,
    log::{Core, Tail, Writer},
    segment::file_name,
};

/// How long rotation rests after it failed; the old segment goes on meanwhile.
const ROTATION_RETRY: Duration = Duration::from_secs(1);

/// Runs until the log is closed. Should the thread ever panic, lines are refused from then on: nobody waits for a sync that never comes.
pub(super) fn run(core: &Core) {
    if catch_unwind(AssertUnwindSafe(|| attend(core))).is_err() {
        let waiting = {
            let mut writer = core.writer.lock();
            core.refuse(&mut writer, &io::Error::other("the sync thread ended; restart the server"));
            Waiting(mem::take(&mut writer.awaiting))
        };
        waiting.settle(Reached::Failed);
    }
}

fn attend(core: &Core) {
    let (mut head_due, mut rotation_due) = (Instant::now(), Instant::now());
    loop {
        let goes_on = core.bell.wait();
        if core.tail.lock().refusing.is_some() {
            if let Err(error) = resume(core) {
                tracing::debug!(%error, "the audit still cannot be written");
            }
        } else {
            if !goes_on || Instant::now() >= head_due {
                sign_head(core, &mut core.tail.lock());
                head_due = Instant::now() + core.options.head_interval;
            }
            core.write_pending();
            sync(core);
            if goes_on && Instant::now() >= rotation_due && is_full(core) {
                rotation_due = Instant::now() + ROTATION_RETRY;
                if let Err(error) = rotate(core) {
                    tracing::warn!(%error, "no new audit segment could be begun; the old one goes on");
                }
            }
        }
        if !goes_on {
            return;
        }
    }
}

/// Adds a line that holds a signed head, where there is a line that none covers.
fn sign_head(core: &Core, tail: &mut Tail) {
    if tail.refusing.is_none() && tail.head_at != tail.at.count {
        add_head(core, tail);
    }
}

/// Adds a line that holds a signed head.
pub(super) fn add_head(core: &Core, tail: &mut Tail) {
    let now = SystemTime::now();
    let mut body = Vec::new();
    line::head(&mut body, now, &core.key.sign(tail.at, now), core.handshakes.failed());
    tail.at.append(&mut tail.pending, &body);
    tail.head_at = tail.at.count;
}

/// Brings what is written onto the medium, and tells whom that concerns.
fn sync(core: &Core) {
    let (file, buffers, waiting, at, length);
    {
        let mut writer = core.writer.lock();
        if writer.unsynced.is_empty() {
            return;
        }
        buffers = mem::take(&mut writer.unsynced);
        waiting = Waiting(mem::take(&mut writer.awaiting));
        (file, at, length) = (Arc::clone(&writer.file), writer.at, writer.length);
    }
    let result = timed_sync(core, &file);
    let mut writer = core.writer.lock();
    match result {
        Ok(()) => {
            writer.synced_length = length;
            writer.recycle(buffers);
            drop(writer);
            core.synced.send_replace(at);
            waiting.settle(Reached::Synced);
        }
        Err(error) => {
            let later = mem::replace(&mut writer.unsynced, buffers);
            writer.unsynced.extend(later);
            writer.rewrite = true;
            let later = Waiting(mem::take(&mut writer.awaiting));
            core.refuse(&mut writer, &error);
            drop(writer);
            waiting.settle(Reached::Failed);
            later.settle(Reached::Failed);
        }
    }
}

/// Tries to write again: cuts off what was half written, writes again what may be lost, and adds a line that says how many requests
/// were refused. Lines are accepted again once that line is on the medium.
fn resume(core: &Core) -> io::Result<()> {
    let mut writer = core.writer.lock();
    let (refused, mut at) = (core.tail.lock().refused, writer.at);
    if mem::take(&mut writer.torn)
        && let Err(error) = core.disk.cut(&writer.file, writer.length)
    {
        writer.torn = true;
        return Err(error);
    }
    if writer.rewrite {
        // ATTACK: after a failed fsync the kernel takes the pages for clean; another fsync would succeed with the lines lost.
        core.disk.write_at(&writer.file, &writer.unsynced.concat(), writer.synced_length)?;
    }
    let (mut body, mut bytes) = (Vec::new(), Vec::new());
    line::resumed(&mut body, SystemTime::now(), refused);
    at.append(&mut bytes, &body);
    writer.torn = true;
    core.disk.write_at(&writer.file, &bytes, writer.length)?;
    // ATTACK: this sync covers lines that others still wait for. Should it fail, they count as lost, like those of any failed one.
    writer.rewrite = true;
    core.disk.sync(&writer.file)?;

    (writer.torn, writer.rewrite) = (false, false);
    writer.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    (writer.at, writer.synced_length) = (at, writer.length);
    writer.unsynced.clear();
    let waiting = Waiting(mem::take(&mut writer.awaiting));
    let mut tail = core.tail.lock();
    tail.at = at;
    tail.refused -= refused;
    tail.refusing = None;
    drop(tail);
    drop(writer);
    core.synced.send_replace(at);
    waiting.settle(Reached::Synced);
    tracing::info!(refused, "the audit can be written again");
    Ok(())
}

fn is_full(core: &Core) -> bool {
    let writer = core.writer.lock();
    writer.length >= core.options.segment_bytes
        || writer.begun.elapsed() >= core.options.segment_age && writer.length > EMPTY_SEGMENT
}

/// Longer than a segment that holds nothing but its first line and a head: such a one is not rotated for its age.
const EMPTY_SEGMENT: u64 = 1024;

/// Begins the next segment. The old one ends with a signed head and is on the medium before the new one has a line. Lines are taken
/// meanwhile, for no sync is made while the chain's end is locked.
fn rotate(core: &Core) -> io::Result<()> {
    let number = core.writer.lock().segment + 1;
    let path = core.options.dir.join(file_name(number));
    // ORDER: a crash from here on may leave a new segment that is empty; opening takes it away.
    let next = core.disk.create(&path, core.options.room())?;
    let result = sync_dir(&core.options.dir).and_then(|()| switch(core, number, next));
    if result.is_err() {
        std::fs::remove_file(&path)?;
        // ORDER: gone for good before the old segment goes on, or a crash could bring back one that follows a line in its midst.
        sync_dir(&core.options.dir)?;
    }
    result
}

fn switch(core: &Core, number: u64, next: File) -> io::Result<()> {
    // Almost all of the old segment is brought onto the medium while lines go on; what is left is short.
    sign_head(core, &mut core.tail.lock());
    core.write_pending();
    sync(core);
    let mut writer = core.writer.lock();
    let (taken, first, at) = {
        let mut tail = core.tail.lock();
        if tail.refusing.is_some() {
            return Err(io::Error::other("the audit cannot be written"));
        }
        sign_head(core, &mut tail);
        let taken = tail.take(writer.spare.pop().unwrap_or_default());
        let (mut body, mut first) = (Vec::new(), Vec::new());
        line::segment(&mut body, SystemTime::now(), core.options.instance, number, tail.at.hash);
        tail.at.append(&mut first, &body);
        (taken, first, tail.at)
    };
    // ORDER: lines gather behind the new segment's first one from here on. Should that not come to be, they are refused.
    if let Err(error) = core.disk.write_at(&writer.file, &taken.bytes, writer.length) {
        core.refuse(&mut writer, &error);
        taken.group.settle(Reached::Failed);
        return Err(error);
    }
    let group = writer.accept(taken);
    let mut waiting = Waiting(mem::take(&mut writer.awaiting));
    waiting.0.push(group);
    if let Err(error) = timed_sync(core, &writer.file) {
        writer.rewrite = true;
        core.refuse(&mut writer, &error);
        waiting.settle(Reached::Failed);
        return Err(error);
    }
    let buffers = mem::take(&mut writer.unsynced);
    writer.recycle(buffers);
    writer.synced_length = writer.length;
    // ORDER: the old segment is on the medium, so that the hash that this line follows is never missing.
    let begun = core.disk.write_at(&next, &first, 0).and_then(|()| timed_sync(core, &next));
    match &begun {
        Ok(()) => {
            give_back(core, &writer);
            let length = u64::try_from(first.len()).unwrap_or(u64::MAX);
            let old = mem::replace(&mut *writer, Writer::new(next, number, length, at, Instant::now()));
            writer.spare = old.spare;
        }
        Err(error) => core.refuse(&mut writer, error),
    }
    let at = writer.at;
    drop(writer);
    core.synced.send_replace(at);
    waiting.settle(Reached::Synced);
    begun
}

/// A sync that the bell knows of, so that one that hangs is noticed.
fn timed_sync(core: &Core, file: &File) -> io::Result<()> {
    core.bell.syncing(true);
    let result = core.disk.sync(file);
    core.bell.syncing(false);
    result
}

/// Gives back the room that was set aside behind the end; without consequence where it fails.
fn give_back(core: &Core, writer: &Writer) {
    if let Err(error) = core.disk.cut(&writer.file, writer.length) {
        tracing::debug!(%error, "the room behind a finished audit segment was not given back");
    }
}
