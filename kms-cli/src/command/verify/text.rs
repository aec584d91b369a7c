//! What was found, for people and for programs. Words of the certificate's own are shown only where the verifier made them itself.

use kms_core::certificate::{
    body::{Body, ErasureEpoch, Status},
    check::{Check, Outcome, Standing, Verdict},
    words::{Words, moment, subject},
};
use serde_json::{Value, json};

use crate::{print, words::count};

/// The object of `-o json`.
pub(super) fn json(outcome: &Outcome) -> Value {
    let check =
        |check: &Check| json!({ "name": check.name.as_str(), "ok": check.ok, "detail": check.detail });
    let names = |wanted: fn(&Standing) -> bool| -> Vec<&str> {
        outcome.risks.iter().filter(|risk| wanted(risk)).map(|risk| risk.risk.as_str()).collect()
    };
    json!({
        "verdict": outcome.verdict.as_str(),
        "class": outcome.class().map(|class| class.as_str()),
        "risks": names(|_| true),
        "accepted_risks": names(|risk| risk.accepted),
        "subject": believed(outcome).map(|body| json!({
            "kind": body.kind.as_str(),
            "tenant": body.subject.tenant.as_str(),
            "tenant_uid": body.subject.tenant_uid.to_string(),
            "key": body.key().map(|key| key.key.to_string()),
            "versions": body.versions().iter().map(|version| version.number).collect::<Vec<_>>(),
        })),
        "checks": outcome.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

/// The body of a certificate that holds.
pub(super) fn believed(outcome: &Outcome) -> Option<&Body> {
    let certificate = outcome.certificate.as_ref().filter(|_| outcome.verdict != Verdict::Invalid);
    certificate.map(|certificate| &certificate.certificate)
}

/// The verdict in a sentence.
pub(super) fn verdict(outcome: &Outcome) -> String {
    let Some(body) = believed(outcome) else {
        let failed = outcome.failures().count() as u64;
        return format!(
            "this proves nothing: {} of the certificate fail{}",
            count(failed, "check"),
            if failed == 1 { "s" } else { "" }
        );
    };
    let it = subject(body);
    let open = outcome.risks.iter().filter(|risk| !risk.accepted).count() as u64;
    let risks =
        format!("{} {}", count(open, "risk"), if open == 1 { "stands that is" } else { "stand that are" });
    match outcome.verdict {
        Verdict::Erased if outcome.risks.is_empty() => format!("{it} is erased, and no risk stands"),
        Verdict::Erased => format!("{it} is erased; the risks that stand are accepted by the policy"),
        Verdict::Residual => format!("{it} is erased; {risks} not accepted"),
        Verdict::Pending | Verdict::Invalid => format!("{it} is destroyed; the erasure is not complete yet"),
    }
}

/// All of it, for people.
pub(super) fn people(outcome: &Outcome) -> String {
    let mut parts = vec![format!("{}: {}", outcome.verdict, print::harmless(&verdict(outcome)))];
    if let Some(body) = believed(outcome) {
        parts.push(print::facts(&facts(body)));
    }
    let mut checks: Vec<&Check> = outcome.checks.iter().collect();
    // Those that fail come first: they are what is looked for.
    checks.sort_by_key(|check| check.ok);
    let width = checks.iter().map(|check| check.name.as_str().len()).max().unwrap_or_default();
    let line = |check: &&Check| {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        format!("  {mark}  {:<width$}  {}", check.name.as_str(), print::harmless(&check.detail))
    };
    parts.push(section("Checks", checks.iter().map(line)));
    if let Some(body) = believed(outcome) {
        let Words { proven, attested, assumed } = Words::about(body);
        let item = |text: &kms_core::canonical::Text| format!("  - {text}");
        parts.push(section("Proven: anybody can compute this again", proven.iter().map(item)));
        parts.push(section(
            "Attested, not proven: the key centre says so, and signed it",
            attested.iter().map(item),
        ));
        parts.push(section("Assumed, not proven: nobody can show this", assumed.iter().map(item)));
        parts.push(section("Risks that stand", outcome.risks.iter().map(risk)));
    }
    parts.join("\n\n")
}

fn risk(standing: &Standing) -> String {
    let accepted = if standing.accepted { " (accepted by the policy)" } else { "" };
    let risk = standing.risk;
    format!("  - {risk}{accepted}: {}\n    What would lift it: {}", risk.meaning(), risk.remedy())
}

fn section(heading: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.collect();
    match lines.is_empty() {
        true => format!("{heading}\n  none"),
        false => format!("{heading}\n{}", lines.join("\n")),
    }
}

/// What was destroyed, when, and at whose request.
pub(super) fn facts(body: &Body) -> Vec<(&'static str, String)> {
    let epochs = &body.erasure.epochs;
    let requests = body.request.iter().map(|request| {
        let ticket = if request.ticket.as_str().is_empty() {
            String::new()
        } else {
            format!(", ticket {}", request.ticket)
        };
        format!("{} on {}, reason {}{ticket}", request.by, moment(request.at), request.reason)
    });
    let effaced = epochs.iter().filter_map(|epoch| Some(moment(epoch.effacement.as_ref()?.effaced)));
    let quiesced = epochs.iter().map(|epoch| epoch.quiesced).max().map(moment).unwrap_or_default();
    let leases = match body.erasure.status {
        Status::Erased if epochs.iter().all(all_purged) => "purged everywhere",
        Status::Erased => "last lease ended",
        Status::Pending => "last lease ends",
    };
    vec![
        ("destroyed", subject(body)),
        ("tenant", format!("{} (uid {})", body.subject.tenant, body.subject.tenant_uid)),
        ("key uid", body.key().map(|key| key.key_uid.to_string()).unwrap_or_default()),
        ("versions", versions(body)),
        ("requested by", some(requests)),
        ("committed", some(epochs.iter().map(|epoch| moment(epoch.committed)))),
        ("effaced", some(effaced)),
        (leases, quiesced),
        ("medium class", body.medium_class().map(|class| class.to_string()).unwrap_or_default()),
        ("issued", format!("{} by key centre {}", moment(body.issued), body.instance)),
        ("log", format!("{} entries", body.proofs.checkpoint.size)),
    ]
}

/// Whether every client that held a data key confirmed that it purged it.
fn all_purged(epoch: &ErasureEpoch) -> bool {
    epoch.clients.as_ref().is_some_and(|clients| clients.clients_confirmed > 0 && clients.clients_ended == 0)
}

fn versions(body: &Body) -> String {
    some(body.versions().iter().map(|version| format!("{} (uid {})", version.number, version.uid)))
}

/// The first few of them.
fn some(all: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 4;
    let all: Vec<String> = all.collect();
    match all.len().checked_sub(SHOWN + 1) {
        None => all.join("; "),
        Some(_) => format!("{}; and {} more", all[..SHOWN].join("; "), all.len() - SHOWN),
    }
}
