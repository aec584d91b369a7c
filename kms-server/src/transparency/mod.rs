//! The transparency log as others see it: signed heads, proofs, certificates. What it says is written by `erasure`, in the commits of
//! what it says.
//!
//! On disk, in a directory of its own: `log.key`, the seed, mode 0600: whoever reads it can sign another log under the same name, which
//! whoever holds an earlier head notices. `log.pub`, a C2SP verifier key in one line: whoever changes it makes people trust another
//! key, so it is to be compared with one that came another way. `checkpoint`, the last head that was signed: whoever removes it, and
//! puts an older store in place, is noticed only by those who hold a later head. `witnessed`: the last one that witnesses cosigned.
//!
//! # Layout
//! - this file: the log's signed head; [`key`]: its key; [`witnessed`]: what witnesses say of it.
//! - [`certificate`]: what a certificate says; `facts`: what of it stands in log and records; [`mod@states`]: its proofs about committed states.

pub mod certificate;
mod facts;
pub mod key;
pub mod states;
pub mod witnessed;

use std::{fs, io, path::PathBuf};

use kms_core::{
    commitment::Hash,
    id::InstanceId,
    transparency::{
        Checkpoint, NoteError, NoteSigner, Origin, ProveError, SignedCheckpoint, Subtrees, VerifierKey,
        WitnessKey, tree_root,
    },
};
use parking_lot::Mutex;

use self::witnessed::{Accepted, CosignError, Witnessed};
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
        "the log in the store is not a continuation of {checkpoint} (store: {store} entries, there: {signed}); the store was restored from a copy: restore the latest one"
    )]
    Behind {
        /// Which checkpoint.
        checkpoint: String,
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
    witnessed: Witnessed,
}

/// What of the world outside an open log is held against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Whose cosignatures are taken.
    pub witnesses: Vec<WitnessKey>,
    /// A checkpoint that came from elsewhere: the log must go on from it.
    pub pin: Option<PathBuf>,
}

impl Transparency {
    /// Makes the log's key in a directory that has none.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn create(directory: &std::path::Path, instance: InstanceId) -> Result<(), LogError> {
        key::create(directory, instance).map_err(file(directory))
    }

    /// Opens the log, and makes sure that the store goes on from the head that was signed last, from the one that witnesses cosigned
    /// last, and from the one that is pinned.
    ///
    /// # Errors
    /// Where it does not, or a file cannot be read.
    pub fn open(
        directory: PathBuf,
        instance: InstanceId,
        writer: Writer,
        outside: Outside,
    ) -> Result<Self, LogError> {
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
        let witnessed = Witnessed::open(&directory, &origin, signer.verifier(), outside.witnesses)?;
        let pinned = outside.pin.map(|path| pinned(&path, &origin, signer.verifier())).transpose()?;
        let snapshot = writer.snapshot();
        for (name, head) in [
            ("the checkpoint that was signed last", last.as_ref()),
            ("the checkpoint that witnesses cosigned", witnessed.last().as_ref()),
            ("the checkpoint of `transparency.pin`", pinned.as_ref()),
        ] {
            goes_on_from(&snapshot, name, head)?;
        }
        Ok(Self { writer, signer, origin, directory, last: Mutex::new(last), witnessed })
    }

    /// Takes a head of this log that witnesses cosigned. Blocks.
    ///
    /// # Errors
    /// Where it is not of this log, or no known witness cosigned it.
    pub fn accept_cosignatures(&self, note: &[u8]) -> Result<Accepted, CosignError> {
        self.witnessed.accept(note, (&self.origin, self.verifier()), &self.snapshot())
    }

    /// The head that a certificate rests on whose newest entry has this index: the latest that witnesses cosigned, where that reaches
    /// so far, for it is worth more than a later one; the latest otherwise. Blocks.
    fn head_for(&self, newest: u64) -> Result<SignedCheckpoint, LogError> {
        match self.witnessed.last() {
            Some(head)
                if head.checkpoint().size > newest && !self.witnessed.cosignatures(&head).is_empty() =>
            {
                Ok(head)
            }
            _ => self.checkpoint(),
        }
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

// ATTACK: yesterday's store must not sign another history than the one that was shown.
fn goes_on_from(snapshot: &Snapshot, name: &str, head: Option<&SignedCheckpoint>) -> Result<(), LogError> {
    let Some(signed) = head.map(SignedCheckpoint::checkpoint) else { return Ok(()) };
    let store = snapshot.log().size;
    if signed.size > store || tree_root(&Source(snapshot), signed.size)? != signed.root {
        return Err(LogError::Behind { checkpoint: name.to_owned(), store, signed: signed.size });
    }
    Ok(())
}

fn pinned(path: &std::path::Path, origin: &Origin, own: &VerifierKey) -> Result<SignedCheckpoint, LogError> {
    let bytes = fs::read(path).map_err(file(path))?;
    SignedCheckpoint::open(&bytes, origin, std::slice::from_ref(own))
        .map_err(|_| LogError::Foreign(path.to_path_buf()))
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
