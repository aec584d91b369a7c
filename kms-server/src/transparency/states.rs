//! Proofs about the committed states around an epoch, from what the epoch left for them.

use std::collections::{BTreeMap, BTreeSet};

use kms_core::{
    certificate::proofs::{Siblings, State, States, TenantProof},
    commitment::{Hash, empty_subtree, pair_hash},
    id::{Epoch, LeafSlot, TenantSlot},
    transparency::{SlotProof, SlotProofError},
    tree::{Place, TreeName},
};
use kms_proto::storage::{EpochRecord, EpochTenantRecord};

use crate::{
    erasure::{RecordError, Snapshot, witness},
    records::{
        Table,
        tree::{EpochNodes, EpochTenants},
    },
};

/// A proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The epoch did not touch what is asked about.
    #[error("the epoch left no proof of this")]
    Nothing,
    /// The shape of a proof.
    #[error(transparent)]
    Shape(#[from] SlotProofError),
}

/// Which of the two states.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// The proofs that versions, or a whole tenant where none is named, stood before an epoch and not after.
///
/// # Errors
/// Where the epoch left nothing to prove it from.
pub fn around(
    snapshot: &Snapshot,
    (epoch, record): (Epoch, &EpochRecord),
    tenant: TenantSlot,
    slots: &BTreeSet<LeafSlot>,
) -> Result<States, StateError> {
    let touched = snapshot.get::<EpochTenants>(&(epoch, tenant))?.ok_or(StateError::Nothing)?;
    let nodes = Nodes::read(snapshot, epoch)?;
    let known: BTreeSet<u64> = slots.iter().map(|slot| slot.0.into()).collect();
    let state = |side, live, top_height: u32, proof| -> Result<State, StateError> {
        let top_height = height(top_height)?;
        let top = nodes.prove(TreeName::Top, top_height, &BTreeSet::from([tenant.0.into()]), side)?;
        Ok(State { live, top_height, top, tenant: proof })
    };
    let (before, after) = match known.is_empty() {
        true => (whole(&touched)?, TenantProof::Empty),
        false => (
            nodes.slots(tenant, touched.height_before, &known, Side::Before)?,
            match touched.height {
                0 => TenantProof::Empty,
                after => nodes.slots(tenant, after, &known, Side::After)?,
            },
        ),
    };
    Ok(States {
        epoch,
        before: state(Side::Before, record.live_before, record.top_height_before, before)?,
        after: state(Side::After, record.live_versions, record.top_height, after)?,
    })
}

fn whole(touched: &EpochTenantRecord) -> Result<TenantProof, StateError> {
    let root = touched.root_before.as_slice().try_into().map_err(|_| StateError::Nothing)?;
    Ok(TenantProof::Root { height: height(touched.height_before)?, root })
}

fn height(stored: u32) -> Result<u8, RecordError> {
    u8::try_from(stored).map_err(|_| RecordError::Damaged(EpochTenants::NAME))
}

/// What an epoch left of the nodes that it touched.
struct Nodes(BTreeMap<Place, [witness::ChildHashes; 2]>);

impl Nodes {
    fn read(snapshot: &Snapshot, epoch: Epoch) -> Result<Self, RecordError> {
        let mut nodes = BTreeMap::new();
        for ((_, place), record) in snapshot.range::<EpochNodes>(&epoch, None, usize::MAX)? {
            let (before, after) = witness::decode(&record).ok_or(RecordError::Damaged(EpochNodes::NAME))?;
            nodes.insert(place, [before, after]);
        }
        Ok(Self(nodes))
    }

    fn slots(
        &self,
        tenant: TenantSlot,
        stored: u32,
        slots: &BTreeSet<u64>,
        side: Side,
    ) -> Result<TenantProof, StateError> {
        let height = height(stored)?;
        let slots = self.prove(TreeName::Tenant(tenant), height, slots, side)?;
        Ok(TenantProof::Slots { height, slots })
    }

    fn prove(
        &self,
        tree: TreeName,
        height: u8,
        slots: &BTreeSet<u64>,
        side: Side,
    ) -> Result<Siblings, StateError> {
        let mut missing = false;
        let proof = SlotProof::prove(5 * usize::from(height), slots, |level, index| {
            let hash = self.subtree(tree, (level, index), side);
            missing |= hash.is_none();
            hash.flatten()
        })?;
        if missing { Err(StateError::Nothing) } else { Ok(proof.siblings) }
    }

    /// The hash of 2^level slots from index·2^level on: inside the node that has them as children. `None` where that was not touched.
    fn subtree(&self, tree: TreeName, (level, index): (usize, u64), side: Side) -> Option<Option<Hash>> {
        let (fan_level, within) = (level / 5, level % 5);
        let first = index << within;
        let place = Place { tree, level: u8::try_from(fan_level + 1).ok()?, index: first >> 5 };
        let [before, after] = self.0.get(&place)?;
        let children = if side == Side::Before { before } else { after };
        let from = (first & 31) as usize;
        Some(fold(&children[from..from + (1 << within)], 5 * fan_level))
    }
}

/// The root of children of `below` binary levels each; `None` where there is none.
fn fold(children: &[Option<Hash>], below: usize) -> Option<Hash> {
    match children {
        [child] => *child,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            let levels = below + left.len().trailing_zeros() as usize;
            match (fold(left, below), fold(right, below)) {
                (None, None) => None,
                (left, right) => {
                    let empty = empty_subtree(levels);
                    Some(pair_hash(&left.unwrap_or(empty), &right.unwrap_or(empty)))
                }
            }
        }
    }
}
