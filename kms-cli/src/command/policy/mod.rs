//! `kms policy`
//!
//! # Layout
//! - this file: explain, check; `masks`: what is revealed; `schema`: what a program says of its columns; `review`: that in words.

mod masks;
mod review;
mod schema;

use std::path::{Path, PathBuf};

use kms_client::{KeyName, Kms, Reason, TenantName, api::Explain};
use kms_server::policy::{DeclaredMask, MASKS_FILE};
use serde_json::json;

use crate::{
    args,
    failure::{Exit, Failure},
    print,
    session::Session,
    words,
};

pub use masks::masks;
pub use review::review;

/// Explains a decision.
///
/// # Errors
/// Those of the check or the call.
pub async fn explain(command: args::Policy, session: &Session) -> Result<(), Failure> {
    let args::Policy::Explain { identity, operation, tenant, key, purpose } = command else { return Ok(()) };
    let purpose = (!purpose.is_empty()).then_some(purpose);
    let (of_tenant, of_key) = (tenant.clone(), key.clone());
    let what = Explain { identity, operation, tenant, key, purpose };
    let kms = session.connect().await?;
    let answer = kms.explain(what).await?;
    let note = match (&of_tenant, &of_key) {
        (Some(tenant), Some(key)) => absent(&kms, tenant, key).await,
        _ => None,
    };
    session.answer(
        || {
            json!({
                "allowed": answer.allowed,
                "policies": answer.policies,
                "explanation": answer.explanation,
                "errors": answer.errors,
                "policy_epoch": answer.policy_epoch,
                "notes": note.iter().collect::<Vec<_>>(),
            })
        },
        || {
            let mut text = in_words(answer.allowed, &answer.explanation);
            if let Some(note) = &note {
                text.push_str(&format!("\nnote: {note}"));
            }
            for error in &answer.errors {
                text.push_str(&format!("\npolicy that failed, which denies: {}", print::harmless(error)));
            }
            text
        },
    )
}

/// The server's words, which begin with the verdict; where a newer server's do not, the verdict first.
fn in_words(allowed: bool, explanation: &str) -> String {
    let verdict = if allowed { "allowed" } else { "denied" };
    let words: Vec<_> = explanation.lines().map(print::harmless).collect();
    let words = words.join("\n");
    if words.starts_with(verdict) { words } else { format!("{verdict}: {words}") }
}

/// Policy answers for names; whether there is such a key, only to those who may see it.
async fn absent(kms: &Kms, tenant: &TenantName, key: &KeyName) -> Option<String> {
    let error = kms.describe_key(tenant, key).await.err()?;
    let unseen =
        [Some(Reason::KeyNotAccessible), Some(Reason::TenantNotAccessible)].contains(&error.reason());
    unseen.then(|| {
        format!(
            "there is no key {key} of tenant {tenant} that you may describe; this is what policy says of a new one of that name"
        )
    })
}

/// Checks a directory, offline; its masks against schemas too, where some are given.
///
/// # Errors
/// Where anything is wrong with it, or a schema differs from its masks; each problem is printed.
pub fn check(dir: &Path, schemas: &[PathBuf], session: &Session) -> Result<(), Failure> {
    let tables = schema::read(schemas)?;
    let checked = kms_server::policy::check(dir);
    if checked.problems.is_empty() {
        let masks = checked.masks.all();
        let declared: Vec<_> = masks.iter().map(declared).collect();
        let differences = schema::compare(&tables, &declared);
        let masked = match masks.len() {
            0 => String::new(),
            count => format!(", {} too", words::count(count as u64, "mask")),
        };
        let said = format!(
            "{} in {} are valid{masked}",
            words::count(checked.policies as u64, "policy").replace("policys", "policies"),
            words::count(checked.files as u64, "file")
        );
        session.answer(
            || {
                json!({
                    "valid": true,
                    "files": checked.files,
                    "policies": checked.policies,
                    "masks": masks.len(),
                    "problems": [],
                    "differences": differences,
                })
            },
            || {
                let lines = differences.iter().map(|difference| print::harmless(difference));
                std::iter::once(said).chain(lines).collect::<Vec<_>>().join("\n")
            },
        )?;
        return masks::differ(&differences, &format!("`{}`", dir.join(MASKS_FILE).display()));
    }
    session.answer(
        || {
            let problem =
                |p: &kms_server::policy::Problem| json!({ "file": p.file, "line": p.line, "text": p.text });
            let problems: Vec<_> = checked.problems.iter().map(problem).collect();
            json!({ "valid": false, "files": checked.files, "policies": 0, "problems": problems })
        },
        || {
            let lines: Vec<_> = checked.problems.iter().map(|p| p.to_string()).collect();
            lines.join("\n")
        },
    )?;
    let count = words::count(checked.problems.len() as u64, "problem");
    let message = format!("`{}` has {count}; a server would not load it", dir.display());
    Err(Failure::new(Exit::Usage, "POLICY_INVALID", message))
}

fn declared(mask: &DeclaredMask) -> schema::Declared {
    schema::Declared {
        key: mask.family.to_string(),
        table: mask.table.to_string(),
        column: mask.column.to_string(),
        form: mask.mask.form().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_said_once() {
        assert_eq!(in_words(false, "denied: no policy\n  near: `a`"), "denied: no policy\n  near: `a`");
        assert_eq!(in_words(true, "by `a`"), "allowed: by `a`");
    }
}
