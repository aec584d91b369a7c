//! A destroying commit: P1 a new epoch secret, P2 a new root under it, P3 no other secret left. The order is the whole point.
//!
//! ```text
//! P1 prepare E'(i+1, a) in the medium, read it back      crash: E' is effaced at the restart, epoch i stands
//! P2 wrap; redo, synced                                  crash: rolled forward
//!    staged commits, head commit, barrier                crash: rolled forward
//!    of a large one: commits with the rest of its records crash: repeated
//! -- destroyed: roots swapped, copies purged
//! P3 efface every secret but (i+1, a), verify            crash: effaced at the restart
//! P4 log that, in a commit of its own                    crash: logged at the restart
//!    delete the redo; reply
//! ```
//!
//! A failure before the head is handed to the store: delete the redo, then efface E'. After, and while the rest is written: nothing is
//! deleted or effaced, the process stops, the restart decides.

use std::{collections::VecDeque, time::Instant};

use kms_core::id::{InstanceId, KeyGen, RecordVer};
use kms_core::{
    canonical::Text,
    event::EpochCommit,
    id::{Attempt, Epoch},
    record::{self, Header, NO_TENANT, RecordKind},
    root,
    secret::{EpochSecret, WrappingKey},
};
use kms_proto::storage::{EpochRecord, RunningLeasesRecord};
use subtle::ConstantTimeEq;

use super::{
    change::Draft,
    group::{Job, Outcome},
    head::Head,
    log::{KMS, Log, Logged},
    quiesce::Quiesce,
    redo::Redo,
    room::Size,
    state::{Drafted, Failure, State, answer},
    view::Overlay,
    witness,
    writer::WriteError,
    writes,
};
use crate::{
    effaceable::{EffaceableError, Evidence, Media, SecretId},
    records::tree::{Epochs, RunningLeases},
    store::Batch,
};
use kms_core::tree::Planned;

/// Header of the root record of an epoch.
pub(super) fn root_header(instance: InstanceId, epoch: Epoch) -> Header {
    let (key_gen, record_ver) = (KeyGen(epoch.0), RecordVer(1));
    Header {
        kind: RecordKind::Root,
        level: 0,
        instance,
        tenant: NO_TENANT,
        index: 0,
        key_gen,
        record_ver,
        epoch,
    }
}

impl State {
    /// Runs destructions and commits them as one epoch, but for those that it has no room for; as an ordinary commit, where nothing that
    /// they name was there.
    pub(super) fn commit_epoch(&mut self, jobs: &mut VecDeque<Job>) {
        if jobs.is_empty() {
            return;
        }
        // ORDER: before anything is drafted: drafts name indexes of the log.
        self.record_evidence();
        if self.published.is_stopped() {
            return;
        }
        if let Some(drafted) = self.draft(None, jobs, Size::EPOCH).drafted {
            match drafted.planned.epoch == self.head.epoch {
                true => drop(self.commit_drafted(drafted)),
                false => self.destroy_drafted(drafted),
            }
        }
        self.next_epoch = Instant::now() + self.interval;
    }

    fn destroy_drafted(&mut self, drafted: Drafted) {
        let Drafted { group, planned, mut kept, refused } = drafted;
        let outcome: Outcome = match self.epoch(&group, planned) {
            Ok(effaced) => self.durable(effaced),
            Err(failure) => self.failed(failure),
        };
        kept.extend(refused);
        answer(kept, &outcome);
    }

    /// The protocol. Says whether the epochs before are effaced.
    fn epoch(&mut self, group: &Draft, mut planned: Planned) -> Result<bool, Failure> {
        // The medium has room for one secret besides that in force; another medium that is pending does not take that room.
        if self.retry_at.is_some() && !self.efface() && !self.may_wait() {
            return Err(Failure::not_written(&Pending));
        }
        let (attempt, secret) = self.prepare(planned.epoch)?;
        self.mistake_keep_root(&mut planned);
        self.mistake_efface_early(SecretId { epoch: planned.epoch, attempt });
        let (redo, log) = match self.build(group, &planned, attempt, &secret) {
            Ok(built) => built,
            Err(error) => return Err(self.abandon(planned.epoch, WriteError::of(&*error))),
        };
        drop(secret);
        if let Err(error) = self.redo.write(planned.epoch, &redo.encode()) {
            return Err(self.abandon(planned.epoch, WriteError::of(&error)));
        }
        let head = self.write_epoch(redo, group, attempt)?;
        self.settle(head, planned, log, group);
        if group.longest_lease_ms > 0 {
            self.quiescing.insert(self.head.epoch, Quiesce::after(group.longest_lease_ms));
        }
        self.mistake_certify_early();
        // ORDER: only now, after the barrier. Effacing earlier would lose every key to a crash.
        let effaced = self.efface();
        self.record_evidence();
        // A redo that stays is recognised as done by the next commit's head, or repeated.
        if let Err(error) = self.redo.delete(self.head.epoch).and_then(|()| self.redo.prepare()) {
            tracing::warn!("the redo file of epoch {} could not be removed: {error}", self.head.epoch);
        }
        Ok(effaced)
    }

    /// P1: draws an attempt and its secret, and makes sure that the medium has it.
    fn prepare(&mut self, epoch: Epoch) -> Result<(Attempt, EpochSecret), Failure> {
        let drawn = Attempt::random().and_then(|attempt| Ok((attempt, EpochSecret::random()?)));
        let (attempt, secret) = drawn.map_err(|error| Failure::not_written(&error))?;
        let id = SecretId { epoch, attempt };
        let kept = self.medium.prepare(id, &secret).and_then(|()| self.medium.read(id));
        let why = match kept {
            Ok(Some(read)) if bool::from(read.expose_secret().ct_eq(secret.expose_secret())) => {
                return Ok((attempt, secret));
            }
            Ok(_) => WriteError::of(&Forgetful),
            Err(error) => WriteError::of(&error),
        };
        self.efface();
        Err(Failure::NotWritten(why))
    }

    /// P2: everything that the commits of this epoch write.
    fn build(
        &mut self,
        group: &Draft,
        planned: &Planned,
        attempt: Attempt,
        secret: &EpochSecret,
    ) -> Result<(Redo, Log), Box<dyn std::error::Error>> {
        let (instance, epoch, base) = (self.head.instance, planned.epoch, self.head.commit);
        let kek = root::kek(&self.seal, secret, instance, epoch, attempt);
        let root = record::wrap(&kek, &root_header(instance, epoch), planned.root.expose_secret())?;
        let pending_efface = [self.head.pending_efface.as_slice(), &[self.head.secret()]].concat();
        let (media, passed) = self.passed();
        let (commit, state_root) = (base.next(), planned.state_root.unwrap_or(self.head.state_root));
        let (mut events, committed) = with_commit(&group.log, self.log.size(), |first, last| EpochCommit {
            epoch,
            attempt,
            state_root_before: self.head.state_root,
            state_root,
            live: planned.live,
            first,
            last,
        });
        events.extend(passed);
        let (log, entries) = self.log.append(commit, &events);
        let head = Head {
            attempt,
            root,
            redo_attempt: Some(attempt),
            pending_efface,
            media,
            ..self.next_head(group, planned, &log)
        };

        let mut batch = Batch::default();
        let tree = writes::of_tree(planned, head.commit, &mut batch);
        batch.writes.extend(group.writes.clone());
        batch.writes.extend(entries);
        witness::put(planned, &*self.published.store, &mut batch)?;
        let tail = writes::split_tail(&mut batch);
        let record = EpochRecord {
            attempt: attempt.0.to_vec(),
            state_root_before: self.head.state_root.to_vec(),
            state_root: head.state_root.to_vec(),
            live_versions: head.live,
            destroyed_versions: planned.destroyed_versions,
            destroyed_tenants: planned.destroyed_tenants,
            effaced: None,
            top_height_before: planned.before.0.into(),
            top_height: planned.top_height.into(),
            live_before: planned.before.1,
            commit_entry: committed,
            committed_ms: log.last().millis(),
            longest_lease_ms: group.longest_lease_ms,
            quiesced_ms: if group.longest_lease_ms == 0 { log.last().millis() } else { 0 },
            ..EpochRecord::default()
        };
        if group.longest_lease_ms > 0 {
            let record = RunningLeasesRecord { longest_lease_ms: group.longest_lease_ms };
            writes::put::<RunningLeases>(&epoch, &record, &mut batch);
        }
        writes::put::<Epochs>(&epoch, &record, &mut batch);
        let staged = writes::stage(tree, base, &mut batch);
        writes::put_head(&head, &mut batch);
        Ok((Redo { instance, epoch, attempt, base, staged, head: batch, tail }, log))
    }

    /// P2: hands the commits to the store. Returns after the barrier of the last.
    fn write_epoch(&mut self, mut redo: Redo, group: &Draft, attempt: Attempt) -> Result<Head, Failure> {
        let epoch = redo.epoch;
        for batch in std::mem::take(&mut redo.staged) {
            let head =
                Head { commit: self.head.commit.next(), redo_attempt: Some(attempt), ..self.head.clone() };
            // From here on, an epoch that is abandoned leaves records behind.
            self.abandoned = true;
            self.hand_over(&head, batch).map_err(|error| self.stopped_at(epoch, error.into()))?;
            self.head = head;
            // The number is durable, but nothing that anyone may see has changed.
            self.published.swap(self.roots());
        }
        let head = redo.last_head(self.head.commit.next());
        let mut head = head.map_err(|error| self.abandon(epoch, WriteError::of(&error)))?;
        let before = self.before(group, Overlay::new()).map_err(|error| self.stopped_at(epoch, error))?;
        self.published.hide(before);
        if let Err(error) = self.hand_over(&head, redo.head) {
            let failure = self.stopped_at(epoch, error.into());
            if matches!(failure, Failure::NotWritten(_)) {
                self.published.reveal();
            }
            return Err(failure);
        }
        for batch in redo.tail {
            head.commit = head.commit.next();
            // ORDER: the epoch is in force and its records are not all there, so nothing goes on, whatever the store says of this part.
            let handed = self.hand_over(&head, batch);
            handed.map_err(|error| Failure::Unknown(error.to_string().into()))?;
        }
        Ok(head)
    }

    /// What a failure between the redo and the head's barrier means.
    fn stopped_at(&mut self, epoch: Epoch, failure: Failure) -> Failure {
        match failure {
            Failure::NotWritten(why) => self.abandon(epoch, why),
            // ORDER: delete nothing, efface nothing. Half of it may be on disk, and only the redo and E' can complete it.
            Failure::Unknown(why) => {
                self.mistake_efface_late();
                Failure::Unknown(why)
            }
        }
    }

    /// Gives an epoch up before its head was handed to the store.
    fn abandon(&mut self, epoch: Epoch, why: WriteError) -> Failure {
        // ORDER: the redo first. While it is there a restart would roll it forward, which needs E'.
        if let Err(error) = self.redo.delete(epoch) {
            return Failure::Unknown(
                format!("epoch {epoch} failed ({why}), and its redo file cannot be removed: {error}").into(),
            );
        }
        if !self.mistake_keep_failed() {
            self.efface();
        }
        Failure::NotWritten(why)
    }

    /// P3: makes every secret but the one in force unreadable. A failure leaves the erasure pending, to be tried again.
    pub(super) fn efface(&mut self) -> bool {
        let keep = self.head.secret();
        match efface(&mut self.medium, keep) {
            Ok(mut evidence) => {
                // What an earlier one effaced is still to be recorded.
                if let Some((_, earlier)) = self.evidence.take() {
                    evidence = evidence.and(earlier);
                }
                self.evidence = Some((keep.epoch, evidence));
                self.set_retry(false);
                true
            }
            Err(error) => {
                tracing::error!("an erasure is pending: {error}");
                self.set_retry(true);
                false
            }
        }
    }

    /// Tries a failed effacement again, when its time has come.
    pub(super) fn retry_efface(&mut self) {
        let due = self.retry_at.is_some_and(|at| Instant::now() >= at);
        if due && !self.published.is_stopped() && self.efface() {
            self.record_evidence();
        }
    }
}

/// The log of an epoch: what its changes say, and after it the commit itself; and the index of that. `commit` is told between which
/// indexes the destructions stand.
fn with_commit(
    said: &[Logged],
    size: u64,
    commit: impl FnOnce(u64, u64) -> EpochCommit,
) -> (Vec<Logged>, u64) {
    let own = size + said.len() as u64;
    let destroys = (size..).zip(said).filter(|(_, (_, event))| event.destroys()).map(|(index, _)| index);
    let (first, last) = (destroys.clone().next().unwrap_or(own), destroys.last().unwrap_or(own));
    let mut events = said.to_vec();
    events.push((Text::lossy(KMS), commit(first, last).into()));
    (events, own)
}

/// An epoch cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("an earlier erasure is pending: the medium could not be effaced")]
struct Pending;

/// An epoch's secret cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("the effaceable medium does not give back what was written to it")]
struct Forgetful;

/// Effaces all but one secret, and looks whether it is so.
fn efface(medium: &mut Media, keep: SecretId) -> Result<Evidence, EffaceableError> {
    let evidence = medium.efface_except(keep)?;
    match medium.list()?.as_slice() {
        [only] if *only == keep => Ok(evidence),
        _ => Err(EffaceableError::StillThere),
    }
}

/// Opens the root record of a head.
pub(super) fn open_root(
    seal: &kms_core::secret::SealSecret,
    secret: &EpochSecret,
    head: &Head,
) -> Option<WrappingKey> {
    let kek = root::kek(seal, secret, head.instance, head.epoch, head.attempt);
    let opened = record::unwrap(&kek, &root_header(head.instance, head.epoch), &head.root).ok()?;
    WrappingKey::copied_from(&opened)
}
