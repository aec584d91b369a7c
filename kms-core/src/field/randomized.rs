//! Kind 01: a column's value, bound to its record; two seals of one value differ.

use std::fmt;

use zeroize::Zeroizing;

use super::{CONTEXT_LABEL, Column, Header, Kind, OpenError, SealError, committing::Committing};
use crate::{
    id::{DataKeyId, VersionId},
    kdf::{self, extend_length_prefixed},
    names::RecordId,
    secret::{DataKey, Plaintext},
};

/// Seals and opens one column under one data key. Prepare it once: preparing costs as much as five seals.
///
/// `key = HKDF(salt "", data key, "kms/field/v1/enc" || LP(tenant) || LP(table) || LP(column))`,
/// `aad = header || "kms/field/v1" || LP(tenant) || LP(table) || LP(column) || LP(record id)`
pub struct FieldCipher {
    cipher: Committing,
    /// The authenticated data up to the record id.
    prefix: Box<[u8]>,
}

impl FieldCipher {
    /// Derives and prepares the field key. `version` and `id` are those that `data_key` was derived or leased under.
    pub fn new(data_key: &DataKey, version: VersionId, id: DataKeyId, column: Column<'_>) -> Self {
        const LABEL: &[u8] = b"kms/field/v1/enc";
        let names = column.length_prefixed();
        let mut key = Zeroizing::new([0; 32]);
        kdf::derive(b"", data_key.expose_secret(), &[LABEL, &names], &mut key);
        let cipher = Committing::new(&key, Header { kind: Kind::Randomized, version, data_key: id });
        let prefix = [cipher.header(), CONTEXT_LABEL, &names].concat().into();
        Self { cipher, prefix }
    }

    /// Seals a value of one record.
    ///
    /// # Errors
    /// Where the operating system has no randomness, the value is over 64 GiB, or the data key is not one that is leased.
    pub fn seal(&self, record: &RecordId, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.cipher.seal(|aad| self.write_aad(record, aad), plaintext)
    }

    /// Opens a value of one record.
    ///
    /// # Errors
    /// Where it is no sealed value; or does not open here, without saying why.
    pub fn open(&self, record: &RecordId, ciphertext: &[u8]) -> Result<Plaintext, OpenError> {
        self.cipher.open(|aad| self.write_aad(record, aad), ciphertext)
    }

    fn write_aad(&self, record: &RecordId, aad: &mut Vec<u8>) {
        aad.extend_from_slice(&self.prefix);
        extend_length_prefixed(aad, record.as_bytes());
    }
}

impl fmt::Debug for FieldCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FieldCipher(..)")
    }
}

#[cfg(test)]
impl FieldCipher {
    pub(super) fn seal_with(&self, nonce: &[u8; 12], record: &RecordId, plaintext: &[u8]) -> Vec<u8> {
        let fixed = |place: &mut [u8; 12]| {
            *place = *nonce;
            Ok(())
        };
        self.cipher.seal_with(fixed, |aad| self.write_aad(record, aad), plaintext).unwrap()
    }
}
