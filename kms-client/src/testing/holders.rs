//! Who was leased what, and is told what becomes of it: events wait for a client until it listens, and are told again until it has
//! confirmed them.

use std::collections::{BTreeSet, HashMap, VecDeque};

use kms_core::{
    id::{LeafSlot, TenantSlot, VersionId},
    names::{KeyName, TenantName},
};
use kms_proto::v1::{
    KeyEventKind as Kind, WatchKeysResponse,
    watch_keys_response::{Event, Opened, Response as Told, event::Item},
};
use tokio::sync::mpsc;
use tonic::Status;

use super::ledger::{Client, Moment, Place, Tenant, key::ToSeal};
use crate::clock::BootTime;

/// What a client is told over its stream.
pub(super) type Telling = mpsc::UnboundedSender<Result<WatchKeysResponse, Status>>;

/// Something that a client was leased.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) place: Place,
    /// `None`: to open.
    pub(super) to_seal: Option<ToSeal>,
    pub(super) until: BootTime,
}

/// All clients that were leased something.
#[derive(Debug, Default)]
pub(super) struct Holders {
    clients: HashMap<Client, Holder>,
    /// When the last lease of a version ends that nobody can confirm to have purged.
    unnamed: HashMap<VersionId, BootTime>,
    /// By epoch: until when somebody may hold something of what it destroyed.
    waited_for: HashMap<u64, Vec<(Option<Client>, BootTime)>>,
}

/// A destruction: its revision, its epoch, and when it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destroyed {
    pub(super) revision: u64,
    pub(super) epoch: u64,
    pub(super) now: Moment,
}

/// An event that a client has not said that it acted on.
#[derive(Debug, Clone)]
struct Unconfirmed {
    event: Event,
    /// Whose quiescence waits for that.
    epoch: Option<u64>,
    /// When the last lease ends that it may be about.
    until: BootTime,
}

#[derive(Debug, Default)]
struct Holder {
    held: HashMap<(VersionId, Option<ToSeal>), Held>,
    /// What was not confirmed, the oldest first.
    events: VecDeque<Unconfirmed>,
    telling: Option<Telling>,
    /// It listened, and does no more although it could.
    is_gone: bool,
    /// Number of the last event of this stream.
    last: u64,
}

impl Holders {
    /// Notes a lease. To be called before it leaves.
    pub(super) fn note(&mut self, client: Option<&Client>, version: VersionId, held: Held) {
        match client {
            Some(client) => {
                self.clients.entry(client.clone()).or_default().hold(version, held);
            }
            None => {
                let until = self.unnamed.entry(version).or_insert(held.until);
                *until = held.until.max(*until);
            }
        }
    }

    /// Whether nobody can hold anything any more of what an epoch destroyed.
    pub(super) fn are_quiesced(&self, epoch: u64, now: Moment) -> bool {
        let waited_for = self.waited_for.get(&epoch).into_iter().flatten();
        waited_for.into_iter().all(|(_, until)| *until <= now.boot)
    }

    /// A client listens: it is told what it missed. An earlier stream of it ends.
    pub(super) fn listens(&mut self, client: &Client, server_instance: String, telling: Telling) {
        // Of one that is not known nobody can say what it missed.
        let stale = !self.clients.contains_key(client);
        let opened = Told::Opened(Opened { server_instance, stale });
        let said = telling.send(Ok(WatchKeysResponse { response: Some(opened) }));
        let holder = self.clients.entry(client.clone()).or_default();
        holder.last = 0;
        holder.is_gone = false;
        holder.telling = said.is_ok().then_some(telling);
        for mut unconfirmed in std::mem::take(&mut holder.events) {
            holder.last += 1;
            unconfirmed.event.number = holder.last;
            holder.tell(unconfirmed);
        }
    }

    /// The client has purged what the events up to this one named. Gives `false` for one that it was not told, or has confirmed.
    pub(super) fn confirmed(&mut self, client: &Client, number: u64) -> bool {
        let Self { clients, waited_for, .. } = self;
        let Some(holder) = clients.get_mut(client) else { return false };
        let first = holder.events.front().map(|first| first.event.number);
        if first.is_none_or(|first| number < first) || number > holder.last {
            return false;
        }
        while let Some(Unconfirmed { epoch, .. }) =
            holder.events.pop_front_if(|first| first.event.number <= number)
        {
            if let Some(waited_for) = epoch.and_then(|epoch| waited_for.get_mut(&epoch)) {
                waited_for.retain(|(waited_for, _)| waited_for.as_ref() != Some(client));
            }
        }
        true
    }

    /// A client is gone. What it may have kept is counted to the end of its leases, as what nobody confirms.
    pub(super) fn gone(&mut self, client: &Client, telling: &Telling) {
        let Some(holder) = self.clients.get_mut(client) else { return };
        if holder.telling.as_ref().is_some_and(|own| own.same_channel(telling)) {
            (holder.telling, holder.is_gone) = (None, true);
        }
    }

    /// The key centre stops: nobody listens any more, until they come again.
    pub(super) fn hang_up(&mut self) {
        self.clients.values_mut().for_each(|holder| holder.telling = None);
    }

    /// Whether every client has purged what it was told to, or holds it no more for its leases have ended.
    pub(super) fn have_purged(&self, now: Moment) -> bool {
        let purged = |holder: &Holder| {
            holder.is_gone || holder.events.iter().all(|unconfirmed| unconfirmed.until <= now.boot)
        };
        self.clients.values().all(purged)
    }

    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        let listens = |holder: &&Holder| holder.telling.as_ref().is_some_and(|telling| !telling.is_closed());
        self.clients.values().filter(listens).count()
    }

    #[cfg(test)]
    pub(super) fn tell_all(&mut self, event: &Event) {
        for holder in self.clients.values_mut() {
            holder.event(event.kind(), event.items.clone(), event.store_revision, None);
        }
    }

    pub(super) fn destroyed(
        &mut self,
        tenant: &TenantName,
        key: &KeyName,
        versions: &[VersionId],
        at: Destroyed,
    ) {
        let such = |version: VersionId| versions.contains(&version);
        let item = |version: VersionId| Item {
            tenant: tenant.to_string(),
            key: key.to_string(),
            version_id: version.get(),
        };
        self.tell_destroyed(such, |held| held.into_iter().map(item).collect(), at);
    }

    pub(super) fn tenant_destroyed(&mut self, slot: TenantSlot, name: &TenantName, at: Destroyed) {
        let such = |version: VersionId| version.tenant_slot() == slot;
        self.tell_destroyed(such, |_| vec![of_tenant(slot, name)], at);
    }

    /// Tells those who hold something such, and notes who is to confirm it.
    fn tell_destroyed(
        &mut self,
        such: impl Fn(VersionId) -> bool,
        items: impl Fn(BTreeSet<VersionId>) -> Vec<Item>,
        at: Destroyed,
    ) {
        let unnamed = self.unnamed.iter().filter(|(version, _)| such(**version));
        let mut waited_for: Vec<_> = unnamed.map(|(_, until)| (None, *until)).collect();
        for (client, holder) in &mut self.clients {
            let held =
                holder.held.iter().filter(|((version, _), held)| such(*version) && held.until > at.now.boot);
            let Some(until) = held.clone().map(|(_, held)| held.until).max() else { continue };
            let versions = held.map(|((version, _), _)| *version).collect();
            waited_for.push((Some(client.clone()), until));
            holder.event(Kind::Destroyed, items(versions), at.revision, Some((at.epoch, until)));
            holder.held.retain(|(version, _), _| !such(*version));
        }
        self.waited_for.insert(at.epoch, waited_for);
    }

    pub(super) fn tenant_suspended(
        &mut self,
        slot: TenantSlot,
        name: &TenantName,
        revision: u64,
        now: Moment,
    ) {
        for holder in self.clients.values_mut() {
            if holder.holds(now, |version| version.tenant_slot() == slot) {
                holder.event(Kind::Suspended, vec![of_tenant(slot, name)], revision, None);
            }
        }
    }

    /// A key is suspended, or another version of it seals, or none.
    pub(super) fn key_changed(
        &mut self,
        tenant: &Tenant,
        key: &KeyName,
        live: &[VersionId],
        revision: u64,
        now: Moment,
    ) {
        let suspended = tenant.is_suspended(key);
        if !suspended && tenant.check_opens(key).is_err() {
            return;
        }
        let no_more = |(version, kind): &(VersionId, Option<ToSeal>)| {
            kind.is_some_and(|kind| tenant.sealing(key, kind) != Some(*version))
        };
        for holder in self.clients.values_mut() {
            let runs = |held: &Held| held.until > now.boot && held.place.tenant == tenant.slot();
            let of_key = |held: &Held| runs(held) && held.place.key == *key;
            let version = match suspended {
                // What is said of a family is said of its subjects.
                true => holder.version(|_, held| {
                    of_key(held) || runs(held) && KeyName::from(held.place.key.family().clone()) == *key
                }),
                // Of an index key all versions are held, and there is a new one.
                false if key.is_index() => match live.iter().all(|version| holder.has(*version)) {
                    true => None,
                    false => holder.version(|_, held| of_key(held)),
                },
                false => holder.version(|leased, held| of_key(held) && no_more(leased)),
            };
            let Some(version) = version else { continue };
            let kind = if suspended { Kind::Suspended } else { Kind::Rotated };
            let item =
                Item { tenant: tenant.name.to_string(), key: key.to_string(), version_id: version.get() };
            holder.event(kind, vec![item], revision, None);
            if kind == Kind::Rotated {
                // It is told once; what it holds still it may have for opening.
                let rotated = holder.held.extract_if(|leased, held| of_key(held) && no_more(leased));
                let rotated: Vec<_> = rotated.collect();
                for ((version, _), held) in rotated {
                    holder.hold(version, Held { to_seal: None, ..held });
                }
            }
        }
    }
}

impl Holder {
    fn hold(&mut self, version: VersionId, held: Held) {
        let known = self.held.entry((version, held.to_seal)).or_insert_with(|| held.clone());
        known.until = held.until.max(known.until);
    }

    /// Whether it may still hold something such.
    fn holds(&self, now: Moment, such: impl Fn(VersionId) -> bool) -> bool {
        self.held.iter().any(|((version, _), held)| held.until > now.boot && such(*version))
    }

    /// The version of a lease such.
    fn version(&self, such: impl Fn(&(VersionId, Option<ToSeal>), &Held) -> bool) -> Option<VersionId> {
        self.held.iter().find(|(leased, held)| such(leased, held)).map(|((version, _), _)| *version)
    }

    fn has(&self, wanted: VersionId) -> bool {
        self.held.keys().any(|(version, _)| *version == wanted)
    }

    /// Something happened. `destroyed`: by which epoch, and when the last lease of that ends.
    fn event(
        &mut self,
        kind: Kind,
        items: Vec<Item>,
        store_revision: u64,
        destroyed: Option<(u64, BootTime)>,
    ) {
        let held = self.held.values().map(|held| held.until).max();
        let (epoch, until) = destroyed.unzip();
        let Some(until) = until.or(held) else { return };
        self.last += 1;
        let event = Event { number: self.last, store_revision, kind: kind.into(), items };
        self.tell(Unconfirmed { event, epoch, until });
    }

    /// Tells it where the client listens, and keeps it until it is confirmed.
    fn tell(&mut self, unconfirmed: Unconfirmed) {
        let event = unconfirmed.event.clone();
        self.events.push_back(unconfirmed);
        let told = |telling: &Telling| {
            telling.send(Ok(WatchKeysResponse { response: Some(Told::Event(event)) })).is_ok()
        };
        if !self.telling.as_ref().is_some_and(told) {
            self.telling = None;
        }
    }
}

/// Every key of a tenant.
fn of_tenant(slot: TenantSlot, name: &TenantName) -> Item {
    let version_id = VersionId::new(slot, LeafSlot(0)).get();
    Item { tenant: name.to_string(), key: String::new(), version_id }
}
