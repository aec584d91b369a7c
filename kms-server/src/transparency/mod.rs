//! The transparency log as others see it: signed heads, proofs, certificates. What it says is written by `erasure`, in the commits of
//! what it says.
//!
//! On disk, in a directory of its own: `log.key`, the seed, mode 0600: whoever reads it can sign another log under the same name, which
//! whoever holds an earlier head notices. `log.pub`, a C2SP verifier key in one line: whoever changes it makes people trust another
//! key, so it is to be compared with one that came another way. `checkpoint`, the last head that was signed: whoever removes it, and
//! puts an older store in place, is noticed only by those who hold a later head.
//!
//! # Layout
//! - this file: the log's signed head; [`key`]: its key.
//! - [`certificate`]: what a certificate says, from the records; [`mod@states`]: its proofs about committed states.

pub mod certificate;
pub mod key;
pub mod states;

use std::{fs, io, path::PathBuf};

use kms_core::{
    commitment::Hash,
    id::InstanceId,
    transparency::{
        Checkpoint, NoteError, NoteSigner, Origin, ProveError, SignedCheckpoint, Subtrees, VerifierKey,
        tree_root,
    },
};
use parking_lot::Mutex;

use crate::erasure::{LogHead, RecordError, Snapshot, Writer};

/// The file of the last head that was signed.
const CHECKPOINT: &str = "checkpoint";

/// The log cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file.
    #[error("`{}`: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The last signed head is not a head of this log.
    #[error("`{}` is not a checkpoint that this log's key signed: restore the directory from a copy", .0.display())]
    Foreign(PathBuf),
    /// The store went back in time.
    #[error(
        "the log in the store is not a continuation of the checkpoint that was signed last (store: {store} entries, signed: {signed}); the store was restored from a copy: restore the latest one"
    )]
    Behind {
        /// Entries in the store.
        store: u64,
        /// Entries of the signed head.
        signed: u64,
    },
    /// A record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A proof.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// The text of a head.
    #[error(transparent)]
    Note(#[from] NoteError),
}

/// The log of an open instance.
pub struct Transparency {
    writer: Writer,
    signer: NoteSigner,
    origin: Origin,
    directory: PathBuf,
    last: Mutex<Option<SignedCheckpoint>>,
}

impl Transparency {
    /// Makes the log's key in a directory that has none.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn create(directory: &std::path::Path, instance: InstanceId) -> Result<(), LogError> {
        key::create(directory, instance).map_err(file(directory))
    }

    /// Opens the log, and makes sure that the store goes on from the head that was signed last.
    ///
    /// # Errors
    /// Where it does not, or a file cannot be read.
    pub fn open(directory: PathBuf, instance: InstanceId, writer: Writer) -> Result<Self, LogError> {
        let signer = key::load(&directory, instance).map_err(file(&directory))?;
        let path = directory.join(CHECKPOINT);
        let foreign = || LogError::Foreign(path.clone());
        let origin: Origin = signer.verifier().name().as_str().parse().map_err(|_| foreign())?;
        let last = match fs::read(&path) {
            Ok(bytes) => {
                let keys = [signer.verifier().clone()];
                Some(SignedCheckpoint::open(&bytes, &origin, &keys).map_err(|_| foreign())?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file(&path)(error)),
        };
        if let Some(signed) = last.as_ref().map(SignedCheckpoint::checkpoint) {
            let (snapshot, store) = (writer.snapshot(), writer.snapshot().log().size);
            // ATTACK: yesterday's store must not sign another history than the one that was shown.
            if signed.size > store || tree_root(&Source(&snapshot), signed.size)? != signed.root {
                return Err(LogError::Behind { store, signed: signed.size });
            }
        }
        Ok(Self { writer, signer, origin, directory, last: Mutex::new(last) })
    }

    /// The key that checks its signatures.
    pub fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// What request tasks read through.
    pub fn snapshot(&self) -> Snapshot {
        self.writer.snapshot()
    }

    /// The log's head, signed. Blocks.
    ///
    /// # Errors
    /// Where it cannot be kept.
    pub fn checkpoint(&self) -> Result<SignedCheckpoint, LogError> {
        let mut last = self.last.lock();
        let LogHead { size, root } = self.writer.snapshot().log();
        if let Some(signed) = last.as_ref().filter(|signed| signed.checkpoint().size == size) {
            return Ok(signed.clone());
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let signed = SignedCheckpoint::sign(checkpoint, &self.signer)?;
        // ORDER: kept before anybody sees it, so that no start goes back behind what was shown.
        let path = self.directory.join(CHECKPOINT);
        key::replace(&path, signed.to_string().as_bytes()).map_err(file(&path))?;
        *last = Some(signed.clone());
        Ok(signed)
    }

    /// Signs a certificate.
    fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature = self.signer.sign(std::str::from_utf8(message).ok()?);
        signature.bytes().try_into().ok()
    }
}

fn file(path: &std::path::Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_path_buf();
    move |source| LogError::File { path: path.clone(), source }
}

/// The log's tree in the store.
pub struct Source<'a>(pub &'a Snapshot);

impl Subtrees for Source<'_> {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        let level = u8::try_from(level).ok()?;
        self.0
            .log_subtree(level, index)
            .inspect_err(|error| tracing::error!("the log cannot be read: {error}"))
            .ok()
    }
}
