//! `order`, `coverage`, `effacement`, `status`: what came after what, that nothing is left out, and how far it has come.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, Finding, need};
use crate::{
    certificate::body::{ErasureEpoch, KeySubject, Scope, Status},
    event::Event,
    id::Epoch,
};

pub(super) fn order(case: &Case<'_>) -> Finding {
    let (body, entries) = (case.body, &case.entries);
    for version in body.versions() {
        need(version.created < version.destroyed, || {
            format!("Version {} was destroyed before it was created.", version.number)
        })?;
    }
    let epochs: BTreeMap<Epoch, &ErasureEpoch> =
        body.erasure.epochs.iter().map(|epoch| (epoch.epoch, epoch)).collect();
    for index in body.request.iter().map(|request| request.destroy) {
        // An epoch that is not named is for `coverage` to say.
        let Some(epoch) = epochs.get(&entries.epoch_of(index)?) else { continue };
        let commit = entries.epoch_commit(epoch.commit)?;
        need(commit.first <= index && index <= commit.last && commit.last < epoch.commit, || {
            format!("Entry {index} does not stand among the destructions of epoch {}.", epoch.epoch)
        })?;
    }
    for epoch in &body.erasure.epochs {
        let after = epoch.effacement.as_ref().is_none_or(|done| epoch.commit < done.effacement);
        need(after, || format!("Epoch {} was effaced before it was committed.", epoch.epoch))?;
    }
    let line: Vec<_> = entries.iter().map(|(index, entry)| (index, entry.commit, entry.at)).collect();
    for pair in line.windows(2) {
        let [(before, ..), (after, ..)] = pair else { continue };
        let falls = pair[1].1 < pair[0].1 || pair[1].2 < pair[0].2;
        need(!falls, || {
            format!("Entry {after} says an earlier commit or time than entry {before} before it.")
        })?;
    }
    Ok("Created, destroyed, committed and effaced follow one another, in the log and by its times."
        .to_owned())
}

pub(super) fn coverage(case: &Case<'_>) -> Finding {
    let body = case.body;
    let named: BTreeSet<Epoch> = body.erasure.epochs.iter().map(|epoch| epoch.epoch).collect();
    let mut destroying = BTreeSet::new();
    for request in &body.request {
        destroying.insert(case.entries.epoch_of(request.destroy)?);
    }
    need(named == destroying, || {
        "The epochs of the destructions are not those that `erasure` names.".to_owned()
    })?;
    need(body.proofs.states.iter().map(|states| states.epoch).eq(named.iter().copied()), || {
        "The states are not those around the epochs that `erasure` names.".to_owned()
    })?;
    match (body.kind, body.key()) {
        (Scope::Key, Some(key)) => {
            distinct(key)?;
            whole(case, key)?;
            Ok(format!(
                "All {} versions of the key are there, and the log says that none was left.",
                key.versions.len()
            ))
        }
        (_, Some(key)) => {
            distinct(key)?;
            Ok("The version and its epoch are there.".to_owned())
        }
        (_, None) => {
            need(body.request.len() == 1, || {
                "A tenant is destroyed by one request, and there are more.".to_owned()
            })?;
            Ok("The tenant is destroyed as a whole.".to_owned())
        }
    }
}

fn distinct(key: &KeySubject) -> Result<(), String> {
    let uids: BTreeSet<_> = key.versions.iter().map(|version| version.uid).collect();
    let slots: BTreeSet<_> = key.versions.iter().map(|version| version.slot).collect();
    need(uids.len() == key.versions.len(), || "Two versions have one uid.".to_owned())?;
    need(slots.len() == key.versions.len(), || "Two versions have one slot.".to_owned())
}

/// Every version that the key had, and that it has no other.
fn whole(case: &Case<'_>, key: &KeySubject) -> Result<(), String> {
    let (Some(first), Some(newest)) = (key.versions.first(), key.versions.last()) else {
        return Err("It names no version.".to_owned());
    };
    let numbers = key.versions.iter().map(|version| version.number);
    need(numbers.eq(first.number..=newest.number), || "A version number is missing.".to_owned())?;
    for version in &key.versions {
        let made = case.entries.get(version.created)?.event.word();
        let should = if version.number == first.number { "KEY_CREATE" } else { "KEY_ROTATE" };
        need(made == should, || {
            "The first version, and no other, must be the one that `KEY_CREATE` made: an earlier one is missing.".to_owned()
        })?;
    }
    let mut last = false;
    for request in &case.body.request {
        last |= match case.entries.get(request.destroy)?.event {
            Event::DestroyVersion(event) => event.live == 0 && event.last == newest.number,
            Event::DestroyKey(event) => event.live == 0 && event.last == newest.number,
            Event::TenantDestroy(_) => true,
            _ => false,
        };
    }
    need(last, || "No destruction says that the key has no version left.".to_owned())
}

pub(super) fn effacement(case: &Case<'_>) -> Finding {
    let epochs = &case.body.erasure.epochs;
    let mut effaced = 0;
    for epoch in epochs {
        let Some(done) = &epoch.effacement else { continue };
        let index = done.effacement;
        match case.entries.get(index)?.event {
            Event::EpochEffaced(event) if (event.epoch, event.attempt) == (epoch.epoch, epoch.attempt) => {
                let before = epoch.epoch.0.checked_sub(1);
                need(event.effaced.0.iter().any(|(effaced, _)| Some(effaced.0) == before), || {
                    format!(
                        "Entry {index} does not name a secret of the epoch before {} as effaced.",
                        epoch.epoch
                    )
                })?;
            }
            _ => {
                return Err(format!(
                    "Entry {index} does not say that what was before epoch {} is effaced.",
                    epoch.epoch
                ));
            }
        }
        effaced += 1;
    }
    Ok(match epochs.len() {
        all if all == effaced => {
            "The log says of every epoch that the secrets before it were effaced.".to_owned()
        }
        all => format!(
            "Pending: the log says of {effaced} of {all} epochs that the secrets before it were effaced."
        ),
    })
}

pub(super) fn status(case: &Case<'_>) -> Finding {
    let erasure = &case.body.erasure;
    let done = |epoch: &ErasureEpoch| epoch.effacement.is_some() && epoch.quiesced <= case.body.issued;
    let status = if erasure.epochs.iter().all(done) { Status::Erased } else { Status::Pending };
    for epoch in erasure.epochs.iter().filter(|epoch| epoch.clients.is_some()) {
        need(epoch.quiesced <= case.body.issued, || {
            format!("It counts the clients of epoch {} before the last of them is done.", epoch.epoch)
        })?;
    }
    need(erasure.status == status, || {
        format!("It says `{}`, and what it says of its epochs comes to `{status}`.", erasure.status)
    })?;
    Ok(match status {
        Status::Erased => {
            "Every epoch is effaced, and no lease ran any more when the certificate was issued.".to_owned()
        }
        Status::Pending => {
            "An effacement is still to come, or a lease still ran when the certificate was issued.".to_owned()
        }
    })
}
