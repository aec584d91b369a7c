//! The start: finds out what the last process left, brings it to its end, and only then deletes or effaces anything.
//!
//! | found | done |
//! |---|---|
//! | a whole redo of the next epoch, its secret, the commit it builds on | rolled forward |
//! | a whole redo whose head was the last commit | repeated, for its barrier is not known |
//! | any other redo | removed, once the store's own root has opened |
//! | secrets besides the one in force | effaced, after a barrier |
//! | a secret of an epoch above the next, or none of this one's | refused: the store is older than its medium |

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

use kms_core::{
    canonical::Text,
    event::Genesis,
    id::{Attempt, CommitNumber, InstanceId, KeyGen},
    record, root,
    secret::{EpochSecret, SealSecret, WrappingKey},
    tree::{ChildKey, Place, PlanError, Source, TreeName, genesis},
};
use kms_proto::storage::{EpochRecord, SchemaRecord};

use super::{
    epoch::{open_root, root_header},
    group,
    head::Head,
    log::{KMS, Log},
    nodes::NodeCache,
    options::{Adoption, Options, StartError, Started},
    published::{LogHead, Published, Roots},
    quiesce,
    redo::{Redo, RedoDirectory, RedoStore},
    state::State,
    view,
    writer::Writer,
    writes,
};
use crate::{
    effaceable::{Effaceable, Media, MediumName, SecretId},
    records::{
        SCHEMA, Table,
        tree::{Epochs, Schema, Staged},
    },
    store::{Batch, Store},
};

/// What a start works with, until it may become the writer's state.
struct Start {
    store: Arc<dyn Store>,
    medium: Media,
    redo: Box<dyn RedoStore>,
    seal: SealSecret,
    options: Options,
    head: Head,
    /// What the head shall list from here on.
    media: Vec<MediumName>,
    secrets: Vec<SecretId>,
}

pub(super) fn start(
    store: Arc<dyn Store>,
    medium: Box<dyn Effaceable>,
    seal: SealSecret,
    options: Options,
) -> Result<(Writer, Started), StartError> {
    let redo = Box::new(RedoDirectory::open(&options.redo).map_err(StartError::Redo)?);
    start_with(store, medium, seal, redo, options)
}

pub(super) fn start_with(
    store: Arc<dyn Store>,
    medium: Box<dyn Effaceable>,
    seal: SealSecret,
    redo: Box<dyn RedoStore>,
    mut options: Options,
) -> Result<(Writer, Started), StartError> {
    let head = read_head(&*store, &options)?;
    #[cfg(test)]
    let medium = super::mistake::efface_unopened(options.mistake, medium, &head);
    let media = listed(&head, medium.name(), options.adoption)?;
    let medium = Media::new(medium, std::mem::take(&mut options.others), &media);
    let secrets = medium.list()?;
    // ATTACK: yesterday's store beside today's medium must not efface today's secret.
    if let Some(newest) = secrets.iter().max().filter(|newest| newest.epoch > head.epoch.next()) {
        return Err(StartError::OlderThanMedium { store: head.epoch, medium: newest.epoch });
    }
    let mut start = Start { store, medium, redo, seal, options, head, media, secrets };
    let redos = start.redo.read().map_err(StartError::Redo)?;
    let (root, rolled_forward) = match start.unfinished(&redos)? {
        Some((redo, root)) => {
            start.roll_forward(redo)?;
            (root, Some(start.head.commit))
        }
        None => (start.open_own_root()?, None),
    };
    let epochs = redos.into_iter().map(|(epoch, _)| epoch).collect();
    start.run(root, rolled_forward, epochs)
}

fn read_head(store: &dyn Store, options: &Options) -> Result<Head, StartError> {
    let schema = view::stored::<Schema>(store, &())?.ok_or(StartError::NoInstance)?;
    if schema.version != SCHEMA {
        return Err(StartError::Schema(schema.version));
    }
    let record = view::stored::<crate::records::tree::Head>(store, &())?.ok_or(StartError::NoInstance)?;
    let head = Head::from_record(&record)?;
    if let Some(expected) = options.instance.filter(|expected| *expected != head.instance) {
        return Err(StartError::OtherInstance { found: head.instance, expected });
    }
    if head.commit != store.committed() {
        return Err(StartError::Damaged { store: store.committed(), head: head.commit });
    }
    Ok(head)
}

/// The media that the head lists, with the one in use among them, where it was found.
fn listed(head: &Head, in_use: MediumName, adoption: Adoption) -> Result<Vec<MediumName>, StartError> {
    let mut media = head.media.clone();
    let Some(known) = media.iter_mut().find(|name| name.is(&in_use)) else {
        // ATTACK: a medium that is taken for the one in use leaves the secrets on that for ever.
        if let (Adoption::Refused, Some(first)) = (adoption, media.first()) {
            let listed = format!("{first} (`{}`)", first.place);
            return Err(StartError::OtherMedium { configured: in_use, listed });
        }
        media.push(in_use);
        return Ok(media);
    };
    if known.place != in_use.place {
        tracing::warn!(
            from = known.place,
            to = in_use.place,
            "the effaceable medium lies elsewhere than before: if it was copied, the copy holds secrets that are not effaced with it"
        );
    }
    *known = in_use;
    Ok(media)
}

impl Start {
    /// The redo that the last process did not bring to its end, and the root key that it leads to.
    fn unfinished(
        &self,
        redos: &[(kms_core::id::Epoch, Vec<u8>)],
    ) -> Result<Option<(Redo, WrappingKey)>, StartError> {
        for (_, bytes) in redos {
            let Some(redo) = Redo::decode(bytes).filter(|redo| redo.instance == self.head.instance) else {
                continue;
            };
            let head = &self.head;
            if redo.epoch > head.epoch.next() || redo.epoch == head.epoch.next() && head.commit < redo.base {
                return Err(StartError::OlderThanRedo { store: head.commit, redo: redo.base });
            }
            // Its own commits were the last ones: then nothing came between, however many of them there were.
            let own = head.redo_attempt == Some(redo.attempt);
            let next = redo.epoch == head.epoch.next() && (own || head.commit == redo.base);
            let again = own && redo.epoch == head.epoch && redo.attempt == head.attempt;
            let id = SecretId { epoch: redo.epoch, attempt: redo.attempt };
            if let Some(secret) = (next || again).then(|| self.secret(id)).transpose()?.flatten() {
                let root = open_root(&self.seal, &secret, &redo.last_head(head.commit.next())?);
                return Ok(Some((redo, root.ok_or(StartError::WrongSeal)?)));
            }
        }
        Ok(None)
    }

    fn roll_forward(&mut self, redo: Redo) -> Result<(), StartError> {
        tracing::info!("epoch {} was begun by the last process and is brought to its end", redo.epoch);
        let last = redo.last_head(self.head.commit)?;
        for batch in redo.staged {
            let commit = self.head.commit.next();
            self.hand_over(Head { commit, redo_attempt: Some(redo.attempt), ..self.head.clone() }, batch)?;
        }
        for batch in std::iter::once(redo.head).chain(redo.tail) {
            let commit = self.head.commit.next();
            self.hand_over(Head { commit, ..last.clone() }, batch)?;
        }
        Ok(())
    }

    fn open_own_root(&self) -> Result<WrappingKey, StartError> {
        let id = self.head.secret();
        let Some(secret) = self.secret(id)? else {
            return Err(match self.secrets.iter().max() {
                Some(newest) if newest.epoch >= self.head.epoch => {
                    StartError::OlderThanMedium { store: self.head.epoch, medium: newest.epoch }
                }
                _ => StartError::NoSecret(id),
            });
        };
        open_root(&self.seal, &secret, &self.head).ok_or(StartError::WrongSeal)
    }

    fn secret(&self, id: SecretId) -> Result<Option<EpochSecret>, StartError> {
        if !self.secrets.contains(&id) {
            return Ok(None);
        }
        Ok(self.medium.read(id)?)
    }

    fn hand_over(&mut self, head: Head, mut batch: Batch) -> Result<(), StartError> {
        writes::put_head(&head, &mut batch);
        batch.writes.extend((self.options.rider)().map(|(key, value)| (key, Some(value))));
        self.store.commit(head.commit, batch)?;
        self.head = head;
        Ok(())
    }

    /// A root has opened: now what is left over may go, and the writer begins.
    fn run(
        mut self,
        root: WrappingKey,
        rolled_forward: Option<CommitNumber>,
        redos: Vec<kms_core::id::Epoch>,
    ) -> Result<(Writer, Started), StartError> {
        let root = Arc::new(root);
        let alone = self.secrets == [self.head.secret()] && self.media.len() == 1;
        // A redo that was rolled forward may have listed what it passed to.
        let media = listed(&self.head, self.medium.current(), self.options.adoption)?;
        if !alone && rolled_forward.is_none() || media != self.head.media {
            // ORDER: a barrier before effacing: what was read may not be on disk yet. And a medium is listed before it gets a secret.
            let commit = self.head.commit.next();
            let head = Head { commit, redo_attempt: None, media, ..self.head.clone() };
            self.hand_over(head, Batch::default())?;
        }
        let log = Log::read(&*self.store, &self.head)?;
        let quiescing = quiesce::read(&*self.store)?;
        let Head { instance, commit: revision, epoch, top_height, next_tenant, .. } = self.head;
        let head = LogHead { size: self.head.log_size, root: self.head.log_root };
        let roots =
            Roots { instance, revision, epoch, root: root.clone(), top_height, next_tenant, log: head };
        let published = Arc::new(Published::new(self.store.clone(), roots));
        let abandoned =
            !self.store.range(&[Staged::PREFIX], None, 1).map_err(view::RecordError::from)?.is_empty();
        let mut state = State {
            published: published.clone(),
            medium: self.medium,
            redo: self.redo,
            seal: self.seal,
            head: self.head,
            root: root.clone(),
            cache: NodeCache::new(),
            rider: self.options.rider,
            fatal: self.options.fatal,
            interval: self.options.erasure_interval,
            next_epoch: Instant::now(),
            retry_at: None,
            log,
            quiescing,
            evidence: None,
            abandoned,
            garbage: true,
            #[cfg(test)]
            mistake: self.options.mistake,
        };
        let top = ChildKey { key_gen: KeyGen(epoch.0), key: root };
        state.nodebook().node(Place::root(TreeName::Top, top_height), &top).map_err(|_| StartError::Tree)?;

        let rolled = |redo: &kms_core::id::Epoch| rolled_forward.is_some() && *redo == epoch;
        // ORDER: a redo that does not count goes before its secret, the one that was rolled forward after the secrets before it.
        for redo in redos.iter().filter(|redo| !rolled(redo)) {
            state.redo.delete(*redo).map_err(StartError::Redo)?;
        }
        let effaced = alone && state.head.pending_efface.is_empty() || state.efface();
        state.record_evidence();
        for redo in redos.iter().filter(|redo| rolled(redo)) {
            state.redo.delete(*redo).map_err(StartError::Redo)?;
        }
        if let Err(error) = state.redo.prepare() {
            tracing::warn!("no room is kept ready for a redo file: {error}");
        }
        let (live_versions, revision) = (state.head.live, state.head.commit);
        let media = state.head.media.clone();
        let started = Started { instance, revision, epoch, live_versions, rolled_forward, effaced, media };
        let (queue, changes) = mpsc::channel();
        let thread = thread::Builder::new().name("writer".into());
        thread.spawn(move || group::run(state, &changes)).map_err(StartError::Thread)?;
        Ok((Writer::new(queue, published), started))
    }
}

/// Makes a new instance in an empty store and an empty medium: the first epoch, an empty top tree.
pub(super) fn create(
    store: &dyn Store,
    medium: &mut dyn Effaceable,
    seal: &SealSecret,
    instance: InstanceId,
) -> Result<(), StartError> {
    let new = store.committed() == CommitNumber(0) && view::stored::<Schema>(store, &())?.is_none();
    if !new || !medium.list()?.is_empty() {
        return Err(StartError::Exists);
    }
    let planned = genesis(instance).map_err(|error| match error {
        PlanError::Random(error) => StartError::Random(error),
        _ => StartError::Tree,
    })?;
    let (attempt, secret) = (Attempt::random()?, EpochSecret::random()?);
    let id = SecretId { epoch: planned.epoch, attempt };
    medium.prepare(id, &secret)?;
    let secret = medium.read(id)?.ok_or(StartError::NoSecret(id))?;
    let kek = root::kek(seal, &secret, instance, planned.epoch, attempt);
    let root = record::wrap(&kek, &root_header(instance, planned.epoch), planned.root.expose_secret())
        .map_err(|_| StartError::Tree)?;
    let state_root = planned.state_root.ok_or(StartError::Tree)?;
    let genesis = Genesis { instance, epoch: planned.epoch, attempt, state_root };
    let (log, entries) = Log::empty().append(CommitNumber(1), &[(Text::lossy(KMS), genesis.into())]);
    let head = Head {
        instance,
        commit: CommitNumber(1),
        epoch: planned.epoch,
        attempt,
        root,
        top_height: planned.top_height,
        next_tenant: 0,
        live: 0,
        state_root,
        redo_attempt: None,
        pending_efface: Vec::new(),
        log_size: log.size(),
        log_root: log.root(),
        media: vec![medium.name()],
    };
    let mut batch = Batch { writes: entries, ..Batch::default() };
    let tree = writes::of_tree(&planned, head.commit, &mut batch);
    batch.writes.extend(tree.into_iter().flat_map(|(_, writes)| writes));
    writes::put::<Schema>(&(), &SchemaRecord { version: SCHEMA }, &mut batch);
    let record = EpochRecord {
        attempt: attempt.0.to_vec(),
        state_root: state_root.to_vec(),
        ..EpochRecord::default()
    };
    writes::put::<Epochs>(&planned.epoch, &record, &mut batch);
    writes::put_head(&head, &mut batch);
    Ok(store.commit(head.commit, batch)?)
}
