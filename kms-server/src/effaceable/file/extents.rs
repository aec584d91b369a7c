//! Where on the disk the file lies, as the file system tells (ioctl FIEMAP).

use std::{fs::File, io};

use fiemap::{Fiemap, FiemapExtentFlags as Flags, FiemapFlags};
use sha2::{Digest, Sha256};

/// The places of all bytes of the file, as a hash: the same as long as none of them moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places(pub(super) [u8; 32]);

/// What the file system says of a file's extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extents {
    /// Some are shared with another file, so that an overwrite goes elsewhere.
    pub shared: bool,
    /// Some lie within the file system's own records, which are journalled.
    pub inline: bool,
    /// Some are allocated and were never written, so that a write changes the file system's records.
    pub unwritten: bool,
    /// Some are compressed, encrypted, or of no known place.
    pub elsewhere: bool,
    pub(super) places: Places,
}

impl Extents {
    /// Of a file that is still to be made: nothing speaks against them.
    pub(super) const NONE: Self =
        Self { shared: false, inline: false, unwritten: false, elsewhere: false, places: Places([0; 32]) };

    /// Of an open file; `None` where the file system does not tell.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut runs: Vec<Run> = Vec::new();
        let mut all = Flags::empty();
        for extent in Fiemap::with_flags(file, FiemapFlags::SYNC) {
            let extent = match extent {
                Ok(extent) => extent,
                Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported) => return Ok(None),
                // ENOTTY: no such request here.
                Err(error) if error.raw_os_error() == Some(25) => return Ok(None),
                Err(error) => return Err(error),
            };
            all |= extent.fe_flags;
            let run = Run { at: extent.fe_logical, place: extent.fe_physical, length: extent.fe_length };
            match runs.last_mut() {
                Some(last) if last.goes_on_with(&run) => last.length += run.length,
                _ => runs.push(run),
            }
        }
        let mut hash = Sha256::new();
        for Run { at, place, length } in &runs {
            for number in [at, place, length] {
                hash.update(number.to_be_bytes());
            }
        }
        Ok(Some(Self {
            shared: all.contains(Flags::SHARED),
            inline: all.intersects(Flags::DATA_INLINE | Flags::DATA_TAIL | Flags::NOT_ALIGNED),
            unwritten: all.contains(Flags::UNWRITTEN),
            elsewhere: all
                .intersects(Flags::UNKNOWN | Flags::DELALLOC | Flags::ENCODED | Flags::DATA_ENCRYPTED),
            places: Places(hash.finalize().into()),
        }))
    }
}

/// Bytes that lie one after the other. File systems split and join their extents without moving anything.
struct Run {
    at: u64,
    place: u64,
    length: u64,
}

impl Run {
    fn goes_on_with(&self, next: &Self) -> bool {
        self.at + self.length == next.at && self.place + self.length == next.place
    }
}
