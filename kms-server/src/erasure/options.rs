//! What a start is told, what it answers, and why it refuses.

use std::{path::PathBuf, sync::Arc, time::Duration};

use kms_core::id::{CommitNumber, Epoch, InstanceId};

use super::view::RecordError;
use crate::{
    effaceable::{Effaceable, EffaceableError, MediumName, SecretId},
    store::CommitError,
};

/// Gives a record that rides in every commit, such as the head of the audit log; `None` where there is nothing new to say.
pub type Rider = Box<dyn FnMut() -> Option<(Vec<u8>, Vec<u8>)> + Send>;
/// Told once that a commit's outcome is unknown: the process must stop.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Whether a medium that the store does not list may be put on its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// No: it is the wrong one.
    Refused,
    /// Yes: the instance passes to it.
    Allowed,
}

/// How the writer runs.
pub struct Options {
    /// Directory of the redo file; made where it does not exist.
    pub redo: PathBuf,
    /// Destructions that arrive within this time share an epoch. The first after a pause as long does not wait.
    pub erasure_interval: Duration,
    /// The instance that the configuration, or the medium, says this is.
    pub instance: Option<InstanceId>,
    /// Media that the instance passed from, as far as they can be reached.
    pub others: Vec<Box<dyn Effaceable>>,
    /// What a medium means that the store does not list.
    pub adoption: Adoption,
    /// Rides in every commit.
    pub rider: Rider,
    /// Stops the process.
    pub fatal: Fatal,
    /// What a test wants done wrongly.
    #[cfg(test)]
    pub(super) mistake: Option<super::mistake::Mistake>,
}

impl Options {
    /// The defaults: an interval of one second, nothing rides, and a fatal outcome is only logged.
    pub fn new(redo: impl Into<PathBuf>) -> Self {
        Self {
            redo: redo.into(),
            erasure_interval: Duration::from_secs(1),
            instance: None,
            others: Vec::new(),
            adoption: Adoption::Refused,
            rider: Box::new(|| None),
            fatal: Arc::new(|why| tracing::error!("{why}")),
            #[cfg(test)]
            mistake: None,
        }
    }
}

/// What a start found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Whose store it is.
    pub instance: InstanceId,
    /// Number of the last commit.
    pub revision: CommitNumber,
    /// The epoch in force.
    pub epoch: Epoch,
    /// Live key versions.
    pub live_versions: u64,
    /// The commit that ended an epoch which the last process had begun, where there was one; the epoch is the one in force.
    pub rolled_forward: Option<CommitNumber>,
    /// Every secret but the one in force was made unreadable; if not, an erasure is pending.
    pub effaced: bool,
    /// Media that may hold a secret; the one with the secret in force first.
    pub media: Vec<MediumName>,
}

/// Why the server does not start. Nothing was deleted or effaced.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing there: a missing store is never a fresh start.
    #[error("there is no key centre in this store; `kms-server init` makes one")]
    NoInstance,
    /// `init` where one exists.
    #[error("the store or its medium already holds a key centre; `init` makes one only where nothing is")]
    Exists,
    /// A layout of another version.
    #[error("the store has schema {0}; this version reads {expected}: use the version that wrote it", expected = crate::records::SCHEMA)]
    Schema(u32),
    /// Not the instance asked for.
    #[error("the store belongs to instance {found}, not to {expected}; check the data directory")]
    OtherInstance {
        /// Whose it is.
        found: InstanceId,
        /// Whose it should be.
        expected: InstanceId,
    },
    /// The medium went on without this store.
    #[error(
        "the store is older than its medium (store: epoch {store}, medium: epoch {medium}); it was restored from a copy, or the medium belongs to a newer one"
    )]
    OlderThanMedium {
        /// Epoch of the store.
        store: Epoch,
        /// Highest epoch of the medium.
        medium: Epoch,
    },
    /// The redo went on without this store.
    #[error(
        "the store is older than its redo file (store: commit {store}, redo: built on commit {redo}); it was restored from a copy"
    )]
    OlderThanRedo {
        /// Last commit of the store.
        store: CommitNumber,
        /// The commit that the redo builds on.
        redo: CommitNumber,
    },
    /// The medium does not have the secret in force.
    #[error(
        "the effaceable medium does not hold the secret of epoch {}: check its path, or, in a change of medium, name the one that does in `[effaceable.previous]`", .0.epoch
    )]
    NoSecret(SecretId),
    /// A medium that the store knows nothing of.
    #[error(
        "the configuration names the medium {configured}, but the store's secrets lie in {listed}: correct `[effaceable]`, or pass to the new medium with \
         `kms-server change-medium`"
    )]
    OtherMedium {
        /// The one that was given.
        configured: MediumName,
        /// The one with the secret in force, with its place.
        listed: String,
    },
    /// The root does not open.
    #[error("the seal secret does not open this key centre; give the one it was made with")]
    WrongSeal,
    /// The engine lost or gained commits.
    #[error("the store says commit {store}, its head says {head}: it is damaged; restore it from a copy")]
    Damaged {
        /// The engine's count.
        store: CommitNumber,
        /// The head's count.
        head: CommitNumber,
    },
    /// A record cannot be had.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The tree does not open below its root.
    #[error("the root opens, but the tree below it is damaged; restore the store from a copy")]
    Tree,
    /// The medium failed.
    #[error(transparent)]
    Medium(#[from] EffaceableError),
    /// The redo file cannot be read or written.
    #[error("the redo directory cannot be used: {0}")]
    Redo(#[source] std::io::Error),
    /// The first commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Random(#[from] getrandom::Error),
    /// No thread for the writer.
    #[error("the writer thread did not start: {0}")]
    Thread(#[source] std::io::Error),
}
