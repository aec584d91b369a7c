//! The latest head of the log that witnesses cosigned (C2SP tlog-cosignature): certificates rest on it where it reaches far enough, and
//! no start goes back behind it.

use std::{fs, io, path::PathBuf};

use kms_core::transparency::{
    Cosignature, KeyId, NoteSignature, Origin, SignedCheckpoint, VerifierKey, WitnessKey, tree_root,
};
use parking_lot::Mutex;

use super::{LogError, Source, file, key};
use crate::erasure::Snapshot;

/// The file of that head, in the directory of the log.
const WITNESSED: &str = "witnessed";

/// What witnesses signed was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// Not a head of this log.
    #[error("this is not a checkpoint that this log signed")]
    Foreign,
    /// The log has another history, or is shorter.
    #[error(
        "the log is not what that checkpoint says: it may have been restored from a copy; keep the checkpoint, and ask the operator"
    )]
    Forked,
    /// No line of a witness that is known here.
    #[error(
        "no witness of `transparency.witnesses` cosigned it; add the witness's key to the configuration, or take it to one"
    )]
    NoWitness,
    /// A line in the name of a witness that is not its own.
    #[error("the cosignature in the name of {0} does not belong to this checkpoint")]
    Forged(String),
    /// An older one than what is there.
    #[error("witnesses have cosigned a later checkpoint already, of {0} entries")]
    Older(u64),
    /// A file, a record.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Witnesses, and what they signed last.
pub(super) struct Witnessed {
    keys: Vec<WitnessKey>,
    path: PathBuf,
    last: Mutex<Option<SignedCheckpoint>>,
}

/// Who cosigned, and how far the log was then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Entries of the log.
    pub size: u64,
    /// Names of the witnesses whose cosignatures are kept now.
    pub witnesses: Vec<String>,
}

impl Witnessed {
    pub(super) fn open(
        directory: &std::path::Path,
        origin: &Origin,
        own: &VerifierKey,
        keys: Vec<WitnessKey>,
    ) -> Result<Self, LogError> {
        let path = directory.join(WITNESSED);
        let last = match fs::read(&path) {
            Ok(bytes) => {
                let opened = SignedCheckpoint::open(&bytes, origin, std::slice::from_ref(own));
                Some(opened.map_err(|_| LogError::Foreign(path.clone()))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file(&path)(error)),
        };
        Ok(Self { keys, path, last: Mutex::new(last) })
    }

    /// What witnesses signed last, whoever they were.
    pub(super) fn last(&self) -> Option<SignedCheckpoint> {
        self.last.lock().clone()
    }

    /// The cosignatures under a head by the witnesses that are known now, each as it stands in the note.
    pub(super) fn cosignatures<'a>(
        &'a self,
        head: &'a SignedCheckpoint,
    ) -> Vec<(&'a WitnessKey, &'a NoteSignature)> {
        let latest = |key: &'a WitnessKey| {
            let Cosignature { time } = key.cosignature(head).ok()??;
            let lines = head.note().signatures().iter().filter(|line| is_of(line, key));
            Some((key, lines.rev().find(|line| line.bytes().first_chunk() == Some(&time.to_be_bytes()))?))
        };
        self.keys.iter().filter_map(latest).collect()
    }

    /// Takes what witnesses signed. Blocks.
    pub(super) fn accept(
        &self,
        bytes: &[u8],
        (origin, own): (&Origin, &VerifierKey),
        snapshot: &Snapshot,
    ) -> Result<Accepted, CosignError> {
        let given = SignedCheckpoint::open(bytes, origin, std::slice::from_ref(own))
            .map_err(|_| CosignError::Foreign)?;
        let size = given.checkpoint().size;
        let is_ours = size <= snapshot.log().size
            && tree_root(&Source(snapshot), size).map_err(LogError::from)? == given.checkpoint().root;
        if !is_ours {
            return Err(CosignError::Forked);
        }
        for key in &self.keys {
            key.cosignature(&given).map_err(|_| CosignError::Forged(key.name().as_str().to_owned()))?;
        }
        let mut last = self.last.lock();
        let mut merged = None;
        if let Some(before) = last.as_ref() {
            if before.checkpoint().size > size {
                return Err(CosignError::Older(before.checkpoint().size));
            }
            merged = (before.checkpoint() == given.checkpoint()).then(|| before.clone());
        }
        // Only what was verified is kept: lines of others would fill the note.
        let fresh = self.cosignatures(&given);
        if fresh.is_empty() {
            return Err(CosignError::NoWitness);
        }
        let mut kept = match merged {
            Some(before) => before,
            None => without_others(&given, own).ok_or(CosignError::Foreign)?,
        };
        for (_, line) in fresh {
            if !kept.note().signatures().contains(line) {
                kept.add(line.clone()).map_err(LogError::from)?;
            }
        }
        key::replace(&self.path, kept.to_string().as_bytes()).map_err(file(&self.path))?;
        let witnesses =
            self.cosignatures(&kept).iter().map(|(key, _)| key.name().as_str().to_owned()).collect();
        *last = Some(kept);
        Ok(Accepted { size, witnesses })
    }
}

/// The head with the log's own signature only.
fn without_others(given: &SignedCheckpoint, own: &VerifierKey) -> Option<SignedCheckpoint> {
    let mut note = kms_core::transparency::Note::new(given.note().text().to_owned()).ok()?;
    let id: KeyId = own.id();
    let line = given.note().signatures().iter().find(|line| line.id() == id && line.name() == own.name())?;
    note.add(line.clone()).ok()?;
    let origin = &given.checkpoint().origin;
    SignedCheckpoint::open(note.to_string().as_bytes(), origin, std::slice::from_ref(own)).ok()
}

fn is_of(line: &NoteSignature, key: &WitnessKey) -> bool {
    line.id() == key.id() && line.name() == key.name()
}
