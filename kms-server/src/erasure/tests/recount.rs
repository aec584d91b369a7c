//! The state as the records themselves say it, counted again from the secret in force down to the leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kms_core::{
    commitment::{self, Hash},
    event::{Entry, Event},
    id::{Epoch, KeyGen, LeafSlot, TenantSlot, Uid, VersionId},
    tree::{ChildKey, LeafPayload, Place, TreeName, open_keys, open_record},
};
use kms_proto::storage::TreeRecord;
use prost::Message;

use super::{
    super::{epoch::open_root, head::Head, log::Log, view},
    world::{INSTANCE, seal},
};
use crate::{
    effaceable::{Effaceable, SecretId},
    records::{
        group_bytes, parse_key,
        tree::{self as tables, LogEntries, Nodes, TenantTrees},
    },
    store::Store,
};

/// What stands.
pub(super) struct Recount {
    /// Leaves that open, with their key commitments; those of index keys too.
    pub(super) leaves: BTreeMap<VersionId, Hash>,
    pub(super) state_root: Hash,
}

pub(super) fn head(store: &dyn Store) -> Head {
    Head::from_record(&view::stored::<tables::Head>(store, &()).unwrap().unwrap()).unwrap()
}

pub(super) fn recount(store: &dyn Store, medium: &dyn Effaceable) -> Recount {
    let head = head(store);
    let secret = medium.read(head.secret()).unwrap().expect("the secret in force");
    let root = Arc::new(open_root(&seal(), &secret, &head).expect("the root opens"));
    let mut leaves = BTreeMap::new();
    let top = ChildKey { key_gen: KeyGen(head.epoch.0), key: root };
    let hash = below(store, Place::root(TreeName::Top, head.top_height), &top, &mut leaves);
    let count = leaves.keys().filter(|id| id.leaf_slot().0 != 0).count() as u64;
    Recount { leaves, state_root: commitment::state_root(head.top_height, &hash, count) }
}

fn below(store: &dyn Store, place: Place, key: &ChildKey, leaves: &mut BTreeMap<VersionId, Hash>) -> Hash {
    if place.tree == TreeName::Top && place.level == 0 {
        let tenant = TenantSlot(place.index.try_into().unwrap());
        let shape = view::stored::<TenantTrees>(store, &tenant).unwrap().unwrap();
        let height = u8::try_from(shape.height).unwrap();
        let root = below(store, Place::root(TreeName::Tenant(tenant), height), key, leaves);
        return commitment::tenant_hash(Uid::try_from(shape.uid.as_slice()).unwrap(), height, &root);
    }
    let prefix = group_bytes::<Nodes>(&(place, key.key_gen));
    let (address, value) = store.last(&prefix).unwrap().expect("the record its parent names");
    let ver = parse_key::<Nodes>(&address).unwrap().record_ver;
    let record = TreeRecord::decode(value.as_slice()).unwrap();
    if place.level == 0 {
        let TreeName::Tenant(tenant) = place.tree else { unreachable!() };
        let slot = LeafSlot(place.index.try_into().unwrap());
        let payload = open_record(INSTANCE, place, key, ver, &record.wrapped).unwrap();
        let leaf = LeafPayload::decode(&payload).unwrap();
        let uid = Uid::try_from(record.uid.as_slice()).unwrap();
        let kc = commitment::key_commitment(uid, leaf.alg, &leaf.blind, &leaf.material);
        leaves.insert(VersionId::new(tenant, slot), kc);
        return commitment::leaf_hash(uid, slot, leaf.alg, &kc);
    }
    let children = open_keys(INSTANCE, place, key, ver, &record.wrapped).unwrap();
    let hashes = std::array::from_fn(|slot| {
        let key = children[slot].as_ref()?;
        Some(below(store, place.child(slot), key, leaves))
    });
    commitment::fold_children(&hashes, 5 * usize::from(place.level - 1))
}

/// Every entry of the log, as it is hashed.
pub(super) fn raw_log(store: &dyn Store) -> Vec<Vec<u8>> {
    let entries = view::range::<LogEntries>(store, &[], &(), None, usize::MAX).unwrap();
    assert!(entries.iter().map(|(index, _)| *index).eq(0..entries.len() as u64), "no entry is missing");
    entries.into_iter().map(|(_, record)| record.entry).collect()
}

/// Every entry of the log.
pub(super) fn log(store: &dyn Store) -> Vec<Entry> {
    raw_log(store).iter().map(|entry| Entry::from_bytes(entry).unwrap()).collect()
}

/// The log names no secret as effaced that is still there. That must hold at any moment.
pub(super) fn nothing_is_certified_that_is_there(store: &dyn Store, medium: &dyn Effaceable) {
    let there = medium.list().unwrap();
    for entry in log(store) {
        if let Event::EpochEffaced(effaced) = entry.event {
            let named = effaced.effaced.0.iter();
            let mut named = named.map(|(epoch, attempt)| SecretId { epoch: *epoch, attempt: *attempt });
            assert!(named.all(|gone| !there.contains(&gone)), "a secret is there that the log says is gone");
        }
    }
}

/// The log says of every epoch that it was committed, of the last state what it is, and of no secret that it is gone which is not.
pub(super) fn check_log(store: &dyn Store, medium: &dyn Effaceable) {
    nothing_is_certified_that_is_there(store, medium);
    let (head, log) = (head(store), log(store));
    assert_eq!(log.len() as u64, head.log_size);
    assert_eq!(Log::read(store, &head).unwrap().root(), head.log_root);
    assert!(log.is_sorted_by_key(|entry| (entry.commit, entry.at)));
    let (mut epoch, mut state_root, mut done) = (Epoch(1), None, BTreeSet::new());
    for entry in &log {
        match &entry.event {
            Event::EpochCommit(commit) => {
                assert_eq!(commit.epoch, epoch.next());
                (epoch, state_root) = (commit.epoch, Some(commit.state_root));
            }
            Event::EpochEffaced(effaced) => {
                assert!(effaced.epoch <= epoch);
                done.insert(effaced.epoch);
            }
            _ => {}
        }
    }
    assert_eq!(epoch, head.epoch);
    if done.contains(&epoch) {
        let missing: Vec<_> = (2..epoch.0).filter(|number| !done.contains(&Epoch(*number))).collect();
        assert!(missing.is_empty(), "nothing will ever say of {missing:?} that they were effaced");
    }
    let last = log.last().map(|entry| &entry.event);
    if let (Some(Event::EpochCommit(_)), Some(state_root)) = (last, state_root) {
        assert_eq!(state_root, head.state_root);
    }
}
