//! AES-256-GCM without its tag: counter mode from the second counter block on (SP 800-38D, 7.1).

use aes::{
    Aes256,
    cipher::{BlockCipherEncrypt, KeyInit},
};

use crate::Secret;

const BLOCK: usize = 16;

/// Encrypts or decrypts in place.
pub fn apply(key: &Secret, iv: &[u8; 12], bytes: &mut [u8]) {
    let cipher = Aes256::new(key.into());
    for (counter, chunk) in (2u32..).zip(bytes.chunks_mut(BLOCK)) {
        let mut block = [0; BLOCK];
        block[..12].copy_from_slice(iv);
        block[12..].copy_from_slice(&counter.to_be_bytes());
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        chunk.iter_mut().zip(block).for_each(|(byte, mask)| *byte ^= mask);
    }
}

#[cfg(test)]
mod tests {
    use aes_gcm::{Aes256Gcm, aead::AeadInOut};

    use super::*;

    #[test]
    fn it_is_what_aes_gcm_does_before_the_tag() {
        for length in [0, 1, 16, 17, 100] {
            let (key, iv, plain) = ([3; 32], [4; 12], vec![5; length]);
            let mut theirs = plain.clone();
            let cipher = Aes256Gcm::new(&key.into());
            cipher.encrypt_inout_detached(&iv.into(), b"aad", theirs.as_mut_slice().into()).unwrap();
            let mut ours = plain;
            apply(&key, &iv, &mut ours);
            assert_eq!(ours, theirs, "{length}");
        }
    }
}
