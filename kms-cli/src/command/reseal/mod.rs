//! `kms reseal`
//!
//! - this file: runs it and says what it did; `job`: what it is to do, from options or from a schema.

mod job;

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use kms_client::reseal::{Database, Problem, Report, ResealError};
use serde_json::{Value, json};

use job::{described, job};

use crate::{
    args,
    failure::{Exit, Failure},
    interruption::Interruption,
    print,
    session::Session,
    words,
};

/// Most cells that are named for people; programs get all that are known.
const NAMED: usize = 20;

/// Runs it.
///
/// # Errors
/// Where database, table or key are not there or not usable, or one of the two servers goes away.
pub async fn run(what: args::Reseal, session: &Session) -> Result<Exit, Failure> {
    let mut interruption = Interruption::catch()?;
    let described = described(&what)?;
    let database = Database::connect(&what.database.0).await?;
    let kms = session.connect().await?;
    let reseal = job(described, &what, &kms, database)?.dry_run(what.dry_run).rate(what.rate);
    let bar = bar(session);
    let shown = bar.clone();
    let running = reseal.run(move |progress| {
        shown.set_length(progress.of);
        shown.set_position(progress.rows);
        shown.set_message(match progress.pass {
            0 => "waiting for keys".into(),
            1 => String::new(),
            pass => format!("pass {pass}"),
        });
    });
    let report = tokio::select! {
        report = running => report,
        () = interruption.received() => {
            bar.finish_and_clear();
            let message = "interrupted; what was resealed stays, run it again for the rest";
            return Err(Failure::failed("INTERRUPTED", message));
        }
    };
    bar.finish_and_clear();
    let report = report?;
    nothing_opened(&report)?;
    session.answer(|| to_json(&report), || to_text(&report))?;
    let is_done = report.failed == 0 && (report.settled || report.dry_run);
    Ok(if is_done { Exit::Done } else { Exit::Partly })
}

fn bar(session: &Session) -> ProgressBar {
    if session.is_json() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    // A slow database or a low `--rate` must not look like a stop.
    bar.enable_steady_tick(Duration::from_millis(200));
    match ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} rows {per_sec} {eta} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Where not one cell opened because the caller may not, that is a denial and no partial success.
fn nothing_opened(report: &Report) -> Result<(), Failure> {
    match report.problems.first() {
        Some(first) if first.is_denied && report.written == 0 && report.already_current == 0 => {
            Err(Failure::new(Exit::Denied, &first.reason, place(first)))
        }
        _ => Ok(()),
    }
}

fn place(problem: &Problem) -> String {
    print::harmless(&format!("row `{}`, column `{}`: {}", problem.id, problem.column, problem.message))
}

fn to_json(report: &Report) -> Value {
    let problem = |p: &Problem| json!({ "id": p.id, "column": p.column, "reason": p.reason });
    json!({
        "rows": report.rows,
        "resealed": report.resealed,
        "from_previous": report.from_previous,
        "from_plaintext": report.from_plaintext,
        "reindexed": report.reindexed,
        "already_current": report.already_current,
        "skipped": report.skipped,
        "erased": report.erased,
        "failed": report.failed,
        "seconds": report.elapsed.as_secs_f64(),
        "dry_run": report.dry_run,
        "passes": report.passes,
        "nothing_left": report.nothing_left(),
        "overtaken": report.overtaken,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        "erased_cells": report.erased_cells.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn to_text(report: &Report) -> String {
    let named = report.problems.iter().chain(&report.erased_cells);
    let mut lines: Vec<String> =
        named.clone().take(NAMED).map(|p| format!("{} ({})", place(p), p.reason)).collect();
    let known = named.count();
    if known > NAMED {
        lines.push(format!("… and more; `-o json` names {}", words::count(known as u64, "cell")));
    }
    let done = if report.dry_run { "would reseal" } else { "resealed" };
    let moved =
        [(report.from_previous, "of an older scheme"), (report.from_plaintext, "never sealed before")];
    let moved = moved.into_iter().filter(|(rows, _)| *rows > 0);
    let moved: Vec<_> = moved.map(|(rows, what)| format!("{} {what}", words::thousands(rows))).collect();
    let moved = if moved.is_empty() { String::new() } else { format!(" ({})", moved.join(", ")) };
    let mut parts = vec![format!("{done} {}{moved}", words::count(report.resealed, "row"))];
    if report.reindexed > 0 {
        parts.push(format!("indexed {} anew", words::count(report.reindexed, "row")));
    }
    parts.push(format!("{} current already", words::thousands(report.already_current)));
    if report.skipped > report.erased {
        parts.push(format!("{} without a value", words::thousands(report.skipped - report.erased)));
    }
    if report.erased > 0 {
        parts.push(format!("{} of subjects whose keys are destroyed", words::thousands(report.erased)));
    }
    if report.failed > 0 {
        parts.push(format!("{} with a cell that does not open", words::thousands(report.failed)));
    }
    lines.push(format!(
        "{} of {}; {:.2} s",
        parts.join(", "),
        words::count(report.rows, "row"),
        report.elapsed.as_secs_f64()
    ));
    lines.push(end(report));
    lines.join("\n")
}

/// What is left, and what to do about it.
fn end(report: &Report) -> String {
    match (report.dry_run, report.settled, report.failed) {
        (true, true, 0) | (false, true, 0) => "nothing is left".into(),
        (true, ..) => "nothing was written (--dry-run)".into(),
        (_, true, _) => "nothing else is left; what does not open dies with its version".into(),
        (_, false, _) => format!(
            "writers still seal under an older version, or hold rows, after {}: run it again when their leases have ended",
            words::count(report.passes.into(), "walk")
        ),
    }
}

impl From<ResealError> for Failure {
    fn from(error: ResealError) -> Self {
        let reason = error.reason_word().to_owned();
        match error {
            ResealError::KeyCentre(error) => error.into(),
            error if error.is_usage() => Self::new(Exit::Usage, &reason, print::harmless(&error.to_string())),
            error => Self::new(Exit::Failed, &reason, print::harmless(&error.to_string())),
        }
    }
}
