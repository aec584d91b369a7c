//! What node and leaf records hold, as bytes.
//!
//! Node: `01 20 0000 | bitmap u32 | per set bit: child key_gen u64, child key 32`. Leaf: `01 00 | alg u16 | len u32 | material | blind`.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::place::FAN_OUT;
use crate::{
    id::KeyGen,
    secret::{Blind, Plaintext, VersionMaterial, WrappingKey},
};

const NODE_HEAD: [u8; 4] = [1, 0x20, 0, 0];
const LEAF_HEAD: [u8; 2] = [1, 0];
const KEY: usize = 32;
const ENTRY: usize = 8 + KEY;

/// A payload that is not one of ours, under the right key: the record was written by something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tree record opened, but its content is not that of a {0}")]
pub struct PayloadError(&'static str);

/// How a node knows one child: the key and generation that its record is wrapped under travel together.
#[derive(Clone)]
pub struct ChildKey {
    /// Which key of the child's place.
    pub key_gen: KeyGen,
    /// The key. Shared, never copied.
    pub key: Arc<WrappingKey>,
}

/// Writes a node's payload.
pub fn encode_node<'a>(children: impl Fn(usize) -> Option<&'a ChildKey>) -> Plaintext {
    let mut payload = Zeroizing::new(Vec::with_capacity(8 + FAN_OUT * ENTRY));
    payload.extend_from_slice(&NODE_HEAD);
    let bitmap =
        (0..FAN_OUT).filter(|slot| children(*slot).is_some()).fold(0u32, |map, slot| map | 1 << slot);
    payload.extend_from_slice(&bitmap.to_be_bytes());
    for child in (0..FAN_OUT).filter_map(&children) {
        payload.extend_from_slice(&child.key_gen.0.to_be_bytes());
        payload.extend_from_slice(child.key.expose_secret());
    }
    payload.into()
}

/// Reads a node's payload.
///
/// # Errors
/// Where it is none.
pub fn decode_node(payload: &[u8]) -> Result<[Option<ChildKey>; FAN_OUT], PayloadError> {
    let bad = PayloadError("node");
    let (head, rest) = payload.split_first_chunk::<4>().ok_or(bad.clone())?;
    let (bitmap, mut entries) = rest.split_first_chunk::<4>().ok_or(bad.clone())?;
    let bitmap = u32::from_be_bytes(*bitmap);
    if *head != NODE_HEAD || entries.len() != ENTRY * bitmap.count_ones() as usize {
        return Err(bad);
    }
    let mut children = [const { None }; FAN_OUT];
    for (slot, child) in children.iter_mut().enumerate().filter(|(slot, _)| bitmap >> slot & 1 == 1) {
        let _ = slot;
        let (key_gen, rest) = entries.split_first_chunk::<8>().ok_or(bad.clone())?;
        let (key, rest) = rest.split_at_checked(KEY).ok_or(bad.clone())?;
        let key = Arc::new(WrappingKey::copied_from(key).ok_or(bad.clone())?);
        *child = Some(ChildKey { key_gen: KeyGen(u64::from_be_bytes(*key_gen)), key });
        entries = rest;
    }
    Ok(children)
}

/// Material of a version, and what hides it in its commitment.
pub struct LeafPayload {
    /// Which algorithm the material is for.
    pub alg: u16,
    /// The material.
    pub material: VersionMaterial,
    /// Its blind.
    pub blind: Blind,
}

impl LeafPayload {
    /// Draws material and blind from the operating system.
    ///
    /// # Errors
    /// Where the operating system has no randomness to give.
    pub fn random(alg: u16) -> Result<Self, getrandom::Error> {
        Ok(Self { alg, material: VersionMaterial::random()?, blind: Blind::random()? })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Plaintext {
        let mut payload = Zeroizing::new(Vec::with_capacity(8 + 2 * KEY));
        payload.extend_from_slice(&LEAF_HEAD);
        payload.extend_from_slice(&self.alg.to_be_bytes());
        payload.extend_from_slice(&(KEY as u32).to_be_bytes());
        payload.extend_from_slice(self.material.expose_secret());
        payload.extend_from_slice(self.blind.expose_secret());
        payload.into()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Where it is none.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        Self::parse(payload).ok_or(PayloadError("leaf"))
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let (head, rest) = payload.split_first_chunk::<2>()?;
        let (alg, rest) = rest.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (material, blind) = rest.split_at_checked(KEY)?;
        let ours = *head == LEAF_HEAD && u32::from_be_bytes(*length) as usize == KEY;
        let (material, blind) = (VersionMaterial::copied_from(material)?, Blind::copied_from(blind)?);
        ours.then_some(Self { alg: u16::from_be_bytes(*alg), material, blind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{Epoch, InstanceId, RecordVer, TenantSlot},
        record::{Header, RecordKind, unwrap},
        vectors::reference,
    };

    fn child(key_gen: u64, byte: u8) -> ChildKey {
        let key = Arc::new(WrappingKey::copied_from(&[byte; 32]).unwrap());
        ChildKey { key_gen: KeyGen(key_gen), key }
    }

    #[test]
    fn the_reference_records_hold_what_is_written_here() {
        let (instance, epoch) = (InstanceId([0x11; 16]), Epoch(7));
        let header = |kind, level, index, key_gen, record_ver| Header {
            kind,
            level,
            instance,
            tenant: TenantSlot(5).0.into(),
            index,
            key_gen: KeyGen(key_gen),
            record_ver: RecordVer(record_ver),
            epoch,
        };
        let key = WrappingKey::copied_from(&[0x77; 32]).unwrap();
        let node =
            unwrap(&key, &header(RecordKind::TenantNode, 1, 9, 3, 4), &reference("node_record")).unwrap();
        let (first, last) = (child(1, 0x88), child(2, 0x99));
        let encoded = encode_node(|slot| match slot {
            0 => Some(&first),
            31 => Some(&last),
            _ => None,
        });
        assert_eq!(node[..], encoded[..]);

        let key = WrappingKey::copied_from(&[0x88; 32]).unwrap();
        let leaf = unwrap(&key, &header(RecordKind::Leaf, 0, 288, 1, 1), &reference("leaf_record")).unwrap();
        let payload = LeafPayload {
            alg: 1,
            material: VersionMaterial::copied_from(&[0xAA; 32]).unwrap(),
            blind: Blind::copied_from(&[0xBB; 32]).unwrap(),
        };
        assert_eq!(leaf[..], payload.encode()[..]);
    }

    #[test]
    fn a_node_reads_back_and_a_changed_one_does_not() {
        let children: Vec<_> =
            (0..FAN_OUT).map(|slot| (slot % 3 == 0).then(|| child(slot as u64, slot as u8))).collect();
        let encoded = encode_node(|slot| children[slot].as_ref());
        let read = decode_node(&encoded).unwrap();
        for (slot, read) in read.iter().enumerate() {
            assert_eq!(
                read.as_ref().map(|child| child.key_gen),
                children[slot].as_ref().map(|child| child.key_gen)
            );
        }
        assert!(decode_node(&encoded[..encoded.len() - 1]).is_err());
        assert!(decode_node(&[&encoded[..], &[0]].concat()).is_err());
        assert!(decode_node(&[&[2], &encoded[1..]].concat()).is_err());
        assert!(decode_node(&[]).is_err());
    }

    #[test]
    fn a_leaf_of_another_length_is_none() {
        let leaf = LeafPayload::random(1).unwrap().encode();
        assert!(LeafPayload::decode(&leaf).is_ok());
        assert!(LeafPayload::decode(&leaf[..leaf.len() - 1]).is_err());
        assert!(LeafPayload::decode(&[&leaf[..], &[0]].concat()).is_err());
    }
}
