//! The anti-forensic split: spreads a small secret over many bytes so that losing any part of them loses the secret.
//!
//! As in LUKS (C. Fruhwirth, "New methods in hard disk encryption", 2005, and the LUKS on-disk format 1.2.3, section 2.4), with
//! SHA-256: stripes `s1 .. s(n-1)` are random, `d0 = 0`, `dk = H(d(k-1) xor sk)`, `sn = d(n-1) xor block`. `H` hashes each 32 bytes
//! of a stripe with their big-endian number before them. So each page of the spread secret is needed to compute any byte of it.

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

/// Bytes of what is split.
pub(super) const BLOCK: usize = 128;

const DIGEST: usize = 32;

/// A block that is split, or was put together; wiped on drop.
pub(super) type Block = Zeroizing<[u8; BLOCK]>;

/// Spreads a block over `spread`, whose length is a multiple of [`BLOCK`].
pub(super) fn split(block: &Block, spread: &mut [u8]) -> Result<(), getrandom::Error> {
    let (random, last) = spread.split_at_mut(spread.len() - BLOCK);
    getrandom::fill(random)?;
    let mask = diffused(random);
    for ((byte, mask), plain) in last.iter_mut().zip(mask.iter()).zip(block.iter()) {
        *byte = mask ^ plain;
    }
    Ok(())
}

/// Puts a block together again; something else where any byte of `spread` is not what it was.
pub(super) fn merge(spread: &[u8]) -> Block {
    let (random, last) = spread.split_at(spread.len() - BLOCK);
    let mut block = diffused(random);
    xor(&mut block, last);
    block
}

fn diffused(stripes: &[u8]) -> Block {
    let mut block = Zeroizing::new([0; BLOCK]);
    let mut input = Zeroizing::new([0; 4 + DIGEST]);
    for stripe in stripes.chunks_exact(BLOCK) {
        xor(&mut block, stripe);
        for (number, part) in (0u32..).zip(block.chunks_exact_mut(DIGEST)) {
            input[..4].copy_from_slice(&number.to_be_bytes());
            input[4..].copy_from_slice(part);
            part.copy_from_slice(digest(&SHA256, &*input).as_ref());
        }
    }
    block
}

fn xor(block: &mut Block, other: &[u8]) {
    // By words: a start reads whole slots several times.
    for (word, other) in block.as_chunks_mut::<8>().0.iter_mut().zip(other.as_chunks::<8>().0) {
        *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(*other)).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn what_was_split_is_put_together_again() {
        let block = Zeroizing::new(std::array::from_fn(|index| index as u8));
        let mut spread = vec![0; 64 * BLOCK];
        split(&block, &mut spread).unwrap();
        assert_eq!(*merge(&spread), *block);
    }

    #[test]
    fn no_32_bytes_of_the_block_survive_the_loss_of_any_bit() {
        let block = Zeroizing::new([0x5a; BLOCK]);
        let mut spread = vec![0; 16 * BLOCK];
        split(&block, &mut spread).unwrap();
        for at in 0..spread.len() - BLOCK {
            spread[at] ^= 1;
            let part = at % BLOCK / DIGEST * DIGEST;
            assert_ne!(merge(&spread)[part..part + DIGEST], block[part..part + DIGEST], "byte {at}");
            spread[at] ^= 1;
        }
    }

    #[test]
    fn one_block_alone_is_masked_by_nothing_so_the_last_stripe_follows_from_the_others() {
        // Two stripes by hand: s2 = H(s1) xor block.
        let block = Zeroizing::new([7; BLOCK]);
        let mut spread = vec![0; 2 * BLOCK];
        split(&block, &mut spread).unwrap();
        for part in 0..BLOCK / DIGEST {
            let at = part * DIGEST;
            let mut input = (part as u32).to_be_bytes().to_vec();
            input.extend(&spread[at..at + DIGEST]);
            let wanted: Vec<u8> = Sha256::digest(&input).iter().map(|byte| byte ^ 7).collect();
            assert_eq!(spread[BLOCK + at..BLOCK + at + DIGEST], wanted);
        }
    }
}
