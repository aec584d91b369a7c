//! A log read from its first entry on: what the key centre's committed state must be after each, and whether that is what it signed.
//!
//! Kept are the tenants, keys and versions that live; what is destroyed is forgotten. See `docs/verifying.md`, "Replaying the log".

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Certificate;
use crate::{
    canonical::Instant,
    commitment::Hash,
    event::{Entry, EntryError, Event, KeyCreate},
    id::{Attempt, CommitNumber, Epoch, InstanceId, Uid},
    transparency::{leaf_hash, tile::Tile, tiling::Tiling},
};

mod committed;
mod slot_tree;

use committed::Committed;

/// What a certificate asks of the log it came from.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// At which sizes the root is to be noted.
    pub sizes: BTreeSet<u64>,
    /// Versions, by uid, and the entries that made them: no other may.
    versions: BTreeMap<Uid, u64>,
    /// The same by commitment.
    commitments: BTreeMap<Hash, u64>,
    /// The key, and the first entry that makes a version of it.
    key: Option<(Uid, u64)>,
    /// For a tenant, whose versions a certificate does not list: every uid and commitment that was made. This grows with the log.
    made: Option<(HashSet<Uid>, HashSet<[u8; 16]>)>,
}

impl Watch {
    /// For a certificate.
    pub fn of(certificate: &Certificate) -> Self {
        let body = &certificate.certificate;
        let versions = body.versions();
        Self {
            sizes: BTreeSet::from([body.proofs.checkpoint.size]),
            versions: versions.iter().map(|version| (version.uid, version.created)).collect(),
            commitments: versions.iter().map(|version| (version.kc, version.created)).collect(),
            key: body.key().zip(versions.first()).map(|(key, first)| (key.key_uid, first.created)),
            made: body.key().is_none().then(Default::default),
        }
    }

    /// Whether an entry makes again what the certificate says is destroyed.
    fn is_made_again(&mut self, index: u64, event: &KeyCreate, rotated: bool) -> bool {
        if let Some((uids, halves)) = &mut self.made {
            // Half of a hash is enough: a false find would be an honest log's misfortune of 2^-64, not a forger's chance.
            let half = event.kc.first_chunk().copied().unwrap_or_default();
            if !uids.insert(event.version_uid) || !halves.insert(half) {
                return true;
            }
        }
        let other = |made: Option<&u64>| made.is_some_and(|made| *made != index);
        other(self.versions.get(&event.version_uid))
            || other(self.commitments.get(&event.kc))
            || !rotated && self.key.is_some_and(|(key, first)| key == event.key_uid && first < index)
    }
}

/// What a log came to, every entry of it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Whose log it is.
    pub instance: InstanceId,
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Roots at the sizes that were watched.
    pub roots: BTreeMap<u64, Hash>,
    /// Number of epochs whose committed states were computed.
    pub epochs: u64,
}

/// An entry that the log cannot have, after those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} {fault}")]
pub struct ReplayError {
    /// Which.
    pub index: u64,
    /// Why.
    pub fault: Fault,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No entry.
    #[error("is none: {0}")]
    Form(#[from] EntryError),
    /// Something stands before `GENESIS`, or it stands twice.
    #[error("must be the one `GENESIS`, and no other entry may be")]
    Genesis,
    /// `commit` or `at` falls.
    #[error("says an earlier `commit` or `at` than the one before it")]
    Falls,
    /// The number of an epoch, or its attempt.
    #[error("is of another epoch than the one that is in force, waits, or comes next")]
    Epoch,
    /// `first` and `last`.
    #[error("does not name the destructions of its epoch as `first` and `last`")]
    Span,
    /// A slot that was given out before.
    #[error("gives out slot {0}, which was given out before, or passed over")]
    Slot(u32),
    /// A version number.
    #[error("does not make the next version of its key")]
    Number,
    /// Speaks of what is not there.
    #[error("speaks of a {0} that does not exist, or no more")]
    Unknown(&'static str),
    /// Makes what is there.
    #[error("makes a {0} that exists")]
    Again(&'static str),
    /// Something is made between a destruction and its epoch.
    #[error("stands between a destruction and its epoch")]
    BetweenDestructions,
    /// `live` or `last`.
    #[error("says another `live` or `last` than the entries before it, which leave {live}")]
    Left {
        /// What is left, by the entries.
        live: u64,
    },
    /// The commitment before.
    #[error("says another `state_root_before` than its log's entries come to")]
    Before,
    /// The commitment after.
    #[error("says another `state_root` or `live` than its log's entries come to")]
    After,
    /// What the certificate says is destroyed.
    #[error("makes a second time what the certificate says was destroyed")]
    SecondCopy,
}

/// A log that is being read.
#[derive(Debug)]
pub struct Replay {
    watch: Watch,
    tiling: Tiling,
    roots: BTreeMap<u64, Hash>,
    state: Committed,
    at: (CommitNumber, Instant),
    began: Option<(InstanceId, Epoch, Attempt)>,
    /// Epochs of which no entry says yet that the secrets before them are effaced.
    waiting: BTreeMap<Epoch, Attempt>,
    /// Indexes of the first and last destruction since the last epoch.
    destructions: Option<(u64, u64)>,
    epochs: u64,
}

impl Replay {
    /// A log of which nothing was read yet.
    pub fn new(watch: Watch) -> Self {
        Self {
            watch,
            tiling: Tiling::new(),
            roots: BTreeMap::new(),
            state: Committed::new(),
            at: (CommitNumber(0), Instant::from_millis(0)),
            began: None,
            waiting: BTreeMap::new(),
            destructions: None,
            epochs: 0,
        }
    }

    /// The next entry; `full` is given every tile that this fills.
    ///
    /// # Errors
    /// Where the log cannot go on so.
    pub fn entry(&mut self, bytes: &[u8], full: impl FnMut(Tile, &[Hash])) -> Result<(), ReplayError> {
        let index = self.tiling.size();
        let entry = Entry::from_bytes(bytes).map_err(Fault::from);
        let followed = entry.and_then(|entry| self.follow(index, &entry));
        followed.map_err(|fault| ReplayError { index, fault })?;
        self.tiling.append(leaf_hash(bytes), full);
        if self.watch.sizes.contains(&self.tiling.size()) {
            self.roots.insert(self.tiling.size(), self.tiling.root());
        }
        Ok(())
    }

    /// The tiles at the right edge, which are not full.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        self.tiling.partial()
    }

    /// What the log came to; `None` where it had no entry.
    pub fn finish(self) -> Option<Replayed> {
        let (instance, ..) = self.began?;
        let (size, root) = (self.tiling.size(), self.tiling.root());
        Some(Replayed { instance, size, root, roots: self.roots, epochs: self.epochs })
    }

    fn follow(&mut self, index: u64, entry: &Entry) -> Result<(), Fault> {
        let at = (entry.commit, entry.at);
        if at.0 < self.at.0 || at.1 < self.at.1 {
            return Err(Fault::Falls);
        }
        self.at = at;
        if let Event::Genesis(event) = &entry.event {
            if index != 0 || self.began.is_some() || event.epoch != Epoch(1) {
                return Err(Fault::Genesis);
            }
            self.began = Some((event.instance, event.epoch, event.attempt));
            return if self.state.root() == event.state_root { Ok(()) } else { Err(Fault::After) };
        }
        let (_, epoch, attempt) = self.began.ok_or(Fault::Genesis)?;
        if let Some(of) = epoch_of_destruction(&entry.event) {
            // An epoch's number has room above it for as many as the log can have entries.
            if of.0.checked_sub(1) != Some(epoch.0) {
                return Err(Fault::Epoch);
            }
            let first = self.destructions.map_or(index, |(first, _)| first);
            self.destructions = Some((first, index));
        }
        match &entry.event {
            Event::TenantCreate(event) => self.state.create_tenant(event),
            Event::KeyCreate(event) => self.make(index, event, false),
            Event::KeyRotate(event) => {
                let event = event.clone();
                let made = KeyCreate {
                    tenant_uid: event.tenant_uid,
                    key: event.key,
                    key_uid: event.key_uid,
                    class: event.class,
                    number: event.number,
                    version_uid: event.version_uid,
                    slot: event.slot,
                    alg: event.alg,
                    kc: event.kc,
                    origin: event.origin,
                };
                self.make(index, &made, true)
            }
            Event::DestroyVersion(event) => self.state.destroy_version(event),
            Event::DestroyKey(event) => self.state.destroy_key(event),
            Event::TenantDestroy(event) => self.state.destroy_tenant(event),
            Event::EpochCommit(event) => {
                if event.epoch.0.checked_sub(1) != Some(epoch.0) {
                    return Err(Fault::Epoch);
                }
                if (event.first, event.last) != self.destructions.take().unwrap_or((index, index)) {
                    return Err(Fault::Span);
                }
                if self.state.root() != event.state_root_before {
                    return Err(Fault::Before);
                }
                self.state.settle();
                if (self.state.root(), self.state.live()) != (event.state_root, event.live) {
                    return Err(Fault::After);
                }
                if let Some((_, epoch, attempt)) = &mut self.began {
                    (*epoch, *attempt) = (event.epoch, event.attempt);
                }
                self.waiting.insert(event.epoch, event.attempt);
                self.epochs += 1;
                Ok(())
            }
            Event::EpochEffaced(event) => {
                let waited = self.waiting.remove(&event.epoch) == Some(event.attempt);
                if waited || (event.epoch, event.attempt) == (epoch, attempt) {
                    Ok(())
                } else {
                    Err(Fault::Epoch)
                }
            }
            _ => Ok(()),
        }
    }

    fn make(&mut self, index: u64, event: &KeyCreate, rotated: bool) -> Result<(), Fault> {
        if self.watch.is_made_again(index, event, rotated) {
            return Err(Fault::SecondCopy);
        }
        self.state.create_version(event, rotated)
    }
}

fn epoch_of_destruction(event: &Event) -> Option<Epoch> {
    match event {
        Event::DestroyVersion(event) => Some(event.epoch),
        Event::DestroyKey(event) => Some(event.epoch),
        Event::TenantDestroy(event) => Some(event.epoch),
        _ => None,
    }
}
