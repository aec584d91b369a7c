//! What witnesses say about a checkpoint (C2SP tlog-cosignature, version 1): that it extends all they have seen of this log, at a time.
//!
//! ```text
//! signed    "cosignature/v1\ntime " || seconds since 1970, decimal || "\n" || text of the checkpoint
//! on a line 8 seconds, big-endian || 64 Ed25519
//! ```
//! The message does not name the witness: two witnesses must not share a key, or one counts as two.

use std::{fmt, str::FromStr};

use super::{
    checkpoint::SignedCheckpoint,
    key::{COSIGNATURE, KeyError, KeyId, KeyName, NamedKey},
    note::{NoteError, NoteSignature},
    signer::{public_half, sign},
};
use crate::secret::SigningSeed;

/// Latest time a cosignature can carry: 2^63 − 1.
const MAX_TIME: u64 = u64::MAX >> 1;

/// A witness's public key (algorithm byte 04). Its text form is a C2SP verifier key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey(NamedKey);

/// A cosignature that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosignature {
    /// When the checkpoint was the largest the witness had seen, in seconds since 1970.
    pub time: u64,
}

impl WitnessKey {
    /// A key that came without a text form.
    ///
    /// # Errors
    /// Where the bytes are no usable Ed25519 key.
    pub fn new(name: KeyName, public: &[u8; 32]) -> Result<Self, KeyError> {
        NamedKey::new(name, COSIGNATURE, public).map(Self)
    }

    /// Whose key it is.
    pub fn name(&self) -> &KeyName {
        &self.0.name
    }

    /// Whether it is the same key, whatever its name.
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.0.is_same_key(&other.0)
    }

    /// What it is told apart by in signature lines.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The cosignature of this witness, the latest if there are several; `None` where it has not signed.
    ///
    /// # Errors
    /// Where a line of this witness does not belong to the checkpoint.
    pub fn cosignature(&self, checkpoint: &SignedCheckpoint) -> Result<Option<Cosignature>, NoteError> {
        let note = checkpoint.note();
        let mut latest = None;
        for signature in note.signatures_of(&self.0) {
            latest = latest.max(Some(self.verify(note.text(), signature)?.time));
        }
        Ok(latest.map(|time| Cosignature { time }))
    }

    /// Checks one cosignature over the text of a checkpoint, its last newline included.
    ///
    /// # Errors
    /// Where the signature names another key, or is not one of this witness over this text.
    pub fn verify(&self, text: &str, signature: &NoteSignature) -> Result<Cosignature, NoteError> {
        let time = self.time(text, signature.bytes()).filter(|_| self.0.made(signature));
        time.map(|time| Cosignature { time }).ok_or_else(|| signature.invalid())
    }

    fn time(&self, text: &str, bytes: &[u8]) -> Option<u64> {
        let (time, signature) = bytes.split_first_chunk()?;
        let time = u64::from_be_bytes(*time);
        (time <= MAX_TIME && self.0.verify(message(time, text).as_bytes(), signature)).then_some(time)
    }
}

impl FromStr for WitnessKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        NamedKey::parse(text, COSIGNATURE).map(Self)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The private half of a witness.
pub struct WitnessSigner {
    seed: SigningSeed,
    key: WitnessKey,
}

impl WitnessSigner {
    /// The witness with this name and seed.
    ///
    /// # Errors
    /// Where the seed's public key is not usable, which no seed is known to lead to.
    pub fn new(name: KeyName, seed: SigningSeed) -> Result<Self, KeyError> {
        let key = WitnessKey(public_half(name, COSIGNATURE, &seed)?);
        Ok(Self { seed, key })
    }

    /// The public half, to give to those who verify.
    pub fn verifier(&self) -> &WitnessKey {
        &self.key
    }

    /// Cosigns a checkpoint. Whoever calls this has checked that it extends the last one cosigned.
    ///
    /// `time` is in seconds since 1970, at most 2^63 − 1: later ones are cut to that.
    pub fn cosign(&self, checkpoint: &SignedCheckpoint, time: u64) -> NoteSignature {
        let time = time.min(MAX_TIME);
        let signature = sign(&self.seed, message(time, checkpoint.note().text()).as_bytes());
        let bytes = [&time.to_be_bytes()[..], &signature].concat();
        NoteSignature::new(self.key.name().clone(), self.key.id(), &bytes)
    }
}

fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}
