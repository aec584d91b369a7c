//! `kms policy`

use std::path::Path;

use kms_client::api::Explain;
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
    let what = Explain { identity, operation, tenant, key, purpose };
    let answer = session.connect().await?.explain(what).await?;
    session.answer(
        || {
            json!({
                "allowed": answer.allowed,
                "policies": answer.policies,
                "explanation": answer.explanation,
                "errors": answer.errors,
                "policy_epoch": answer.policy_epoch,
            })
        },
        || {
            let verdict = if answer.allowed { "allowed" } else { "denied" };
            let words: Vec<_> = answer.explanation.lines().map(print::harmless).collect();
            let mut text = format!("{verdict}: {}", words.join("\n"));
            for error in &answer.errors {
                text.push_str(&format!("\npolicy that failed, which denies: {}", print::harmless(error)));
            }
            text
        },
    )
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
