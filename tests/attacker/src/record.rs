//! Wrapped records as they lie in raw bytes, and the one question that is asked of a key: is it this record's?
//!
//! ```text
//!  0  4 "KMR1"   4 1 kind   5 1 suite   6 1 level   7 1 flags
//!  8 16 instance   24 8 tenant slot   32 8 index   40 8 key_gen   48 8 record_ver   56 8 epoch
//! 64 32 salt   96 12 iv   108 32 key commitment   140 4 length   144 .. ciphertext || 16 tag
//! HKDF(salt, key, "kms/wrap/v1" || SHA256(header || iv), 64): first half encrypts, second half is the commitment
//! ```

use sha2::{Digest, Sha256};

use crate::{
    Secret,
    hkdf::{self, Hmac},
    stream,
};

const MAGIC: &[u8; 4] = b"KMR1";
const HEADER: usize = 64;
const BODY: usize = 144;
const TAG: usize = 16;
/// Bytes of the largest record there is, with room to spare: a full node has 1,448.
pub const LARGEST: usize = 2048;
const LABEL: &[u8; 11] = b"kms/wrap/v1";

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The key of the top tree's root.
    Root,
    /// A node of the top tree or of a tenant's.
    Node,
    /// The material of one key version.
    Leaf,
    /// Something else.
    Other,
}

/// A record, whole or without its end.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it holds.
    pub kind: Kind,
    /// Which installation wrote it.
    pub instance: [u8; 16],
    /// The tenant's slot; all ones above tenants.
    pub tenant: u64,
    /// Place within its level; of a leaf, its slot.
    pub index: u64,
    /// Epoch in which it was written.
    pub epoch: u64,
    /// What of the header names its key.
    place: (u8, u8, u64),
    iv: [u8; 12],
    commitment: Secret,
    ciphertext: Vec<u8>,
    salt: Hmac,
    info: [u8; LABEL.len() + 32],
}

impl Record {
    /// Reads the record that begins at the first byte. Its end may be missing: the key can be tried all the same.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<BODY>()?;
        let length = u32::from_be_bytes(chunk(fixed, 140)) as usize;
        let [byte, suite, level, flags] = chunk(fixed, 4);
        let sound = fixed.starts_with(MAGIC) && suite == 1 && flags == 0;
        if !sound || !(TAG..=LARGEST - BODY).contains(&length) {
            return None;
        }
        let kind = match byte {
            1 => Kind::Root,
            2 | 3 => Kind::Node,
            4 => Kind::Leaf,
            _ => Kind::Other,
        };
        let iv = chunk(fixed, 96);
        let bound = Sha256::new().chain_update(&fixed[..HEADER]).chain_update(iv).finalize();
        let mut info = [0; LABEL.len() + 32];
        info[..LABEL.len()].copy_from_slice(LABEL);
        info[LABEL.len()..].copy_from_slice(&bound);
        Some(Self {
            kind,
            instance: chunk(fixed, 8),
            tenant: u64::from_be_bytes(chunk(fixed, 24)),
            index: u64::from_be_bytes(chunk(fixed, 32)),
            epoch: u64::from_be_bytes(chunk(fixed, 56)),
            place: (byte, level, u64::from_be_bytes(chunk(fixed, 40))),
            iv,
            commitment: chunk(fixed, 108),
            ciphertext: rest[..rest.len().min(length - TAG)].to_vec(),
            salt: Hmac::new(&chunk::<32>(fixed, 64)),
            info,
        })
    }

    /// Every record that begins anywhere in raw bytes.
    pub fn carve(bytes: &[u8]) -> Vec<Self> {
        let places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(MAGIC));
        places.filter_map(|at| Self::parse(&bytes[at..])).collect()
    }

    /// What tells writes apart: no two have the same commitment.
    pub fn identity(&self) -> (Secret, usize) {
        (self.commitment, self.ciphertext.len())
    }

    /// Which key it is wrapped under, as the header names it: records of one place and key generation differ in content only.
    pub fn key_name(&self) -> impl Ord + Copy + use<> {
        (self.instance, self.tenant, self.index, self.place)
    }

    /// Whether a secret is the key of this record.
    #[inline]
    pub fn is_opened_by(&self, key: &Secret) -> bool {
        self.derive(key)[1] == self.commitment
    }

    /// The content, where the secret is the key.
    pub fn open(&self, key: &Secret) -> Option<Vec<u8>> {
        let [encryption, commitment] = self.derive(key);
        if commitment != self.commitment {
            return None;
        }
        let mut content = self.ciphertext.clone();
        stream::apply(&encryption, &self.iv, &mut content);
        Some(content)
    }

    /// What stands between the record's key and its content: HKDF's pseudorandom key, and the key that the content is encrypted under.
    pub fn derived(&self, key: &Secret) -> [Secret; 2] {
        [self.salt.tag(key), self.derive(key)[0]]
    }

    #[inline]
    fn derive(&self, key: &Secret) -> [Secret; 2] {
        hkdf::derive(&self.salt, key, &self.info)
    }
}

/// Bytes at a place that is known to be there.
fn chunk<const N: usize>(bytes: &[u8; BODY], at: usize) -> [u8; N] {
    let mut chunk = [0; N];
    chunk.copy_from_slice(&bytes[at..at + N]);
    chunk
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::payload::Payload;

    /// A value of the reference vectors, which neither the product nor this crate computed.
    pub(crate) fn reference(name: &str) -> Vec<u8> {
        let text = include_str!("../../vectors/reference_vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        hex::decode(vectors[name].as_str().unwrap()).unwrap()
    }

    #[test]
    fn the_reference_records_open_under_their_keys_and_no_others() {
        let [root, node, leaf] = ["root_record", "node_record", "leaf_record"]
            .map(|name| Record::parse(&reference(name)).unwrap());
        let kek: Secret = reference("root_kek").try_into().unwrap();
        assert_eq!(root.open(&kek).unwrap(), [0x66; 32]);
        assert_eq!((root.kind, node.kind, leaf.kind), (Kind::Root, Kind::Node, Kind::Leaf));
        assert_eq!((leaf.tenant, leaf.index, leaf.epoch), (5, 288, 7));
        let opened = Payload::parse(Kind::Node, &node.open(&[0x77; 32]).unwrap());
        assert_eq!(opened.keys, [[0x88; 32], [0x99; 32]]);
        let opened = Payload::parse(Kind::Leaf, &leaf.open(&[0x88; 32]).unwrap());
        assert_eq!((opened.material, opened.blind), (Some([0xAA; 32]), Some([0xBB; 32])));
        for (record, key) in [(&root, [0x66; 32]), (&node, [0x88; 32]), (&leaf, [0x99; 32])] {
            assert!(!record.is_opened_by(&key) && record.open(&key).is_none());
        }
    }

    #[test]
    fn records_are_carved_from_anywhere_and_cut_ones_too() {
        let (node, leaf) = (reference("node_record"), reference("leaf_record"));
        let cut = &node[..node.len() - 40];
        let bytes = [b"KMR1 no record", &node[..], b"K", &leaf, &[0; 200], cut].concat();
        let carved = Record::carve(&bytes);
        assert_eq!(
            carved.iter().map(|record| record.kind).collect::<Vec<_>>(),
            [Kind::Node, Kind::Leaf, Kind::Node]
        );
        assert!(carved[2].is_opened_by(&[0x77; 32]));
        assert_eq!(Payload::parse(Kind::Node, &carved[2].open(&[0x77; 32]).unwrap()).keys, [[0x88; 32]]);
    }
}
