//! An opened node: its key, key generation and content as one value, with the public hashes of its children.

use std::sync::Arc;

use super::{
    payload::{ChildKey, PayloadError, decode_node, encode_node},
    place::{FAN_OUT, LEVEL_BITS, Place},
};
use crate::{
    commitment::{Hash, fold_children},
    id::{Epoch, InstanceId, KeyGen, RecordVer},
    record::{self, Header, UnwrapError, WrapError},
    secret::{Plaintext, WrappingKey},
};

/// What a node knows of one child.
#[derive(Clone)]
pub struct Child {
    /// Key and generation of its record.
    pub key: ChildKey,
    /// Public hash of what stands below it: of a leaf its leaf hash, of a tenant its tenant hash.
    pub hash: Hash,
}

/// Children by slot.
pub type Children = [Option<Child>; FAN_OUT];

/// A node as it was read or written. A value, shared and never changed.
pub struct Node {
    /// The key its record is wrapped under.
    pub key: ChildKey,
    /// Which write of that generation it is.
    pub record_ver: RecordVer,
    /// What stands below.
    pub children: Children,
    /// Public hash of the slots below.
    pub hash: Hash,
}

/// A record of the tree did not open, or is not what its parent says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// It did not open.
    #[error("a tree record does not open: {0}")]
    Unwrap(#[from] UnwrapError),
    /// It opened to something else.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The hashes beside it are not one for each child.
    #[error("the hashes beside a tree record are not those of its children")]
    Hashes,
    /// The uid beside a leaf is not one.
    #[error("the uid beside a leaf record is not one")]
    Uid,
    /// A leaf's material is not what was committed to.
    #[error("a leaf does not open its commitment")]
    Commitment,
}

/// Unwraps the record that stands at a place under a key.
///
/// # Errors
/// Where another record stands there, or the key is not its own.
pub fn open_record(
    instance: InstanceId,
    place: Place,
    key: &ChildKey,
    record_ver: RecordVer,
    wrapped: &[u8],
) -> Result<Plaintext, UnwrapError> {
    // Which epoch wrote it is not known beforehand; it is authenticated with the rest of the header.
    let epoch = record::header(wrapped)?.epoch;
    record::unwrap(&key.key, &header(instance, place, key.key_gen, record_ver, epoch), wrapped)
}

/// Wraps the record of a place.
pub(super) fn wrap_record(
    at: (InstanceId, Epoch),
    place: Place,
    key: &ChildKey,
    record_ver: RecordVer,
    payload: &[u8],
) -> Result<Vec<u8>, WrapError> {
    record::wrap(&key.key, &header(at.0, place, key.key_gen, record_ver, at.1), payload)
}

fn header(
    instance: InstanceId,
    place: Place,
    key_gen: KeyGen,
    record_ver: RecordVer,
    epoch: Epoch,
) -> Header {
    let (tenant, index) = (place.tree.number(), place.index);
    Header { kind: place.kind(), level: place.level, instance, tenant, index, key_gen, record_ver, epoch }
}

/// Opens the keys of a node, for those who only descend.
///
/// # Errors
/// Where the record is not that node.
pub fn open_keys(
    instance: InstanceId,
    place: Place,
    key: &ChildKey,
    record_ver: RecordVer,
    wrapped: &[u8],
) -> Result<[Option<ChildKey>; FAN_OUT], NodeError> {
    Ok(decode_node(&open_record(instance, place, key, record_ver, wrapped)?)?)
}

impl Node {
    /// Puts a node together from its keys and the hashes of its children; `None` where one is missing, or one too many.
    pub fn new(
        place: Place,
        key: ChildKey,
        record_ver: RecordVer,
        keys: [Option<ChildKey>; FAN_OUT],
        hashes: [Option<Hash>; FAN_OUT],
    ) -> Result<Self, NodeError> {
        let mut children = [const { None }; FAN_OUT];
        // INVARIANT: a slot is empty in the commitment if and only if its bit in the payload is not set.
        for ((child, key), hash) in children.iter_mut().zip(keys).zip(&hashes) {
            *child = match (key, hash) {
                (Some(key), Some(hash)) => Some(Child { key, hash: *hash }),
                (None, None) => None,
                _ => return Err(NodeError::Hashes),
            };
        }
        let hash = fold_children(&hashes, binary_levels(place.level - 1));
        Ok(Self { key, record_ver, children, hash })
    }
}

/// Binary levels below a node's children.
pub(super) fn binary_levels(level: u8) -> usize {
    LEVEL_BITS as usize * usize::from(level)
}

/// Public hash of the slots below these children of a node of `level`.
pub(super) fn hash_of(children: &Children, level: u8) -> Hash {
    let hashes = std::array::from_fn(|slot| children[slot].as_ref().map(|child| child.hash));
    fold_children(&hashes, binary_levels(level - 1))
}

/// The payload of these children.
pub(super) fn payload_of(children: &Children) -> Plaintext {
    encode_node(|slot| children[slot].as_ref().map(|child| &child.key))
}

/// A key never used before, as the first of its place.
pub(super) fn fresh_key(key_gen: KeyGen) -> Result<ChildKey, getrandom::Error> {
    Ok(ChildKey { key_gen, key: Arc::new(WrappingKey::random()?) })
}
