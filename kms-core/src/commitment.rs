//! The public commitment to the live key versions: a binary Merkle tree over the slots of the erasure tree.
//!
//! A height of h fan-out-32 levels is 5h binary levels, the most significant bit of the slot first. Nothing here is secret: a key
//! commitment hides the material behind its blind.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::{
    id::{LeafSlot, Uid},
    secret::{Blind, VersionMaterial},
};

/// SHA-256 of something.
pub type Hash = [u8; 32];

/// Algorithm of a leaf that holds a tenant's subject index key; not a key version.
pub const ALG_INDEX_KEY: u16 = 0;
/// Algorithm of a leaf that holds 256-bit key material.
pub const ALG_AES_256: u16 = 1;

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// `SHA256("kms/kc/v1\0" || version uid || alg || blind || material)`
pub fn key_commitment(version: Uid, alg: u16, blind: &Blind, material: &VersionMaterial) -> Hash {
    let (blind, material) = (blind.expose_secret(), material.expose_secret());
    sha256(&[b"kms/kc/v1\0", &version.0, &alg.to_be_bytes(), blind, material])
}

/// `SHA256(00 || "kms/leaf/v1\0" || version uid || slot u64 || alg || KC)`
pub fn leaf_hash(version: Uid, slot: LeafSlot, alg: u16, key_commitment: &Hash) -> Hash {
    let slot = u64::from(slot.0).to_be_bytes();
    sha256(&[b"\0kms/leaf/v1\0", &version.0, &slot, &alg.to_be_bytes(), key_commitment])
}

/// Z0 = `SHA256(02 || "kms/empty/v1\0")`: a slot that holds nothing.
pub const EMPTY: Hash = [
    0x9c, 0x87, 0x6a, 0x92, 0x32, 0xcf, 0x83, 0x5b, 0x78, 0xe2, 0x2e, 0xfe, 0x0b, 0x20, 0x48, 0x1e, 0x0e,
    0x7f, 0xdc, 0xe8, 0x97, 0xb8, 0x92, 0xbd, 0x06, 0xeb, 0x8a, 0x36, 0x05, 0x4b, 0xc7, 0x5c,
];

/// `SHA256(01 || left || right)`
pub fn pair_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// Most binary levels of a tree: seven of fan-out 32.
pub const MAX_LEVELS: usize = 35;

/// Zk: the hash of 2^k empty slots; k at most [`MAX_LEVELS`].
pub fn empty_subtree(levels: usize) -> Hash {
    static EMPTIES: OnceLock<[Hash; MAX_LEVELS + 1]> = OnceLock::new();
    let empties = EMPTIES.get_or_init(|| {
        let mut empties = [EMPTY; MAX_LEVELS + 1];
        for level in 1..=MAX_LEVELS {
            empties[level] = pair_hash(&empties[level - 1], &empties[level - 1]);
        }
        empties
    });
    empties[levels.min(MAX_LEVELS)]
}

/// `SHA256(03 || tenant uid || height || root)`, while the tenant is empty too.
pub fn tenant_hash(tenant: Uid, height: u8, root: &Hash) -> Hash {
    sha256(&[&[3], &tenant.0, &[height], root])
}

/// `SHA256(04 || height of the top tree || its root || number of live key versions)`
pub fn state_root(top_height: u8, top_root: &Hash, live: u64) -> Hash {
    sha256(&[&[4], &[top_height], top_root, &live.to_be_bytes()])
}

/// Folds the 32 children of a node, each the root of `below` binary levels; `None` where a slot is empty.
pub fn fold_children(children: &[Option<Hash>; 32], below: usize) -> Hash {
    let mut layer = *children;
    let mut width = layer.len();
    for level in below.. {
        if width == 1 {
            break;
        }
        width /= 2;
        for at in 0..width {
            // Empty halves are not hashed: most nodes are nearly empty, or full.
            layer[at] = match (layer[2 * at], layer[2 * at + 1]) {
                (None, None) => None,
                (left, right) => {
                    let empty = empty_subtree(level);
                    Some(pair_hash(&left.unwrap_or(empty), &right.unwrap_or(empty)))
                }
            };
        }
    }
    layer[0].unwrap_or_else(|| empty_subtree(below + 5))
}
