//! The bytes of the file: its header, and the block that is spread over a slot.
//!
//! ```text
//! 0        header, written once: "KMSE" | version u16 | zeros to 8 | instance 16 | id of the medium 16 | zeros | at 480 .. 512: SHA-256 of bytes 0..480
//! 4096     slot 0: 1 MiB, the spread (afsplit.rs) of
//!            0 "KMSE/E1\0"  8 epoch u64  16 attempt 16  32 secret 32
//!            64 where the file lay when this was written 32  96 SHA-256(instance || bytes 0..96) 32
//! 1 MiB + 4096  slot 1
//! ```
//! A slot that was half written, or overwritten, is random bytes to whoever puts it together: it is not listed, and may be written.

use kms_core::{
    id::{Attempt, Epoch, InstanceId},
    secret::EpochSecret,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    super::{
        SLOTS, SecretId,
        afsplit::{self, Block},
    },
    extents::Places,
};

pub(super) const MAGIC: &[u8; 4] = b"KMSE";
const VERSION: u16 = 1;
pub(super) const HEADER: usize = 512;
const HEADER_BODY: usize = 480;
pub(super) const FIRST_SLOT: u64 = 4096;
pub(super) const SLOT: usize = 1024 * 1024;
pub(super) const LENGTH: u64 = FIRST_SLOT + (SLOTS * SLOT) as u64;
const BLOCK_MAGIC: &[u8; 8] = b"KMSE/E1\0";

/// What tells one medium from another of the same instance.
pub(super) type MediumId = [u8; 16];

/// What a header says.
pub(super) enum Header {
    /// A medium of this instance.
    Of(InstanceId, MediumId),
    /// Of a version that is not known.
    Newer,
    /// None at all.
    Foreign,
}

pub(super) fn header(instance: InstanceId, id: MediumId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(MAGIC);
    header[4..6].copy_from_slice(&VERSION.to_be_bytes());
    header[8..24].copy_from_slice(&instance.0);
    header[24..40].copy_from_slice(&id);
    seal(&mut header);
    header
}

pub(super) fn seal(header: &mut [u8; HEADER]) {
    let sum = Sha256::digest(&header[..HEADER_BODY]);
    header[HEADER_BODY..].copy_from_slice(&sum);
}

pub(super) fn parse_header(header: &[u8; HEADER]) -> Header {
    if !header.starts_with(MAGIC) || Sha256::digest(&header[..HEADER_BODY])[..] != header[HEADER_BODY..] {
        return Header::Foreign;
    }
    if header[4..6] != VERSION.to_be_bytes() {
        return Header::Newer;
    }
    let (mut instance, mut id) = ([0; 16], [0; 16]);
    instance.copy_from_slice(&header[8..24]);
    id.copy_from_slice(&header[24..40]);
    Header::Of(InstanceId(instance), id)
}

pub(super) fn offset(slot: usize) -> u64 {
    FIRST_SLOT + (slot * SLOT) as u64
}

/// What a slot holds.
pub(super) struct Held {
    pub(super) id: SecretId,
    pub(super) secret: EpochSecret,
    /// Where the file lay when the secret was written; `None` where the file system did not say.
    pub(super) places: Option<Places>,
}

pub(super) fn block(
    id: SecretId,
    secret: &EpochSecret,
    places: Option<Places>,
    instance: InstanceId,
) -> Block {
    let mut block = Zeroizing::new([0; afsplit::BLOCK]);
    block[..8].copy_from_slice(BLOCK_MAGIC);
    block[8..16].copy_from_slice(&id.epoch.0.to_be_bytes());
    block[16..32].copy_from_slice(&id.attempt.0);
    block[32..64].copy_from_slice(secret.expose_secret());
    block[64..96].copy_from_slice(&places.map_or([0; 32], |places| places.0));
    let sum = checksum(&block, instance);
    block[96..].copy_from_slice(&sum);
    block
}

pub(super) fn parse(block: &Block, instance: InstanceId) -> Option<Held> {
    if !block.starts_with(BLOCK_MAGIC) || checksum(block, instance)[..] != block[96..] {
        return None;
    }
    let mut epoch = [0; 8];
    epoch.copy_from_slice(&block[8..16]);
    let mut attempt = Attempt([0; 16]);
    attempt.0.copy_from_slice(&block[16..32]);
    let mut places = [0; 32];
    places.copy_from_slice(&block[64..96]);
    Some(Held {
        id: SecretId { epoch: Epoch(u64::from_be_bytes(epoch)), attempt },
        secret: EpochSecret::copied_from(&block[32..64])?,
        places: (places != [0; 32]).then_some(Places(places)),
    })
}

fn checksum(block: &Block, instance: InstanceId) -> [u8; 32] {
    Sha256::new().chain_update(instance.0).chain_update(&block[..96]).finalize().into()
}
