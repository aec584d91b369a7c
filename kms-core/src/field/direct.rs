//! Kind 03: a value that only the server seals and opens, bound to a context.

use std::fmt;

use zeroize::Zeroizing;

use super::{Header, Kind, OpenError, SealError, committing::Committing};
use crate::{
    id::{DataKeyId, VersionId},
    kdf::{self, extend_length_prefixed},
    names::Context,
    secret::{DataKey, Plaintext},
};

/// Seals and opens under one of the server's own data keys, whose ids have the top bit.
///
/// `key = HKDF(salt "", data key, "kms/direct/v1")`,
/// `aad = header || "kms/direct/v1" || for each context pair, sorted by name as bytes: LP(name) || LP(value)`
pub struct DirectCipher {
    cipher: Committing,
}

const LABEL: &[u8] = b"kms/direct/v1";

impl DirectCipher {
    /// Derives and prepares the key. Without the top bit in `id` every seal is refused.
    pub fn new(data_key: &DataKey, version: VersionId, id: DataKeyId) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        kdf::derive(b"", data_key.expose_secret(), &[LABEL], &mut key);
        Self { cipher: Committing::new(&key, Header { kind: Kind::Direct, version, data_key: id }) }
    }

    /// Seals a value under a context.
    ///
    /// # Errors
    /// Where the operating system has no randomness, the value is over 64 GiB, or the data key is not the server's own.
    pub fn seal(&self, context: &Context, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.cipher.seal(|aad| self.write_aad(context, aad), plaintext)
    }

    /// Opens a value under the context it was sealed with.
    ///
    /// # Errors
    /// Where it is no sealed value; or does not open here, without saying why.
    pub fn open(&self, context: &Context, ciphertext: &[u8]) -> Result<Plaintext, OpenError> {
        self.cipher.open(|aad| self.write_aad(context, aad), ciphertext)
    }

    fn write_aad(&self, context: &Context, aad: &mut Vec<u8>) {
        aad.extend_from_slice(self.cipher.header());
        aad.extend_from_slice(LABEL);
        for (name, value) in context.pairs() {
            extend_length_prefixed(aad, name.as_str().as_bytes());
            extend_length_prefixed(aad, value);
        }
    }
}

impl fmt::Debug for DirectCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectCipher(..)")
    }
}

#[cfg(test)]
impl DirectCipher {
    pub(super) fn seal_with(&self, nonce: &[u8; 12], context: &Context, plaintext: &[u8]) -> Vec<u8> {
        let fixed = |place: &mut [u8; 12]| {
            *place = *nonce;
            Ok(())
        };
        self.cipher.seal_with(fixed, |aad| self.write_aad(context, aad), plaintext).unwrap()
    }
}
