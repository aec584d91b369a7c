//! `presence`, `absence`: what was destroyed stands in the state that each epoch began with, and not in the one that it ended with.

use std::collections::BTreeMap;

use super::{Case, Finding, need};
use crate::{
    certificate::{
        body::{ErasureEpoch, Version},
        proofs::{State, TenantProof},
    },
    commitment::{EMPTY, Hash, leaf_hash, state_root, tenant_hash},
    event::Event,
    id::Epoch,
    transparency::slots,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

pub(super) fn presence(case: &Case<'_>) -> Finding {
    all(case, Moment::Before)?;
    Ok("What was destroyed stood in the committed state before its epoch.".to_owned())
}

pub(super) fn absence(case: &Case<'_>) -> Finding {
    all(case, Moment::After)?;
    Ok("What was destroyed stands in the committed state after its epoch no more: its place is empty."
        .to_owned())
}

fn all(case: &Case<'_>, moment: Moment) -> Result<(), String> {
    let epochs: BTreeMap<Epoch, &ErasureEpoch> =
        case.body.erasure.epochs.iter().map(|epoch| (epoch.epoch, epoch)).collect();
    let mut versions: BTreeMap<Epoch, Vec<&Version>> = BTreeMap::new();
    for version in case.body.versions() {
        versions.entry(version.epoch).or_default().push(version);
    }
    for states in &case.body.proofs.states {
        let number = states.epoch;
        let epoch =
            epochs.get(&number).ok_or_else(|| format!("Epoch {number} is not named in `erasure`."))?;
        let commit = case.entries.epoch_commit(epoch.commit)?;
        let own = versions.get(&number).map_or(&[][..], Vec::as_slice);
        let (state, committed) = match moment {
            Moment::Before => (&states.before, commit.state_root_before),
            Moment::After => (&states.after, commit.state_root),
        };
        let root = root(case, state, own, (number, moment))?;
        let when = if moment == Moment::Before { "before" } else { "after" };
        need(root == committed, || {
            format!("The state {when} epoch {number} is another one than its commit says.")
        })?;
        need(moment == Moment::Before || state.live == commit.live, || {
            format!("The number of live versions after epoch {number} is another one than its commit says.")
        })?;
    }
    Ok(())
}

/// The commitment that a state's proofs come to.
fn root(case: &Case<'_>, state: &State, versions: &[&Version], of: (Epoch, Moment)) -> Result<Hash, String> {
    let (subject, (number, moment)) = (&case.body.subject, of);
    let unfit = |what: &str, error| format!("The proof of epoch {number} does not fit {what}: {error}.");
    let tenant = match &state.tenant {
        TenantProof::Empty => EMPTY,
        TenantProof::Root { height, root } => tenant_hash(subject.tenant_uid, *height, root),
        TenantProof::Slots { height, slots } => {
            stands(case, versions, of)?;
            let known =
                versions.iter().map(|version| (u64::from(version.slot.0), leaf(version, moment))).collect();
            let root = slots::root(levels(*height), &known, slots)
                .map_err(|error| unfit("the tenant's slots", error))?;
            tenant_hash(subject.tenant_uid, *height, &root)
        }
    };
    let known = BTreeMap::from([(u64::from(subject.tenant_slot.0), tenant)]);
    let top = slots::root(levels(state.top_height), &known, &state.top)
        .map_err(|error| unfit("the slots of tenants", error))?;
    Ok(state_root(state.top_height, &top, state.live))
}

/// A tenant that was destroyed with its versions does not stand afterwards.
fn stands(case: &Case<'_>, versions: &[&Version], (number, moment): (Epoch, Moment)) -> Result<(), String> {
    for version in versions.iter().filter(|_| moment == Moment::After) {
        let event = case.entries.get(version.destroyed)?.event;
        need(!matches!(event, Event::TenantDestroy(_)), || {
            format!("The tenant stands after epoch {number}, which is said to have destroyed it.")
        })?;
    }
    Ok(())
}

fn leaf(version: &Version, moment: Moment) -> Hash {
    match moment {
        Moment::Before => leaf_hash(version.uid, version.slot, version.alg, &version.kc),
        Moment::After => EMPTY,
    }
}

fn levels(height: u8) -> usize {
    5 * usize::from(height)
}
