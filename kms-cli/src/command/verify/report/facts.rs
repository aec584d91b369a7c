//! What was destroyed, when, at whose request; and the fields under which that is filed.

use kms_core::certificate::{
    body::{Body, Version},
    sanitization,
    words::moment,
};

use super::{
    super::text,
    html::{Html, html},
};
use crate::words::thousands;

/// Rows of a table that a page shows.
const ROWS: usize = 60;

pub(super) fn destroyed(page: &mut Html, body: &Body) {
    html!(page; "<h2>1. What was destroyed, when, at whose request</h2>\n<dl>\n");
    for (name, value) in text::facts(body).into_iter().filter(|(_, value)| !value.is_empty()) {
        html!(page; "<dt>" (name) "</dt><dd>" (value) "</dd>\n");
    }
    html!(page; "<dt>log’s key</dt><dd class=\"mono\">" (body.log.key) "</dd>\n</dl>\n");
    if let [_, _, ..] = body.versions() {
        versions(page, body.versions());
    }
}

fn versions(page: &mut Html, all: &[Version]) {
    html!(page; "<p></p><table><thead><tr><th>version</th><th>uid</th><th>created in entry</th><th>destroyed in entry</th><th>epoch</th>"
        "<th>data keys handed out</th></tr></thead><tbody>\n");
    for version in all.iter().take(ROWS) {
        html!(page; "<tr><td>" (version.number) "</td><td class=\"mono\">" (version.uid) "</td><td>" (version.created) "</td><td>"
            (version.destroyed) "</td><td>" (version.epoch) "</td><td>" (thousands(version.data_keys_issued)) "</td></tr>\n");
    }
    html!(page; "</tbody></table>\n");
    if let Some(more) = all.len().checked_sub(ROWS).filter(|more| *more > 0) {
        html!(page; "<p class=\"small\">" (thousands(more as u64)) " more versions stand in the certificate, and were checked in the same way.</p>\n");
    }
}

/// The fields of NIST SP 800-88r2, section 4.6, and those that only people can fill.
pub(super) fn sanitization(page: &mut Html, body: &Body) {
    html!(page; "<h2>6. Record of sanitization (fields of NIST SP 800-88r2, section 4.6)</h2>\n<table class=\"fields\"><tbody>\n");
    let fields = sanitization::fields(body).0;
    for (name, label) in [
        ("media", "Media"),
        ("media_source", "Where the media are from"),
        ("method", "Method"),
        ("technique", "Technique"),
        ("tool", "Tool"),
        ("verification", "Verification"),
        ("validation", "What that rests on"),
        ("requested_by", "Requested by"),
        ("performed_by", "Performed by"),
        ("date", "Date"),
    ] {
        // The tool is the one that issued the certificate, and not the one that checks it.
        let said = if name == "tool" { body.sanitization.0.get(name) } else { fields.get(name) };
        let value = said.map(|text| text.as_str()).filter(|text| !text.is_empty()).unwrap_or("not said");
        html!(page; "<tr><td class=\"name\">" (label) "</td><td>" (value) "</td></tr>\n");
    }
    html!(page; "</tbody></table>\n<p class=\"small\">These fields are said by the key centre, as of "
        (moment(body.issued)) "; they belong to what is attested, and not to what is proven. "
        "To be filled in by whoever files this:</p>\n<table class=\"fields fill\"><tbody>\n");
    for label in ["Name and title", "Organisation and place", "File reference", "Date and signature"] {
        html!(page; "<tr><td class=\"name\">" (label) "</td><td></td></tr>\n");
    }
    html!(page; "</tbody></table>\n");
}
