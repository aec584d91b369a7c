//! Who was leased what, and is told what becomes of it: events wait for a client until it listens, and are told again until it has
//! confirmed them.

use std::collections::{HashMap, VecDeque};

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
pub(super) struct Holders(HashMap<Client, Holder>);

#[derive(Debug, Default)]
struct Holder {
    held: HashMap<(VersionId, Option<ToSeal>), Held>,
    /// What was not confirmed, the oldest first; with its number where it was told on this stream.
    events: VecDeque<Event>,
    telling: Option<Telling>,
    /// Number of the last event of this stream.
    last: u64,
}

impl Holders {
    /// Notes a lease. To be called before it leaves.
    pub(super) fn note(&mut self, client: &Client, version: VersionId, held: Held) {
        self.0.entry(client.clone()).or_default().held.insert((version, held.to_seal), held);
    }

    /// A client listens: it is told what it missed. An earlier stream of it ends.
    pub(super) fn listens(&mut self, client: &Client, server_instance: String, telling: Telling) {
        // Of one that is not known nobody can say what it missed.
        let stale = !self.0.contains_key(client);
        let opened = Told::Opened(Opened { server_instance, stale });
        let said = telling.send(Ok(WatchKeysResponse { response: Some(opened) }));
        let holder = self.0.entry(client.clone()).or_default();
        holder.last = 0;
        holder.telling = said.is_ok().then_some(telling);
        for mut event in std::mem::take(&mut holder.events) {
            holder.last += 1;
            event.number = holder.last;
            holder.tell(event);
        }
    }

    /// The client has purged what the events up to this one named. Gives `false` for one that it was not told, or has confirmed.
    pub(super) fn confirmed(&mut self, client: &Client, number: u64) -> bool {
        let Some(holder) = self.0.get_mut(client) else { return false };
        let first = holder.events.front().map(|event| event.number);
        if first.is_none_or(|first| number < first) || number > holder.last {
            return false;
        }
        holder.events.retain(|event| event.number > number);
        true
    }

    /// A client is gone, and holds nothing any more.
    pub(super) fn gone(&mut self, client: &Client, telling: &Telling) {
        let is_same = |holder: &Holder| holder.telling.as_ref().is_some_and(|own| own.same_channel(telling));
        if self.0.get(client).is_some_and(is_same) {
            self.0.remove(client);
        }
    }

    /// The key centre stops: nobody listens any more, until they come again.
    pub(super) fn hang_up(&mut self) {
        self.0.values_mut().for_each(|holder| holder.telling = None);
    }

    /// Whether every client that may still hold something has purged all that it was to purge.
    pub(super) fn have_purged(&self, now: Moment) -> bool {
        let purged = |holder: &Holder| {
            holder.events.is_empty() || holder.held.values().all(|held| held.until <= now.boot)
        };
        self.0.values().all(purged)
    }

    pub(super) fn destroyed(
        &mut self,
        tenant: &TenantName,
        key: &KeyName,
        versions: &[VersionId],
        revision: u64,
        now: Moment,
    ) {
        for holder in self.0.values_mut() {
            let held = |version: &&VersionId| holder.holds(now, |held, _| held == **version);
            let item = |version: &VersionId| Item {
                tenant: tenant.to_string(),
                key: key.to_string(),
                version_id: version.get(),
            };
            let items: Vec<_> = versions.iter().filter(held).map(item).collect();
            holder.held.retain(|(version, _), _| !versions.contains(version));
            if !items.is_empty() {
                holder.event(Kind::Destroyed, items, revision);
            }
        }
    }

    pub(super) fn tenant_destroyed(
        &mut self,
        slot: TenantSlot,
        name: &TenantName,
        revision: u64,
        now: Moment,
    ) {
        self.tenant_changed(Kind::Destroyed, slot, name, revision, now);
        for holder in self.0.values_mut() {
            holder.held.retain(|(version, _), _| version.tenant_slot() != slot);
        }
    }

    pub(super) fn tenant_suspended(
        &mut self,
        slot: TenantSlot,
        name: &TenantName,
        revision: u64,
        now: Moment,
    ) {
        self.tenant_changed(Kind::Suspended, slot, name, revision, now);
    }

    fn tenant_changed(
        &mut self,
        kind: Kind,
        slot: TenantSlot,
        name: &TenantName,
        revision: u64,
        now: Moment,
    ) {
        for holder in self.0.values_mut() {
            if holder.holds(now, |version, _| version.tenant_slot() == slot) {
                let (key, version_id) = (String::new(), VersionId::new(slot, LeafSlot(0)).get());
                holder.event(kind, vec![Item { tenant: name.to_string(), key, version_id }], revision);
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
        for holder in self.0.values_mut() {
            // What is said of a family is said of its subjects.
            let mut held = holder.held.iter().filter(|(_, held)| {
                held.until > now.boot
                    && held.place.tenant == tenant.slot()
                    && (held.place.key == *key
                        || suspended && KeyName::from(held.place.key.family().clone()) == *key)
            });
            let Some(((version, _), _)) = held.clone().next() else { continue };
            let kind = match suspended {
                true => Kind::Suspended,
                // Of an index key all versions are held, and there is a new one.
                false if key.is_index() => {
                    let has = |version: &VersionId| held.clone().any(|((held, _), _)| held == version);
                    if live.iter().all(has) {
                        continue;
                    }
                    Kind::Rotated
                }
                false => {
                    let seals = |((version, kind), _): (&(VersionId, Option<ToSeal>), &Held)| {
                        kind.is_none_or(|kind| tenant.sealing(key, kind) == Some(*version))
                    };
                    if held.all(seals) {
                        continue;
                    }
                    Kind::Rotated
                }
            };
            let item =
                Item { tenant: tenant.name.to_string(), key: key.to_string(), version_id: version.get() };
            if kind == Kind::Rotated {
                let seals = |(version, kind): &(VersionId, Option<ToSeal>), held: &mut Held| {
                    held.place.key != *key
                        || kind.is_none_or(|kind| tenant.sealing(key, kind) == Some(*version))
                };
                holder.held.retain(seals);
            }
            holder.event(kind, vec![item], revision);
        }
    }
}

impl Holder {
    /// Whether it may still hold something such.
    fn holds(&self, now: Moment, such: impl Fn(VersionId, &Held) -> bool) -> bool {
        self.held.iter().any(|((version, _), held)| held.until > now.boot && such(*version, held))
    }

    fn event(&mut self, kind: Kind, items: Vec<Item>, store_revision: u64) {
        self.last += 1;
        self.tell(Event { number: self.last, store_revision, kind: kind.into(), items });
    }

    /// Tells it where the client listens, and keeps it until it is confirmed.
    fn tell(&mut self, event: Event) {
        self.events.push_back(event.clone());
        let told = |telling: &Telling| {
            telling.send(Ok(WatchKeysResponse { response: Some(Told::Event(event)) })).is_ok()
        };
        if !self.telling.as_ref().is_some_and(told) {
            self.telling = None;
        }
    }
}
