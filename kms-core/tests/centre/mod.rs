//! A small key centre in memory, for tests: its log, its committed states by their definitions, certificates, and mirrors as files.
//!
//! # Layout
//! - `state`: what it commits to; `papers`: heads, certificates and mirrors of its log.

#![allow(dead_code, reason = "each test uses a part of it")]

mod papers;
mod state;

use std::collections::BTreeMap;

use kms_core::{
    canonical::{Instant, Text},
    certificate::body::Version,
    commitment::{Hash, leaf_hash as slot_leaf},
    event::{
        AuditHead, DestroyKey, DestroyVersion, Entry, EpochCommit, EpochEffaced, Event, Genesis, KeyCreate,
        KeyRotate, Origin, Secrets, TenantCreate, TenantDestroy,
    },
    id::{Attempt, CommitNumber, Epoch, InstanceId, LeafSlot, TenantSlot, Uid},
    secret::SigningSeed,
    state::{DestroyReason, KeyClass},
    transparency::NoteSigner,
};
use state::{Committed, Tenant, height};

#[derive(Clone)]
struct Key {
    tenant: u32,
    name: String,
    uid: Uid,
    versions: Vec<Version>,
}

struct Past {
    before: Committed,
    after: Committed,
    commit: u64,
    effaced: Option<u64>,
}

/// What is to be destroyed.
#[derive(Clone, Copy)]
pub(crate) enum What<'a> {
    Version(&'a str, &'a str, u32),
    Key(&'a str, &'a str),
    Tenant(&'a str),
}

/// The key centre.
pub(crate) struct Centre {
    signer: NoteSigner,
    instance: InstanceId,
    /// Its log; a test may change what it says.
    pub(crate) entries: Vec<Entry>,
    state: Committed,
    keys: Vec<Key>,
    next_leaf: BTreeMap<u32, u32>,
    attempts: Vec<Attempt>,
    commit: u64,
    epochs: BTreeMap<Epoch, Past>,
    drawn: u8,
}

impl Centre {
    /// With a key drawn from this seed.
    pub(crate) fn new(seed: u8) -> Self {
        let instance = InstanceId([seed; 16]);
        let name = format!("keycentre/{instance}").parse().unwrap();
        let signer = NoteSigner::new(name, SigningSeed::copied_from(&[seed; 32]).unwrap()).unwrap();
        let state = Committed { tenants: BTreeMap::new(), top_height: 1, live: 0 };
        let attempt = Attempt([1; 16]);
        let state_root = state.root();
        let mut centre = Self {
            signer,
            instance,
            entries: Vec::new(),
            state,
            keys: Vec::new(),
            next_leaf: BTreeMap::new(),
            attempts: vec![attempt],
            commit: 0,
            epochs: BTreeMap::new(),
            drawn: 0,
        };
        centre.say(Genesis { instance, epoch: Epoch(1), attempt, state_root });
        centre
    }

    /// The log's verifier key.
    pub(crate) fn key(&self) -> String {
        self.signer.verifier().to_string()
    }

    fn say(&mut self, event: impl Into<Event>) -> u64 {
        let index = self.entries.len() as u64;
        let at = Instant::from_millis(1_795_766_400_000 + 1250 * index as i64);
        let by = Text::lossy("spiffe://dev.local/operator");
        self.entries.push(Entry { at, by, commit: CommitNumber(self.commit), event: event.into() });
        index
    }

    fn draw(&mut self) -> Uid {
        self.drawn += 1;
        Uid([self.drawn; 16])
    }

    /// Entries that change no state.
    pub(crate) fn pad(&mut self, count: u64) {
        for count in 0..count {
            self.say(AuditHead { count, hash: [7; 32] });
        }
    }

    pub(crate) fn create_tenant(&mut self, name: &str) {
        self.commit += 1;
        let (slot, uid, index_uid, index_kc) =
            (self.next_leaf.len() as u32, self.draw(), self.draw(), [self.drawn; 32]);
        let slots = BTreeMap::from([(0, slot_leaf(index_uid, LeafSlot(0), 0, &index_kc))]);
        self.state.tenants.insert(slot, Tenant { name: name.into(), uid, height: 1, slots });
        self.state.top_height = self.state.top_height.max(height(slot.into()));
        self.next_leaf.insert(slot, 1);
        let (tenant, tenant_slot) = (name.parse().unwrap(), TenantSlot(slot));
        self.say(TenantCreate { tenant, tenant_uid: uid, tenant_slot, index_uid, index_kc });
    }

    /// A key, or its next version.
    pub(crate) fn create(&mut self, tenant: &str, name: &str) {
        let kc = [self.drawn + 1; 32];
        let uid = self.draw();
        self.create_as(tenant, name, uid, kc);
    }

    pub(crate) fn create_as(&mut self, tenant: &str, name: &str, version_uid: Uid, kc: Hash) {
        self.commit += 1;
        let tenant_slot = self.slot(tenant);
        let known = self.keys.iter().position(|key| key.tenant == tenant_slot && key.name == name);
        let at = known.unwrap_or_else(|| {
            let uid = self.draw();
            self.keys.push(Key { tenant: tenant_slot, name: name.into(), uid, versions: Vec::new() });
            self.keys.len() - 1
        });
        let next = self.next_leaf.get_mut(&tenant_slot).unwrap();
        let slot = LeafSlot(*next);
        *next += 1;
        let owner = self.state.tenants.get_mut(&tenant_slot).unwrap();
        owner.slots.insert(slot.0.into(), slot_leaf(version_uid, slot, 1, &kc));
        owner.height = owner.height.max(height(slot.0.into()));
        let tenant_uid = owner.uid;
        self.state.live += 1;
        let (key_uid, number) = (self.keys[at].uid, self.keys[at].versions.len() as u32 + 1);
        let (key, class, alg, origin) = (name.parse().unwrap(), KeyClass::L3, 1, Origin::Generated);
        let created = match number {
            1 => self.say(KeyCreate {
                tenant_uid,
                key,
                key_uid,
                class,
                number,
                version_uid,
                slot,
                alg,
                kc,
                origin,
            }),
            _ => self.say(KeyRotate {
                tenant_uid,
                key,
                key_uid,
                class,
                number,
                version_uid,
                slot,
                alg,
                kc,
                origin,
            }),
        };
        let version = Version {
            number,
            uid: version_uid,
            slot,
            alg,
            kc,
            origin,
            created,
            destroyed: 0,
            epoch: Epoch(0),
            data_keys_issued: 0,
        };
        self.keys[at].versions.push(version);
    }

    fn slot(&self, tenant: &str) -> u32 {
        *self.state.tenants.iter().find(|(_, it)| it.name == tenant).unwrap().0
    }

    /// One epoch.
    pub(crate) fn destroy(&mut self, all: &[What<'_>]) -> Epoch {
        self.commit += 1;
        let (before, first) = (self.state.clone(), self.entries.len() as u64);
        let epoch = Epoch(self.attempts.len() as u64 + 1);
        all.iter().for_each(|what| self.destroy_one(epoch, *what));
        let attempt = Attempt([epoch.0 as u8; 16]);
        let own = self.entries.len() as u64;
        let (first, last) = if all.is_empty() { (own, own) } else { (first, own - 1) };
        let (state_root_before, state_root, live) = (before.root(), self.state.root(), self.state.live);
        let commit =
            self.say(EpochCommit { epoch, attempt, state_root_before, state_root, live, first, last });
        self.attempts.push(attempt);
        self.epochs.insert(epoch, Past { before, after: self.state.clone(), commit, effaced: None });
        epoch
    }

    fn destroy_one(&mut self, epoch: Epoch, what: What<'_>) {
        let (reason, ticket, index) = (DestroyReason::Test, Text::lossy("T-1"), self.entries.len() as u64);
        let (tenant, wanted) = match what {
            What::Version(tenant, key, number) => (tenant, Some((key, Some(number)))),
            What::Key(tenant, key) => (tenant, Some((key, None))),
            What::Tenant(tenant) => (tenant, None),
        };
        let slot = self.slot(tenant);
        let owner = self.state.tenants.get_mut(&slot).unwrap();
        let tenant_uid = owner.uid;
        let mut dying = 0;
        let own = |key: &&mut Key| key.tenant == slot && wanted.is_none_or(|(name, _)| key.name == name);
        for key in self.keys.iter_mut().filter(own) {
            let wanted = |version: &&mut Version| {
                version.epoch == Epoch(0)
                    && wanted.and_then(|(_, number)| number).is_none_or(|number| version.number == number)
            };
            for version in key.versions.iter_mut().filter(wanted) {
                (version.destroyed, version.epoch) = (index, epoch);
                owner.slots.remove(&version.slot.0.into());
                dying += 1;
            }
        }
        self.state.live -= dying;
        let Some((name, number)) = wanted else {
            self.state.tenants.remove(&slot);
            let (tenant, tenant_slot) = (tenant.parse().unwrap(), TenantSlot(slot));
            self.say(TenantDestroy { tenant, tenant_uid, tenant_slot, live: dying, epoch, reason, ticket });
            return;
        };
        let it = self.keys.iter().find(|key| key.tenant == slot && key.name == name).unwrap();
        let (key, key_uid, last) = (name.parse().unwrap(), it.uid, it.versions.len() as u32);
        let live = it.versions.iter().filter(|version| version.epoch == Epoch(0)).count() as u64;
        match number.map(|number| it.versions[number as usize - 1].clone()) {
            Some(version) => self.say(DestroyVersion {
                tenant_uid,
                key,
                key_uid,
                number: version.number,
                version_uid: version.uid,
                slot: version.slot,
                last,
                live,
                epoch,
                reason,
                ticket,
            }),
            None => self.say(DestroyKey { tenant_uid, key, key_uid, last, live, epoch, reason, ticket }),
        };
    }

    /// The secrets before the last epoch are effaced.
    pub(crate) fn efface(&mut self) {
        self.efface_before(Epoch(self.attempts.len() as u64));
    }

    /// The secrets before an epoch are effaced: one that others followed, too.
    pub(crate) fn efface_before(&mut self, epoch: Epoch) {
        self.commit += 1;
        let at = usize::try_from(epoch.0).unwrap() - 1;
        let [old, attempt] = &self.attempts[at - 1..=at] else { panic!("nothing was destroyed") };
        let event = EpochEffaced {
            epoch,
            attempt: *attempt,
            effaced: Secrets(vec![(Epoch(epoch.0 - 1), *old)]),
            class: Text::lossy("clear"),
            assurance: Text::lossy("operator declares a magnetic disk"),
            technique: Text::lossy("overwritten in place"),
            media: Text::lossy("file on a disk"),
            verification: Text::lossy("read back"),
        };
        let index = self.say(event);
        self.epochs.get_mut(&epoch).unwrap().effaced = Some(index);
    }
}

/// One that has lived: tenants, keys and versions made and destroyed, each way that there is.
pub(crate) fn lived() -> Centre {
    let mut centre = Centre::new(1);
    ["acme", "globex", "doomed"].into_iter().for_each(|tenant| centre.create_tenant(tenant));
    for key in ["orders", "cards", "cards", "mail"] {
        centre.create("acme", key);
    }
    for number in 0..32 {
        centre.create("acme", &format!("bulk-{number}"));
    }
    centre.create("acme", "cards");
    ["payroll", "payroll", "badges"].into_iter().for_each(|key| centre.create("doomed", key));
    centre.create("globex", "other");
    centre.destroy(&[What::Version("acme", "cards", 2), What::Key("acme", "bulk-3")]);
    centre.efface();
    centre.pad(230);
    centre.destroy(&[What::Version("acme", "orders", 1)]);
    centre.efface();
    centre.destroy(&[]);
    centre.efface();
    centre.create("globex", "late");
    centre.destroy(&[What::Key("acme", "cards")]);
    centre.efface();
    centre.destroy(&[What::Version("doomed", "payroll", 1), What::Tenant("doomed")]);
    centre.efface();
    centre.create_tenant("doomed");
    centre
}
