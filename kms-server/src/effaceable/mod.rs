//! Media on which an epoch secret can be made unreadable.
//!
//! Secrets carry the instance id: `list` and `efface_except` see this instance's only, for two instances may share a token.

use kms_core::id::{Attempt, Epoch};
use kms_core::secret::EpochSecret;

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

    /// Stores a secret durably, in a slot that holds none in force.
    ///
    /// # Errors
    /// Where the medium cannot be written; nothing in force is harmed.
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

    /// Makes every secret of this instance unreadable except one, and checks that it is.
    ///
    /// # Errors
    /// Where that cannot be shown; the erasure stays pending.
    fn efface_except(&mut self, keep: SecretId) -> Result<Evidence, EffaceableError>;
}

/// The medium failed.
#[derive(Debug, thiserror::Error)]
pub enum EffaceableError {
    /// Input or output failed.
    #[error("the effaceable medium failed: {0}")]
    Io(#[from] std::io::Error),
    /// What is there is not a medium of ours, or of another instance.
    #[error("{0}")]
    Refused(Box<str>),
}
