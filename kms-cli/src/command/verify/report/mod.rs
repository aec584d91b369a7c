//! What was found, as one page to be filed: no script, nothing that is fetched from elsewhere, everything that is not our own escaped.
//!
//! What is not proven is said as prominently as what is. Of a certificate that is invalid the page says that, and repeats nothing of it.
//!
//! # Layout
//! - `html`: markup with values in it; `style`: how it looks.
//! - `facts`, `findings`: the sections; `path`, `states`: the two pictures.

mod facts;
mod findings;
mod html;
mod path;
mod states;
mod style;

use std::time::SystemTime;

use kms_core::{
    canonical::Instant,
    certificate::check::{Given, Outcome, Verdict},
};
use sha2::{Digest as _, Sha256};

use html::{Html, html};

use super::text;

/// The page.
pub fn page(outcome: &Outcome, given: &Given, file: &[u8], now: SystemTime) -> String {
    let mut page = Html::default();
    html!(page; "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    match text::believed(outcome) {
        Some(body) => page.text(format!(
            "Destruction of {} ({}): report",
            kms_core::certificate::words::subject(body),
            outcome.verdict
        )),
        None => page.text("INVALID certificate: report"),
    }
    html!(page; "</title>\n<style>");
    page.markup(style::STYLE);
    html!(page; "</style>\n</head>\n<body class=\"" (if outcome.verdict == Verdict::Invalid { "not" } else { "" }) "\">\n<p class=\"eyebrow\">" "Key centre · report of <b>kms verify</b></p>\n");
    heading(&mut page, outcome);
    if let Some(body) = text::believed(outcome) {
        facts::destroyed(&mut page, body);
        findings::lists(&mut page, body);
        html!(page; "<h2>3. How the proof runs</h2>\n");
        page.piece(path::figure(body));
        page.piece(states::figure(body));
        findings::risks(&mut page, outcome);
        findings::checks(&mut page, outcome, given);
        facts::sanitization(&mut page, body);
    } else {
        findings::failures(&mut page, outcome);
    }
    origin(&mut page, outcome, file, now);
    html!(page; "</body>\n</html>\n");
    page.finish()
}

fn heading(page: &mut Html, outcome: &Outcome) {
    let (title, class, word) = match outcome.verdict {
        Verdict::Erased => ("Certificate of destruction", "erased", "ERASED"),
        Verdict::Residual => ("Certificate of destruction", "residual", "ERASED, WITH RESIDUAL RISKS"),
        Verdict::Pending => ("Certificate of destruction", "pending", "PENDING: NOT ERASED YET"),
        Verdict::Invalid => ("This is not a proof of destruction", "invalid", "INVALID"),
    };
    html!(page; "<h1>" (title) "</h1>\n<div class=\"verdict " (class) "\">\n<p class=\"word\">" (word) "</p>\n<p>");
    match outcome.verdict {
        Verdict::Invalid => {
            html!(page; "The file that was checked proves nothing, whatever it says. Do not file it, or this page, as evidence of a destruction. "
                "Ask whoever gave it to you for another one. What is wrong with it: ");
            let failures: Vec<&str> = outcome.failures().map(|check| check.detail.as_str()).collect();
            page.prose(&failures.join(" "));
        }
        Verdict::Pending => {
            html!(page; (sentence(outcome)) ". Until then this is not evidence of an erasure; get the certificate again later.");
        }
        Verdict::Erased | Verdict::Residual => {
            html!(page; (sentence(outcome)) ". What is proven, and what is not, stands in section 2; the risks stand in section 4.");
        }
    }
    html!(page; "</p>\n</div>\n");
}

fn sentence(outcome: &Outcome) -> String {
    let text = text::verdict(outcome);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// As in the certificate.
fn moment(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let instant = Instant::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    kms_core::certificate::words::moment(instant)
}

/// Where the page came from, and how to check again.
fn origin(page: &mut Html, outcome: &Outcome, file: &[u8], now: SystemTime) {
    let digest = hex::encode(Sha256::digest(file));
    html!(page; "<footer>\n<p>Made on " (moment(now)) " (clock of the machine that checked) by kms " (env!("CARGO_PKG_VERSION"))
        ", without a network. This page is a reading of the certificate and proves nothing by itself: ");
    match outcome.verdict {
        Verdict::Invalid => page.markup("the file that was checked is"),
        _ => page.markup("keep the certificate beside it, which is the file of"),
    }
    html!(page; " " (file.len()) " bytes with the SHA-256 <span class=\"mono\">" (digest) "</span>. "
        "To check it again, with nothing but the certificate and the log’s public key from somewhere else: "
        "<span class=\"mono\">kms verify --key log.key certificate.json</span>. "
        "How to check it without this program is written in the key centre’s document “Verifying a certificate of destruction”.</p>\n</footer>\n");
}
