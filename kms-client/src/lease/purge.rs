//! What the server says has become of keys, and what is held of them: wiped at once, and not brought back by a fetch that began before.
//!
//! INVARIANT: an event is noted before what is held is looked through, and a fetch is kept before the events are looked through. So a
//! lease that was fetched too early is found by one of both.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use kms_core::{
    id::{TenantSlot, VersionId},
    names::KeyName,
};
use kms_proto::v1::{
    KeyEventKind,
    watch_keys_response::{Event, event::Item},
};
use parking_lot::Mutex;

use super::{Want, fetch::Fetched, held::Lease, store::Leases};

/// Events that a fetch is compared with; one that was under way for more is made again.
const KEPT: usize = 1_024;

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Purges(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    count: u64,
    last: VecDeque<Arc<Purge>>,
}

/// An event, as leases are compared with it.
#[derive(Debug)]
pub(crate) struct Purge {
    kind: KeyEventKind,
    revision: u64,
    versions: HashSet<VersionId>,
    /// Of suspended and rotated ones, keys; of all kinds, whole tenants.
    keys: HashSet<(TenantSlot, Option<KeyName>)>,
}

impl Purge {
    /// What an event is about. What it says that this client does not know is taken to be more rather than less.
    pub(crate) fn of(event: &Event) -> Self {
        let kind = match event.kind() {
            KeyEventKind::Unspecified => KeyEventKind::Suspended,
            kind => kind,
        };
        let (mut versions, mut keys) = (HashSet::new(), HashSet::new());
        for Item { key, version_id, .. } in &event.items {
            let version = VersionId::from(*version_id);
            match KeyName::try_from(key.as_str()) {
                Ok(_) if kind == KeyEventKind::Destroyed => drop(versions.insert(version)),
                // Which subject has this id it is not told; its lease is not to be missed, nor each of a family's to end with one's rotation.
                Ok(key) if key.subject_id().is_some() => match kind {
                    KeyEventKind::Rotated => drop(versions.insert(version)),
                    _ => drop(keys.insert((version.tenant_slot(), Some(key.family().clone().into())))),
                },
                key => drop(keys.insert((version.tenant_slot(), key.ok()))),
            }
        }
        Self { kind, revision: event.store_revision, versions, keys }
    }

    /// Whether a lease must not be used any more.
    fn ends(&self, lease: &Lease) -> bool {
        if self.kind == KeyEventKind::Rotated && !lease.is_by_name() {
            return false;
        }
        let slot = lease.version().tenant_slot();
        lease.is_of(&self.versions)
            || self.keys.contains(&(slot, None))
            || self.keys.contains(&(slot, Some(lease.key().clone())))
            // What is said of a family is said of its subjects.
            || self.keys.contains(&(slot, Some(lease.key().family().clone().into())))
    }

    fn name(&self) -> &'static str {
        match self.kind {
            KeyEventKind::Destroyed => "destroyed",
            KeyEventKind::Rotated => "rotated",
            KeyEventKind::Suspended | KeyEventKind::Unspecified => "suspended",
        }
    }
}

impl Purges {
    /// How many events there were: to be asked before a fetch is sent.
    pub(super) fn count(&self) -> u64 {
        self.0.lock().count
    }

    fn note(&self, purge: &Arc<Purge>) {
        let mut recent = self.0.lock();
        recent.count += 1;
        recent.last.push_back(Arc::clone(purge));
        if recent.last.len() > KEPT {
            recent.last.pop_front();
        }
    }

    /// Whether an event since the fetch began ends what it brought: the server had leased it before.
    pub(super) fn ended(&self, fetched: &Fetched) -> bool {
        let recent = self.0.lock();
        let since = usize::try_from(recent.count - fetched.purges).unwrap_or(usize::MAX);
        if since > recent.last.len() {
            return true;
        }
        let mut since = recent.last.iter().rev().take(since);
        since.any(|purge| fetched.revision < purge.revision && purge.ends(&fetched.lease))
    }
}

impl Leases {
    /// Wipes what an event ends, and waits for uses under way. Blocks for as long as somebody works with a key.
    pub(crate) fn purge(&self, purge: Purge) {
        let (began, purge) = (Instant::now(), Arc::new(purge));
        self.purges.note(&purge);
        let ended: Vec<_> = self.all().into_iter().filter(|(_, lease)| purge.ends(lease)).collect();
        for (want, lease) in &ended {
            // ORDER: out of the cache first, so that nobody is handed what is being wiped.
            self.remove(want, lease, "purged");
            lease.wipe();
        }
        metrics::counter!("kms_client_leases_purged_total", "event" => purge.name())
            .increment(ended.len() as u64);
        metrics::histogram!("kms_client_purge_seconds").record(began.elapsed());
    }

    /// Every lease that somebody may still use, in the cache or not.
    fn all(&self) -> Vec<(Want, Arc<Lease>)> {
        let agenda = self.agenda.lock();
        let all = agenda.values().filter_map(|due| Some((due.want.clone(), due.lease.upgrade()?)));
        // Each is there twice: to be renewed, and to end.
        let mut seen = HashSet::new();
        all.filter(|(_, lease)| seen.insert(Arc::as_ptr(lease))).collect()
    }

    /// What is in use, to be leased anew since the server may not know of it; what is not in use any more is wiped.
    pub(crate) fn stale(&self) -> Vec<Want> {
        let (mut wants, mut seen) = (Vec::new(), HashSet::new());
        for (want, lease) in self.all() {
            if !lease.is_live() || !self.holds(&want, &lease) {
                lease.wipe();
            } else if seen.insert(want.clone()) {
                wants.push(want);
            }
        }
        wants
    }
}
