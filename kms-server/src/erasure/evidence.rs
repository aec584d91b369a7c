//! P4 of an epoch: what the log and the records say of an effacement, and which media may still hold a secret.

use std::collections::VecDeque;

use kms_core::{
    canonical::Text,
    event::{EpochEffaced, MediumChange, Secrets},
    id::{Attempt, Epoch},
    tree::Plan,
};
use kms_proto::storage::{EffacementRecord, EpochRecord};
use prost::Message;

use super::{
    change::Draft,
    head::pointer,
    log::{self, KMS, Logged},
    state::{Failure, State},
    view::{self, RecordError},
};
use crate::{
    effaceable::{Evidence, MediumName, SecretId},
    records::{Table, key_bytes, tree::Epochs},
};

/// Destructions that may wait for a medium that is not there; with more, each waits for it before it is committed.
const MOST_WAITING: usize = 64;

impl State {
    /// P4: commits what the log will say of the effacement. A failure leaves that to the next time something is committed.
    pub(super) fn record_evidence(&mut self) {
        let Some((epoch, evidence)) = &self.evidence else { return };
        let (gone, media) = (self.gone(*epoch, evidence), self.medium.names(self.head.secret()));
        let recorded = self
            .effacement(*epoch, evidence, &gone)
            .and_then(|group| {
                let planned = Plan::new(&mut self.nodebook(), self.base()).finish(false);
                let media = media.map_err(|error| Failure::not_written(&error))?;
                Ok((group, planned.map_err(|error| Failure::not_written(&error))?, media))
            })
            .and_then(|(group, planned, media)| {
                self.write(group, planned, |head| {
                    head.pending_efface.retain(|secret| !gone.contains(secret));
                    // A medium leaves the list with the evidence that nothing is on it, in the same commit.
                    head.media = media;
                })
            });
        match recorded {
            Ok(()) => self.evidence = None,
            Err(Failure::NotWritten(why)) => {
                tracing::error!("an effacement is not on the log yet: {why}");
            }
            Err(unknown) => drop(self.failed(unknown)),
        }
    }

    /// Secrets that are gone with the effacement that kept the one of `epoch`. Those that a restart found gone already are named by the head.
    fn gone(&self, epoch: Epoch, evidence: &Evidence) -> Vec<SecretId> {
        let before = self.head.pending_efface.iter().filter(|secret| secret.epoch < epoch);
        let mut gone: Vec<_> = before.copied().collect();
        for secret in &evidence.effaced {
            if !gone.contains(secret) {
                gone.push(*secret);
            }
        }
        gone
    }

    /// The epoch, and those before it whose effacement is not on record, since a medium was waited for; in order.
    fn waiting(&self, last: Epoch) -> Result<VecDeque<(Epoch, EpochRecord)>, Failure> {
        let (mut waiting, mut epoch) = (VecDeque::new(), last);
        loop {
            let stored = view::stored::<Epochs>(&*self.published.store, &epoch);
            let Some(record) = stored.map_err(|error| Failure::not_written(&error))? else { break };
            // Before the first epoch there was nothing to efface.
            if epoch != last && (record.effaced.is_some() || epoch.0 <= 1) {
                break;
            }
            waiting.push_front((epoch, record));
            let Some(before) = epoch.0.checked_sub(1) else { break };
            epoch = Epoch(before);
        }
        Ok(waiting)
    }

    /// What a commit writes of an effacement: an entry for each epoch that waited for it.
    fn effacement(&self, last: Epoch, evidence: &Evidence, gone: &[SecretId]) -> Result<Draft, Failure> {
        let mut group = Draft::default();
        let Evidence { class, assurance, technique, media, verification, .. } = evidence;
        for (epoch, mut record) in self.waiting(last)? {
            let attempt = Attempt::try_from(record.attempt.as_slice());
            let attempt = attempt.map_err(|_| Failure::not_written(&RecordError::Damaged(Epochs::NAME)))?;
            let own = SecretId { epoch, attempt };
            let gone: Vec<_> =
                gone.iter().filter(|gone| epoch == last || gone.epoch <= epoch && **gone != own).collect();
            let event = EpochEffaced {
                epoch,
                attempt,
                effaced: Secrets(gone.iter().map(|secret| (secret.epoch, secret.attempt)).collect()),
                class: Text::lossy(class.word()),
                assurance: assurance.clone(),
                technique: technique.clone(),
                media: media.clone(),
                verification: verification.clone(),
            };
            // What a later attempt left behind and is effaced too adds to the record.
            let mut secrets = match record.effaced.take() {
                Some(earlier) => earlier.secrets,
                None => {
                    record.effaced_entry = self.head.log_size + group.log.len() as u64;
                    record.effaced_ms = log::now().millis();
                    Vec::new()
                }
            };
            group.log.push((Text::lossy(KMS), event.into()));
            secrets.extend(gone.into_iter().map(pointer));
            record.effaced = Some(EffacementRecord {
                secrets,
                technique: technique.to_string(),
                class: class.word().to_owned(),
                assurance: assurance.to_string(),
                media: media.to_string(),
                verification: verification.to_string(),
            });
            group.writes.insert(key_bytes::<Epochs>(&epoch), Some(record.encode_to_vec()));
        }
        Ok(group)
    }

    /// Whether a destruction may be committed although an earlier one waits for another medium.
    pub(super) fn may_wait(&self) -> bool {
        self.medium.is_settled(self.head.secret()) && self.head.pending_efface.len() < MOST_WAITING
    }

    /// The list of media once the secret in force lies in the one in use, and what the log says where it lay in another.
    pub(super) fn passed(&self) -> (Vec<MediumName>, Option<Logged>) {
        let (in_use, mut media) = (self.medium.current(), self.head.media.clone());
        let Some(from) = media.first().filter(|first| !first.is(&in_use)).cloned() else {
            return (media, None);
        };
        media.retain(|name| !name.is(&in_use));
        let text = |name: &MediumName| Text::lossy(&name.to_string());
        let event = MediumChange { from: text(&from), to: text(&in_use) };
        media.insert(0, in_use);
        (media, Some((Text::lossy(KMS), event.into())))
    }
}
