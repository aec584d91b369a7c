//! The public commitment to the live key versions: a binary Merkle tree over the slots of the erasure tree.
//!
//! A height of h fan-out-32 levels is 5h binary levels, the most significant bit of the slot first. Nothing here is secret: a key
//! commitment hides the material behind its blind.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::{
    id::{LeafSlot, Uid},
    names::SubjectName,
    secret::{Blind, VersionMaterial},
};

/// SHA-256 of something.
pub type Hash = [u8; 32];

/// What keeps a subject's name in a certificate from being guessed.
pub type NameSalt = [u8; 32];

/// Algorithm of a leaf that holds a tenant's subject index key; not a key version.
pub const ALG_INDEX_KEY: u16 = 0;
/// Algorithm of a leaf that holds 256-bit key material.
pub const ALG_AES_256: u16 = 1;

pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
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

/// `SHA256(salt || name)`: whose key a certificate is about, for the one who has the salt and knows the name.
pub fn salted_name(salt: &NameSalt, name: &SubjectName) -> Hash {
    sha256(&[salt, name.as_str().as_bytes()])
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::vectors::reference;

    /// The reference's definition, word for word: most significant bit of the slot first.
    fn slots_root(leaves: &BTreeMap<u64, Hash>, levels: usize) -> Hash {
        match (leaves.is_empty(), levels) {
            (true, _) => empty_subtree(levels),
            (false, 0) => leaves[&0],
            (false, _) => {
                let half = 1 << (levels - 1);
                let low = leaves.range(..half).map(|(slot, hash)| (*slot, *hash)).collect();
                let high = leaves.range(half..).map(|(slot, hash)| (slot - half, *hash)).collect();
                pair_hash(&slots_root(&low, levels - 1), &slots_root(&high, levels - 1))
            }
        }
    }

    fn by_nodes(leaves: &BTreeMap<u64, Hash>, levels: usize) -> Hash {
        let mut layer = leaves.clone();
        for below in (0..levels).step_by(5) {
            let mut nodes: BTreeMap<u64, [Option<Hash>; 32]> = BTreeMap::new();
            for (slot, hash) in &layer {
                nodes.entry(slot >> 5).or_insert([None; 32])[(slot & 31) as usize] = Some(*hash);
            }
            layer = nodes.iter().map(|(index, children)| (*index, fold_children(children, below))).collect();
        }
        layer.get(&0).copied().unwrap_or_else(|| empty_subtree(levels))
    }

    #[test]
    fn the_reference_vectors_are_reproduced() {
        let fill = |byte: u8| [byte; 16];
        let blind = Blind::copied_from(&[0xBB; 32]).unwrap();
        let material = VersionMaterial::copied_from(&[0xAA; 32]).unwrap();
        let kc = key_commitment(Uid(fill(0x22)), 1, &blind, &material);
        assert_eq!(kc.to_vec(), reference("key_commitment"));
        let leaf = leaf_hash(Uid(fill(0x22)), LeafSlot(288), 1, &kc);
        assert_eq!(leaf.to_vec(), reference("leaf_hash"));
        assert_eq!(EMPTY.to_vec(), reference("empty_leaf"));
        assert_eq!(sha256(&[b"\x02kms/empty/v1\0"]), EMPTY);
        assert_eq!(pair_hash(&leaf, &EMPTY).to_vec(), reference("pair_of_leaf_and_empty"));

        let mut leaves = BTreeMap::from([
            (0, leaf_hash(Uid(fill(0x23)), LeafSlot(0), 0, &[0x24; 32])),
            (288, leaf),
            (1023, leaf_hash(Uid(fill(0x25)), LeafSlot(1023), 1, &[0x26; 32])),
        ]);
        for (tenant_vector, root_vector, live) in
            [("tenant_before", "state_root_before", 2), ("tenant_after", "state_root_after", 1)]
        {
            assert_eq!(slots_root(&leaves, 10), by_nodes(&leaves, 10));
            let tenant = tenant_hash(Uid(fill(0x27)), 2, &by_nodes(&leaves, 10));
            assert_eq!(tenant.to_vec(), reference(tenant_vector));
            let top = by_nodes(&BTreeMap::from([(5, tenant)]), 5);
            assert_eq!(state_root(1, &top, live).to_vec(), reference(root_vector));
            leaves.remove(&288);
        }
    }

    #[test]
    fn folding_by_nodes_is_the_binary_tree_for_any_slots() {
        for slots in [vec![], vec![0], vec![31], vec![0, 1, 31, 32, 1023, 32_767], (0..1024).collect()] {
            let leaves: BTreeMap<_, _> =
                slots.into_iter().map(|slot: u64| (slot, [slot as u8; 32])).collect();
            assert_eq!(slots_root(&leaves, 15), by_nodes(&leaves, 15));
        }
    }

    #[test]
    fn an_empty_tenant_still_has_a_hash_that_no_other_has() {
        let (one, other) = (Uid([1; 16]), Uid([2; 16]));
        let empty = empty_subtree(5);
        assert_ne!(tenant_hash(one, 1, &empty), tenant_hash(other, 1, &empty));
        assert_ne!(tenant_hash(one, 1, &empty), tenant_hash(one, 2, &empty_subtree(10)));
        assert_ne!(tenant_hash(one, 1, &empty), EMPTY);
    }
}
