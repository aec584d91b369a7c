//! A leaf before it is written: random material, random blind, a key of its own.

use std::sync::Arc;

use super::payload::LeafPayload;
use crate::{
    commitment::{self, ALG_AES_256, ALG_INDEX_KEY, Hash},
    id::Uid,
    secret::WrappingKey,
};

/// A leaf that is not yet written.
pub struct NewLeaf {
    /// Uid of the version.
    pub uid: Uid,
    /// The leaf's own key.
    pub key: Arc<WrappingKey>,
    /// What it holds.
    pub payload: LeafPayload,
}

impl NewLeaf {
    /// Draws a key version of 256-bit material.
    ///
    /// # Errors
    /// Where the operating system has no randomness to give.
    pub fn version(uid: Uid) -> Result<Self, getrandom::Error> {
        let (key, payload) = (Arc::new(WrappingKey::random()?), LeafPayload::random(ALG_AES_256)?);
        Ok(Self { uid, key, payload })
    }

    /// Draws a tenant's subject index key.
    ///
    /// # Errors
    /// Where the operating system has no randomness to give.
    pub fn index_key() -> Result<Self, getrandom::Error> {
        let (key, payload) = (Arc::new(WrappingKey::random()?), LeafPayload::random(ALG_INDEX_KEY)?);
        Ok(Self { uid: Uid::random()?, key, payload })
    }

    /// The public commitment to the material.
    pub fn key_commitment(&self) -> Hash {
        let payload = &self.payload;
        commitment::key_commitment(self.uid, payload.alg, &payload.blind, &payload.material)
    }
}
