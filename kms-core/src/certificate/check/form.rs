//! `form`: the bytes are a certificate, lists are in order, and what its kind does not have is not there.

use super::{CheckName, need};
use crate::{
    certificate::{
        Certificate, FormError,
        body::{Body, Destroyed, Scope, VERSION},
        proofs::{State, TenantProof},
    },
    event::Event,
    tree::MAX_HEIGHT,
};

/// Reads a file; where it is no certificate, which check says so, and why.
pub(super) fn read(file: &[u8]) -> Result<Certificate, (CheckName, String)> {
    let certificate =
        Certificate::from_file(file).map_err(|error| (name(&error), format!("{}.", capital(&error))))?;
    shape(&certificate.certificate).map_err(|sentence| (CheckName::Form, sentence))?;
    entries(&certificate.certificate).map_err(|sentence| (CheckName::Entries, sentence))?;
    Ok(certificate)
}

fn name(error: &FormError) -> CheckName {
    match error {
        FormError::Part(part) if part.is_entry() => CheckName::Entries,
        _ => CheckName::Form,
    }
}

fn capital(error: &FormError) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn shape(body: &Body) -> Result<(), String> {
    need(body.v == VERSION, || format!("`v` is {}; only {VERSION} is known.", body.v))?;
    match (&body.subject.destroyed, body.kind) {
        (Destroyed::Tenant { .. }, Scope::Tenant) => {}
        (Destroyed::Key(key), Scope::Version) => {
            need(key.versions.len() == 1, || {
                "It is about one version and names none, or several.".to_owned()
            })?;
        }
        (Destroyed::Key(key), Scope::Key) => {
            need(!key.versions.is_empty(), || "It is about a key and names no version of it.".to_owned())?;
        }
        _ => return Err("`kind` says something else than `subject`.".to_owned()),
    }
    let named = body.key().filter(|key| key.name.is_some());
    need(named.is_none_or(|key| key.key.subject().is_some()), || {
        "It carries the name of a subject, and is about a key that has none.".to_owned()
    })?;
    let numbered = body.versions().iter().all(|version| version.number > 0);
    need(numbered, || "The versions of a key are numbered from 1.".to_owned())?;
    rising("subject.versions", &body.versions().iter().map(|version| version.number).collect::<Vec<_>>())?;
    rising("request", &body.request.iter().map(|request| request.destroy).collect::<Vec<_>>())?;
    rising("erasure.epochs", &body.erasure.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>())?;
    rising("risks", &body.risks)?;
    let proofs = &body.proofs;
    rising("proofs.entries", &proofs.entries.iter().map(|entry| entry.index).collect::<Vec<_>>())?;
    let earlier: Vec<u64> = proofs.consistency.iter().map(|earlier| earlier.size).collect();
    rising("proofs.consistency", &earlier)?;
    need(earlier.first() != Some(&0), || {
        "Every log goes on from an empty one: that is no proof.".to_owned()
    })?;
    rising("proofs.states", &proofs.states.iter().map(|states| states.epoch).collect::<Vec<_>>())?;
    for states in &proofs.states {
        let fits = match (body.kind, &states.before.tenant, &states.after.tenant) {
            (Scope::Tenant, TenantProof::Root { .. }, TenantProof::Empty) => true,
            (Scope::Tenant, ..) => false,
            (_, TenantProof::Slots { .. }, TenantProof::Slots { .. } | TenantProof::Empty) => true,
            _ => false,
        };
        let low = height(&states.before).max(height(&states.after)) <= MAX_HEIGHT;
        need(fits && low, || {
            format!(
                "The states around epoch {} have not the members that `kind` asks for, or are higher than any tree.",
                states.epoch
            )
        })?;
    }
    Ok(())
}

/// What the types of entries do not say by themselves.
fn entries(body: &Body) -> Result<(), String> {
    for carried in &body.proofs.entries {
        let holds = match &carried.entry.event {
            Event::KeyCreate(event) => event.number > 0,
            Event::KeyRotate(event) => event.number > 0,
            Event::DestroyVersion(event) => event.number > 0 && event.last > 0,
            Event::DestroyKey(event) => event.last > 0 && event.live == 0,
            _ => true,
        };
        need(holds, || format!("Entry {} has a number that its type cannot have.", carried.index))?;
    }
    Ok(())
}

fn height(state: &State) -> u8 {
    let tenant = match state.tenant {
        TenantProof::Slots { height, .. } | TenantProof::Root { height, .. } => height,
        TenantProof::Empty => 0,
    };
    state.top_height.max(tenant)
}

fn rising<K: Ord>(list: &str, keys: &[K]) -> Result<(), String> {
    need(keys.is_sorted_by(|before, after| before < after), || {
        format!("The list `{list}` is out of order, or names something twice.")
    })
}
