//! Keys that sign notes, by name (C2SP signed-note): `name+key id in hex+base64(algorithm || public key)`.
//!
//! The key id is an identifier, not a fingerprint: four bytes. Trust comes from holding the whole key.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};

use super::note::{NoteError, NoteSignature};
use crate::commitment::sha256;

/// Algorithm byte of an Ed25519 key that signs a note's text.
pub(super) const ED25519: u8 = 1;
/// Algorithm byte of an Ed25519 key that cosigns checkpoints.
pub(super) const COSIGNATURE: u8 = 4;

/// What is wrong with a key, its name or its id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, or with a character that names may not have.
    #[error("the key name `{0}` is empty or has white space, `+` or a control character in it")]
    Name(Box<str>),
    /// Not the three parts of a verifier key.
    #[error("not a verifier key: it should read name+8 hexadecimal digits+base64")]
    NotAKey,
    /// A key that signs something else, or in another way.
    #[error("the key is of type {found:#04x}, not {expected:#04x}")]
    OtherAlgorithm {
        /// The algorithm byte that this kind of key has.
        expected: u8,
        /// The one it has.
        found: u8,
    },
    /// The id is not the one of this name and key: one of the three was changed.
    #[error("the key id does not belong to this name and key")]
    OtherId,
    /// Not a point of the curve, or one under which anything verifies.
    #[error("the public key is not a usable Ed25519 key")]
    Unusable,
}

/// Name of a key: not empty, without white space, `+` and control characters; by custom a URL without its scheme.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name as it stands in signature lines.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyError;
    fn from_str(name: &str) -> Result<Self, KeyError> {
        let forbidden = |found: char| found.is_whitespace() || found == '+' || found < ' ';
        if name.is_empty() || name.contains(forbidden) {
            return Err(KeyError::Name(name.into()));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// First four bytes of `SHA256(name || "\n" || algorithm || public key)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    fn of(name: &KeyName, algorithm: u8, key: &VerifyingKey) -> Self {
        let [a, b, c, d, ..] = sha256(&[name.0.as_bytes(), b"\n", &[algorithm], key.as_bytes()]);
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// A public key that signs the text of notes (algorithm byte 01).
///
/// Its text form is the C2SP verifier key, which [`FromStr`] and [`fmt::Display`] read and write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey(pub(super) NamedKey);

impl VerifierKey {
    /// A key that came without a text form.
    ///
    /// # Errors
    /// Where the bytes are no usable Ed25519 key.
    pub fn new(name: KeyName, public: &[u8; 32]) -> Result<Self, KeyError> {
        NamedKey::new(name, ED25519, public).map(Self)
    }

    /// Whose key it is.
    pub fn name(&self) -> &KeyName {
        &self.0.name
    }

    /// What it is told apart by in signature lines.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The Ed25519 public key.
    pub fn public(&self) -> &[u8; 32] {
        self.0.key.as_bytes()
    }

    /// Checks one signature over `text`, its last newline included.
    ///
    /// # Errors
    /// Where the signature names another key, or is not one of this key over this text.
    pub fn verify(&self, text: &str, signature: &NoteSignature) -> Result<(), NoteError> {
        let holds = self.0.made(signature) && self.0.verify(text.as_bytes(), signature.bytes());
        if holds { Ok(()) } else { Err(signature.invalid()) }
    }

    /// Whether this key made a signature over bytes that are no note.
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify(message, signature)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        NamedKey::parse(text, ED25519).map(Self)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What keys of both algorithms have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedKey {
    pub(super) name: KeyName,
    pub(super) id: KeyId,
    algorithm: u8,
    key: VerifyingKey,
}

impl NamedKey {
    pub(super) fn new(name: KeyName, algorithm: u8, public: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(public).map_err(|_| KeyError::Unusable)?;
        // ATTACK: under a key of small order one signature verifies for many texts.
        if key.is_weak() {
            return Err(KeyError::Unusable);
        }
        Ok(Self { id: KeyId::of(&name, algorithm, &key), name, algorithm, key })
    }

    pub(super) fn parse(text: &str, algorithm: u8) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let mut part = || parts.next().ok_or(KeyError::NotAKey);
        let (name, id, key) = (part()?.parse()?, part()?, part()?);
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| KeyError::NotAKey)?;
        let (&found, public) = bytes.split_first().ok_or(KeyError::NotAKey)?;
        if found != algorithm {
            return Err(KeyError::OtherAlgorithm { expected: algorithm, found });
        }
        let key = Self::new(name, algorithm, public.try_into().map_err(|_| KeyError::NotAKey)?)?;
        if key.id.to_string() != id { Err(KeyError::OtherId) } else { Ok(key) }
    }

    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Whether a signature says that this key made it.
    pub(super) fn made(&self, signature: &NoteSignature) -> bool {
        self.name == *signature.name() && self.id == signature.id()
    }

    /// Ed25519 without its malleable and small-order cases.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.algorithm];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, BASE64_STANDARD.encode(bytes))
    }
}
