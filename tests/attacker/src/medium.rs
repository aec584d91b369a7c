//! Epoch secrets out of an effaceable file, as it is at some moment.
//!
//! Each of two slots of 1 MiB from byte 4096 on is the anti-forensic split (LUKS on-disk format 1.2.3, 2.4, with SHA-256) of
//! `"KMSE/E1\0" | epoch u64 | attempt 16 | secret 32 | SHA-256(instance || all before) | zeros`.

use sha2::{Digest, Sha256};

use crate::Secret;

const FIRST_SLOT: usize = 4096;
const SLOT: usize = 1024 * 1024;
const BLOCK: usize = 128;
const DIGEST: usize = 32;

/// The secret of one epoch and attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochSecret {
    /// The epoch.
    pub epoch: u64,
    /// The attempt.
    pub attempt: [u8; 16],
    /// The secret.
    pub secret: Secret,
}

/// Every secret that the bytes of a medium still give.
pub fn secrets(medium: &[u8]) -> Vec<EpochSecret> {
    let slots = medium.get(FIRST_SLOT..).unwrap_or_default();
    slots.chunks_exact(SLOT).filter_map(|slot| read(&merge(slot))).collect()
}

fn read(block: &[u8; BLOCK]) -> Option<EpochSecret> {
    let found = block.starts_with(b"KMSE/E1\0");
    let (epoch, attempt, secret) =
        (block[8..16].try_into().ok()?, block[16..32].try_into().ok()?, block[32..64].try_into().ok()?);
    found.then_some(EpochSecret { epoch: u64::from_be_bytes(epoch), attempt, secret })
}

/// `d0 = 0`, `dk = H(d(k-1) xor sk)`, `block = d(n-1) xor sn`.
fn merge(slot: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let (stripes, last) = slot.split_at(slot.len() - BLOCK);
    for stripe in stripes.chunks_exact(BLOCK) {
        xor(&mut block, stripe);
        for (number, part) in (0u32..).zip(block.chunks_exact_mut(DIGEST)) {
            let digest = Sha256::new().chain_update(number.to_be_bytes()).chain_update(&*part).finalize();
            part.copy_from_slice(&digest);
        }
    }
    xor(&mut block, last);
    block
}

fn xor(block: &mut [u8; BLOCK], other: &[u8]) {
    block.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}
