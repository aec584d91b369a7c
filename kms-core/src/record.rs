//! KMR1: a wrapped record — root, tree node, leaf, recovery head or metadata — under a key of its own.
//!
//! ```text
//!  0  4 "KMR1"   4 1 kind   5 1 suite   6 1 level   7 1 flags
//!  8 16 instance   24 8 tenant slot   32 8 index   40 8 key_gen   48 8 record_ver   56 8 epoch
//! 64 32 salt   96 12 iv   108 32 key commitment   140 4 length   144 .. ciphertext || 16 tag
//! OKM = HKDF(salt, key, "kms/wrap/v1" || SHA256(header || iv), 64): half encrypts (AES-256-GCM, aad = header), half commits
//! ```
//!
//! Salt and iv are drawn here, from the operating system, for every write: nobody can give them, so no key and nonce meet twice.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    aead::{Aes256GcmKey, NONCE, TAG, Wrapping},
    id::{Epoch, InstanceId, KeyGen, RecordVer},
    kdf,
    secret::{Plaintext, WrappingKey},
    stack,
};

/// The tenant slot of records that stand above all tenants.
pub const NO_TENANT: u64 = u64::MAX;
/// Bytes that wrapping adds.
pub const OVERHEAD: usize = BODY + TAG;

const HEADER: usize = 64;
const SALT: usize = 32;
const COMMITMENT: usize = 32;
const IV_AT: usize = HEADER + SALT;
const COMMITMENT_AT: usize = IV_AT + NONCE;
const LENGTH_AT: usize = COMMITMENT_AT + COMMITMENT;
const BODY: usize = LENGTH_AT + 4;
const MAGIC: &[u8; 4] = b"KMR1";
const SUITE: u8 = 1;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// The root key, under the root KEK.
    Root = 1,
    /// A node of the top tree, whose slots are tenants.
    TopNode = 2,
    /// A node of a tenant's tree.
    TenantNode = 3,
    /// Material of one version, and its blind.
    Leaf = 4,
    /// A root sealed for a restore.
    RecoveryHead = 5,
    /// Anything else that is kept secret.
    Metadata = 6,
}

/// Where a record stands and which write of it this is: 64 bytes, authenticated, in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it holds.
    pub kind: RecordKind,
    /// Height above the leaves.
    pub level: u8,
    /// Which installation wrote it.
    pub instance: InstanceId,
    /// Slot of the tenant, or [`NO_TENANT`].
    pub tenant: u64,
    /// Place within the level.
    pub index: u64,
    /// Generation of the key it is wrapped under.
    pub key_gen: KeyGen,
    /// Number of this write under that generation.
    pub record_ver: RecordVer,
    /// Epoch in which it was written.
    pub epoch: Epoch,
}

/// Bytes that are no record this version reads. Says nothing about keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Cut, extended, or something else altogether.
    #[error("not a wrapped record: its length or first bytes are not those of one")]
    NotARecord,
    /// Written by a later version.
    #[error(
        "the record has kind {kind}, suite {suite}, flags {flags}, which this version does not know; use the version that wrote it"
    )]
    Unknown {
        /// Byte 4.
        kind: u8,
        /// Byte 5.
        suite: u8,
        /// Byte 7.
        flags: u8,
    },
}

/// Why a record could not be wrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes for a record")]
    Random(#[source] getrandom::Error),
    /// Longer than the length field, or AES-GCM, can say.
    #[error("the record's content is too long to wrap")]
    TooLong,
}

/// Why a record did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Not a record at all.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A record, but not the one that should stand there.
    #[error("another record stands in this one's place")]
    OtherRecord,
    /// The key commits to something else: a wrong key, or a changed salt, iv or commitment.
    #[error("the key is not the one that wrapped this record")]
    WrongKey,
    /// The right key, and changed bytes.
    #[error("the record was changed after it was wrapped")]
    Changed,
}

/// Wraps `plaintext` under a fresh salt and iv.
///
/// # Errors
/// Where the operating system has no randomness, or the plaintext is 4 GiB.
pub fn wrap(key: &WrappingKey, header: &Header, plaintext: &[u8]) -> Result<Vec<u8>, WrapError> {
    let (mut salt, mut iv) = ([0; SALT], [0; NONCE]);
    getrandom::fill(&mut salt).map_err(WrapError::Random)?;
    getrandom::fill(&mut iv).map_err(WrapError::Random)?;
    wrap_with(key, header, &salt, &iv, plaintext)
}

/// Opens a record that must be the one `expected` describes.
///
/// # Errors
/// Says whether it was no record, another record, another key, or changed bytes: these go to the operator, not to callers.
pub fn unwrap(key: &WrappingKey, expected: &Header, record: &[u8]) -> Result<Plaintext, UnwrapError> {
    // ATTACK: an old or foreign record laid in this one's place would open under its own key.
    if header(record)? != *expected {
        return Err(UnwrapError::OtherRecord);
    }
    let parts = Parts::split(record).ok_or(HeaderError::NotARecord)?;
    stack::wiped(|| {
        let okm = keys(key, parts.header, parts.salt, parts.iv);
        let (encryption, commitment) = kdf::halves(&okm);
        // ORDER: the commitment first: AES-GCM alone would let one ciphertext open under two keys.
        if !bool::from(commitment.ct_eq(parts.commitment)) {
            return Err(UnwrapError::WrongKey);
        }
        let mut plaintext = Plaintext::from(parts.sealed.to_vec());
        let opened = Wrapping::new(encryption).open(parts.iv, parts.header, plaintext.bytes_mut());
        plaintext.bytes_mut().truncate(opened.map_err(|_| UnwrapError::Changed)?);
        Ok(plaintext)
    })
}

/// Reads a record's header; the length of the whole record must be right too.
///
/// # Errors
/// Where the bytes are no record, or one of a later version.
pub fn header(record: &[u8]) -> Result<Header, HeaderError> {
    let parts = Parts::split(record).ok_or(HeaderError::NotARecord)?;
    Header::parse(parts.header)
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&[self.kind as u8, SUITE, self.level, 0]);
        bytes[8..24].copy_from_slice(&self.instance.0);
        let numbers = [self.tenant, self.index, self.key_gen.0, self.record_ver.0, self.epoch.0];
        for (place, number) in bytes[24..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn parse(bytes: &[u8; HEADER]) -> Result<Self, HeaderError> {
        if bytes[..4] != *MAGIC {
            return Err(HeaderError::NotARecord);
        }
        let [kind, suite, level, flags] = [bytes[4], bytes[5], bytes[6], bytes[7]];
        let unknown = HeaderError::Unknown { kind, suite, flags };
        let Some(kind) = RecordKind::from_byte(kind).filter(|_| suite == SUITE && flags == 0) else {
            return Err(unknown);
        };
        let mut instance = [0; 16];
        instance.copy_from_slice(&bytes[8..24]);
        let mut numbers = [0; 5];
        for (number, place) in numbers.iter_mut().zip(bytes[24..].as_chunks::<8>().0) {
            *number = u64::from_be_bytes(*place);
        }
        let [tenant, index, key_gen, record_ver, epoch] = numbers;
        let (key_gen, record_ver, epoch) = (KeyGen(key_gen), RecordVer(record_ver), Epoch(epoch));
        Ok(Self { kind, level, instance: InstanceId(instance), tenant, index, key_gen, record_ver, epoch })
    }
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Root,
            2 => Self::TopNode,
            3 => Self::TenantNode,
            4 => Self::Leaf,
            5 => Self::RecoveryHead,
            6 => Self::Metadata,
            _ => return None,
        })
    }
}

/// A record taken apart; `sealed` is `ciphertext || tag` and exactly as long as the record says.
struct Parts<'a> {
    header: &'a [u8; HEADER],
    salt: &'a [u8; SALT],
    iv: &'a [u8; NONCE],
    commitment: &'a [u8; COMMITMENT],
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(record: &'a [u8]) -> Option<Self> {
        let (header, rest) = record.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (iv, rest) = rest.split_first_chunk()?;
        let (commitment, rest) = rest.split_first_chunk()?;
        let (length, sealed) = rest.split_first_chunk()?;
        let length = u32::from_be_bytes(*length) as usize;
        (sealed.len() == length && length >= TAG).then_some(Self { header, salt, iv, commitment, sealed })
    }
}

/// As [`wrap`], with salt and iv given: for the vectors only, so it stays private.
fn wrap_with(
    key: &WrappingKey,
    header: &Header,
    salt: &[u8; SALT],
    iv: &[u8; NONCE],
    plaintext: &[u8],
) -> Result<Vec<u8>, WrapError> {
    let length = u32::try_from(plaintext.len() + TAG).map_err(|_| WrapError::TooLong)?;
    let header = header.to_bytes();
    stack::wiped(|| {
        let okm = keys(key, &header, salt, iv);
        let (encryption, commitment) = kdf::halves(&okm);
        let mut record = Vec::with_capacity(OVERHEAD + plaintext.len());
        record.extend_from_slice(&header);
        record.extend_from_slice(salt);
        record.extend_from_slice(iv);
        record.extend_from_slice(commitment);
        record.extend_from_slice(&length.to_be_bytes());
        record.extend_from_slice(plaintext);
        record.extend_from_slice(&[0; TAG]);
        Wrapping::new(encryption).seal(iv, &header, &mut record[BODY..]).map_err(|_| WrapError::TooLong)?;
        Ok(record)
    })
}

fn keys(
    key: &WrappingKey,
    header: &[u8; HEADER],
    salt: &[u8; SALT],
    iv: &[u8; NONCE],
) -> Zeroizing<[u8; 64]> {
    const LABEL: &[u8] = b"kms/wrap/v1";
    let bound = Sha256::new().chain_update(header).chain_update(iv).finalize();
    let mut okm = Zeroizing::new([0; 64]);
    kdf::derive(salt, key.expose_secret(), &[LABEL, &bound], &mut okm);
    okm
}

#[cfg(test)]
mod tests;
