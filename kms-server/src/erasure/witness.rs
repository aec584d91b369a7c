//! What an epoch leaves for those who will check it: public hashes along the paths that it changed, before and after.
//!
//! The trees go on changing, and what stood before an epoch is collected; so what a certificate will prove from is written with the
//! epoch itself. Nothing in it is secret.

use std::collections::BTreeSet;

use kms_core::{
    commitment::Hash,
    id::TenantSlot,
    tree::{FAN_OUT, Planned, TreeName, Witness},
};
use kms_proto::storage::{EpochNodeRecord, EpochTenantRecord};

use super::{
    view::{self, RecordError},
    writes,
};
use crate::{
    records::tree::{EpochNodes, EpochTenants, TenantTrees},
    store::{Batch, Store},
};

/// Hashes of a node's children.
pub type ChildHashes = [Option<Hash>; FAN_OUT];

/// Puts what the epoch of a plan touches into a batch. `store` is as the commit before left it.
pub(super) fn put(planned: &Planned, store: &dyn Store, batch: &mut Batch) -> Result<(), RecordError> {
    let mut tenants = BTreeSet::new();
    for witness in &planned.witnesses {
        if let TreeName::Tenant(tenant) = witness.place.tree {
            tenants.insert(tenant);
        }
        writes::put::<EpochNodes>(&(planned.epoch, witness.place), &encode(witness), batch);
    }
    tenants.extend(planned.gone_roots.iter().map(|(tenant, _)| *tenant));
    for tenant in tenants {
        let before = view::stored::<TenantTrees>(store, &tenant)?.unwrap_or_default();
        let of = |(slot, _): &&(TenantSlot, _)| *slot == tenant;
        let gone = planned.gone_roots.iter().find(|(slot, _)| *slot == tenant);
        let after = planned.shapes.iter().find(of).map_or(0, |(_, shape)| shape.height.into());
        let record = EpochTenantRecord {
            uid: before.uid,
            height_before: before.height,
            height: if gone.is_some() { 0 } else { after },
            root_before: gone.map(|(_, root)| root.to_vec()).unwrap_or_default(),
        };
        writes::put::<EpochTenants>(&(planned.epoch, tenant), &record, batch);
    }
    Ok(())
}

fn encode(witness: &Witness) -> EpochNodeRecord {
    let (none, mut record) = ([None; FAN_OUT], EpochNodeRecord::default());
    let before = witness.before.as_ref().unwrap_or(&none);
    for (slot, (before, after)) in before.iter().zip(&witness.after).enumerate() {
        if let Some(hash) = before {
            record.before |= 1 << slot;
            record.before_hashes.extend_from_slice(hash);
        }
        if before != after {
            record.changed |= 1 << slot;
            if let Some(hash) = after {
                record.there |= 1 << slot;
                record.hashes.extend_from_slice(hash);
            }
        }
    }
    record
}

/// Hashes of the children before and after; `None` where the record is not one that `put` wrote.
pub fn decode(record: &EpochNodeRecord) -> Option<(ChildHashes, ChildHashes)> {
    let mut hashes = record.before_hashes.as_chunks::<32>().0.iter();
    let mut before = [None; FAN_OUT];
    for (slot, child) in before.iter_mut().enumerate() {
        if record.before >> slot & 1 == 1 {
            *child = Some(*hashes.next()?);
        }
    }
    let (mut after, mut hashes) = (before, record.hashes.as_chunks::<32>().0.iter());
    for (slot, child) in after.iter_mut().enumerate() {
        if record.changed >> slot & 1 == 1 {
            *child = if record.there >> slot & 1 == 1 { Some(*hashes.next()?) } else { None };
        }
    }
    Some((before, after))
}

#[cfg(test)]
mod tests {
    use kms_core::tree::Place;

    use super::*;

    #[test]
    fn what_is_written_of_a_node_is_read_back() {
        let mut before = [None; FAN_OUT];
        (before[0], before[7], before[31]) = (Some([1; 32]), Some([2; 32]), Some([3; 32]));
        let mut after = before;
        (after[7], after[31], after[30]) = (None, Some([4; 32]), Some([5; 32]));
        let place = Place::root(TreeName::Top, 1);
        for (first, then) in [(before, after), (after, before), ([None; FAN_OUT], after), (before, before)] {
            let witness = Witness { place, before: Some(first), after: then };
            assert_eq!(decode(&encode(&witness)), Some((first, then)));
        }
    }
}
