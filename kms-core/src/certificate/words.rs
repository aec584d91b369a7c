//! What a certificate's facts mean, in sentences for people who read no hashes: proven, attested, assumed.
//!
//! Never more than the facts say. A verifier shows these, made from what it checked, and not those that the certificate carries.

use super::body::{Body, Clients, Destroyed, MediumClass, Scope, Status, Version};
use crate::canonical::{Instant, Text};

/// The three lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What can be computed again by anybody.
    pub proven: Vec<Text>,
    /// What the key centre says, to be believed or not.
    pub attested: Vec<Text>,
    /// What nobody can show.
    pub assumed: Vec<Text>,
}

impl Words {
    /// About a certificate.
    pub fn about(body: &Body) -> Self {
        let texts = |sentences: Vec<String>| sentences.iter().map(|text| Text::lossy(text)).collect();
        Self { proven: texts(proven(body)), attested: texts(attested(body)), assumed: texts(assumed(body)) }
    }
}

/// What was destroyed, as a sentence's subject: `version 1 of the key orders`.
pub fn subject(body: &Body) -> String {
    match (&body.subject.destroyed, body.kind) {
        (Destroyed::Tenant { .. }, _) => format!("the tenant {}", body.subject.tenant),
        (Destroyed::Key(key), Scope::Version) => {
            let number = key.versions.first().map_or(0, |version| version.number);
            format!("version {number} of the key {}", key.key)
        }
        (Destroyed::Key(key), _) => format!("the key {}", key.key),
    }
}

/// An instant for people: `2026-11-27 12:00:00 UTC`.
pub fn moment(instant: Instant) -> String {
    let text = instant.to_string();
    let (date, time) = (text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    format!("{date} {time} UTC")
}

fn proven(body: &Body) -> Vec<String> {
    let it = subject(body);
    let mut out = vec![format!(
        "The key centre signed these statements, in this order, in one log that can only grow: {}.",
        statements(body).join("; ")
    )];
    match body.kind {
        Scope::Version => {}
        Scope::Key => out.push(format!(
            "Every version that the key ever had up to the last destruction is among them: {}; and the log says that none was left.",
            numbers(body.versions())
        )),
        Scope::Tenant => out.push("A tenant is destroyed as a whole, with every key in it.".to_owned()),
    }
    let epochs = epochs(body);
    out.push(format!(
        "Before {epochs}, {it} stood in the state of all keys that the key centre had committed to."
    ));
    out.push(format!("After {epochs}, {it} stands there no more: its place is empty."));
    let witnesses = body.proofs.checkpoint.cosignatures.iter();
    for name in witnesses.filter_map(|witness| witness.key.as_str().split('+').next()) {
        out.push(format!("The witness {name} signed the same head of the log."));
    }
    out
}

fn statements(body: &Body) -> Vec<String> {
    let mut out = Vec::new();
    let versions = body.versions();
    match versions {
        [] => {}
        [only] => out.push(format!("the version was created (entry {})", only.created)),
        [first, .., last] => out.push(format!(
            "its {} versions were created (entries {} to {})",
            versions.len(),
            first.created,
            last.created
        )),
    }
    let requests = body.request.iter();
    out.extend(requests.map(|request| {
        let (by, at) = (request.by.as_str(), moment(request.at));
        format!(
            "{by} asked for the destruction on {at}, reason {} (entry {})",
            request.reason, request.destroy
        )
    }));
    for epoch in &body.erasure.epochs {
        let (number, at) = (epoch.epoch, moment(epoch.committed));
        out.push(format!(
            "epoch {number} was committed on {at}, and the destroyed keys stand in it no more (entry {})",
            epoch.commit
        ));
        if let Some(done) = &epoch.effacement {
            let at = moment(done.effaced);
            out.push(format!(
                "the secrets before epoch {number} were effaced on {at} (entry {})",
                done.effacement
            ));
        }
    }
    out
}

fn attested(body: &Body) -> Vec<String> {
    let mut out = vec![
        "The state of all keys that the key centre committed to is the one that it stores and serves."
            .to_owned(),
    ];
    for medium in &body.effaceable {
        let worth = match medium.class {
            MediumClass::None => "class none, no standard claimed",
            MediumClass::Token => "class token",
            MediumClass::Clear => "class clear",
        };
        out.push(format!(
            "The secret without which nothing older can be opened was effaced ({worth}). Medium: {}. Technique: {}. Looked at afterwards: {}. This rests on: {}.",
            medium.media, medium.technique, medium.verification, medium.assurance
        ));
    }
    let quiesced = body.erasure.epochs.iter().map(|epoch| epoch.quiesced).max();
    if let Some(at) = quiesced.map(moment) {
        out.push(match body.erasure.status {
            Status::Erased => ended(body, &at),
            Status::Pending => {
                format!("The last lease under which an application can use a key of it ends by {at}.")
            }
        });
    }
    out.push("No backup exists from which it could be opened.".to_owned());
    if let Some(key) = body.key() {
        let issued: u64 =
            key.versions.iter().fold(0, |sum, version| sum.saturating_add(version.data_keys_issued));
        out.push(match issued {
            0 => "No data key was handed out to applications.".to_owned(),
            1 => "At least one data key was handed out to applications.".to_owned(),
            issued => format!("At least {issued} data keys were handed out to applications."),
        });
        if key.name.is_some() {
            out.push("The key was that of the subject whose name it carries, salted: with the salt, the name can be compared.".to_owned());
        }
        out.push(format!(
            "The tenant whose uid is {} is called {}.",
            body.subject.tenant_uid, body.subject.tenant
        ));
    }
    out.push("The times are right.".to_owned());
    out
}

/// When no application could use a key of it any more, and how far that is because they said so.
// Clients are counted by epoch, and what else an epoch destroyed may have had clients of its own: no count is said to be of this key.
fn ended(body: &Body, at: &str) -> String {
    let last = format!("The last lease under which an application could use a key of it ended by {at}");
    let mut clients = (0_u64, 0_u64);
    for epoch in &body.erasure.epochs {
        let Some(Clients { clients_confirmed, clients_ended }) = epoch.clients else {
            return format!("{last}.");
        };
        clients.0 = clients.0.saturating_add(clients_confirmed);
        clients.1 = clients.1.saturating_add(clients_ended);
    }
    let of_the_epoch =
        "of the applications that could use a key destroyed in the same epoch, this one or another,";
    match clients {
        (0, 0) => format!("No application held a lease under which it could use a key of it by {at}."),
        (confirmed, 0) => format!(
            "Every application that could use a key of it confirmed by {at} that it had wiped it; {of_the_epoch} {confirmed} of {confirmed} did."
        ),
        (0, ended) => {
            format!(
                "{last}; {of_the_epoch} the leases of {ended} had run, and none confirmed before that it had wiped it."
            )
        }
        (confirmed, ended) => format!(
            "{last}, or was confirmed to be wiped; {of_the_epoch} {confirmed} confirmed that they had wiped it, and the leases of {ended} simply ended."
        ),
    }
}

fn assumed(body: &Body) -> Vec<String> {
    let mut out = vec![
        "Nobody copied the key, the secret that led to it, or the memory that held them, while they lived.".to_owned(),
        "The key stood in no second place under another name, and the key centre shows everybody the same log."
            .to_owned(),
        "SHA-256 and Ed25519 hold, and nobody but the key centre signs with the log's key.".to_owned(),
    ];
    if body.key().is_some() {
        out.push(
            "Should the key turn up all the same: together with its blind it opens the commitment in this certificate, which convicts the signer."
                .to_owned(),
        );
    }
    out
}

fn epochs(body: &Body) -> String {
    let numbers: Vec<String> = body.erasure.epochs.iter().map(|epoch| epoch.epoch.to_string()).collect();
    match numbers.as_slice() {
        [one] => format!("epoch {one}"),
        [first, .., last] if numbers.len() > 5 => {
            format!("the {} epochs from {first} to {last} in which it was destroyed", numbers.len())
        }
        _ => format!("the epochs {}", numbers.join(", ")),
    }
}

fn numbers(versions: &[Version]) -> String {
    match versions {
        [first, .., last] => format!("{} to {}", first.number, last.number),
        [only] => format!("number {}", only.number),
        [] => "none".to_owned(),
    }
}
