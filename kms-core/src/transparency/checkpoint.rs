//! The head of a log as signed text (C2SP tlog-checkpoint): origin, size and root hash, a line each.
//!
//! ```text
//! keys.example.com/log
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//! ```
//! A log never signs two heads of which one is not the other with entries appended.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    key::VerifierKey,
    note::{Note, NoteError, NoteSignature},
    signer::NoteSigner,
};
use crate::commitment::Hash;

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a note, or not one that the log signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is not that of a checkpoint.
    #[error("not a checkpoint: its {part} is missing or malformed")]
    Malformed {
        /// Which line, in words.
        part: &'static str,
    },
    /// A checkpoint of another log, signed with the same key.
    #[error("the checkpoint is of the log `{found}`, not of `{expected}`")]
    OtherOrigin {
        /// The log it should be of.
        expected: Origin,
        /// The log it is of.
        found: Origin,
    },
}

/// Name of a log for ever: one line, not empty; by custom a URL without its scheme.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// The line without its newline.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = CheckpointError;
    fn from_str(line: &str) -> Result<Self, CheckpointError> {
        if line.is_empty() || line.contains(|found: char| found < ' ') {
            return Err(CheckpointError::Malformed { part: "origin" });
        }
        Ok(Self(line.to_owned()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many entries a log had, and the root of their tree. [`fmt::Display`] writes the text that is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree of that many entries.
    pub root: Hash,
}

impl Checkpoint {
    /// Reads a note's text. Further lines (extensions) may follow and are passed over: nobody can audit them.
    ///
    /// # Errors
    /// Where a line is missing or malformed; a size has one way to be written, and so has a hash.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |part| CheckpointError::Malformed { part };
        let text = text.strip_suffix('\n').ok_or(malformed("last newline"))?;
        let mut lines = text.split('\n');
        let origin = lines.next().ok_or(malformed("origin"))?.parse()?;
        let size = lines.next().and_then(parse_size).ok_or(malformed("size"))?;
        let root = lines.next().and_then(|line| BASE64_STANDARD.decode(line).ok());
        let root = root.and_then(|root| root.try_into().ok()).ok_or(malformed("root hash"))?;
        if lines.any(str::is_empty) {
            return Err(malformed("extension line"));
        }
        Ok(Self { origin, size, root })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64_STANDARD.encode(self.root))
    }
}

/// A checkpoint that the log's key signed: it exists only if that was checked, or done here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Signs a head. Whoever calls this has made sure that its entries are durable, and that it extends the last one.
    ///
    /// # Errors
    /// Where the origin is longer than a note may be.
    pub fn sign(checkpoint: Checkpoint, signer: &NoteSigner) -> Result<Self, NoteError> {
        let mut note = Note::new(checkpoint.to_string())?;
        note.add(signer.sign(note.text()))?;
        Ok(Self { checkpoint, note })
    }

    /// Reads a head of the log `origin`, signed with one of the log's keys.
    ///
    /// # Errors
    /// Where it is malformed, none of `keys` signed it, a signature of theirs is not one of this text, or it is of another log.
    pub fn open(bytes: &[u8], origin: &Origin, keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        // ORDER: signatures first: an unsigned text is not to be read.
        note.verify(keys)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        // ATTACK: a key that signs for two logs would let a head of one pass for a head of the other.
        if checkpoint.origin != *origin {
            return Err(CheckpointError::OtherOrigin { expected: origin.clone(), found: checkpoint.origin });
        }
        Ok(Self { checkpoint, note })
    }

    /// What was signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note: what is stored, served and put into certificates.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Puts another line under it: a witness's, or one of a second key.
    ///
    /// # Errors
    /// Where there are too many already.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        self.note.add(signature)
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

/// Decimal, without sign and leading zeroes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    text.parse().ok().filter(|size: &u64| size.to_string() == text)
}
