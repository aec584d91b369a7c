//! The public log of what was created and destroyed, as pure functions: a Merkle tree (RFC 6962), the proofs from it, and the C2SP
//! formats in which its head is signed and its entries are served.
//!
//! An entry is hashed as written. A head (checkpoint) is worth what its signatures are worth; a proof ties an entry, or an older
//! head, to a head and to nothing else. Nothing here is secret but the seeds of the two signers.
//!
//! # Layout
//! - [`merkle`]: hashes of the tree and its right edge, which grows; [`subtrees`]: where stored hashes come from.
//! - [`inclusion`], [`consistency`]: the proofs of RFC 6962; [`shared`]: one inclusion proof for several entries.
//! - [`slots`]: the same shared form over the slots of the erasure tree ([`crate::commitment`]).
//! - [`key`]: keys by name; [`signer`]: the private halves; [`note`]: signed text.
//! - [`checkpoint`]: a head as signed text; [`cosignature`]: what witnesses add to it.
//! - [`tile`]: paths under which hashes and entries are served; [`tiling`]: the tiles of a log that is read once from its beginning;
//!   [`bundle`]: entries, 256 at a time.

pub mod bundle;
pub mod checkpoint;
pub mod consistency;
pub mod cosignature;
pub mod inclusion;
pub mod key;
pub mod merkle;
pub mod note;
pub mod shared;
pub mod signer;
pub mod slots;
pub mod subtrees;
#[cfg(test)]
mod tests;
pub mod tile;
pub mod tiling;

pub use checkpoint::{Checkpoint, CheckpointError, Origin, SignedCheckpoint};
pub use consistency::{prove_consistency, verify_consistency};
pub use cosignature::{Cosignature, WitnessKey, WitnessSigner};
pub use inclusion::{ProofError, prove_inclusion, verify_inclusion};
pub use key::{KeyError, KeyId, KeyName, VerifierKey};
pub use merkle::{EMPTY_ROOT, Frontier, leaf_hash, node_hash};
pub use note::{Note, NoteError, NoteSignature};
pub use shared::MultiProof;
pub use signer::NoteSigner;
pub use slots::{SlotProof, SlotProofError};
pub use subtrees::{Computed, ProveError, Subtrees, tree_root};
