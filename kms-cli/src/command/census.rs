//! `kms key census`

use std::time::SystemTime;

use kms_client::api::{Census, ColumnUse, Holder, SubjectsUse, VersionUse};
use kms_core::names::KeyName;
use serde_json::{Value, json};

use crate::{args::OneKey, failure::Failure, print, session::Session, words};

/// Runs it.
///
/// # Errors
/// Those of the call.
pub async fn run(OneKey { key, of }: OneKey, session: &Session) -> Result<(), Failure> {
    let census = session.connect().await?.census(&of.tenant, &key).await?;
    session.answer(|| to_json(&key, &census), || to_text(&key, &census))
}

/// A day in UTC.
fn day(moment: SystemTime) -> String {
    words::of_moment(moment).chars().take(10).collect()
}

fn to_json(key: &KeyName, census: &Census) -> Value {
    let column = |used: &ColumnUse| {
        json!({
            "table": used.table, "column": used.column, "seals": used.seals, "opens": used.opens,
            "moved": used.moved, "last_day": day(used.last_day),
        })
    };
    let holder = |holder: &Holder| {
        json!({
            "identity": holder.identity,
            "last_leased_day": day(holder.last_leased_day),
            "last_report_day": holder.last_report_day.map(day),
        })
    };
    let version = |used: &VersionUse| {
        json!({
            "version": used.version,
            "id": used.id.get().to_string(),
            "columns": used.columns.iter().map(column).collect::<Vec<_>>(),
            "holders": used.holders.iter().map(holder).collect::<Vec<_>>(),
            "left_out": used.left_out,
            "complete": used.is_complete(),
        })
    };
    let subjects = |used: &SubjectsUse| {
        json!({
            "rotations": used.rotations,
            "older": used.is_older,
            "columns": used.columns.iter().map(column).collect::<Vec<_>>(),
            "holders": used.holders.iter().map(holder).collect::<Vec<_>>(),
            "left_out": used.left_out,
            "complete": used.is_complete(),
        })
    };
    json!({
        "key": key.to_string(),
        "days_kept": census.days_kept,
        "versions": census.versions.iter().map(version).collect::<Vec<_>>(),
        "subjects": census.subjects.iter().map(subjects).collect::<Vec<_>>(),
        "more_subjects": census.more_subjects,
    })
}

fn to_text(key: &KeyName, census: &Census) -> String {
    let mut parts = Vec::new();
    for used in &census.versions {
        let what = format!("version {}", used.version);
        let number = used.version.to_string();
        // Of a subject's version nothing is told here.
        if key.subject().is_none() {
            say(&mut parts, ("version", &number), &what, (&used.columns, &used.holders, used.left_out));
        }
    }
    for used in &census.subjects {
        let rotations = words::count(used.rotations, "rotation");
        let age = if used.is_older { "older" } else { "newest" };
        let what = format!("subjects' {age} versions, made after {rotations}");
        let number = format!("{} ({age})", used.rotations);
        say(&mut parts, ("rotations", &number), &what, (&used.columns, &used.holders, used.left_out));
    }
    if census.more_subjects {
        parts.push("there is more on record of newer versions of subjects".into());
    }
    if key.subject().is_some() {
        let family = key.family();
        parts.push(format!("uses under subjects' keys are counted together: `kms key census {family}`"));
    }
    parts.push(format!(
        "as clients said in the last {} days; what the server opens itself stands in the audit",
        census.days_kept
    ));
    parts.join("\n")
}

/// Says what used some versions, and who has not said.
fn say(
    parts: &mut Vec<String>,
    (heading, number): (&str, &str),
    what: &str,
    (columns, holders, left_out): (&[ColumnUse], &[Holder], u64),
) {
    let rows: Vec<_> = columns.iter().map(|column| row(number, column)).collect();
    parts.push(match rows.is_empty() {
        true => format!("{what}: no use was reported"),
        false => print::table(&[heading, "table", "column", "seals", "opens", "moved", "last"], &rows),
    });
    parts.extend(holders.iter().filter_map(|holder| silent(what, holder)));
    if left_out > 0 {
        parts.push(format!("{what}: {left_out} more were not kept apart"));
    }
}

fn row(number: &str, used: &ColumnUse) -> Vec<String> {
    vec![
        number.to_owned(),
        used.table.clone(),
        used.column.clone(),
        words::thousands(used.seals),
        words::thousands(used.opens),
        words::thousands(used.moved),
        day(used.last_day),
    ]
}

/// Who held a lease and has not said since what was done under it.
fn silent(what: &str, holder: &Holder) -> Option<String> {
    let identity = print::harmless(&holder.identity);
    let leased = day(holder.last_leased_day);
    match holder.last_report_day {
        None => Some(format!("{what}: {identity} was leased it, last on {leased}, and never said what for")),
        Some(said) if said < holder.last_leased_day => Some(format!(
            "{what}: {identity} was leased it on {leased} and said last on {} what for",
            day(said)
        )),
        Some(_) => None,
    }
}
