//! Sealed files (kind 04): a header and chunks of 64 KiB, sealed and opened one at a time in constant memory.
//!
//! ```text
//! 4B 04 | version id u64 | data-key id u32 | chunk log2 u8 = 16 | salt 32 | nonce prefix 7 | commitment 32
//! then chunks: AES-256-GCM(key, nonce prefix || chunk number u32 || last u8, 64 KiB of plaintext, no additional data) | tag 16
//! key || commitment = HKDF(salt, data key, "kms/file/v1" || header up to and with the nonce prefix, 64)
//! ```
//!
//! The chunks are STREAM-BE32 (Hoang, Reyhanitabar, Rogaway, Vizár, 2015): a chunk opens only at its own number, and the last
//! one only as the last, so a file that was cut, extended or put in another order does not open to its end. Only an empty file
//! has an empty chunk. This module reads and writes nothing: whoever does must hand out nothing as the whole file before the last
//! chunk has opened.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    aead::{Aes256GcmKey, Bulk, NONCE, TAG},
    field::{self, FormatError},
    id::{DataKeyId, VersionId},
    kdf,
    secret::{DataKey, Plaintext},
};

/// Bytes of plaintext in every chunk but the last, which has 1 to as many; an empty file is one empty chunk.
pub const CHUNK: usize = 1 << CHUNK_LOG2;
/// Bytes of a sealed chunk, but the last.
pub const SEALED_CHUNK: usize = CHUNK + TAG;

const CHUNK_LOG2: u8 = 16;
const KIND: u8 = 4;
const PREFIX: usize = 7;
const SALT: usize = 32;
const COMMITMENT: usize = 32;
const SALT_AT: usize = field::Header::LEN + 1;
const PREFIX_AT: usize = SALT_AT + SALT;
const COMMITMENT_AT: usize = PREFIX_AT + PREFIX;

/// The header of a sealed file, checked for its form only.
#[derive(Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// Which key version opens it.
    pub version: VersionId,
    /// Which data key of that version.
    pub data_key: DataKeyId,
    bytes: [u8; Self::LEN],
}

/// Why a file could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealFileError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes for a file's salt")]
    Random(#[source] getrandom::Error),
    /// A data-key id that clients are not leased.
    #[error("data-key id {0} does not seal files")]
    DataKey(DataKeyId),
    /// A chunk that no sealed file has in this place.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
}

/// Why a file did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenFileError {
    /// Not a sealed file, or cut within its header.
    #[error("not a sealed file: {0}")]
    Format(#[from] FormatError),
    /// Another key, or a changed header.
    #[error("the file does not open: another key, or a changed header")]
    DoesNotOpen,
    /// Changed, cut, extended or out of order.
    #[error("the file was changed, cut, extended or put in another order at chunk {0}")]
    Chunk(u64),
    /// A chunk after the last, or after 256 TiB.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
}

/// A chunk given where none, or another size, belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// After the last one.
    #[error("the last chunk was given already")]
    Finished,
    /// Every chunk but the last is full; only an empty file has an empty one.
    #[error("a chunk of {0} bytes does not belong there")]
    Size(usize),
    /// 2^32 chunks, or 256 TiB.
    #[error("a sealed file has at most 256 TiB")]
    TooLong,
}

impl FileHeader {
    /// Bytes of a header.
    pub const LEN: usize = COMMITMENT_AT + COMMITMENT;

    /// Reads the header that a sealed file begins with; what follows it is not looked at.
    ///
    /// # Errors
    /// Where it is cut, no sealed file, or of a later version.
    pub fn parse(file: &[u8]) -> Result<Self, FormatError> {
        let bytes: &[u8; Self::LEN] = file.first_chunk().ok_or(FormatError::NotSealed)?;
        let (address, rest) = bytes.split_first_chunk().ok_or(FormatError::NotSealed)?;
        let (kind, version, data_key) = field::read(address).ok_or(FormatError::NotSealed)?;
        if kind != KIND {
            return Err(FormatError::Kind(kind));
        }
        if rest[0] != CHUNK_LOG2 {
            return Err(FormatError::ChunkSize(rest[0]));
        }
        if !leased(data_key) {
            return Err(FormatError::DataKey(data_key));
        }
        Ok(Self { version, data_key, bytes: *bytes })
    }

    /// The header as it is written.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.bytes
    }

    fn commitment(&self) -> &[u8] {
        &self.bytes[COMMITMENT_AT..]
    }
}

/// Seals one file, chunk after chunk.
pub struct FileSealer {
    header: FileHeader,
    stream: Stream,
}

impl FileSealer {
    /// Begins a file under a fresh salt. `version` and `id` are those that `data_key` was derived or leased under.
    ///
    /// # Errors
    /// Where the operating system has no randomness, or the data key is not one that is leased.
    pub fn new(data_key: &DataKey, version: VersionId, id: DataKeyId) -> Result<Self, SealFileError> {
        let mut random = [0; SALT + PREFIX];
        getrandom::fill(&mut random).map_err(SealFileError::Random)?;
        Self::with_salt_and_prefix(data_key, version, id, &random)
    }

    /// What stands first in the file.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Seals the next chunk. All but the last have [`CHUNK`] bytes, so read one ahead to know which is the last.
    ///
    /// # Errors
    /// Where a chunk of this size does not belong there.
    pub fn chunk(&mut self, plaintext: &[u8], last: bool) -> Result<Vec<u8>, SealFileError> {
        let nonce = self.stream.nonce(plaintext.len(), last)?;
        let mut out = Vec::with_capacity(plaintext.len() + TAG);
        out.extend_from_slice(plaintext);
        out.extend_from_slice(&[0; TAG]);
        self.stream.key.seal(&nonce, b"", &mut out).map_err(|_| SequenceError::TooLong)?;
        self.stream.advance(last);
        Ok(out)
    }

    /// As [`Self::new`], with salt and nonce prefix given: for the vectors only, so it stays private.
    fn with_salt_and_prefix(
        data_key: &DataKey,
        version: VersionId,
        id: DataKeyId,
        random: &[u8; SALT + PREFIX],
    ) -> Result<Self, SealFileError> {
        if !leased(id) {
            return Err(SealFileError::DataKey(id));
        }
        let mut bytes = [0; FileHeader::LEN];
        bytes[..field::Header::LEN].copy_from_slice(&field::write(KIND, version, id));
        bytes[field::Header::LEN] = CHUNK_LOG2;
        bytes[SALT_AT..COMMITMENT_AT].copy_from_slice(random);
        let mut header = FileHeader { version, data_key: id, bytes };
        let okm = keys(data_key, &header);
        let (key, commitment) = kdf::halves(&okm);
        header.bytes[COMMITMENT_AT..].copy_from_slice(commitment);
        let stream = Stream::new(key, &header);
        Ok(Self { header, stream })
    }
}

/// Opens one file, chunk after chunk.
pub struct FileOpener {
    stream: Stream,
}

impl FileOpener {
    /// Begins to open a file with the data key that its header names.
    ///
    /// # Errors
    /// Where the key is another, or the header was changed.
    pub fn new(data_key: &DataKey, header: &FileHeader) -> Result<Self, OpenFileError> {
        let okm = keys(data_key, header);
        let (key, commitment) = kdf::halves(&okm);
        // ORDER: the commitment before any chunk.
        if !bool::from(commitment.ct_eq(header.commitment())) {
            return Err(OpenFileError::DoesNotOpen);
        }
        Ok(Self { stream: Stream::new(key, header) })
    }

    /// Opens the next sealed chunk; `last` says that the file ends behind it. All but the last have [`SEALED_CHUNK`] bytes.
    ///
    /// # Errors
    /// Where the chunk was changed, stands elsewhere in its file, or is not the file's last although it should be, or the reverse.
    pub fn chunk(&mut self, sealed: &[u8], last: bool) -> Result<Plaintext, OpenFileError> {
        let number = self.stream.number;
        let changed = OpenFileError::Chunk(number);
        let Some(len) = sealed.len().checked_sub(TAG) else { return Err(changed) };
        let nonce = match self.stream.nonce(len, last) {
            Err(SequenceError::Size(_)) => return Err(changed),
            nonce => nonce?,
        };
        let mut opened = Plaintext::from(sealed.to_vec());
        let len = self.stream.key.open(&nonce, b"", opened.bytes_mut()).map_err(|_| changed)?;
        opened.bytes_mut().truncate(len);
        // ORDER: only now, so that a last chunk that did not open never counts.
        self.stream.advance(last);
        Ok(opened)
    }

    /// Whether the last chunk has opened: before that, nothing that was opened is the whole file.
    pub fn is_finished(&self) -> bool {
        self.stream.finished
    }
}

/// The nonces of STREAM-BE32 and the sizes of chunks.
struct Stream {
    key: Bulk,
    prefix: [u8; PREFIX],
    number: u64,
    finished: bool,
}

impl Stream {
    fn new(key: &[u8; 32], header: &FileHeader) -> Self {
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&header.bytes[PREFIX_AT..COMMITMENT_AT]);
        Self { key: Bulk::new(key), prefix, number: 0, finished: false }
    }

    fn nonce(&self, len: usize, last: bool) -> Result<[u8; NONCE], SequenceError> {
        if self.finished {
            return Err(SequenceError::Finished);
        }
        let belongs = if last { len <= CHUNK && (len > 0 || self.number == 0) } else { len == CHUNK };
        if !belongs {
            return Err(SequenceError::Size(len));
        }
        let number = u32::try_from(self.number).map_err(|_| SequenceError::TooLong)?;
        let mut nonce = [0; NONCE];
        nonce[..PREFIX].copy_from_slice(&self.prefix);
        nonce[PREFIX..NONCE - 1].copy_from_slice(&number.to_be_bytes());
        nonce[NONCE - 1] = u8::from(last);
        Ok(nonce)
    }

    fn advance(&mut self, last: bool) {
        self.number += 1;
        self.finished = last;
    }
}

fn leased(id: DataKeyId) -> bool {
    !id.is_server_own() && id != DataKeyId::DETERMINISTIC
}

fn keys(data_key: &DataKey, header: &FileHeader) -> Zeroizing<[u8; 64]> {
    const LABEL: &[u8] = b"kms/file/v1";
    let (salt, bound) = (&header.bytes[SALT_AT..PREFIX_AT], &header.bytes[..COMMITMENT_AT]);
    let mut okm = Zeroizing::new([0; 64]);
    kdf::derive(salt, data_key.expose_secret(), &[LABEL, bound], &mut okm);
    okm
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
opaque!(FileSealer, FileOpener, FileHeader);

#[cfg(test)]
mod tests;
