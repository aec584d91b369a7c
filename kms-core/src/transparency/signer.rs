//! The private half of a key that signs notes.
//!
//! Only the seed is kept, boxed and wiped; what Ed25519 expands it to lives in one function and is wiped there.

use ed25519_dalek::{Signer, SigningKey};

use super::{
    key::{ED25519, KeyError, KeyName, NamedKey, VerifierKey},
    note::NoteSignature,
};
use crate::secret::SigningSeed;

/// Signs the text of notes (algorithm byte 01).
pub struct NoteSigner {
    seed: SigningSeed,
    key: VerifierKey,
}

impl NoteSigner {
    /// The signer with this name and seed.
    ///
    /// # Errors
    /// Where the seed's public key is not usable, which no seed is known to lead to.
    pub fn new(name: KeyName, seed: SigningSeed) -> Result<Self, KeyError> {
        let key = VerifierKey(public_half(name, ED25519, &seed)?);
        Ok(Self { seed, key })
    }

    /// The public half, to give to those who verify.
    pub fn verifier(&self) -> &VerifierKey {
        &self.key
    }

    /// Signs a text, which ends in a newline: the signature to put on a [`Note`](super::Note) of it.
    pub fn sign(&self, text: &str) -> NoteSignature {
        let signature = sign(&self.seed, text.as_bytes());
        NoteSignature::new(self.key.name().clone(), self.key.id(), &signature)
    }
}

pub(super) fn public_half(name: KeyName, algorithm: u8, seed: &SigningSeed) -> Result<NamedKey, KeyError> {
    let expanded = SigningKey::from_bytes(seed.expose_secret());
    NamedKey::new(name, algorithm, expanded.verifying_key().as_bytes())
}

pub(super) fn sign(seed: &SigningSeed, message: &[u8]) -> [u8; 64] {
    SigningKey::from_bytes(seed.expose_secret()).sign(message).to_bytes()
}
