//! A key and its versions.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use kms_core::{
    id::{DataKeyId, Uid, VersionId},
    names::KeyName,
    secret::{DataKey, VersionMaterial},
    state::{KeyClass, LifecycleState},
};
use kms_proto::reason::Reason;

use super::{super::refused::Refused, Moment, census::Uses};
use crate::clock::BootTime;

/// What a lease lets a client seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) enum ToSeal {
    Randomized,
    Deterministic,
}

/// A key. Of a subject's, class, purposes, lease and period are its family's, and these here are not looked at.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: KeyName,
    pub(super) uid: Uid,
    pub(super) class: KeyClass,
    pub(super) purposes: Vec<String>,
    pub(super) lease: Duration,
    /// The longest that it ever had.
    pub(super) longest_lease: Duration,
    pub(super) rotate_every: Option<Duration>,
    pub(super) state: LifecycleState,
    pub(super) revision: u64,
    pub(super) created: SystemTime,
    pub(super) is_family: bool,
    /// Those before it belong to keys of the same name that were destroyed.
    pub(super) first_version: u32,
    /// Number 1 first.
    pub(super) versions: Vec<Version>,
    /// 0: none.
    pub(super) active: u32,
    /// 0: none.
    pub(super) deterministic: u32,
    /// Of a family, how often it was rotated; of a subject's key, how often it had been when its newest version was made.
    pub(super) rotations: u64,
    /// Of a family, the last of its rotations that moves deterministic columns too; 0 where none did.
    pub(super) deterministic_rotation: u64,
    /// 0 while it lives.
    pub(super) destroyed_epoch: u64,
}

/// A version of a key.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) id: VersionId,
    pub(super) uid: Uid,
    /// `None`: destroyed.
    pub(super) material: Option<VersionMaterial>,
    pub(super) created: SystemTime,
    pub(super) destroyed: Option<SystemTime>,
    pub(super) destroyed_epoch: u64,
    /// Of an index key: takes new rows from then on.
    pub(super) indexes_from: Option<BootTime>,
    /// Whether the data key that clients seal with was ever leased; that of deterministic columns.
    pub(super) leased: bool,
    pub(super) leased_deterministic: bool,
    /// When the last sealing lease of each kind ends.
    pub(super) sealing_until: HashMap<ToSeal, BootTime>,
    pub(super) uses: Uses,
}

/// The versions of an index key at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indexing {
    /// The one that new rows are indexed under.
    pub(super) writes_under: Option<VersionId>,
    /// The newest, where it is not yet that one, and how long until it is.
    pub(super) settles: Option<(VersionId, Duration)>,
}

/// The data key that clients seal randomized columns with.
const LEASED: u32 = 1;

impl Key {
    pub(super) fn version(&self, number: u32) -> Option<&Version> {
        self.versions.get((number as usize).checked_sub(1)?)
    }

    pub(super) fn version_mut(&mut self, number: u32) -> Option<&mut Version> {
        self.versions.get_mut((number as usize).checked_sub(1)?)
    }

    /// Its versions that are not destroyed, the oldest first.
    pub(super) fn live(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.versions.iter().filter(|version| version.material.is_some())
    }

    /// Its state where no key is made from state to state by somebody.
    pub(super) fn unsuspended(&self) -> LifecycleState {
        match self.active {
            0 if !self.is_family => LifecycleState::Deactivated,
            _ => LifecycleState::Active,
        }
    }

    /// One of its versions seals no more.
    pub(super) fn stop_sealing(&mut self, number: u32) {
        if self.active == number {
            self.active = 0;
            if self.state == LifecycleState::Active {
                self.state = LifecycleState::Deactivated;
            }
        }
        if self.deterministic == number {
            self.deterministic = self.active;
        }
    }

    /// What the versions of an index key do at a moment.
    pub(super) fn indexing(&self, now: Moment, takes_new: bool) -> Indexing {
        let taking: Vec<&Version> = self.live().rev().filter(|_| takes_new).collect();
        let settled = |version: &&&Version| version.indexes_from.is_none_or(|from| from <= now.boot);
        let writes_under = taking.iter().find(settled).or(taking.last()).map(|version| version.id);
        let newest = taking.first().filter(|newest| Some(newest.id) != writes_under);
        let settles = newest.map(|newest| {
            (newest.id, newest.indexes_from.map_or(Duration::ZERO, |from| now.boot.until(from)))
        });
        Indexing { writes_under, settles }
    }
}

impl Version {
    pub(super) fn data_key(&self, key: &KeyName, id: DataKeyId) -> Result<DataKey, Refused> {
        let material = self.material.as_ref().ok_or_else(|| self.destroyed(key))?;
        Ok(material.data_key(self.id, id))
    }

    /// Wipes it.
    pub(super) fn destroy(&mut self, epoch: u64, now: Moment) {
        self.material = None;
        self.destroyed = Some(now.wall);
        self.destroyed_epoch = epoch;
    }

    pub(super) fn destroyed(&self, key: &KeyName) -> Refused {
        let number = self.number;
        Refused::new(
            Reason::KeyDestroyed,
            format!("version {number} of key `{key}` is destroyed; nothing opens what it sealed"),
        )
    }

    /// The data key to seal with under a lease.
    pub(super) fn sealing_data_key(&self, kind: ToSeal) -> DataKeyId {
        match kind {
            ToSeal::Randomized => DataKeyId::from(LEASED),
            ToSeal::Deterministic => DataKeyId::DETERMINISTIC,
        }
    }

    /// Whether a data key that clients seal with was ever handed out.
    pub(super) fn was_leased(&self, id: DataKeyId) -> bool {
        match id {
            DataKeyId::DETERMINISTIC => self.leased_deterministic,
            id => self.leased && id.get() == LEASED,
        }
    }

    /// Notes a sealing lease.
    pub(super) fn note_sealing(&mut self, kind: ToSeal, until: BootTime) {
        match kind {
            ToSeal::Randomized => self.leased = true,
            ToSeal::Deterministic => self.leased_deterministic = true,
        }
        let known = self.sealing_until.entry(kind).or_insert(until);
        *known = until.max(*known);
    }

    /// Whether a sealing lease of one of these kinds may still run.
    pub(super) fn is_sealed_under(&self, kinds: &[ToSeal], now: Moment) -> bool {
        kinds.iter().any(|kind| self.sealing_until.get(kind).is_some_and(|until| *until > now.boot))
    }
}
