//! Ciphertexts, which users keep wherever they like and the attacker has: those of kind 03 opened with a version's material.
//!
//! `4B 03 | version id u64 | data-key id u32 | nonce 12 | AES-256-GCM(32 zero bytes || plaintext)`,
//! `data key = HKDF("", material, "kms/data-key/v1" || version id || data-key id)`, `key = HKDF("", data key, "kms/direct/v1")`

use crate::{
    Secret,
    hkdf::{self, Hmac},
    stream,
};

const HEADER: usize = 14;
const START: usize = HEADER + 12;
const ZEROS: [u8; 32] = [0; 32];
const TAG: usize = 16;

/// The tenant's slot and the leaf's, as the header names them.
pub fn address(sealed: &[u8]) -> Option<(u64, u64)> {
    let id = u64::from_be_bytes(sealed.get(2..10)?.try_into().ok()?);
    Some((id >> 32, id & u64::from(u32::MAX)))
}

/// The keys that stand between a version's material and this ciphertext: the data key, and the one it is encrypted under.
pub fn keys(sealed: &[u8], material: &Secret) -> [Secret; 2] {
    let data_key = data_key(sealed, material);
    [data_key, hkdf::derive_one(&data_key, b"kms/direct/v1")]
}

/// The same for a ciphertext of a column, of kind 01 (`enc`) or 02 (`det`, which has two):
/// `HKDF("", data key, "kms/field/v1/" || use || LP(tenant) || LP(table) || LP(column))`
pub fn column_keys(sealed: &[u8], material: &Secret, place: [&str; 3]) -> Vec<Secret> {
    let data_key = data_key(sealed, material);
    let deterministic = sealed.get(1) == Some(&2);
    let mut info = if deterministic { b"kms/field/v1/det" } else { b"kms/field/v1/enc" }.to_vec();
    for name in place {
        info.extend((name.len() as u32).to_be_bytes());
        info.extend(name.as_bytes());
    }
    let keys = hkdf::derive(&Hmac::new(&[]), &data_key, &info);
    [&[data_key], &keys[..if deterministic { 2 } else { 1 }]].concat()
}

fn data_key(sealed: &[u8], material: &Secret) -> Secret {
    let ids = sealed.get(2..HEADER).unwrap_or_default();
    hkdf::derive_one(material, &[b"kms/data-key/v1", ids].concat())
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
    fn the_key_of_a_column_decrypts_the_reference_ciphertext() {
        let text = include_str!("../../vectors/reference_vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let sealed = hex::decode(vectors["field_random"].as_str().unwrap()).unwrap();
        let keys = column_keys(&sealed, &[0xAA; 32], ["tenant-a", "customers", "ssn"]);
        assert_eq!(hex::encode(keys[0]), vectors["data_key"].as_str().unwrap());
        let mut content = sealed[START..sealed.len() - TAG].to_vec();
        stream::apply(&keys[1], sealed[HEADER..START].try_into().unwrap(), &mut content);
        assert_eq!(content.strip_prefix(&ZEROS).unwrap(), b"078-05-1120");
        let deterministic = hex::decode(vectors["field_deterministic"].as_str().unwrap()).unwrap();
        assert_eq!(column_keys(&deterministic, &[0xAA; 32], ["a", "b", "c"]).len(), 3);
    }

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
