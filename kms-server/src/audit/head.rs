//! Signed heads: what makes the chain evidence against whoever can write its files.
//!
//! A head says how many lines there are and what the hash after the last is, signed with Ed25519 (RFC 8032) under the audit's key.
//! Whoever changes the file cannot change a head that was stored, exported or witnessed elsewhere.
//!
//! On disk: `audit.key`, the seed, mode 0600: whoever reads it can forge heads from then on, not those already held elsewhere.
//! `audit.pub`, a C2SP verifier key in one line: whoever changes it makes `audit verify` fail unless the key is given from elsewhere.

use std::{
    fmt, fs, io,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use kms_core::id::InstanceId;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    chain::{ChainHash, Position},
    line::unix_millis,
};

pub(super) const KEY_FILE: &str = "audit.key";
pub(super) const PUBLIC_FILE: &str = "audit.pub";
const CONTEXT: &[u8] = b"kms/audit/head/v1";
/// The algorithm byte of Ed25519 in C2SP signed notes.
const ED25519: u8 = 1;

/// How many lines the audit of an instance had, and the hash after the last, signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignedHead {
    /// Whose audit it is.
    pub instance: InstanceId,
    /// Number of lines; also the number of the next one.
    pub count: u64,
    /// Hash of the last line.
    pub hash: ChainHash,
    /// When it was signed, in milliseconds since 1970.
    pub signed_ms: u64,
    /// Ed25519 over `"kms/audit/head/v1" || instance || count || hash || signed_ms`, integers big-endian in 8 bytes.
    pub signature: [u8; 64],
}

impl SignedHead {
    /// Length of [`Self::to_bytes`].
    pub const BYTES: usize = 16 + 8 + 32 + 8 + 64;

    /// Instance, count, hash, time, signature: what a store commit carries.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.instance.0);
        bytes[16..24].copy_from_slice(&self.count.to_be_bytes());
        bytes[24..56].copy_from_slice(&self.hash.0);
        bytes[56..64].copy_from_slice(&self.signed_ms.to_be_bytes());
        bytes[64..].copy_from_slice(&self.signature);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for another length. The signature is not checked.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (instance, rest) = bytes.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (signed_ms, signature) = rest.split_first_chunk()?;
        Some(Self {
            instance: InstanceId(*instance),
            count: u64::from_be_bytes(*count),
            hash: ChainHash(*hash),
            signed_ms: u64::from_be_bytes(*signed_ms),
            signature: signature.try_into().ok()?,
        })
    }

    pub(super) fn position(&self) -> Position {
        Position { count: self.count, hash: self.hash }
    }

    fn message(&self) -> Vec<u8> {
        [CONTEXT, &self.to_bytes()[..64]].concat()
    }
}

impl fmt::Debug for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedHead")
            .field("count", &self.count)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// Signs heads. The seed is wiped with it.
pub(super) struct HeadKey {
    key: SigningKey,
    instance: InstanceId,
}

impl HeadKey {
    /// Draws a key and writes `audit.key` and `audit.pub`, neither of which may be there.
    pub(super) fn create(dir: &Path, instance: InstanceId) -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(io::Error::other)?;
        let key = Self { key: SigningKey::from_bytes(&seed), instance };
        write_new(&dir.join(KEY_FILE), 0o600, &*seed)?;
        write_new(&dir.join(PUBLIC_FILE), 0o644, format!("{}\n", key.public()).as_bytes())?;
        Ok(key)
    }

    /// Reads `audit.key`, and sees to it that `audit.pub` belongs to it.
    pub(super) fn load(dir: &Path, instance: InstanceId) -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        let mut file = fs::File::open(dir.join(KEY_FILE))?;
        file.read_exact(&mut *seed)?;
        if file.read(&mut [0])? != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not hold 32 bytes"));
        }
        let key = Self { key: SigningKey::from_bytes(&seed), instance };
        let public = format!("{}\n", key.public());
        if fs::read_to_string(dir.join(PUBLIC_FILE)).ok().as_ref() != Some(&public) {
            tracing::warn!("`{PUBLIC_FILE}` was missing or another one; it is written anew");
            fs::write(dir.join(PUBLIC_FILE), public)?;
        }
        Ok(key)
    }

    /// The key that checks its signatures.
    pub(super) fn public(&self) -> AuditKey {
        AuditKey { name: format!("audit.{}", self.instance).into(), key: self.key.verifying_key() }
    }

    /// Signs where the chain stands.
    pub(super) fn sign(&self, at: Position, now: SystemTime) -> SignedHead {
        let signed_ms = unix_millis(now).max(0).unsigned_abs();
        let (instance, signature) = (self.instance, [0; 64]);
        let mut head = SignedHead { instance, count: at.count, hash: at.hash, signed_ms, signature };
        head.signature = self.key.sign(&head.message()).to_bytes();
        head
    }
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The public key that checks signed heads, written as a C2SP verifier key: `audit.INSTANCE+HASH+BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditKey {
    name: Box<str>,
    key: VerifyingKey,
}

impl AuditKey {
    /// Whether the head was signed with this key.
    pub fn verifies(&self, head: &SignedHead) -> bool {
        self.key.verify_strict(&head.message(), &Signature::from_bytes(&head.signature)).is_ok()
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(self.name.as_bytes()).chain_update([b'\n', ED25519]);
        let hash = hash.chain_update(self.key.as_bytes()).finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.id();
        let key = BASE64_STANDARD.encode([&[ED25519][..], self.key.as_bytes()].concat());
        write!(f, "{}+{a:02x}{b:02x}{c:02x}{d:02x}+{key}", self.name)
    }
}

impl std::str::FromStr for AuditKey {
    type Err = BadAuditKey;
    fn from_str(text: &str) -> Result<Self, BadAuditKey> {
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadAuditKey);
        };
        let key = BASE64_STANDARD.decode(key).map_err(|_| BadAuditKey)?;
        let Some((&ED25519, key)) = key.split_first() else { return Err(BadAuditKey) };
        let key = VerifyingKey::try_from(key).map_err(|_| BadAuditKey)?;
        let parsed = Self { name: name.into(), key };
        // The hash in the middle is a checksum of name and key.
        if parsed.to_string() == text.trim_end() { Ok(parsed) } else { Err(BadAuditKey) }
    }
}

/// Not a verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a verifier key of an audit; it looks like `audit.INSTANCE+HASH+KEY`, as in `audit.pub`")]
pub struct BadAuditKey;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_verifies_as_signed_and_not_with_any_field_changed() {
        let dir = tempfile::tempdir().unwrap();
        let key = HeadKey::create(dir.path(), InstanceId([1; 16])).unwrap();
        let head = key.sign(Position { count: 9, hash: ChainHash([2; 32]) }, SystemTime::now());
        let public = key.public();
        assert!(public.verifies(&head));
        for at in [0, 16, 24, 56, 64, 127] {
            let mut bytes = head.to_bytes();
            bytes[at] ^= 1;
            assert!(!public.verifies(&SignedHead::from_bytes(&bytes).unwrap()), "byte {at}");
        }
        assert_eq!(SignedHead::from_bytes(&head.to_bytes()), Some(head));
        assert_eq!(SignedHead::from_bytes(&head.to_bytes()[1..]), None);
    }

    #[test]
    fn a_key_is_made_once_read_again_and_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let made = HeadKey::create(dir.path(), InstanceId([1; 16])).unwrap().public();
        assert!(HeadKey::create(dir.path(), InstanceId([1; 16])).is_err());
        assert_eq!(HeadKey::load(dir.path(), InstanceId([1; 16])).unwrap().public(), made);
        assert_eq!(fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(dir.path().join(PUBLIC_FILE)).unwrap();
        assert_eq!(text.parse(), Ok(made));
        assert_eq!(text.replacen("audit", "other", 1).parse::<AuditKey>(), Err(BadAuditKey));
    }
}
