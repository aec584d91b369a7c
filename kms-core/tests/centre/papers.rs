//! Heads of the log, certificates over it, and mirrors of it.

use std::collections::{BTreeMap, BTreeSet};

use kms_core::{
    certificate::{
        Certificate,
        body::{
            Body, Destroyed, Effaceable, Effacement, Erasure, ErasureEpoch, Horizon, KeySubject, Log,
            MediumClass, Request, Scope, Status, Subject, Version,
        },
        proofs::{Consistency, IndexedEntry, Proofs, SignedCheckpoint as Head, States},
        sanitization::Sanitization,
    },
    commitment::Hash,
    event::{Entry, Event},
    id::{Epoch, TenantSlot},
    state::KeyClass,
    transparency::{
        Checkpoint, Computed, MultiProof, Note, SignedCheckpoint, Subtrees, bundle, leaf_hash,
        prove_consistency,
        tile::{TileLevel, tiles},
        tree_root,
    },
};

use super::{Centre, What};

impl Centre {
    fn leaves(&self, size: usize) -> Leaves {
        Leaves(self.entries[..size].iter().map(|entry| leaf_hash(&entry.to_bytes())).collect())
    }

    /// The signed head of the first entries.
    pub(crate) fn head(&self, size: usize) -> SignedCheckpoint {
        let root = tree_root(&Computed(self.leaves(size)), size as u64).unwrap();
        let origin = format!("keycentre/{}", self.instance).parse().unwrap();
        SignedCheckpoint::sign(Checkpoint { origin, size: size as u64, root }, &self.signer).unwrap()
    }

    /// The same as a note.
    pub(crate) fn note(&self, size: usize) -> Note {
        self.head(size).note().clone()
    }

    /// The files of a mirror of the first entries, by their paths.
    pub(crate) fn mirror(&self, size: usize) -> BTreeMap<String, Vec<u8>> {
        let source = Computed(self.leaves(size));
        let files = tiles(size as u64).map(|tile| {
            let bytes = match tile.level() {
                TileLevel::Hashes(_) => tile.hashes(&source).unwrap().concat(),
                TileLevel::Entries => {
                    let first = tile.index() as usize * 256;
                    let entries: Vec<_> = self.entries[first..first + usize::from(tile.width())]
                        .iter()
                        .map(Entry::to_bytes)
                        .collect();
                    bundle::encode(&entries).unwrap()
                }
            };
            (tile.to_string(), bytes)
        });
        files.chain([("checkpoint".to_owned(), self.note(size).to_string().into_bytes())]).collect()
    }

    /// The certificate over the first entries that a version, a key or a tenant is gone.
    pub(crate) fn certificate(&self, what: What<'_>, size: usize, earlier: &[u64]) -> Certificate {
        let (kind, name) = match what {
            What::Version(tenant, ..) => (Scope::Version, tenant),
            What::Key(tenant, _) => (Scope::Key, tenant),
            What::Tenant(tenant) => (Scope::Tenant, tenant),
        };
        let past = self.epochs.values().find_map(|past| {
            past.before
                .tenants
                .iter()
                .find(|(_, tenant)| tenant.name == name)
                .map(|(slot, it)| (*slot, it.clone()))
        });
        let (slot, tenant) = past.unwrap();
        let destroyed = match what {
            What::Version(_, key, number) => self.versions(slot, key, Some(number)),
            What::Key(_, key) => self.versions(slot, key, None),
            What::Tenant(_) => Destroyed::Tenant { live: self.tenant_destroyed(name).1 },
        };
        let versions = match &destroyed {
            Destroyed::Key(key) => key.versions.clone(),
            Destroyed::Tenant { .. } => Vec::new(),
        };
        let mut destructions: BTreeSet<u64> = versions.iter().map(|version| version.destroyed).collect();
        let mut epochs: BTreeSet<Epoch> = versions.iter().map(|version| version.epoch).collect();
        if kind == Scope::Tenant {
            let (index, _, epoch) = self.tenant_destroyed(name);
            (destructions, epochs) = ([index].into(), [epoch].into());
        }
        let effaced = |epoch: &Epoch| self.epochs[epoch].effaced.filter(|index| *index < size as u64);
        let at = |index: u64| self.entries[index as usize].at;
        let erasure: Vec<ErasureEpoch> = epochs
            .iter()
            .map(|epoch| ErasureEpoch {
                epoch: *epoch,
                attempt: self.attempts[epoch.0 as usize - 1],
                commit: self.epochs[epoch].commit,
                committed: at(self.epochs[epoch].commit),
                quiesced: at(self.epochs[epoch].commit),
                clients: None,
                effacement: effaced(epoch)
                    .map(|effacement| Effacement { effacement, effaced: at(effacement) }),
            })
            .collect();
        let done = erasure.iter().all(|epoch| epoch.effacement.is_some());
        let indexes = destructions
            .iter()
            .copied()
            .chain(versions.iter().map(|version| version.created))
            .chain(
                epochs.iter().flat_map(|epoch| [Some(self.epochs[epoch].commit), effaced(epoch)]).flatten(),
            )
            .collect();
        let body = Body {
            v: 1,
            kind,
            issued: at(size as u64 - 1),
            instance: self.instance,
            log: Log { key: self.key().parse().unwrap() },
            subject: Subject {
                tenant: name.parse().unwrap(),
                tenant_uid: tenant.uid,
                tenant_slot: TenantSlot(slot),
                destroyed,
            },
            request: destructions.iter().map(|index| self.request(*index)).collect(),
            effaceable: erasure.iter().filter_map(|epoch| self.effaceable(epoch)).collect(),
            erasure: Erasure {
                status: if done { Status::Erased } else { Status::Pending },
                horizon: Horizon::None,
                epochs: erasure,
            },
            sanitization: Sanitization::default(),
            proofs: self.proofs(
                &indexes,
                size,
                earlier,
                epochs
                    .iter()
                    .map(|epoch| {
                        let slots = versions
                            .iter()
                            .filter(|version| version.epoch == *epoch)
                            .map(|version| version.slot.0.into());
                        self.states(*epoch, slot, &slots.collect())
                    })
                    .collect(),
            ),
            proven: Vec::new(),
            attested: Vec::new(),
            assumed: Vec::new(),
            risks: Vec::new(),
        };
        Certificate::sign(body.completed(), |message| {
            self.signer.sign(std::str::from_utf8(message).unwrap()).bytes().try_into().unwrap()
        })
    }

    fn versions(&self, tenant: u32, name: &str, number: Option<u32>) -> Destroyed {
        let key = self.keys.iter().find(|key| key.tenant == tenant && key.name == name).unwrap();
        let own = |version: &&Version| number.is_none_or(|number| version.number == number);
        Destroyed::Key(KeySubject {
            key: name.parse().unwrap(),
            key_uid: key.uid,
            class: KeyClass::L3,
            versions: key.versions.iter().filter(own).cloned().collect(),
            name: None,
        })
    }

    fn tenant_destroyed(&self, name: &str) -> (u64, u64, Epoch) {
        let found = (0..).zip(&self.entries).find_map(|(index, entry)| match &entry.event {
            Event::TenantDestroy(event) if event.tenant.as_str() == name => {
                Some((index, event.live, event.epoch))
            }
            _ => None,
        });
        found.unwrap()
    }

    fn request(&self, index: u64) -> Request {
        let entry = &self.entries[index as usize];
        let (scope, reason, ticket) = match &entry.event {
            Event::DestroyVersion(event) => (Scope::Version, event.reason, &event.ticket),
            Event::DestroyKey(event) => (Scope::Key, event.reason, &event.ticket),
            Event::TenantDestroy(event) => (Scope::Tenant, event.reason, &event.ticket),
            other => panic!("{other:?}"),
        };
        let (by, at, ticket) = (entry.by.clone(), entry.at, ticket.clone());
        Request { destroy: index, by, at, scope, reason, ticket, approvals: Vec::new() }
    }

    fn effaceable(&self, epoch: &ErasureEpoch) -> Option<Effaceable> {
        let effacement = epoch.effacement.as_ref()?.effacement;
        let Event::EpochEffaced(event) = &self.entries[effacement as usize].event else { return None };
        Some(Effaceable {
            effacement,
            class: MediumClass::from_word(event.class.as_str())?,
            assurance: event.assurance.clone(),
            technique: event.technique.clone(),
            media: event.media.clone(),
            verification: event.verification.clone(),
        })
    }

    fn proofs(&self, indexes: &BTreeSet<u64>, size: usize, earlier: &[u64], states: Vec<States>) -> Proofs {
        let (source, head) = (Computed(self.leaves(size)), self.head(size));
        let [line] = head.note().signatures() else { panic!("one signature") };
        let signature = [&line.id().0, line.bytes()].concat().try_into().unwrap();
        let (size, root) = (size as u64, head.checkpoint().root);
        let entry =
            |index: &u64| IndexedEntry { index: *index, entry: self.entries[*index as usize].clone() };
        let consistency = earlier.iter().map(|old| Consistency {
            size: *old,
            root: tree_root(&source, *old).unwrap(),
            proof: prove_consistency(&source, *old, size).unwrap(),
        });
        Proofs {
            checkpoint: Head { size, root, signature, cosignatures: Vec::new() },
            entries: indexes.iter().map(entry).collect(),
            inclusion: MultiProof::prove(&source, size, indexes).unwrap().hashes,
            consistency: consistency.collect(),
            states,
        }
    }

    fn states(&self, epoch: Epoch, tenant: u32, slots: &BTreeSet<u64>) -> States {
        let past = &self.epochs[&epoch];
        let (before, after) = (past.before.proof(tenant, slots), past.after.proof(tenant, slots));
        States { epoch, before, after }
    }
}

struct Leaves(Vec<Hash>);

impl Subtrees for Leaves {
    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        (level == 0).then(|| self.0.get(usize::try_from(index).ok()?).copied())?
    }
}
