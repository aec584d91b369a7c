//! Finds a subject whose name is stored nowhere: what is stored is a keyed hash of it.
//!
//! Who has the tenant's index key can test a guess, as long as the tenant lives; it is destroyed with the tenant.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    commitment::Hash,
    kdf::extend_length_prefixed,
    names::{FamilyName, SubjectName},
    secret::VersionMaterial,
};

/// A tenant's index key, the leaf at slot 0 of its tree.
#[derive(Debug)]
pub struct SubjectIndex(VersionMaterial);

impl SubjectIndex {
    /// The index under the material of that leaf.
    pub fn new(key: VersionMaterial) -> Self {
        Self(key)
    }

    /// `HMAC-SHA256(index key, LP(family) || LP(subject))`
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    pub fn of(&self, family: &FamilyName, subject: &SubjectName) -> Hash {
        let mut name = Vec::with_capacity(8 + family.as_str().len() + subject.as_str().len());
        extend_length_prefixed(&mut name, family.as_str().as_bytes());
        extend_length_prefixed(&mut name, subject.as_str().as_bytes());
        let hmac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("a key of any length");
        hmac.chain_update(&name).finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: u8, family: &str, subject: &str) -> String {
        let index = SubjectIndex::new(VersionMaterial::copied_from(&[key; 32]).unwrap());
        hex::encode(index.of(&family.parse().unwrap(), &subject.parse().unwrap()))
    }

    #[test]
    fn an_index_is_as_in_the_specification() {
        // Python: hmac.new(b"\x11"*32, lp(b"attendance")+lp(b"employee-17"), "sha256"), lp(x) = len(x) as u32 || x.
        let known = "c963def90db9d72317bfd0ac6c5d70c40e0fa89db8564e9268911e782c856cc6";
        assert_eq!(of(0x11, "attendance", "employee-17"), known);
    }

    #[test]
    fn no_two_names_and_no_two_tenants_share_one() {
        let one = of(1, "ab", "c");
        assert_ne!(one, of(1, "a", "bc"));
        assert_ne!(one, of(1, "ab", "d"));
        assert_ne!(one, of(2, "ab", "c"));
    }
}
