//! What a test holds and turns.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kms_core::{
    names::{FamilyName, TenantName},
    state::KeyClass,
};
use kms_proto::reason::Reason;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    connection::Dialer,
    ledger::{Ledger, Moment, NewKey},
    masks::Masks,
    refused::Refused,
    rights::{Restrictions, Rights},
};
use crate::{
    Builder, Error, Kms,
    clock::{BootTime, Clock as _, ManualClock},
};

/// How long [`InMemoryKeyCentre::purged`] waits for clients: on the machine's clock, for nothing else is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A key centre in memory, for tests of your own code. **Not for production: it protects nothing, and forgets everything.**
///
/// Clones are the same key centre. See the [module](self) for what it does.
#[derive(Clone)]
pub struct InMemoryKeyCentre {
    shared: Arc<Shared>,
}

/// What the test and the clients share.
pub(crate) struct Shared {
    state: Mutex<State>,
    clock: Arc<ManualClock>,
    started: (BootTime, SystemTime),
    #[cfg(test)]
    pub(super) faults: super::faults::Faults,
    /// Rises whenever a client confirmed or went.
    heard: watch::Sender<u64>,
}

/// All that changes.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) restrictions: Restrictions,
    pub(super) masks: Masks,
    /// Calls that came in, by name.
    pub(super) calls: BTreeMap<&'static str, u64>,
    /// Answers to the next calls.
    pub(super) failures: VecDeque<Reason>,
    /// Names this run; ends its connections. `None`: stopped.
    pub(super) run: Option<(Uuid, CancellationToken)>,
}

impl InMemoryKeyCentre {
    /// One without tenants, in which every client may do everything.
    #[expect(clippy::new_without_default, reason = "its name says what it is; `Default` would not")]
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let state = State {
            ledger: Ledger::default(),
            restrictions: Restrictions::default(),
            masks: Masks::default(),
            calls: BTreeMap::new(),
            failures: VecDeque::new(),
            run: Some(new_run()),
        };
        let started = (clock.now(), SystemTime::now());
        let shared = Shared {
            state: Mutex::new(state),
            clock,
            started,
            #[cfg(test)]
            faults: super::faults::Faults::default(),
            heard: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A client of this name, with nothing at hand. To be made inside a tokio runtime.
    pub fn client(&self, name: &str) -> Kms {
        Kms::in_memory(self.dialer(name), self.shared.clock.clone())
    }

    /// The same, with other settings than the usual.
    pub fn client_builder(&self, name: &str) -> Builder {
        Builder::in_memory(self.dialer(name), self.shared.clock.clone())
    }

    pub(super) fn dialer(&self, name: &str) -> Dialer {
        Dialer { centre: self.shared.clone(), client: name.into() }
    }

    /// Creates a tenant. This and the next four are short for what an operator's client can do with the calls of [`crate::api`];
    /// nobody is asked for leave, and no call is counted.
    ///
    /// # Errors
    /// As [`Kms::create_tenant`].
    pub fn create_tenant(&self, tenant: &str) -> Result<(), Error> {
        self.prepare(|ledger, now| ledger.create_tenant(TenantName::try_from(tenant)?, String::new(), now))
    }

    /// Creates a key of a tenant; one named `*.index` makes blind indexes.
    ///
    /// # Errors
    /// As [`Kms::create_key`].
    pub fn create_key(&self, tenant: &str, key: &str) -> Result<(), Error> {
        self.create(tenant, key, NewKey::default())
    }

    /// Creates a family, whose subjects have keys of their own.
    ///
    /// # Errors
    /// As [`Kms::create_key`].
    pub fn create_family(&self, tenant: &str, family: &str) -> Result<(), Error> {
        self.create(tenant, family, NewKey { family: true, ..NewKey::default() })
    }

    /// Creates a key that is for these purposes alone: who states none of them neither seals nor opens with it, nor sees masked forms,
    /// as with the example policies.
    ///
    /// # Errors
    /// As [`Kms::create_key`].
    pub fn create_key_for<T: Into<String>>(
        &self,
        tenant: &str,
        key: &str,
        purposes: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        let purposes = purposes.into_iter().map(Into::into).collect();
        self.create(tenant, key, NewKey { purposes, ..NewKey::default() })
    }

    /// Creates a key of another class than L2.
    ///
    /// # Errors
    /// As [`Kms::create_key`].
    pub fn create_key_of_class(&self, tenant: &str, key: &str, class: KeyClass) -> Result<(), Error> {
        self.create(tenant, key, NewKey { class: Some(class), ..NewKey::default() })
    }

    pub(super) fn create(&self, tenant: &str, key: &str, how: NewKey) -> Result<(), Error> {
        self.prepare(|ledger, now| {
            let name = FamilyName::try_from(key)?.into();
            ledger.create_key(tenant, name, how, now).map(drop)
        })
    }

    fn prepare(&self, change: impl FnOnce(&mut Ledger, Moment) -> Result<(), Refused>) -> Result<(), Error> {
        let now = self.shared.now();
        let changed = change(&mut self.shared.state.lock().ledger, now);
        changed.map_err(|refused| Error::refused(&refused.status(None), &"".into()))
    }

    /// Declares masks in place of those before, as `masks.toml` writes them.
    ///
    /// # Errors
    /// Says what is wrong with the text; the masks before stay.
    pub fn declare_masks(&self, masks_toml: &str) -> Result<(), MasksError> {
        let masks = Masks::read(masks_toml).map_err(|what| MasksError(what.into()))?;
        self.shared.state.lock().masks = masks;
        Ok(())
    }

    /// From now on the client of this name may do what these rights say and nothing else; called again, that instead.
    pub fn restrict(&self, client: &str, rights: Rights) {
        self.restrict_to_any(client, [rights]);
    }

    /// The same with several rights, any of which is enough.
    pub fn restrict_to_any(&self, client: &str, rights: impl IntoIterator<Item = Rights>) {
        self.shared.state.lock().restrictions.set(client, rights.into_iter().collect());
    }

    /// Moves the clock, which leases and index keys are counted on, and which stands still otherwise. What is due has happened once
    /// tasks have run: leases that have ended are not used from this moment on; those in use are renewed ahead, which is a call.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
    }

    /// How many calls came in from all clients, tries counted each; the streams of key events are none.
    pub fn calls(&self) -> u64 {
        self.shared.state.lock().calls.values().sum()
    }

    /// The same of one call, in the words of the API: `OpenDataKeys`, `EnsureSubjects`, …
    pub fn calls_of(&self, call: &str) -> u64 {
        self.shared.state.lock().calls.get(call).copied().unwrap_or(0)
    }

    /// The next call that comes in is answered with this reason, whatever it is; called again, the one after it too. A client calls
    /// again after reasons that a retry helps with.
    pub fn refuse_next(&self, reason: Reason) {
        self.shared.state.lock().failures.push_back(reason);
    }

    /// Ends every connection and takes no other: the key centre is away. What it knows it still knows.
    pub fn stop(&self) {
        let mut state = self.shared.state.lock();
        if let Some((_, connections)) = state.run.take() {
            connections.cancel();
        }
        state.ledger.holders.hang_up();
    }

    /// Takes connections again.
    pub fn start(&self) {
        self.shared.state.lock().run.get_or_insert_with(new_run);
    }

    /// Waits until every client has purged what it was told to: what was destroyed or suspended is then used nowhere. `false` where one
    /// does not listen, within ten seconds; its leases end by themselves.
    pub async fn purged(&self) -> bool {
        let mut heard = self.shared.heard.subscribe();
        let have = |_: &u64| self.shared.state.lock().ledger.holders.have_purged(self.shared.now());
        tokio::time::timeout(PATIENCE, heard.wait_for(have)).await.is_ok()
    }
}

/// What only the tests of this crate look at and turn.
#[cfg(test)]
impl InMemoryKeyCentre {
    pub(crate) fn faults(&self) -> &super::faults::Faults {
        &self.shared.faults
    }

    /// Whether every client has purged what it was told to.
    pub(crate) fn have_purged(&self) -> bool {
        self.shared.state.lock().ledger.holders.have_purged(self.shared.now())
    }

    /// How many clients listen.
    pub(crate) fn listeners(&self) -> usize {
        self.shared.state.lock().ledger.holders.listeners()
    }

    /// Forgets who was leased what, as a server does that is started again.
    pub(crate) fn forget_holders(&self) {
        self.shared.state.lock().ledger.holders = super::holders::Holders::default();
    }

    /// Tells every client of something, whether or not it is so.
    pub(crate) fn tell(&self, event: kms_proto::v1::watch_keys_response::Event) {
        self.shared.state.lock().ledger.holders.tell_all(&event);
    }
}

/// Says that it is none to rely on, and nothing of what it holds.
impl fmt::Debug for InMemoryKeyCentre {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryKeyCentre").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn now(&self) -> Moment {
        let (boot, wall) = self.started;
        let now = self.clock.now();
        // A test may move the clock beyond all calendars.
        Moment { boot: now, wall: wall.checked_add(boot.until(now)).unwrap_or(wall) }
    }

    pub(super) fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// What ends the connections of this run; none where it is stopped.
    pub(super) fn running(&self) -> Option<CancellationToken> {
        self.state.lock().run.as_ref().map(|(_, connections)| connections.clone())
    }

    /// A client confirmed something, or is gone.
    pub(super) fn heard(&self) {
        self.heard.send_modify(|times| *times += 1);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn new_run() -> (Uuid, CancellationToken) {
    (Uuid::new_v4(), CancellationToken::new())
}

/// A text that is no `masks.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MasksError(Box<str>);
