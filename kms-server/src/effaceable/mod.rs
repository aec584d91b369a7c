//! Media on which an epoch secret can be made unreadable.
//!
//! Secrets carry the instance id: `list` and `efface_except` see this instance's only, for two instances may share a token.
//!
//! # Layout
//! - this file: the trait, its evidence and its errors.
//! - `memory.rs`: for crash tables, with the feature `faults` only.

use kms_core::id::{Attempt, Epoch};
use kms_core::secret::EpochSecret;

#[cfg(any(test, feature = "faults"))]
pub mod memory;

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

/// What an overwrite on the medium is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffaceableClass {
    /// The erase is described; no standard is claimed.
    None,
}

/// What was done to make secrets unreadable, for the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Secrets that are no longer on the medium.
    pub effaced: Vec<SecretId>,
    /// What the medium is.
    pub class: EffaceableClass,
    /// How, in words: `overwrite, fdatasync, read back`.
    pub technique: &'static str,
}

/// A medium that holds at most two secrets: the one in force, and the next one being prepared. Calls block.
pub trait Effaceable: Send + 'static {
    /// What an overwrite here is worth.
    fn class(&self) -> EffaceableClass;

    /// Stores a secret durably, in a slot that holds no other. Preparing the same id again replaces it.
    ///
    /// # Errors
    /// [`EffaceableError::Full`] where both slots hold secrets of other ids: efface first. Otherwise where the medium cannot be
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
}

/// The medium failed.
#[derive(Debug, thiserror::Error)]
pub enum EffaceableError {
    /// Input or output failed.
    #[error("the effaceable medium failed: {0}")]
    Io(#[from] std::io::Error),
    /// Both slots hold a secret; one must be effaced first.
    #[error("the effaceable medium holds two secrets already: efface the one that is not in force first")]
    Full,
    /// The secret to keep is not there, so effacing the rest would lose everything.
    #[error("the secret of epoch {}, attempt {}, which was to be kept, cannot be read: nothing was effaced", .0.epoch, .0.attempt)]
    NothingKept(SecretId),
    /// What is there is not a medium of ours, or of another instance.
    #[error("{0}")]
    Refused(Box<str>),
}
