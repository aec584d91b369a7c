//! `kms key ensure`

use kms_client::api::Subject;
use kms_core::names::{FamilyName, SubjectName, TenantName};
use serde_json::json;

use crate::{
    failure::{Exit, Failure},
    print,
    session::Session,
};

/// Where one is given in place of names, they come from stdin, one a line.
const STDIN: &str = "-";

/// Runs it.
pub(super) async fn ensure(
    tenant: &TenantName,
    family: &FamilyName,
    given: Vec<String>,
    session: &Session,
) -> Result<(), Failure> {
    let given = if given == [STDIN] { lines()? } else { given };
    let parse = |name: &String| SubjectName::try_from(&**name).map_err(Failure::usage);
    let subjects = given.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let ensured = session.connect().await?.ensure_subjects(tenant, family, &subjects).await;
    let made = ensured.iter().flatten().filter(|subject| subject.created).count();
    let failed = ensured.iter().filter(|subject| subject.is_err()).count();
    if failed == subjects.len()
        && let Some(Err(error)) = ensured.iter().find(|subject| subject.is_err())
    {
        return Err(error.clone().into());
    }
    let id = |subject: &Subject| format!("{family}//{}", subject.id);
    session.answer(
        || {
            let rows = subjects.iter().zip(&ensured).map(|(name, subject)| match subject {
                Ok(subject) => {
                    json!({ "subject": name.as_str(), "key": id(subject), "created": subject.created })
                }
                Err(error) => json!({ "subject": name.as_str(), "error": error.to_string() }),
            });
            rows.collect()
        },
        || {
            let row = |(name, subject): (&SubjectName, &Result<Subject, _>)| {
                let (key, said) = match subject {
                    Ok(subject) if subject.created => (id(subject), "created".to_owned()),
                    Ok(subject) => (id(subject), "existed".to_owned()),
                    Err(error) => (String::new(), kms_client::Error::to_string(error)),
                };
                vec![name.to_string(), key, said]
            };
            let rows: Vec<_> = subjects.iter().zip(&ensured).map(row).collect();
            format!("{}\n{made} created", print::table(&["subject", "key", ""], &rows))
        },
    )?;
    match failed {
        0 => Ok(()),
        _ => {
            let message = format!("{failed} of {} subjects have no key", subjects.len());
            Err(Failure::new(Exit::Partly, "PARTLY", message))
        }
    }
}

fn lines() -> Result<Vec<String>, Failure> {
    let lines: Result<Vec<_>, _> = std::io::stdin().lines().collect();
    lines.map_err(|error| Failure::failed("INPUT", format!("stdin cannot be read: {error}")))
}
