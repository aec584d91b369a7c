//! The erasure tree as a pure structure: given the records read, what to write.
//!
//! Every key is random; a node's key, key generation and content travel as one value; slots are never used twice. Destroying gives
//! fresh keys to every ancestor of what is destroyed, and a fresh root, so that no chain of surviving keys leads to it.
//!
//! # Layout
//! - [`place`]: where records stand.
//! - [`payload`]: what they hold; [`node`]: one of them opened.
//! - [`plan`]: what a commit changes; [`finish`]: what it therefore writes.

pub mod finish;
mod leaf;
pub mod node;
pub mod payload;
pub mod place;
pub mod plan;
#[cfg(test)]
mod tests;
mod work;

pub use finish::{Planned, PlannedHash, PlannedRecord, Superseded, Witness, genesis};
pub use leaf::NewLeaf;
pub use node::{Child, Node, NodeError, open_keys, open_record};
pub use payload::{ChildKey, LeafPayload, PayloadError};
pub use place::{Address, FAN_OUT, MAX_HEIGHT, Place, TreeName, holds};
pub use plan::{Base, Plan, PlanError, Source, TenantShape};
