//! `binding`: what the certificate says is what the entries say that it points to.

use std::collections::BTreeSet;

use super::{Case, Finding, entries::Carried, need};
use crate::{
    canonical::Value,
    certificate::{
        body::{Body, Destroyed, KeySubject, Scope, Version},
        part::Part,
    },
    event::Event,
};

type Said<'a> = &'a [(&'static str, Value)];

const CREATES: &[&str] = &["KEY_CREATE", "KEY_ROTATE"];
const DESTROYS: &[&str] = &["DESTROY", "TENANT_DESTROY"];

pub(super) fn check(case: &Case<'_>) -> Finding {
    let body = case.body;
    match &body.subject.destroyed {
        Destroyed::Key(key) => {
            for version in &key.versions {
                created(case, key, version)?;
                destroyed(case, key, version)?;
            }
            let requests: BTreeSet<u64> = body.request.iter().map(|request| request.destroy).collect();
            let destructions: BTreeSet<u64> = key.versions.iter().map(|version| version.destroyed).collect();
            need(requests == destructions, || {
                "`request` names other destructions than the versions do.".to_owned()
            })?;
        }
        Destroyed::Tenant { live } => {
            for request in &body.request {
                let said = [&tenant(body)[..], &[("live", live.to_value())]].concat();
                agrees(case, request.destroy, &["TENANT_DESTROY"], &said)?;
            }
        }
    }
    requests(case)?;
    epochs(case)?;
    Ok("Subject, requests, epochs and media are those of the entries.".to_owned())
}

fn created(case: &Case<'_>, key: &KeySubject, version: &Version) -> Result<(), String> {
    let said = [
        &own(case.body, key, version)[..],
        &[
            ("alg", version.alg.to_value()),
            ("kc", version.kc.to_value()),
            ("origin", version.origin.to_value()),
            ("class", key.class.to_value()),
        ],
    ];
    agrees(case, version.created, CREATES, &said.concat()).map(|_| ())
}

fn destroyed(case: &Case<'_>, key: &KeySubject, version: &Version) -> Result<(), String> {
    let index = version.destroyed;
    let entry = agrees(case, index, DESTROYS, &[("epoch", version.epoch.to_value())])?;
    let (said, last) = match entry.event {
        Event::DestroyVersion(event) => (own(case.body, key, version), event.last),
        Event::DestroyKey(event) => (of_key(case.body, key), event.last),
        _ => (tenant(case.body), u32::MAX),
    };
    agrees(case, index, DESTROYS, &said)?;
    need(version.number <= last, || {
        format!("The destruction of version {} names an older one as the key's newest.", version.number)
    })
}

fn requests(case: &Case<'_>) -> Result<(), String> {
    for request in &case.body.request {
        let said = [
            ("by", request.by.to_value()),
            ("at", request.at.to_value()),
            ("reason", request.reason.to_value()),
            ("ticket", request.ticket.to_value()),
        ];
        let entry = agrees(case, request.destroy, DESTROYS, &said)?;
        let scope = match entry.event {
            Event::DestroyVersion(_) => Scope::Version,
            Event::DestroyKey(_) => Scope::Key,
            _ => Scope::Tenant,
        };
        need(request.scope == scope, || format!("Entry {} says another `scope`.", request.destroy))?;
    }
    Ok(())
}

fn epochs(case: &Case<'_>) -> Result<(), String> {
    let body = case.body;
    let mut effacements = Vec::new();
    for epoch in &body.erasure.epochs {
        let said = [
            ("epoch", epoch.epoch.to_value()),
            ("attempt", epoch.attempt.to_value()),
            ("at", epoch.committed.to_value()),
        ];
        agrees(case, epoch.commit, &["EPOCH_COMMIT"], &said)?;
        if let Some(done) = &epoch.effacement {
            agrees(case, done.effacement, &["EPOCH_EFFACED"], &[("at", done.effaced.to_value())])?;
            effacements.push(done.effacement);
        }
    }
    let media = body.effaceable.iter().map(|medium| medium.effacement);
    need(media.eq(effacements), || "`effaceable` names other effacements than `erasure` does.".to_owned())?;
    for medium in &body.effaceable {
        let said = [
            ("class", medium.class.to_value()),
            ("assurance", medium.assurance.to_value()),
            ("technique", medium.technique.to_value()),
            ("media", medium.media.to_value()),
            ("verification", medium.verification.to_value()),
        ];
        agrees(case, medium.effacement, &["EPOCH_EFFACED"], &said)?;
    }
    Ok(())
}

/// The entry, if it is of one of these types and says just this.
fn agrees<'c>(
    case: &'c Case<'_>,
    index: u64,
    types: &[&str],
    said: Said<'_>,
) -> Result<&'c Carried<'c>, String> {
    let entry = case.entries.get(index)?;
    need(types.contains(&entry.event.word()), || {
        format!("Entry {index} is a {}, where a {} should stand.", entry.event.word(), types.join(" or "))
    })?;
    match said.iter().find(|(member, value)| entry.says(member) != Some(value)) {
        None => Ok(entry),
        Some((member, _)) => Err(format!("Entry {index} says another `{member}` than the certificate.")),
    }
}

fn tenant(body: &Body) -> Vec<(&'static str, Value)> {
    let subject = &body.subject;
    vec![
        ("tenant", subject.tenant.to_value()),
        ("tenant_uid", subject.tenant_uid.to_value()),
        ("tenant_slot", subject.tenant_slot.to_value()),
    ]
}

fn of_key(body: &Body, key: &KeySubject) -> Vec<(&'static str, Value)> {
    vec![
        ("tenant_uid", body.subject.tenant_uid.to_value()),
        ("key", key.key.to_value()),
        ("key_uid", key.key_uid.to_value()),
    ]
}

fn own(body: &Body, key: &KeySubject, version: &Version) -> Vec<(&'static str, Value)> {
    let mut said = of_key(body, key);
    said.extend([
        ("number", version.number.to_value()),
        ("version_uid", version.uid.to_value()),
        ("slot", version.slot.to_value()),
    ]);
    said
}
