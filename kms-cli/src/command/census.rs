//! `kms key census`

use std::time::SystemTime;

use kms_client::api::{Census, ColumnUse, Holder, VersionUse};
use kms_core::names::KeyName;
use serde_json::{Value, json};

use crate::{args::OneKey, failure::Failure, print, session::Session, words};

/// Runs it.
///
/// # Errors
/// Those of the call.
pub async fn run(OneKey { key, of }: OneKey, session: &Session) -> Result<(), Failure> {
    let census = session.connect().await?.census(&of.tenant, &key).await?;
    session.answer(|| to_json(&key, &census), || to_text(&census))
}

/// A day in UTC.
fn day(moment: SystemTime) -> String {
    words::of_moment(moment).chars().take(10).collect()
}

fn to_json(key: &KeyName, census: &Census) -> Value {
    let column = |used: &ColumnUse| {
        json!({
            "table": used.table, "column": used.column, "seals": used.seals, "opens": used.opens,
            "last_day": day(used.last_day),
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
    json!({
        "key": key.to_string(),
        "days_kept": census.days_kept,
        "versions": census.versions.iter().map(version).collect::<Vec<_>>(),
    })
}

fn to_text(census: &Census) -> String {
    let mut parts = Vec::new();
    for used in &census.versions {
        let rows: Vec<_> = used.columns.iter().map(|column| row(used.version, column)).collect();
        parts.push(match rows.is_empty() {
            true => format!("version {}: no use was reported", used.version),
            false => print::table(&["version", "table", "column", "seals", "opens", "last"], &rows),
        });
        parts.extend(used.holders.iter().filter_map(|holder| silent(used.version, holder)));
        if used.left_out > 0 {
            parts.push(format!("version {}: {} more were not kept apart", used.version, used.left_out));
        }
    }
    parts.push(format!(
        "as clients said in the last {} days; what the server opens itself stands in the audit",
        census.days_kept
    ));
    parts.join("\n")
}

fn row(version: u32, used: &ColumnUse) -> Vec<String> {
    vec![
        version.to_string(),
        used.table.clone(),
        used.column.clone(),
        words::thousands(used.seals),
        words::thousands(used.opens),
        day(used.last_day),
    ]
}

/// Who held a lease and has not said since what was done under it.
fn silent(version: u32, holder: &Holder) -> Option<String> {
    let identity = print::harmless(&holder.identity);
    let leased = day(holder.last_leased_day);
    match holder.last_report_day {
        None => Some(format!(
            "version {version}: {identity} was leased it, last on {leased}, and never said what for"
        )),
        Some(said) if said < holder.last_leased_day => Some(format!(
            "version {version}: {identity} was leased it on {leased} and said last on {} what for",
            day(said)
        )),
        Some(_) => None,
    }
}
