//! `entries`, `inclusion`, `consistency`: what the log says, and that it says so.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, Finding, need};
use crate::{
    canonical::{Instant, Members, Value},
    certificate::body::Body,
    commitment::Hash,
    event::{EpochCommit, Event},
    id::{CommitNumber, Epoch},
    transparency::{MultiProof, leaf_hash, verify_consistency},
};

/// The entries that a certificate carries, by index.
pub(super) struct Entries<'a>(BTreeMap<u64, Carried<'a>>);

/// One of them.
pub(super) struct Carried<'a> {
    pub(super) commit: CommitNumber,
    pub(super) at: Instant,
    pub(super) event: &'a Event,
    members: Members,
    leaf: Hash,
}

impl<'a> Entries<'a> {
    pub(super) fn of(body: &'a Body) -> Self {
        let carried = body.proofs.entries.iter().map(|indexed| {
            let entry = &indexed.entry;
            let value = entry.to_value();
            let leaf = leaf_hash(value.compact().as_bytes());
            let Value::Object(members) = value else { return (indexed.index, None) };
            let (commit, at, event) = (entry.commit, entry.at, &entry.event);
            (indexed.index, Some(Carried { commit, at, event, members, leaf }))
        });
        Self(carried.filter_map(|(index, carried)| Some((index, carried?))).collect())
    }

    /// The entry at an index.
    pub(super) fn get(&self, index: u64) -> Result<&Carried<'a>, String> {
        self.0.get(&index).ok_or_else(|| format!("Entry {index} is referred to, and is not carried."))
    }

    /// All, by rising index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Carried<'a>)> {
        self.0.iter().map(|(index, carried)| (*index, carried))
    }

    /// The commit of an epoch, at the index that the certificate says.
    pub(super) fn epoch_commit(&self, index: u64) -> Result<&'a EpochCommit, String> {
        match self.get(index)?.event {
            Event::EpochCommit(commit) => Ok(commit),
            _ => Err(format!("Entry {index} is not the commit of an epoch.")),
        }
    }

    /// The epoch that an entry which destroys belongs to.
    pub(super) fn epoch_of(&self, index: u64) -> Result<Epoch, String> {
        match self.get(index)?.event {
            Event::DestroyVersion(event) => Ok(event.epoch),
            Event::DestroyKey(event) => Ok(event.epoch),
            Event::TenantDestroy(event) => Ok(event.epoch),
            _ => Err(format!("Entry {index} destroys nothing.")),
        }
    }
}

impl Carried<'_> {
    /// What it says under a name.
    pub(super) fn says(&self, member: &str) -> Option<&Value> {
        self.members.get(member)
    }
}

pub(super) fn carried(case: &Case<'_>) -> Finding {
    let (body, size) = (case.body, case.body.proofs.checkpoint.size);
    for (index, _) in case.entries.iter() {
        need(index < size, || {
            format!("Entry {index} lies beyond the log's head, which has {size} entries.")
        })?;
    }
    let requests = body.request.iter().map(|request| request.destroy);
    let versions = body.versions().iter().flat_map(|version| [version.created, version.destroyed]);
    let epochs = body.erasure.epochs.iter().flat_map(|epoch| {
        std::iter::once(epoch.commit).chain(epoch.effacement.as_ref().map(|done| done.effacement))
    });
    let referred: BTreeSet<u64> = requests.chain(versions).chain(epochs).collect();
    let carried: BTreeSet<u64> = case.entries.iter().map(|(index, _)| index).collect();
    if let Some(missing) = referred.difference(&carried).next() {
        return Err(format!("Entry {missing} is referred to, and is not carried."));
    }
    if let Some(extra) = carried.difference(&referred).next() {
        return Err(format!("Entry {extra} is carried, and nothing refers to it."));
    }
    Ok(format!("Its {} entries are well formed, and each is referred to.", carried.len()))
}

pub(super) fn inclusion(case: &Case<'_>) -> Finding {
    let (proofs, head) = (&case.body.proofs, &case.body.proofs.checkpoint);
    let leaves: BTreeMap<u64, Hash> =
        case.entries.iter().map(|(index, carried)| (index, carried.leaf)).collect();
    let proof = MultiProof { hashes: proofs.inclusion.clone() };
    proof
        .verify(&head.root, head.size, &leaves)
        .map_err(|error| format!("The entries do not stand in the log whose head is signed: {error}."))?;
    Ok(format!("The entries stand in the log whose head is signed, among its {} entries.", head.size))
}

pub(super) fn consistency(case: &Case<'_>) -> Finding {
    let head = &case.body.proofs.checkpoint;
    let earlier = &case.body.proofs.consistency;
    for old in earlier {
        need(old.size < head.size, || {
            format!("The head of {} entries is not earlier than that of {}.", old.size, head.size)
        })?;
        verify_consistency(old.size, &old.root, head.size, &head.root, &old.proof).map_err(|error| {
            format!("The log does not go on from its head of {} entries: {error}.", old.size)
        })?;
    }
    Ok(match earlier.len() {
        0 => "It leads from no earlier head of the log.".to_owned(),
        1 => "The log goes on from the one earlier head that it names.".to_owned(),
        more => format!("The log goes on from each of the {more} earlier heads that it names."),
    })
}
