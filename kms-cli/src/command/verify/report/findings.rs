//! What is proven and what is not, what stays open, and what was checked.

use kms_core::{
    canonical::Text,
    certificate::{
        body::Body,
        check::{CheckName, Given, Outcome, Standing},
        words::Words,
    },
};

use super::html::{Html, html};

pub(super) fn lists(page: &mut Html, body: &Body) {
    // Made from what was checked; the sentences that the certificate carries are not repeated.
    let Words { proven, attested, assumed } = Words::about(body);
    html!(page; "<h2>2. What is proven, and what is not</h2>\n<div class=\"lists\">\n");
    list(page, ("Proven", "Anybody can compute this again from the certificate."), &proven);
    list(
        page,
        ("Attested, not proven", "The key centre says so and signed it. To be believed or not."),
        &attested,
    );
    list(page, ("Assumed, not proven", "Nobody can show this, by whatever means."), &assumed);
    html!(page; "</div>\n");
}

fn list(page: &mut Html, (heading, meaning): (&'static str, &'static str), sentences: &[Text]) {
    html!(page; "<section><h3>" (heading) "</h3><p class=\"small\">" (meaning) "</p><ul>\n");
    for sentence in sentences {
        html!(page; "<li>" (sentence) "</li>\n");
    }
    html!(page; "</ul></section>\n");
}

pub(super) fn risks(page: &mut Html, outcome: &Outcome) {
    html!(page; "<h2>4. What stays open: residual risks</h2>\n");
    if outcome.risks.is_empty() {
        html!(page; "<p>None of those that the key centre and this check know of.</p>\n");
        return;
    }
    html!(page; "<table><thead><tr><th>risk</th><th>what it means</th><th>what would lift it</th></tr></thead><tbody>\n");
    for Standing { risk, accepted } in &outcome.risks {
        html!(page; "<tr><td class=\"name\">" (risk));
        if *accepted {
            html!(page; "<br><span class=\"tag\">accepted by the policy</span>");
        }
        html!(page; "</td><td class=\"means\">");
        page.prose(risk.meaning());
        html!(page; "</td><td>");
        page.prose(risk.remedy());
        html!(page; "</td></tr>\n");
    }
    html!(page; "</tbody></table>\n");
}

pub(super) fn checks(page: &mut Html, outcome: &Outcome, given: &Given) {
    html!(page; "<h2>5. What was checked</h2>\n<table><tbody>\n");
    for check in &outcome.checks {
        let (class, word) = if check.ok { ("yes", "holds") } else { ("no", "FAILS") };
        html!(page; "<tr><td class=\"mark " (class) "\">" (word) "</td><td class=\"name\">" (check.name) "</td><td>");
        page.prose(&check.detail);
        html!(page; "</td></tr>\n");
    }
    for (name, why) in unchecked(outcome, given) {
        html!(page; "<tr><td class=\"mark\">not made</td><td class=\"name\">" (name) "</td><td>" (why) "</td></tr>\n");
    }
    html!(page; "</tbody></table>\n");
}

/// Of a certificate that is invalid: what fails, and nothing that could be read as a proof.
pub(super) fn failures(page: &mut Html, outcome: &Outcome) {
    html!(page; "<h2>What fails</h2>\n<table><tbody>\n");
    for check in outcome.failures() {
        html!(page; "<tr><td class=\"mark no\">FAILS</td><td class=\"name\">" (check.name) "</td><td>");
        page.prose(&check.detail);
        html!(page; "</td></tr>\n");
    }
    html!(page; "</tbody></table>\n");
}

/// What could have been checked, had more been brought along.
fn unchecked(outcome: &Outcome, given: &Given) -> Vec<(CheckName, &'static str)> {
    let made = |name: &CheckName| outcome.checks.iter().any(|check| check.name == *name);
    let missing = CheckName::ALL.iter().copied().filter(|name| !made(name));
    let why = |name: CheckName| match name {
        CheckName::Pin if given.pin.is_none() => "No checkpoint from elsewhere was given.",
        CheckName::Mirror if given.mirror.is_none() => "No mirror of the whole log was given.",
        CheckName::Name if given.name.is_none() => "No subject was named.",
        CheckName::Policy if given.policy.is_none() => "No policy was given: no risk counts as accepted.",
        _ => "It was not asked for.",
    };
    missing.map(|name| (name, why(name))).collect()
}
