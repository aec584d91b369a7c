//! Media on which an epoch secret can be made unreadable.
//!
//! Secrets carry the instance id: `list` and `efface_except` see this instance's only, for two instances may share a token.
//!
//! # Layout
//! - this file: the trait; `evidence.rs`: what an effacement leaves for the certificate; `error.rs`.
//! - [`mod@file`]: a file that is overwritten in place; `afsplit.rs` spreads the secret over it.
//! - [`pkcs11`]: a key in a token, which is destroyed there.
//! - [`media`]: every medium that may hold a secret of one instance, while it passes from one to another.
//! - `lock.rs`: a file that one process holds; the store's directory uses it too.
//! - `memory.rs`: for crash tables, with the feature `faults` only.
//!
//! # Media to come
//! Each is one more module here that implements [`Effaceable`], and one more word of the configuration.
//! - `tpm2`: the secret sealed to a TPM's key of its own under a policy, or in an NV index of its own; effaced by `TPM2_EvictControl` or
//!   `TPM2_NV_UndefineSpace`, looked for in a new session. Class `token`.
//! - `threshold`: Shamir's shares of the secret on the nodes of a cluster. `prepare` is done once enough nodes have theirs on a medium
//!   of their own, `read` collects a quorum, and effacing is done once so many have effaced that the rest is no quorum; the
//!   evidence is that of the nodes, and its class their lowest.

use kms_core::id::{Attempt, Epoch};
use kms_core::secret::EpochSecret;

mod afsplit;
mod error;
mod evidence;
pub mod file;
pub(crate) mod lock;
pub mod media;
#[cfg(any(test, feature = "faults"))]
pub mod memory;
pub mod pkcs11;

pub use self::{
    error::EffaceableError,
    evidence::{EffaceableClass, Evidence, Worth},
    media::{KeptElsewhere, Media, MediumName},
};

/// Secrets a medium holds at most: the one in force, and the next one being prepared.
pub const SLOTS: usize = 2;

/// Which secret: a failed attempt at an epoch has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId {
    /// The epoch it wraps the root of.
    pub epoch: Epoch,
    /// The try at that epoch.
    pub attempt: Attempt,
}

/// A medium that holds at most two secrets: the one in force, and the next one being prepared. Calls block.
pub trait Effaceable: Send + 'static {
    /// What an effacement here is worth.
    fn class(&self) -> EffaceableClass;

    /// What tells it from every other medium.
    fn name(&self) -> MediumName;

    /// Stores a secret durably, in a slot that holds no other, and reads it back.
    ///
    /// # Errors
    /// [`EffaceableError::Full`] where both slots hold secrets: efface first. [`EffaceableError::There`] where this id has one. Otherwise where the medium cannot be
    /// written; the other secret is not harmed, and this one may be there whole, or in part and then not listed.
    fn prepare(&mut self, id: SecretId, secret: &EpochSecret) -> Result<(), EffaceableError>;

    /// Reads a secret back through the medium; `None` where it is not there.
    ///
    /// # Errors
    /// Where the medium cannot be read.
    fn read(&self, id: SecretId) -> Result<Option<EpochSecret>, EffaceableError>;

    /// The secrets of this instance on the medium.
    ///
    /// # Errors
    /// Where the medium cannot be read.
    fn list(&self) -> Result<Vec<SecretId>, EffaceableError>;

    /// Makes every secret of this instance unreadable except one, remains of half-written ones too, and checks that it is.
    ///
    /// # Errors
    /// [`EffaceableError::NothingKept`] where the one to keep cannot be read: nothing is touched then. Otherwise where it cannot be
    /// shown that the others are gone; the erasure stays pending.
    fn efface_except(&mut self, keep: SecretId) -> Result<Evidence, EffaceableError>;

    /// The same for every secret: the one in force lies on another medium.
    ///
    /// # Errors
    /// Where it cannot be shown that they are gone.
    fn efface_all(&mut self, kept: &KeptElsewhere) -> Result<Evidence, EffaceableError>;
}
