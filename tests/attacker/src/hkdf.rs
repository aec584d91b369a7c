//! HKDF-SHA256 (RFC 5869) over the bare compression function: a key's HMAC states are prepared once and used for millions of tries.

use sha2::block_api::compress256;

use crate::Secret;

const BLOCK: usize = 64;
const DIGEST: usize = 32;
/// FIPS 180-4, 5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// Longest message that [`Hmac::tag`] takes: with padding it fills two blocks.
const LONGEST: usize = 2 * BLOCK - 9;

/// HMAC-SHA256 under one key of at most a block.
#[derive(Debug, Clone, Copy)]
pub struct Hmac {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl Hmac {
    /// Prepares a key, which must not be longer than 64 bytes.
    pub fn new(key: &[u8]) -> Self {
        assert!(key.len() <= BLOCK, "a longer key would be hashed first");
        let state = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = START;
            compress256(&mut state, &[block]);
            state
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    /// The tag of a short message.
    #[inline]
    pub fn tag(&self, message: &[u8]) -> Secret {
        assert!(message.len() <= LONGEST, "more than two blocks");
        let digest = finish(self.inner, message);
        finish(self.outer, &digest)
    }
}

/// The hash of one block that is in `state` already, and of `message`.
#[inline]
fn finish(mut state: [u32; 8], message: &[u8]) -> Secret {
    let mut blocks = [[0; BLOCK]; 2];
    let bytes = blocks.as_flattened_mut();
    bytes[..message.len()].copy_from_slice(message);
    bytes[message.len()] = 0x80;
    let used = if message.len() + 9 <= BLOCK { 1 } else { 2 };
    let bits = ((BLOCK + message.len()) as u64 * 8).to_be_bytes();
    bytes[used * BLOCK - 8..used * BLOCK].copy_from_slice(&bits);
    compress256(&mut state, &blocks[..used]);
    let mut digest = [0; DIGEST];
    digest.as_chunks_mut().0.iter_mut().zip(state).for_each(|(out, word)| *out = word.to_be_bytes());
    digest
}

/// HKDF with at most two blocks of output; `salt` is prepared, `info` short.
#[inline]
pub fn derive(salt: &Hmac, ikm: &[u8], info: &[u8]) -> [Secret; 2] {
    let prk = Hmac::new(&salt.tag(ikm));
    let mut message = [0; LONGEST];
    message[DIGEST..DIGEST + info.len()].copy_from_slice(info);
    let end = DIGEST + info.len();
    message[end] = 1;
    let first = prk.tag(&message[DIGEST..=end]);
    message[..DIGEST].copy_from_slice(&first);
    message[end] = 2;
    [first, prk.tag(&message[..=end])]
}

/// HKDF of a secret without a salt, to 32 bytes.
pub fn derive_one(ikm: &Secret, info: &[u8]) -> Secret {
    derive(&Hmac::new(&[]), ikm, info)[0]
}

#[cfg(test)]
mod tests {
    use hkdf::Hkdf;
    use sha2::Sha256;

    use super::*;

    #[test]
    fn it_is_the_hkdf_of_others() {
        for length in [0, 1, 23, 24, 43, 55, 70] {
            let (salt, ikm, info) = ([7; 32], [9; 72], vec![5; length]);
            let mut expected = [[0; 32]; 2];
            let theirs = Hkdf::<Sha256>::new(Some(&salt), &ikm);
            theirs.expand(&info, expected.as_flattened_mut()).unwrap();
            assert_eq!(derive(&Hmac::new(&salt), &ikm, &info), expected, "{length}");
        }
    }

    #[test]
    fn no_salt_is_a_salt_of_zeros() {
        let mut expected = [0; 32];
        Hkdf::<Sha256>::new(None, &[3; 32]).expand(b"label", &mut expected).unwrap();
        assert_eq!(derive_one(&[3; 32], b"label"), expected);
    }
}
