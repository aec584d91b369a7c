//! `kms policy`

use std::path::Path;

use kms_client::{KeyName, Kms, Reason, TenantName, api::Explain};
use serde_json::json;

use crate::{
    args,
    failure::{Exit, Failure},
    print,
    session::Session,
    words,
};

/// Runs it.
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

/// Checks a directory, offline.
///
/// # Errors
/// Where anything is wrong with it; each problem is printed.
pub fn check(dir: &Path, session: &Session) -> Result<(), Failure> {
    let checked = kms_server::policy::check(dir);
    if checked.problems.is_empty() {
        let said = format!(
            "{} in {} are valid",
            words::count(checked.policies as u64, "policy").replace("policys", "policies"),
            words::count(checked.files as u64, "file")
        );
        return session.answer(
            || json!({ "valid": true, "files": checked.files, "policies": checked.policies, "problems": [] }),
            || said,
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_said_once() {
        assert_eq!(in_words(false, "denied: no policy\n  near: `a`"), "denied: no policy\n  near: `a`");
        assert_eq!(in_words(true, "by `a`"), "allowed: by `a`");
    }
}
