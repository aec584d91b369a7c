//! The head: what the last commit left, read at a start and written by every commit.

use kms_core::{
    commitment::Hash,
    id::{Attempt, CommitNumber, Epoch, InstanceId},
};
use kms_proto::storage::{HeadRecord, MediumRecord, SecretPointer};

use super::view::RecordError;
use crate::{
    effaceable::{MediumName, SecretId},
    records::{Table, tree},
};

/// The head as it is stored. Nothing in it is secret: the root is wrapped.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) instance: InstanceId,
    pub(super) commit: CommitNumber,
    pub(super) epoch: Epoch,
    pub(super) attempt: Attempt,
    pub(super) root: Vec<u8>,
    pub(super) top_height: u8,
    pub(super) next_tenant: u32,
    pub(super) live: u64,
    pub(super) state_root: Hash,
    /// The attempt whose redo made this commit. While it stands here, no other commit came between.
    pub(super) redo_attempt: Option<Attempt>,
    /// Secrets that must not be on any medium any more.
    pub(super) pending_efface: Vec<SecretId>,
    /// Entries of the log.
    pub(super) log_size: u64,
    /// Root of the log.
    pub(super) log_root: Hash,
    /// Every medium that may hold a secret; the one with the secret in force first.
    pub(super) media: Vec<MediumName>,
}

impl Head {
    /// The secret that opens the root.
    pub(super) fn secret(&self) -> SecretId {
        SecretId { epoch: self.epoch, attempt: self.attempt }
    }

    pub(super) fn to_record(&self) -> HeadRecord {
        HeadRecord {
            instance: self.instance.0.to_vec(),
            commit: self.commit.0,
            epoch: self.epoch.0,
            attempt: self.attempt.0.to_vec(),
            root: self.root.clone(),
            top_height: self.top_height.into(),
            next_tenant_slot: self.next_tenant,
            live_versions: self.live,
            state_root: self.state_root.to_vec(),
            redo_attempt: self.redo_attempt.map(|attempt| attempt.0.to_vec()).unwrap_or_default(),
            pending_efface: self.pending_efface.iter().map(pointer).collect(),
            log_size: self.log_size,
            log_root: self.log_root.to_vec(),
            media: self.media.iter().map(medium).collect(),
        }
    }

    pub(super) fn from_record(record: &HeadRecord) -> Result<Self, RecordError> {
        Self::parse(record).ok_or(RecordError::Damaged(tree::Head::NAME))
    }

    fn parse(record: &HeadRecord) -> Option<Self> {
        let redo_attempt = match record.redo_attempt.is_empty() {
            true => None,
            false => Some(attempt(&record.redo_attempt)?),
        };
        let pending = record
            .pending_efface
            .iter()
            .map(|secret| Some(SecretId { epoch: Epoch(secret.epoch), attempt: attempt(&secret.attempt)? }));
        Some(Self {
            instance: InstanceId::try_from(record.instance.as_slice()).ok()?,
            commit: CommitNumber(record.commit),
            epoch: Epoch(record.epoch),
            attempt: attempt(&record.attempt)?,
            root: record.root.clone(),
            top_height: u8::try_from(record.top_height).ok()?,
            next_tenant: record.next_tenant_slot,
            live: record.live_versions,
            state_root: record.state_root.as_slice().try_into().ok()?,
            redo_attempt,
            pending_efface: pending.collect::<Option<_>>()?,
            log_size: record.log_size,
            log_root: record.log_root.as_slice().try_into().ok()?,
            media: record.media.iter().map(medium_name).collect(),
        })
    }
}

pub(super) fn pointer(secret: &SecretId) -> SecretPointer {
    SecretPointer { epoch: secret.epoch.0, attempt: secret.attempt.0.to_vec() }
}

fn medium(name: &MediumName) -> MediumRecord {
    MediumRecord { kind: name.kind.clone(), id: name.id.clone(), place: name.place.clone() }
}

fn medium_name(record: &MediumRecord) -> MediumName {
    MediumName { kind: record.kind.clone(), id: record.id.clone(), place: record.place.clone() }
}

fn attempt(bytes: &[u8]) -> Option<Attempt> {
    Attempt::try_from(bytes).ok()
}
