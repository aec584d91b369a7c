//! What an opened record holds: keys of other records, or material.
//!
//! Root: a key. Node: `01 20 0000 | bitmap u32 | per set bit: key_gen u64, key 32`. Leaf: `01 00 | alg u16 | len u32 | material | blind`.

use crate::{Secret, record::Kind};

/// What is in a payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// Keys of records below, as far as the content goes.
    pub keys: Vec<Secret>,
    /// Of a leaf: the material of its version.
    pub material: Option<Secret>,
    /// Of a leaf: what hides the material in its public commitment.
    pub blind: Option<Secret>,
}

impl Payload {
    /// Takes out whatever there is.
    pub fn parse(kind: Kind, content: &[u8]) -> Self {
        match kind {
            Kind::Root => Self { keys: first(content).into_iter().collect(), ..Self::default() },
            Kind::Node => {
                let entries = content.get(8..).unwrap_or_default().chunks(8 + 32);
                let keys = entries.filter_map(|entry| first(entry.get(8..)?)).collect();
                Self { keys, ..Self::default() }
            }
            Kind::Leaf => Self {
                keys: Vec::new(),
                material: content.get(8..).and_then(first),
                blind: content.get(8 + 32..).and_then(first),
            },
            Kind::Other => Self::default(),
        }
    }

    /// Every secret in it.
    pub fn secrets(&self) -> impl Iterator<Item = Secret> {
        self.keys.iter().copied().chain(self.material).chain(self.blind)
    }
}

fn first(bytes: &[u8]) -> Option<Secret> {
    bytes.first_chunk().copied()
}
