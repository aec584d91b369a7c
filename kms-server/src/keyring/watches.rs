//! Clients that listen: what they are told, and what they have confirmed.
//!
//! ATTACK: what a client confirms counts for itself only, and only for what it was told on this very stream; a number that it was
//! never told, or has confirmed already, ends the stream.

use std::collections::VecDeque;
use std::sync::Arc;

use kms_core::id::{CommitNumber, Epoch, VersionId};
use kms_core::names::{KeyName, TenantName};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::held::ClientId;
use super::holders::Client;
use super::{KeyEntry, Keyring};
use crate::running::BootTime;

/// Events that may wait for a slow client, beside those that it missed; with more it is cut off.
const AHEAD: usize = 64;
/// Events that a client may have been told and not have confirmed.
const UNCONFIRMED: usize = 4_096;
/// Items that one event tells at most, so that it fits a message whatever they are called; the rest is told by the next.
pub const TOLD_AT_ONCE: usize = 10_000;
/// Clients that may listen at a time.
const MOST: usize = 16_384;

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Versions were destroyed.
    Destroyed,
    /// It neither seals nor opens for the time being.
    Suspended,
    /// Another version seals, or none.
    Rotated,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The tenant.
    pub tenant: TenantName,
    /// The key; all of the tenant's where there is none.
    pub key: Option<KeyName>,
    /// The version that was destroyed; else any of the tenant.
    pub version: VersionId,
}

/// Something that clients who hold data keys are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEvent {
    /// What became of it.
    pub kind: Kind,
    /// Commit that made it so.
    pub revision: CommitNumber,
    /// What.
    pub items: Arc<[Item]>,
    /// Epoch whose quiescence waits for the confirmation.
    pub(super) epoch: Option<Epoch>,
}

/// A stream to a client, as the table of holders has it.
pub(super) struct Watch {
    events: mpsc::Sender<KeyEvent>,
    cut: CancellationToken,
    number: u64,
}

/// A client that listens; forgotten when dropped.
pub struct Watching {
    keyring: Arc<Keyring>,
    client: ClientId,
    number: u64,
    events: mpsc::Receiver<KeyEvent>,
    cut: CancellationToken,
    stale: bool,
    /// An event of which only so many items were told.
    begun: Option<(KeyEvent, usize)>,
    /// Epochs of the events that were told and not confirmed, the oldest first.
    told: VecDeque<Option<Epoch>>,
    /// Events that were told, a long one as several.
    last: u64,
}

/// A confirmation of something that was never told, or has been confirmed.
#[derive(Debug, thiserror::Error)]
#[error("event {0} was not told on this stream, or was confirmed already")]
pub struct NotTold(u64);

/// Why nobody more can listen.
#[derive(Debug, thiserror::Error)]
pub enum NoWatch {
    /// There is no room.
    #[error("as many clients listen as can")]
    Full,
    /// The server is stopping.
    #[error("the server is stopping")]
    Closed,
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The client did not take its events, or opened another stream.
    Overtaken,
    /// The server is stopping.
    Closed,
}

impl Item {
    /// A version of a key, or any.
    pub(super) fn of(key: &KeyEntry, version: Option<VersionId>) -> Self {
        let any = VersionId::new(key.tenant.slot, kms_core::id::LeafSlot(0));
        let (tenant, key) = (key.tenant.name.clone(), Some(KeyName::from(&key.name)));
        Self { tenant, key, version: version.unwrap_or(any) }
    }

    /// Every key of the tenant that a key belongs to.
    pub(super) fn tenant(key: &KeyEntry) -> Self {
        Self { key: None, ..Self::of(key, None) }
    }
}

impl Watch {
    /// Hands an event over; where the client is too slow for that, cuts it off and gives the event back.
    pub(super) fn push(&self, event: KeyEvent) -> Result<(), KeyEvent> {
        self.events.try_send(event).map_err(|refused| {
            self.cut.cancel();
            refused.into_inner()
        })
    }

    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Keyring {
    /// A client listens from now on, and is told what it missed. An earlier stream of the same client ends.
    ///
    /// # Errors
    /// Where there is no room, or the server is stopping.
    pub fn watch(self: &Arc<Self>, client: &Client) -> Result<Watching, NoWatch> {
        let now = BootTime::now();
        let mut state = self.holders().state.lock();
        if state.closed {
            return Err(NoWatch::Closed);
        }
        if state.watches >= MOST {
            return Err(NoWatch::Full);
        }
        let stranger = !state.knows(client);
        let id = state.client(client);
        state.last_watch += 1;
        let number = state.last_watch;
        let pending = state.purges.of(id, now);
        let Some(known) = state.known.get_mut(&id) else { return Err(NoWatch::Full) };
        let (missed, lost) = (std::mem::take(&mut known.backlog), std::mem::take(&mut known.lost));
        let (sender, events) = mpsc::channel(AHEAD + pending.len() + missed.len());
        for event in pending.into_iter().chain(missed) {
            // There is room for all of them.
            drop(sender.try_send(event));
        }
        let cut = CancellationToken::new();
        let watch = Watch { events: sender, cut: cut.clone(), number };
        if let Some(earlier) = known.watch.replace(watch) {
            earlier.cut();
        }
        state.watches += 1;
        drop(state);
        let (keyring, stale, told) = (Arc::clone(self), stranger || lost, VecDeque::new());
        Ok(Watching { keyring, client: id, number, events, cut, stale, begun: None, told, last: 0 })
    }

    /// Ends every stream, and takes no more: the server is stopping.
    pub fn close_watches(&self) {
        let mut state = self.holders().state.lock();
        state.closed = true;
        for watch in state.known.values().filter_map(|known| known.watch.as_ref()) {
            watch.cut();
        }
    }
}

impl Watching {
    /// Whether something was not told and will not be: what the client holds is to be leased anew.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// The next event with its number, or the next part of a long one. To be called only by who then tells it.
    ///
    /// # Errors
    /// Why there is no more.
    pub async fn next(&mut self) -> Result<(u64, KeyEvent), Cut> {
        if self.told.len() >= UNCONFIRMED {
            return Err(Cut::Overtaken);
        }
        if self.begun.is_none() {
            tokio::select! {
                biased;
                () = self.cut.cancelled() => {}
                event = self.events.recv() => self.begun = Some((event.ok_or(Cut::Overtaken)?, 0)),
            }
        }
        if self.cut.is_cancelled() {
            return Err(self.why());
        }
        let (event, told) = self.begun.take().ok_or(Cut::Overtaken)?;
        Ok(self.tell(event, told))
    }

    /// Counts the items of an event from `told` on as told, as far as one message takes them.
    fn tell(&mut self, event: KeyEvent, told: usize) -> (u64, KeyEvent) {
        let end = event.items.len().min(told + TOLD_AT_ONCE);
        let part = match (told, end == event.items.len()) {
            (0, true) => event,
            (_, last) => {
                let items = event.items[told..end].into();
                // INVARIANT: with the last part the whole is confirmed, and not before.
                let part = KeyEvent { items, epoch: event.epoch.filter(|_| last), ..event };
                self.begun = (!last).then_some((event, end));
                part
            }
        };
        self.last += 1;
        self.told.push_back(part.epoch);
        (self.last, part)
    }

    /// The end of the stream, whatever it waits for.
    pub fn ended(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Why it ended.
    pub fn why(&self) -> Cut {
        if self.keyring.holders().state.lock().closed { Cut::Closed } else { Cut::Overtaken }
    }

    /// The client purged what the events up to this one named.
    ///
    /// # Errors
    /// Where it was never told that one, or confirmed it before.
    pub fn confirm(&mut self, number: u64) -> Result<(), NotTold> {
        let confirmed = self.last - self.told.len() as u64;
        if number <= confirmed || number > self.last {
            return Err(NotTold(number));
        }
        for _ in confirmed..number {
            if let Some(Some(epoch)) = self.told.pop_front()
                && let Some(ending) = self.keyring.holders().confirmed(self.client, epoch)
            {
                self.keyring.quiesces(&ending);
            }
        }
        Ok(())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.events.close();
        let untold = !self.told.is_empty() || self.begun.is_some() || !self.events.is_empty();
        let mut state = self.keyring.holders().state.lock();
        state.watches -= 1;
        if let Some(known) = state.known.get_mut(&self.client) {
            known.lost |= untold;
            if known.watch.as_ref().is_some_and(|watch| watch.number == self.number) {
                known.watch = None;
            }
        }
        state.forget_idle(self.client);
    }
}

#[cfg(test)]
mod tests;
