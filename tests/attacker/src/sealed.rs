//! Ciphertexts of kind 03, which users keep wherever they like and the attacker has, opened with a version's material.
//!
//! `4B 03 | version id u64 | data-key id u32 | nonce 12 | AES-256-GCM(32 zero bytes || plaintext)`,
//! `data key = HKDF("", material, "kms/data-key/v1" || version id || data-key id)`, `key = HKDF("", data key, "kms/direct/v1")`

use crate::{Secret, hkdf, stream};

const HEADER: usize = 14;
const START: usize = HEADER + 12;
const ZEROS: [u8; 32] = [0; 32];
const TAG: usize = 16;

/// The tenant's slot and the leaf's, as the header names them.
pub fn address(sealed: &[u8]) -> Option<(u64, u64)> {
    let id = u64::from_be_bytes(sealed.get(2..10)?.try_into().ok()?);
    Some((id >> 32, id & u64::from(u32::MAX)))
}

/// The keys that lie between a version's material and this ciphertext: the data key, and the one it is encrypted under.
pub fn keys(sealed: &[u8], material: &Secret) -> [Secret; 2] {
    let ids = sealed.get(2..HEADER).unwrap_or_default();
    let data_key = hkdf::derive_one(material, &[b"kms/data-key/v1", ids].concat());
    [data_key, hkdf::derive_one(&data_key, b"kms/direct/v1")]
}

/// The plaintext, where the material is that of its version.
pub fn open(sealed: &[u8], material: &Secret) -> Option<Vec<u8>> {
    let nonce = sealed.get(HEADER..START)?.try_into().ok()?;
    let mut content = sealed.get(START..sealed.len().checked_sub(TAG)?)?.to_vec();
    stream::apply(&keys(sealed, material)[1], nonce, &mut content);
    content.strip_prefix(&ZEROS).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_ciphertext_opens_under_its_material_only() {
        let text = include_str!("../../vectors/reference_vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let sealed = hex::decode(vectors["direct"].as_str().unwrap()).unwrap();
        assert_eq!(address(&sealed), Some((5, 288)));
        assert_eq!(open(&sealed, &[0xAA; 32]).unwrap(), b"078-05-1120");
        assert_eq!(open(&sealed, &[0xAB; 32]), None);
        assert_eq!(open(&sealed[..20], &[0xAA; 32]), None);
    }
}
