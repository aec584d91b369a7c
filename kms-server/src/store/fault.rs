//! A store and a medium that fail where a test says: for crash tables. Compiled for tests and with the feature `faults` only.
//!
//! One [`Faults`] is shared by everything that belongs to one imagined process. It counts the calls, and at the one that was
//! chosen lets the call fail, either once or for good (the process is dead: every later call fails). What lies below (an
//! `Arc<MemoryStore>`, a `MemoryMedium`) survives; wrapping it again with fresh faults is the restart.

use std::sync::Arc;

use kms_core::{id::CommitNumber, secret::EpochSecret};
use parking_lot::Mutex;

use super::{Batch, CommitError, Pair, ReadError, Store};
use crate::effaceable::{
    Effaceable, EffaceableClass, EffaceableError, Evidence, KeptElsewhere, MediumName, SecretId,
};

/// A call that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `get`, `range` or `last` of the store.
    StoreRead,
    /// `commit` of the store.
    Commit,
    /// `prepare` of the medium.
    Prepare,
    /// `read` of the medium.
    MediumRead,
    /// `list` of the medium.
    List,
    /// `efface_except` of the medium.
    Efface,
    /// A step of the caller's own, such as a redo file: it asks [`Faults::step`].
    Step(&'static str),
}

impl Call {
    /// Whether it changes something durable.
    pub fn writes(self) -> bool {
        matches!(self, Self::Commit | Self::Prepare | Self::Efface | Self::Step(_))
    }
}

/// What became of the call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// It never reached what lies below; a commit says `NotWritten`.
    Before,
    /// It was handed down and lost; a commit says `Unknown`.
    Lost,
    /// It was done, and failed all the same; a commit says `Unknown`.
    After,
}

/// Which call fails.
#[derive(Debug, Clone, Copy)]
struct Plan {
    only: Option<Call>,
    nth: u64,
    when: When,
    dies: bool,
}

/// Where the calls of one imagined process fail.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    seen: Vec<Call>,
    fired: bool,
    dead: bool,
}

impl Faults {
    /// Nothing fails; calls are recorded.
    pub fn none() -> Self {
        Self::default()
    }

    /// The `nth` call of this kind from now (1 is the next) fails once; the process lives on.
    pub fn fail(&self, call: Call, nth: u64, when: When) {
        self.plan(Plan { only: Some(call), nth, when, dies: false });
    }

    /// The process dies at the `nth` durable step from now (1 is the next): commits, prepares, effacements and own steps count.
    pub fn die_at(&self, nth: u64, when: When) {
        self.plan(Plan { only: None, nth, when, dies: true });
    }

    /// The process dies now.
    pub fn die(&self) {
        self.0.lock().dead = true;
    }

    /// Whether the planned fault has happened.
    pub fn fired(&self) -> bool {
        self.0.lock().fired
    }

    /// Every call so far, in order.
    pub fn seen(&self) -> Vec<Call> {
        self.0.lock().seen.clone()
    }

    /// Number of durable steps so far: the rows of a crash table.
    pub fn steps(&self) -> u64 {
        self.0.lock().seen.iter().filter(|call| call.writes()).count() as u64
    }

    /// Passes a step of the caller's own: does it, or not, and fails, as planned.
    ///
    /// # Errors
    /// Those of `act`, and the planned fault.
    pub fn step<T>(
        &self,
        name: &'static str,
        act: impl FnOnce() -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        match self.pass(Call::Step(name)) {
            None => act(),
            Some(When::Before | When::Lost) => Err(std::io::Error::other(Injected)),
            Some(When::After) => act().and_then(|_| Err(std::io::Error::other(Injected))),
        }
    }

    fn plan(&self, plan: Plan) {
        let mut state = self.0.lock();
        state.plan = Some(plan);
        state.fired = false;
    }

    fn pass(&self, call: Call) -> Option<When> {
        let mut state = self.0.lock();
        if state.dead {
            return Some(When::Before);
        }
        state.seen.push(call);
        let plan = state.plan.as_mut()?;
        let counts = plan.only.map_or(call.writes(), |only| only == call);
        if !counts {
            return None;
        }
        plan.nth = plan.nth.saturating_sub(1);
        let Plan { nth, when, dies, .. } = *plan;
        if nth > 0 {
            return None;
        }
        state.plan = None;
        state.fired = true;
        state.dead = dies;
        Some(when)
    }
}

/// The fault that a test asked for.
#[derive(Debug, thiserror::Error)]
#[error("a fault was injected")]
pub struct Injected;

/// A store that fails as planned.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Faults,
    unknown: Mutex<bool>,
}

impl FaultyStore {
    /// Wraps a store, which survives the wrapper.
    pub fn new(inner: Arc<dyn Store>, faults: Faults) -> Self {
        Self { inner, faults, unknown: Mutex::new(false) }
    }

    fn read<T>(&self, act: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
        match self.faults.pass(Call::StoreRead) {
            None => act(),
            Some(_) => Err(ReadError(Injected.into())),
        }
    }
}

impl Store for FaultyStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|| self.inner.get(key))
    }

    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError> {
        self.read(|| self.inner.range(prefix, after, limit))
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError> {
        self.read(|| self.inner.last(prefix))
    }

    fn committed(&self) -> CommitNumber {
        self.inner.committed()
    }

    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError> {
        let mut unknown = self.unknown.lock();
        if *unknown {
            return Err(CommitError::Unknown(Injected.into()));
        }
        match self.faults.pass(Call::Commit) {
            None => self.inner.commit(number, batch),
            Some(When::Before) => Err(CommitError::NotWritten(Injected.into())),
            Some(when) => {
                *unknown = true;
                if when == When::After {
                    self.inner.commit(number, batch)?;
                }
                Err(CommitError::Unknown(Injected.into()))
            }
        }
    }
}

/// A medium that fails as planned.
pub struct FaultyMedium<M> {
    inner: M,
    faults: Faults,
}

impl<M: Effaceable> FaultyMedium<M> {
    /// Wraps a medium.
    pub fn new(inner: M, faults: Faults) -> Self {
        Self { inner, faults }
    }

    fn write<T>(
        &mut self,
        call: Call,
        act: impl FnOnce(&mut M) -> Result<T, EffaceableError>,
    ) -> Result<T, EffaceableError> {
        match self.faults.pass(call) {
            None => act(&mut self.inner),
            Some(When::Before | When::Lost) => Err(injected()),
            Some(When::After) => act(&mut self.inner).and_then(|_| Err(injected())),
        }
    }
}

impl<M: Effaceable> Effaceable for FaultyMedium<M> {
    fn class(&self) -> EffaceableClass {
        self.inner.class()
    }

    fn name(&self) -> MediumName {
        self.inner.name()
    }

    fn prepare(&mut self, id: SecretId, secret: &EpochSecret) -> Result<(), EffaceableError> {
        self.write(Call::Prepare, |medium| medium.prepare(id, secret))
    }

    fn read(&self, id: SecretId) -> Result<Option<EpochSecret>, EffaceableError> {
        self.faults.pass(Call::MediumRead).map_or_else(|| self.inner.read(id), |_| Err(injected()))
    }

    fn list(&self) -> Result<Vec<SecretId>, EffaceableError> {
        self.faults.pass(Call::List).map_or_else(|| self.inner.list(), |_| Err(injected()))
    }

    fn efface_except(&mut self, keep: SecretId) -> Result<Evidence, EffaceableError> {
        self.write(Call::Efface, |medium| medium.efface_except(keep))
    }

    fn efface_all(&mut self, kept: &KeptElsewhere) -> Result<Evidence, EffaceableError> {
        self.write(Call::Efface, |medium| medium.efface_all(kept))
    }
}

fn injected() -> EffaceableError {
    EffaceableError::Io(std::io::Error::other(Injected))
}

#[cfg(test)]
mod tests {
    use super::{super::memory::MemoryStore, *};

    fn batch(value: &str) -> Batch {
        let mut batch = Batch::default();
        batch.put("key", value);
        batch
    }

    #[test]
    fn a_commit_that_was_lost_is_unknown_and_so_is_every_later_one_until_a_restart() {
        let below = Arc::new(MemoryStore::default());
        for (when, survives) in [(When::Lost, 0), (When::After, 1)] {
            let faults = Faults::none();
            faults.fail(Call::Commit, 1, when);
            let store = FaultyStore::new(below.clone(), faults);
            for _ in 0..2 {
                let outcome = store.commit(below.committed().next(), batch("a"));
                assert!(matches!(outcome, Err(CommitError::Unknown(_))));
            }
            assert_eq!(below.committed(), CommitNumber(survives));
        }
    }

    #[test]
    fn a_commit_that_fails_before_it_is_handed_down_leaves_the_store_in_use() {
        let below = Arc::new(MemoryStore::default());
        let faults = Faults::none();
        faults.fail(Call::Commit, 2, When::Before);
        let store = FaultyStore::new(below.clone(), faults.clone());
        store.commit(CommitNumber(1), batch("a")).unwrap();
        assert!(matches!(store.commit(CommitNumber(2), batch("b")), Err(CommitError::NotWritten(_))));
        assert!(faults.fired());
        store.commit(CommitNumber(2), batch("c")).unwrap();
        assert_eq!(below.get(b"key").unwrap().unwrap(), b"c");
    }

    #[test]
    fn a_dead_process_writes_nothing_more_anywhere() {
        let below = Arc::new(MemoryStore::default());
        let faults = Faults::none();
        faults.die_at(2, When::After);
        let store = FaultyStore::new(below.clone(), faults.clone());
        store.commit(CommitNumber(1), batch("a")).unwrap();
        assert!(faults.step("redo", || Ok(())).is_err());
        assert!(store.commit(CommitNumber(2), batch("b")).is_err());
        assert!(store.get(b"key").is_err());
        assert_eq!(below.committed(), CommitNumber(1));
        assert_eq!(faults.steps(), 2);
    }
}
