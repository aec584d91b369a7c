//! From planned records to stored ones.

use kms_core::{
    id::CommitNumber,
    tree::{Planned, PlannedRecord, Superseded},
};
use kms_proto::storage::{GarbageRecord, HashRecord, TreeRecord};
use prost::Message;

use super::{head::Head, nodes::shape_record};
use crate::{
    records::{
        Table, group_bytes, key_bytes,
        tree::{self, Garbage, Hashes, Nodes, Staged, TenantTrees},
    },
    store::Batch,
};

/// A stored key, and its value or removal.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

/// Most writes and bytes of a staged commit.
const STAGED_WRITES: usize = 128;
const STAGED_BYTES: usize = 256 * 1024;
/// Of those, left for the head, the list, and what rides along.
const RESERVED: usize = 16;
/// Most writes and bytes of the commit that switches an epoch, and of each one after it: well under what engines take.
const PART_WRITES: usize = 1024;
const PART_BYTES: usize = 256 * 1024;
/// Prefixes of one garbage record: under 4 KiB.
const GARBAGE: usize = 96;

/// Puts a record into a batch.
pub(super) fn put<T: Table>(key: &T::Key, value: &T::Value, batch: &mut Batch) {
    batch.put(key_bytes::<T>(key), value.encode_to_vec());
}

/// Puts the head into a batch.
pub(super) fn put_head(head: &Head, batch: &mut Batch) {
    put::<tree::Head>(&(), &head.to_record(), batch);
}

/// Puts the shapes and the garbage of a plan into a batch, and gives its records and hashes, each with whether it may be staged.
pub(super) fn of_tree(planned: &Planned, commit: CommitNumber, batch: &mut Batch) -> Vec<(bool, Vec<Write>)> {
    for (slot, shape) in &planned.shapes {
        put::<TenantTrees>(slot, &shape_record(shape), batch);
    }
    let mut prefixes = Vec::new();
    for superseded in &planned.superseded {
        match superseded {
            Superseded::Write(address) if address.record_ver.0 == 0 => {}
            Superseded::Write(address) => batch.remove(key_bytes::<Nodes>(address)),
            Superseded::Generation(place, key_gen) => {
                prefixes.push(group_bytes::<Nodes>(&(*place, *key_gen)));
                prefixes.push(key_bytes::<Hashes>(&(*place, *key_gen)));
            }
            Superseded::Tree(tenant) => {
                let tree = kms_core::tree::TreeName::Tenant(*tenant);
                prefixes.extend([tree::tree_prefix(tree), tree::hash_prefix(tree)]);
            }
        }
    }
    for (part, prefixes) in (0..).zip(prefixes.chunks(GARBAGE)) {
        put::<Garbage>(&(commit.0, part), &GarbageRecord { prefixes: prefixes.to_vec() }, batch);
    }
    let records = planned.records.iter().map(|record| (record.unreachable, vec![of_record(record)]));
    let hashes = planned.hashes.iter().map(|hash| {
        let key = key_bytes::<Hashes>(&(hash.place, hash.key_gen));
        (hash.unreachable, vec![(key, Some(HashRecord { hash: hash.hash.to_vec() }.encode_to_vec()))])
    });
    records.chain(hashes).collect()
}

fn of_record(record: &PlannedRecord) -> Write {
    let value = TreeRecord {
        wrapped: record.wrapped.clone(),
        leaf_hashes: record.leaf_hashes.clone(),
        uid: record.uid.map(|uid| uid.0.to_vec()).unwrap_or_default(),
    };
    (key_bytes::<Nodes>(&record.address), Some(value.encode_to_vec()))
}

/// Splits what nothing reaches into batches that each fit a staged commit after `base`; each names the nodes it wrote, so that they
/// are collected should the epoch be abandoned, and `head`, which ends it, takes that back. A small epoch is not staged at all.
pub(super) fn stage(tree: Vec<(bool, Vec<Write>)>, base: CommitNumber, head: &mut Batch) -> Vec<Batch> {
    let (mut staged, mut now) = (Vec::new(), Vec::new());
    for (unreachable, writes) in tree {
        if unreachable { staged.extend(writes) } else { now.extend(writes) }
    }
    head.writes.extend(now);
    if staged.len() + head.writes.len() <= STAGED_WRITES && bytes(&staged) <= STAGED_BYTES {
        head.writes.extend(staged);
        return Vec::new();
    }
    let mut batches: Vec<Batch> = Vec::new();
    let mut size = 0;
    for write in staged {
        let more = bytes(std::slice::from_ref(&write));
        let fits = batches.last().is_some_and(|batch| batch.writes.len() < STAGED_WRITES - RESERVED);
        if !fits || size + more > STAGED_BYTES {
            batches.push(Batch::default());
            size = 0;
        }
        size += more;
        if let Some(batch) = batches.last_mut() {
            batch.writes.push(write);
        }
    }
    for (number, batch) in (base.0 + 1..).zip(&mut batches) {
        let nodes = batch.writes.iter().map(|(key, _)| key.clone());
        let prefixes = nodes.filter(|key| key.first() == Some(&Nodes::PREFIX)).collect();
        put::<Staged>(&(number, 0), &GarbageRecord { prefixes }, batch);
        head.remove(key_bytes::<Staged>(&(number, 0)));
    }
    batches
}

/// Splits off what the commit that switches an epoch has no room for, into batches that follow it.
pub(super) fn split_tail(head: &mut Batch) -> Vec<Batch> {
    let (mut tail, mut part, mut size) = (Vec::new(), Batch::default(), 0);
    for write in std::mem::take(&mut head.writes) {
        let more = bytes(std::slice::from_ref(&write));
        if part.writes.len() >= PART_WRITES || size + more > PART_BYTES {
            tail.push(std::mem::take(&mut part));
            size = 0;
        }
        size += more;
        part.writes.push(write);
    }
    tail.push(part);
    *head = tail.remove(0);
    tail
}

fn bytes(writes: &[Write]) -> usize {
    writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 8).sum()
}
