//! Whoever kept every byte that was ever written, has the seal, and some secrets of the medium: what they get at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kms_core::{
    id::{KeyGen, LeafSlot, TenantSlot, VersionId},
    record,
    tree::{ChildKey, Place, TreeName, open_keys, open_record},
};
use kms_proto::storage::{HeadRecord, TreeRecord};
use prost::Message;

use super::{
    super::{epoch::open_root, head::Head, redo::Redo},
    world::{INSTANCE, seal},
};
use crate::{
    effaceable::Effaceable,
    records::{
        parse_key,
        tree::{self as tables, Nodes},
    },
    store::Pair,
};

/// Wrapped records by where they stood, and heads.
#[derive(Default)]
struct Loot {
    records: BTreeMap<Place, Vec<Vec<u8>>>,
    heads: Vec<Head>,
}

impl Loot {
    fn take(&mut self, key: &[u8], value: &[u8]) {
        if let Some(address) = parse_key::<Nodes>(key) {
            let record = TreeRecord::decode(value).unwrap();
            self.records.entry(address.place).or_default().push(record.wrapped);
        } else if parse_key::<tables::Head>(key).is_some() {
            self.heads.push(Head::from_record(&HeadRecord::decode(value).unwrap()).unwrap());
        }
    }
}

/// Leaves that open, those of index keys too. `ever` and `redos` are every record and every redo ever written.
pub(super) fn reach(ever: &[Pair], redos: &[Vec<u8>], secrets: &dyn Effaceable) -> BTreeSet<VersionId> {
    let mut loot = Loot::default();
    ever.iter().for_each(|(key, value)| loot.take(key, value));
    // One that was cut opens nothing.
    for redo in redos.iter().filter_map(|redo| Redo::decode(redo)) {
        loot.heads.push(redo.last_head(redo.base.next()).unwrap());
        for (key, value) in
            redo.staged.iter().chain([&redo.head]).chain(&redo.tail).flat_map(|batch| &batch.writes)
        {
            value.iter().for_each(|value| loot.take(key, value));
        }
    }
    let mut open = Vec::new();
    for id in secrets.list().unwrap() {
        let secret = secrets.read(id).unwrap().unwrap();
        for head in loot.heads.iter().filter(|head| head.secret() == id) {
            let key = Arc::new(open_root(&seal(), &secret, head).unwrap());
            open.extend(
                roots(TreeName::Top).map(|place| (place, ChildKey { key_gen: KeyGen(0), key: key.clone() })),
            );
        }
    }
    let (mut reached, mut seen) = (BTreeSet::new(), BTreeSet::new());
    while let Some((place, key)) = open.pop() {
        if !seen.insert((place, *key.key.expose_secret())) {
            continue;
        }
        for wrapped in loot.records.get(&place).into_iter().flatten() {
            // Which generation it is of is in its header: a key that was kept beyond its own is tried on all.
            let header = record::header(wrapped).unwrap();
            let key = ChildKey { key_gen: header.key_gen, key: key.key.clone() };
            if let (TreeName::Tenant(tenant), 0) = (place.tree, place.level) {
                if open_record(INSTANCE, place, &key, header.record_ver, wrapped).is_ok() {
                    reached.insert(VersionId::new(tenant, LeafSlot(place.index.try_into().unwrap())));
                }
            } else if let Ok(children) = open_keys(INSTANCE, place, &key, header.record_ver, wrapped) {
                for (slot, child) in children.into_iter().enumerate() {
                    let Some(child) = child else { continue };
                    open.extend(stands(place.child(slot)).into_iter().map(|below| (below, child.clone())));
                }
            }
        }
    }
    reached
}

/// Where a tree's root stands, or stood: growth moves its key up a level.
fn roots(tree: TreeName) -> impl Iterator<Item = Place> {
    (1..=7).map(move |height| Place::root(tree, height))
}

/// Places that a key may open which its parent gives for one.
fn stands(place: Place) -> Vec<Place> {
    match (place.tree, place.level) {
        (TreeName::Top, 0) => roots(TreeName::Tenant(TenantSlot(place.index.try_into().unwrap()))).collect(),
        (tree, level) if place.index == 0 && level > 0 => roots(tree).collect(),
        _ => vec![place],
    }
}
