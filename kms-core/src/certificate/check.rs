//! Checks a certificate, as `docs/verifying.md` says: from the bytes, and from what the one who checks brings along. No input, no output.
//!
//! # Layout
//! - [`given`]: what the one who checks brings along, and what follows from it.
//! - `form`, `signatures`, `entries`, `binding`, `course`, `states`: the checks, a function each.

mod binding;
mod course;
mod entries;
mod form;
pub mod given;
mod signatures;
mod states;

pub use given::{Given, Mirror};

use super::{
    Certificate,
    body::{Body, MediumClass, Status},
    part::words,
    risks::Risk,
};
use crate::transparency::VerifierKey;
use entries::Entries;

words! {
    /// What a certificate is worth.
    Verdict {
        /// All checks hold, and no risk stands that is not accepted.
        Erased = "erased",
        /// All checks hold, and a risk stands that is not accepted.
        Residual = "residual",
        /// All checks hold, and something is still to come.
        Pending = "pending",
        /// A check fails.
        Invalid = "invalid",
    }
    /// The checks, in their order.
    CheckName {
        /// Bytes, members, order of lists.
        Form = "form",
        /// The signature over the certificate.
        CertificateSignature = "certificate-signature",
        /// Whose key it is.
        LogKey = "log-key",
        /// Signatures over the log's head.
        Checkpoint = "checkpoint",
        /// The entries that it carries.
        Entries = "entries",
        /// That they stand in the log.
        Inclusion = "inclusion",
        /// That the log goes on from earlier heads.
        Consistency = "consistency",
        /// That it says what the entries say.
        Binding = "binding",
        /// What came after what.
        Order = "order",
        /// That nothing is left out.
        Coverage = "coverage",
        /// The state before.
        Presence = "presence",
        /// The state after.
        Absence = "absence",
        /// The secrets before are gone.
        Effacement = "effacement",
        /// How far it has come.
        Status = "status",
        /// What it leaves open.
        Risks = "risks",
        /// A checkpoint from elsewhere.
        Pin = "pin",
        /// The whole log, read.
        Mirror = "mirror",
        /// Whose key it was.
        Name = "name",
        /// What the one who checks asks for.
        Policy = "policy",
    }
}

/// One check: what it found, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which.
    pub name: CheckName,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// A risk that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub risk: Risk,
    /// Whether the policy accepts it.
    pub accepted: bool,
}

/// What came of checking a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it is worth.
    pub verdict: Verdict,
    /// The checks that were made. After a failed `form` there are no others.
    pub checks: Vec<Check>,
    /// Risks that stand, sorted by name. None are told of one that is invalid.
    pub risks: Vec<Standing>,
    /// What was read; to be believed only as far as the verdict goes.
    pub certificate: Option<Certificate>,
}

impl Outcome {
    /// What overwriting the media is worth; `None` of one that is invalid, and where nothing is effaced yet.
    pub fn class(&self) -> Option<MediumClass> {
        let body = self.certificate.as_ref().filter(|_| self.verdict != Verdict::Invalid)?;
        body.certificate.medium_class()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.ok)
    }
}

/// A sentence about what holds, or about what does not.
type Finding = Result<String, String>;

/// How a check is made.
type Made = fn(&Case<'_>) -> Finding;

/// A certificate whose form holds, and whose key is one.
struct Case<'a> {
    body: &'a Body,
    signature: &'a [u8; 64],
    key: VerifierKey,
    entries: Entries<'a>,
    given: &'a Given,
}

/// Checks the bytes of a file, whatever they are.
pub fn verify(file: &[u8], given: &Given) -> Outcome {
    let certificate = match form::read(file) {
        Ok(certificate) => certificate,
        Err((name, detail)) => return unread(Vec::new(), (name, detail), None),
    };
    let mut checks = vec![found(
        CheckName::Form,
        Ok("The file is a certificate, spelled in the one way that is allowed.".to_owned()),
    )];
    let body = &certificate.certificate;
    let key = match signatures::key(body) {
        Ok(key) => key,
        Err(detail) => return unread(checks, (CheckName::LogKey, detail), Some(certificate)),
    };
    let case = Case { body, signature: &certificate.signature, key, entries: Entries::of(body), given };
    let all: [(CheckName, Made); 14] = [
        (CheckName::CertificateSignature, signatures::certificate),
        (CheckName::LogKey, signatures::log_key),
        (CheckName::Checkpoint, signatures::checkpoint),
        (CheckName::Entries, entries::carried),
        (CheckName::Inclusion, entries::inclusion),
        (CheckName::Consistency, entries::consistency),
        (CheckName::Binding, binding::check),
        (CheckName::Order, course::order),
        (CheckName::Coverage, course::coverage),
        (CheckName::Presence, states::presence),
        (CheckName::Absence, states::absence),
        (CheckName::Effacement, course::effacement),
        (CheckName::Status, course::status),
        (CheckName::Risks, given::risks),
    ];
    checks.extend(all.into_iter().map(|(name, check)| found(name, check(&case))));
    let brought = [
        (CheckName::Pin, given::pin(&case)),
        (CheckName::Mirror, given::mirror(&case)),
        (CheckName::Name, given::name(&case)),
        (CheckName::Policy, given::policy(&case)),
    ];
    checks.extend(brought.into_iter().filter_map(|(name, finding)| Some(found(name, finding?))));

    let invalid = checks.iter().any(|check| !check.ok);
    let risks = if invalid { Vec::new() } else { given::standing(&case) };
    let verdict = match body.erasure.status {
        _ if invalid => Verdict::Invalid,
        Status::Pending => Verdict::Pending,
        Status::Erased if risks.iter().any(|standing| !standing.accepted) => Verdict::Residual,
        Status::Erased => Verdict::Erased,
    };
    Outcome { verdict, checks, risks, certificate: Some(certificate) }
}

fn found(name: CheckName, finding: Finding) -> Check {
    let ok = finding.is_ok();
    let (Ok(detail) | Err(detail)) = finding;
    Check { name, ok, detail }
}

/// One of which no more can be said than that it is none.
fn unread(mut checks: Vec<Check>, (name, detail): (CheckName, String), read: Option<Certificate>) -> Outcome {
    checks.push(found(name, Err(detail)));
    Outcome { verdict: Verdict::Invalid, checks, risks: Vec::new(), certificate: read }
}

/// Goes on where it holds; otherwise says what does not.
fn need(holds: bool, sentence: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(sentence()) }
}

#[cfg(test)]
mod tests;
