//! What can go wrong with a medium, and what to do about it.

use std::path::PathBuf;

use super::{MediumName, SecretId, pkcs11::TokenError};

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
    /// A medium that may hold a secret is not there.
    #[error(
        "the medium {0} (`{place}`) may still hold a secret and cannot be reached: name it in `[effaceable.previous]` and start the server again; \
         until then no erasure is complete", place = .0.place
    )]
    Unreachable(MediumName),
    /// The token failed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Overwriting means nothing where it lies.
    #[error(
        "`{}` cannot be effaced where it lies: {why}; move it to a disk with ext4 or XFS, use a token, or set `effaceable.accept_unsuitable = true` \
         and have every certificate say so; nothing was overwritten", .path.display()
    )]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}
