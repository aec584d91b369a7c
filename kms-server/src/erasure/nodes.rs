//! Where the writer reads the trees: a bounded cache of opened nodes over the store. Filled only with what is committed.

use std::sync::Arc;

use kms_core::{
    commitment::Hash,
    id::{Epoch, InstanceId, KeyGen, RecordVer, TenantSlot, Uid},
    tree::{
        ChildKey, FAN_OUT, Node, NodeError, Place, PlanError, Planned, Source, TenantShape, TreeName,
        open_keys,
    },
};
use kms_proto::storage::{TenantTreeRecord, TreeRecord};
use quick_cache::unsync::Cache;

use super::view::{self, RecordError};
use crate::{
    records::{
        Table, group_bytes, key_bytes, parse_key,
        tree::{Hashes, Nodes, TenantTrees},
    },
    store::{ReadError, Store},
};

/// About 4 KiB each.
const NODES: usize = 2048;

/// The trees cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("a tree record is missing")]
    Missing,
}

impl From<ReadError> for TreeError {
    fn from(error: ReadError) -> Self {
        Self::Record(error.into())
    }
}

impl From<NodeError> for TreeError {
    fn from(error: NodeError) -> Self {
        Self::Plan(error.into())
    }
}

/// Opened nodes, as the last commit left them.
pub(super) struct NodeCache(Cache<Place, Arc<Node>>);

impl NodeCache {
    pub(super) fn new() -> Self {
        Self(Cache::new(NODES))
    }

    #[cfg(test)]
    pub(super) fn get(&self, place: &Place) -> Option<&Arc<Node>> {
        self.0.peek(place)
    }

    /// Takes over what a commit, now durable, left.
    // ORDER: only after the commit. A node cached earlier could be written back after an epoch that destroyed a child of it.
    pub(super) fn fill(&mut self, planned: &mut Planned) {
        if !planned.gone.is_empty() {
            self.0.retain(|place, _| match place.tree {
                TreeName::Tenant(tenant) => !planned.gone.contains(&tenant),
                TreeName::Top => true,
            });
        }
        planned.nodes.drain(..).for_each(|(place, node)| self.0.insert(place, node));
    }
}

/// Reads of one plan.
pub(super) struct Nodebook<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) cache: &'a NodeCache,
    pub(super) instance: InstanceId,
    /// An abandoned epoch may have left records under generations that are not in use yet.
    pub(super) abandoned: bool,
}

impl Source for Nodebook<'_> {
    type Error = TreeError;

    fn node(&mut self, place: Place, key: &ChildKey) -> Result<Arc<Node>, TreeError> {
        // A node in the cache under another generation is that of before a growth.
        if let Some(node) = self.cache.0.get(&place).filter(|node| node.key.key_gen == key.key_gen) {
            return Ok(node.clone());
        }
        let last = self.store.last(&group_bytes::<Nodes>(&(place, key.key_gen)))?;
        let (address, value) = last.ok_or(TreeError::Missing)?;
        let address = parse_key::<Nodes>(&address).ok_or(RecordError::Damaged(Nodes::NAME))?;
        let record = view::decode::<Nodes>(&value)?;
        let keys = open_keys(self.instance, place, key, address.record_ver, &record.wrapped)?;
        let hashes = match (place.tree, place.level) {
            (TreeName::Tenant(_), 1) => beside(&record, &keys)?,
            _ => self.hashes(place, &keys)?,
        };
        Ok(Arc::new(Node::new(place, key.clone(), address.record_ver, keys, hashes)?))
    }

    fn shape(&mut self, tenant: TenantSlot) -> Result<Option<TenantShape>, TreeError> {
        let record = view::stored::<TenantTrees>(self.store, &tenant)?;
        let shape = record.map(|record| shape(&record).ok_or(RecordError::Damaged(TenantTrees::NAME)));
        Ok(shape.transpose()?)
    }

    fn abandoned(&mut self, place: Place, key_gen: KeyGen) -> Result<RecordVer, TreeError> {
        if !self.abandoned {
            return Ok(RecordVer(0));
        }
        let last = self.store.last(&group_bytes::<Nodes>(&(place, key_gen)))?;
        let address = last.and_then(|(address, _)| parse_key::<Nodes>(&address));
        Ok(address.map_or(RecordVer(0), |address| address.record_ver))
    }
}

impl Nodebook<'_> {
    /// Hashes of the children of a node whose children are nodes or tenants: records of their own, in order of index.
    fn hashes(
        &self,
        place: Place,
        keys: &[Option<ChildKey>; FAN_OUT],
    ) -> Result<[Option<Hash>; FAN_OUT], TreeError> {
        let mut hashes = [None; FAN_OUT];
        let prefix = group_bytes::<Hashes>(&(place.tree, place.level - 1));
        let (first, last) = (place.child(0), place.child(FAN_OUT - 1));
        // A key ends in its generation, so one without is just before all of its place.
        let mut after = key_bytes::<Hashes>(&(first, KeyGen(0)));
        after.truncate(after.len() - 8);
        loop {
            let pairs = self.store.range(&prefix, Some(&after), 2 * FAN_OUT)?;
            for (key, value) in &pairs {
                let (child, key_gen) = parse_key::<Hashes>(key).ok_or(RecordError::Damaged(Hashes::NAME))?;
                if child.index > last.index {
                    return Ok(hashes);
                }
                let slot = child.child_slot();
                if keys[slot].as_ref().is_some_and(|key| key.key_gen == key_gen) {
                    let hash = view::decode::<Hashes>(value)?.hash;
                    let hash = hash.as_slice().try_into().map_err(|_| RecordError::Damaged(Hashes::NAME))?;
                    hashes[slot] = Some(hash);
                }
            }
            match pairs.into_iter().last() {
                Some((last, _)) => after = last,
                None => return Ok(hashes),
            }
        }
    }
}

/// Leaf hashes, which stand beside the node above leaves.
fn beside(
    record: &TreeRecord,
    keys: &[Option<ChildKey>; FAN_OUT],
) -> Result<[Option<Hash>; FAN_OUT], TreeError> {
    let (chunks, rest) = record.leaf_hashes.as_chunks::<32>();
    if chunks.len() != keys.iter().flatten().count() || !rest.is_empty() {
        return Err(NodeError::Hashes.into());
    }
    let mut chunks = chunks.iter();
    Ok(std::array::from_fn(|slot| keys[slot].as_ref().and_then(|_| chunks.next().copied())))
}

fn shape(record: &TenantTreeRecord) -> Option<TenantShape> {
    Some(TenantShape {
        uid: Uid::try_from(record.uid.as_slice()).ok()?,
        height: u8::try_from(record.height).ok()?,
        next_leaf: record.next_leaf_slot,
        live: record.live_versions,
        destroyed: (record.destroyed_epoch != 0).then_some(Epoch(record.destroyed_epoch)),
    })
}

pub(super) fn shape_record(shape: &TenantShape) -> TenantTreeRecord {
    TenantTreeRecord {
        uid: shape.uid.0.to_vec(),
        height: shape.height.into(),
        next_leaf_slot: shape.next_leaf,
        live_versions: shape.live,
        destroyed_epoch: shape.destroyed.map_or(0, |epoch| epoch.0),
    }
}
