//! Media on which an epoch secret can be made unreadable.
//!
//! Secrets carry the instance id: `list` and `efface_except` see this instance's only, for two instances may share a token.
//!
//! # Layout
//! - this file: the trait, its evidence and its errors.
//! - [`mod@file`]: a file that is overwritten in place; `afsplit.rs` spreads the secret over it.
//! - `lock.rs`: a file that one process holds; the store's directory uses it too.
//! - `memory.rs`: for crash tables, with the feature `faults` only.

use std::path::PathBuf;

use kms_core::id::{Attempt, Epoch};
use kms_core::secret::EpochSecret;

mod afsplit;
pub mod file;
pub(crate) mod lock;
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
    /// Each attempt has a secret of its own.
    #[error("the effaceable medium holds a secret of epoch {}, attempt {}, already", .0.epoch, .0.attempt)]
    There(SecretId),
    /// It says that it effaced, and lists them all the same.
    #[error("the effaceable medium still lists secrets that it effaced")]
    StillThere,
    /// What was written is not what is read.
    #[error("`{}` does not read back what was written to it: replace the disk", .0.display())]
    ReadBack(PathBuf),
    /// Another process has it.
    #[error("`{}` is open in another server: stop that one, or give this one an effaceable medium of its own", .0.display())]
    Locked(PathBuf),
    /// Nothing is there.
    #[error("`{}` is not there: correct `effaceable.path`; without the medium the store cannot be opened", .0.display())]
    Missing(PathBuf),
    /// Something else is there.
    #[error("`{}` is not an effaceable medium: correct `effaceable.path`, or delete it if `kms-server init` was interrupted; nothing was changed", .0.display())]
    NotAMedium(PathBuf),
    /// It is of a version that this server does not know.
    #[error("`{}` is an effaceable medium of a version that this server does not know: run a newer server; nothing was changed", .0.display())]
    Version(PathBuf),
    /// It belongs to another installation.
    #[error("`{}` holds the secrets of another instance than the store: correct `effaceable.path`; nothing was changed", .0.display())]
    OtherInstance(PathBuf),
    /// It was cut, or grew.
    #[error("`{}` has {length} bytes, not {wanted}: it was cut or copied badly; bring the whole file back; nothing was changed", .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes there.
        length: u64,
        /// Bytes it should have.
        wanted: u64,
    },
}
