//! The first 14 bytes of a sealed value: which kind it is and which key opens it.

use crate::id::{DataKeyId, VersionId};

/// First byte of everything this product seals.
pub(crate) const MAGIC: u8 = 0x4B;

/// How a value was sealed; the second byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bound to tenant, table, column and record; two seals of one value differ.
    Randomized = 1,
    /// Bound to tenant, table and column; equal values stay equal.
    Deterministic = 2,
    /// Sealed by the server, bound to a context.
    Direct = 3,
}

/// The address of the key that opens a value. It is authenticated with the value, not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// How it was sealed.
    pub kind: Kind,
    /// Which key version.
    pub version: VersionId,
    /// Which data key of that version.
    pub data_key: DataKeyId,
}

/// Bytes that are no sealed value of this version. Says nothing about keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Too short for its kind, or it does not start as one.
    #[error("not a sealed value, or cut short")]
    NotSealed,
    /// A kind that is opened elsewhere, or by a later version.
    #[error("the value is of kind {0}, which is not opened here")]
    Kind(u8),
    /// A data-key id that this kind never has.
    #[error("data-key id {0} does not fit the value's kind")]
    DataKey(DataKeyId),
    /// A file whose chunks have another size.
    #[error("the file has chunks of 2^{0} bytes, which this version does not read")]
    ChunkSize(u8),
    /// Text that is not `kf1.` and unpadded base64url.
    #[error("not the text form of a sealed value: `kf1.` and unpadded base64url")]
    Text,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 14;

    /// Reads the header of a ciphertext, which must be as long as its kind is at least.
    ///
    /// # Errors
    /// Where it is cut, no sealed value, of another kind, or has a data-key id that its kind never has.
    pub fn parse(ciphertext: &[u8]) -> Result<Self, FormatError> {
        let (bytes, rest) = ciphertext.split_first_chunk::<{ Self::LEN }>().ok_or(FormatError::NotSealed)?;
        let (kind, version, data_key) = read(bytes).ok_or(FormatError::NotSealed)?;
        let kind = Kind::from_byte(kind).ok_or(FormatError::Kind(kind))?;
        if rest.len() < kind.overhead() - Self::LEN {
            return Err(FormatError::NotSealed);
        }
        if !kind.may_have(data_key) {
            return Err(FormatError::DataKey(data_key));
        }
        Ok(Self { kind, version, data_key })
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        write(self.kind as u8, self.version, self.data_key)
    }
}

/// `4B kind | version id | data-key id`, which files begin with too.
pub(crate) fn write(kind: u8, version: VersionId, data_key: DataKeyId) -> [u8; Header::LEN] {
    let mut bytes = [MAGIC, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[2..10].copy_from_slice(&version.get().to_be_bytes());
    bytes[10..].copy_from_slice(&data_key.get().to_be_bytes());
    bytes
}

/// What [`write()`] wrote.
pub(crate) fn read(bytes: &[u8; Header::LEN]) -> Option<(u8, VersionId, DataKeyId)> {
    let [MAGIC, kind, v0, v1, v2, v3, v4, v5, v6, v7, d0, d1, d2, d3] = *bytes else { return None };
    let version = VersionId::from(u64::from_be_bytes([v0, v1, v2, v3, v4, v5, v6, v7]));
    Some((kind, version, DataKeyId::from(u32::from_be_bytes([d0, d1, d2, d3]))))
}

impl Kind {
    /// Bytes that sealing adds.
    pub const fn overhead(self) -> usize {
        match self {
            Self::Randomized | Self::Direct => super::committing::OVERHEAD,
            Self::Deterministic => super::deterministic::OVERHEAD,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Randomized,
            2 => Self::Deterministic,
            3 => Self::Direct,
            _ => return None,
        })
    }

    pub(super) fn may_have(self, id: DataKeyId) -> bool {
        match self {
            // A client's, or the server's own where `Encrypt` was given a field binding.
            Self::Randomized => id != DataKeyId::DETERMINISTIC,
            Self::Deterministic => id == DataKeyId::DETERMINISTIC,
            Self::Direct => id.is_server_own(),
        }
    }
}
