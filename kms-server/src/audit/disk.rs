//! The few things the log asks of a disk, so that tests can make each of them fail.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::FallocateFlags;

/// A disk that segments are written to. Calls block.
pub(super) trait Disk: Send + Sync {
    /// Makes a file that must not be there, readable by its owner only, with room for `room` bytes set aside.
    fn create(&self, path: &Path, room: u64) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        reserve(&file, 0, room);
        Ok(file)
    }

    /// Writes all bytes at an offset; after an error, any part of them may have been written.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Returns once what was written would survive power loss.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Cuts a file off.
    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }
}

/// The disk as it is.
pub(super) struct RealDisk;

impl Disk for RealDisk {}

/// Sets room aside behind the end of a file. Where that cannot be had (an old file system, too little room), writing goes on
/// without, and fails when the disk is full.
pub(super) fn reserve(file: &File, offset: u64, room: u64) {
    if room > 0
        && let Err(error) = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset, room)
    {
        tracing::warn!(%error, room, "no room could be set aside for the audit");
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
