//! What a certificate is computed from: the checkpoint, the entries, and their proofs. See `docs/verifying.md`, "The certificate".

use super::part::{Flat, NoPart, put, sections, take};
use crate::{
    canonical::{Members, Text},
    commitment::Hash,
    event::Entry,
    id::Epoch,
};

/// Siblings of a slot proof, top down; `None` is a subtree without any leaf.
pub type Siblings = Vec<Option<Hash>>;

sections! {
    /// All of them.
    Proofs {
        /// The log's head that they lead to.
        checkpoint: SignedCheckpoint,
        /// The entries, by rising index.
        entries: Vec<IndexedEntry>,
        /// The shared inclusion proof of those entries.
        inclusion: Vec<Hash>,
        /// From earlier checkpoints to this one, by rising size.
        consistency: Vec<Consistency>,
        /// The committed state around each epoch of `erasure.epochs`, in that order.
        states: Vec<States>,
    }
    /// The log's head.
    SignedCheckpoint {
        /// How many entries the log had.
        size: u64,
        /// The root over them.
        root: Hash,
        /// Key id (4) and signature (64) of the log's key over the note.
        signature: [u8; 68],
        /// Witnesses who saw it.
        cosignatures: Vec<Cosignature>,
    }
    /// A witness's signature over the log's head.
    Cosignature {
        /// The witness's C2SP verifier key.
        key: Text,
        /// Key id (4), time (8) and signature (64).
        signature: [u8; 76],
    }
    /// An entry, where it stands.
    IndexedEntry {
        /// Its place in the log.
        index: u64,
        /// The entry.
        entry: Entry,
    }
    /// That an earlier head is a beginning of this one.
    Consistency {
        /// How many entries the log had then.
        size: u64,
        /// The root over them.
        root: Hash,
        /// RFC 6962, section 2.1.2.
        proof: Vec<Hash>,
    }
    /// The committed state around an epoch.
    States {
        /// Which.
        epoch: Epoch,
        /// The subject stands in it.
        before: State,
        /// It stands in it no more.
        after: State,
    }
    /// A committed state, as far as the subject goes.
    State {
        /// Live versions of all tenants.
        live: u64,
        /// Height of the top tree.
        top_height: u8,
        /// Slot proof of the tenant's slot.
        top: Siblings,
        .. {
            /// What stands in the tenant's slot.
            tenant: TenantProof,
        }
    }
}

/// What stands in the tenant's slot of the top tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantProof {
    /// A tree whose slots of the versions destroyed are known: their leaves before, EMPTY after.
    Slots {
        /// Its height.
        height: u8,
        /// Slot proof of those slots.
        slots: Siblings,
    },
    /// A tree that is destroyed as a whole.
    Root {
        /// Its height.
        height: u8,
        /// Its root.
        root: Hash,
    },
    /// Nothing.
    Empty,
}

const HEIGHT: &str = "tenant_height";
const SLOTS: &str = "tenant";
const ROOT: &str = "tenant_root";

impl Flat for TenantProof {
    fn put(&self, members: &mut Members) {
        match self {
            Self::Slots { height, slots } => {
                put(members, HEIGHT, height);
                put(members, SLOTS, slots);
            }
            Self::Root { height, root } => {
                put(members, HEIGHT, height);
                put(members, ROOT, root);
            }
            Self::Empty => {}
        }
    }
    fn take(members: &mut Members) -> Result<Self, NoPart> {
        match (members.contains_key(HEIGHT), members.contains_key(ROOT)) {
            (false, _) => Ok(Self::Empty),
            (true, false) => Ok(Self::Slots { height: take(members, HEIGHT)?, slots: take(members, SLOTS)? }),
            (true, true) => Ok(Self::Root { height: take(members, HEIGHT)?, root: take(members, ROOT)? }),
        }
    }
}
