//! Writing a slot and reading it back from below the page cache.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt, OpenOptionsExt},
    },
};

use rustix::fs::{Advice, OFlags, fadvise};
use zeroize::Zeroizing;

/// What O_DIRECT wants addresses, lengths and offsets to be multiples of, on any disk of today.
const ALIGNMENT: usize = 4096;

/// From where bytes were read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadBack {
    /// With O_DIRECT: from the device.
    Direct,
    /// After the page cache was told to forget them, which it may not have done.
    AfterDrop,
}

impl ReadBack {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Direct => "read back past the page cache (O_DIRECT)",
            Self::AfterDrop => {
                "read back after the page cache was told to drop it, for the file system refuses O_DIRECT"
            }
        }
    }
}

/// Writes bytes over what is there, makes them durable, and reads them back; `None` where others are read.
pub(super) fn write(file: &File, bytes: &[u8], at: u64) -> io::Result<Option<ReadBack>> {
    file.write_all_at(bytes, at)?;
    // ORDER: before reading back; a read of what only the cache holds shows nothing.
    file.sync_data()?;
    let (found, how) = read_back(file, bytes.len(), at)?;
    Ok((found.bytes() == bytes).then_some(how))
}

/// Bytes at an aligned address; wiped on drop.
struct Aligned {
    room: Zeroizing<Vec<u8>>,
    start: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Self {
        let room = Zeroizing::new(vec![0; length + ALIGNMENT]);
        let start = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { room, start, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.start + self.length]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.length]
    }
}

fn read_back(file: &File, length: usize, at: u64) -> io::Result<(Aligned, ReadBack)> {
    let mut bytes = Aligned::new(length);
    // By way of the open file, not of its path, which may by now name another.
    let same = format!("/proc/self/fd/{}", file.as_raw_fd());
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(direct).open(same);
    if opened.is_ok_and(|direct| direct.read_exact_at(bytes.bytes_mut(), at).is_ok()) {
        return Ok((bytes, ReadBack::Direct));
    }
    let span = std::num::NonZeroU64::new(length as u64);
    fadvise(file, at, span, Advice::DontNeed)?;
    file.read_exact_at(bytes.bytes_mut(), at)?;
    Ok((bytes, ReadBack::AfterDrop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_from_an_aligned_address() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..3 * ALIGNMENT).map(|at| (at % 251) as u8).collect();
        assert!(write(&file, &bytes, ALIGNMENT as u64).unwrap().is_some());
        let (found, _) = read_back(&file, bytes.len(), ALIGNMENT as u64).unwrap();
        assert_eq!(found.bytes(), bytes);
        assert_eq!(found.bytes().as_ptr() as usize % ALIGNMENT, 0);
    }

    #[test]
    fn what_others_wrote_meanwhile_is_noticed() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; ALIGNMENT], 0).unwrap();
        let (found, _) = read_back(&file, ALIGNMENT, 0).unwrap();
        assert_ne!(found.bytes(), [2; ALIGNMENT]);
        assert!(read_back(&file, 2 * ALIGNMENT, 0).is_err(), "and so is a file that is too short");
    }
}
