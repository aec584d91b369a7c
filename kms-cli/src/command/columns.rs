//! `kms columns`

use std::{
    io::{BufWriter, IsTerminal as _, Write as _},
    path::Path,
};

use indicatif::{ProgressBar, ProgressStyle};
use kms_client::{Column, KeyName, Kms, Reason};
use serde_json::{Value, json};

use crate::{
    args::{self, ColumnsJob, FileFormat},
    columns::{
        Action, Format, Job, Summary, Table,
        keyed::{self, KeyCentre},
    },
    failure::{Exit, Failure},
    interruption::Interruption,
    print,
    session::Session,
    whole_file::{self, Readers, WholeFile},
    words,
};

const WORKERS: usize = 2;

/// Runs it.
///
/// # Errors
/// The first problem of the file, of a cell, or of the server.
pub async fn run(command: args::Columns, session: &Session) -> Result<Exit, Failure> {
    let (what, action, keep_going, again) = match command {
        args::Columns::Seal(seal) => (seal.job, Action::Seal, false, seal.again),
        args::Columns::Open(open) => (open.job, Action::Open, open.keep_going, false),
        args::Columns::Reseal(open) => (open.job, Action::Reseal, open.keep_going, false),
    };
    let (table, columns) = parse(&what)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
    let job = Job { table, action, again, keep_going, workers };
    let input = whole_file::open_input(&what.input)?;
    let length = input.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
    let readers = if action == Action::Open { Readers::Owner } else { Readers::of_sealed(&input) };
    let interruption = Interruption::catch()?;
    let mut output = WholeFile::create(&what.out, readers)?;
    interruption.removes(&output);

    let kms = session.connect().await?;
    let cipher = KeyCentre::new(kms.records(&what.with.tenant, &what.with.key), columns, action);
    let bar = progress(length, session);
    let key = what.with.key.clone();
    let running = tokio::task::spawn_blocking(move || {
        let summary = crate::columns::run(&job, &cipher, input, &mut output, &|bytes| bar.inc(bytes));
        bar.finish_and_clear();
        let summary = summary.map_err(|failure| of_family(&key, failure.into()))?;
        nothing_opened(&summary)?;
        output
            .finish()
            .map_err(|e| Failure::failed("INPUT_OUTPUT", format!("cannot write the output: {e}")))?;
        Ok::<_, Failure>((job, summary))
    });
    let (job, summary) = running.await.map_err(|_| Failure::failed("INTERNAL", "the run broke off"))??;
    say(&job, &summary, &kms, session)?;
    Ok(if summary.failed > 0 { Exit::Partly } else { Exit::Done })
}

/// Says what to do, where the key is a family.
fn of_family(key: &KeyName, failure: Failure) -> Failure {
    match failure.reason == Reason::KeyIsFamily.as_str() {
        true => Failure { message: keyed::of_family(key).message, ..failure },
        false => failure,
    }
}

/// Table and columns in the words of the engine and of the client.
fn parse(what: &ColumnsJob) -> Result<(Table, Vec<Column>), Failure> {
    let format = format(what)?;
    let (mut names, mut columns) = (Vec::new(), Vec::new());
    for word in &what.columns {
        let (name, column) = match word.strip_suffix(":deterministic") {
            Some(name) => (name, Column::deterministic(what.table.as_str(), name)),
            None => (word.as_str(), Column::randomized(what.table.as_str(), word)),
        };
        if name == what.id {
            return Err(Failure::usage(format!(
                "`{name}` is the record id, which must stay readable to open the row"
            )));
        }
        if names.iter().any(|known| known == name) {
            return Err(Failure::usage(format!("`--column {name}` is given twice")));
        }
        columns.push(column.map_err(Failure::usage)?);
        names.push(name.to_owned());
    }
    Ok((Table { format, id: what.id.clone(), columns: names }, columns))
}

fn format(what: &ColumnsJob) -> Result<Format, Failure> {
    let extension = |path: &Path| path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let by_extension = |path: &Path| match extension(path)?.as_str() {
        "csv" => Some((FileFormat::Csv, ',')),
        "tsv" | "tab" => Some((FileFormat::Csv, '\t')),
        "jsonl" | "ndjson" => Some((FileFormat::Jsonl, ',')),
        _ => None,
    };
    let found = by_extension(&what.input).or_else(|| by_extension(&what.out));
    let (format, usual) = match (what.format, found) {
        (Some(FileFormat::Csv), Some((FileFormat::Csv, usual))) => (FileFormat::Csv, usual),
        (Some(format), _) => (format, ','),
        (None, Some(found)) => found,
        (None, None) => {
            return Err(Failure::usage(
                "neither IN nor OUT ends in `.csv` or `.jsonl`; say `--format csv` or `--format jsonl`",
            ));
        }
    };
    match (format, what.delimiter) {
        (FileFormat::Csv, given) => Format::csv(given.unwrap_or(usual)),
        (FileFormat::Jsonl, None) => Ok(Format::JsonLines),
        (FileFormat::Jsonl, Some(_)) => {
            Err(Failure::usage("JSON Lines has no delimiter; leave `--delimiter` out"))
        }
    }
}

/// Where not one cell opened because the caller may not, that is a denial and no partial success.
fn nothing_opened(summary: &Summary) -> Result<(), Failure> {
    match summary.problems.first() {
        Some(first) if summary.cells == 0 && first.failure.exit == Exit::Denied => {
            Err(first.clone().ends_the_run(false))
        }
        _ => Ok(()),
    }
}

fn progress(length: Option<u64>, session: &Session) -> ProgressBar {
    if session.is_json() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, form) = match length {
        Some(length) => (ProgressBar::new(length), "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    match ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Says on stderr what was done; stdout may be the table.
fn say(job: &Job, summary: &Summary, kms: &Kms, session: &Session) -> Result<(), Failure> {
    let calls = kms.server_calls();
    let text = match session.is_json() {
        true => to_json(job, summary, calls).to_string(),
        false => to_text(job, summary, calls),
    };
    let mut stderr = BufWriter::new(std::io::stderr().lock());
    writeln!(stderr, "{text}")
        .and_then(|()| stderr.flush())
        .map_err(|e| Failure::failed("INPUT_OUTPUT", format!("cannot write to standard error: {e}")))
}

fn to_json(job: &Job, summary: &Summary, server_calls: u64) -> Value {
    let problem = |p: &crate::columns::error::CellProblem| json!({ "row": p.row, "line": p.line, "column": p.column, "reason": p.failure.reason });
    json!({
        "rows": summary.rows,
        "cells": summary.cells,
        "failed": summary.failed,
        "server_calls": server_calls,
        "seconds": summary.elapsed.as_secs_f64(),
        "blank_lines": summary.blank_lines,
        "problems": summary.problems.iter().map(problem).collect::<Vec<_>>(),
        "notes": notes(job, summary),
    })
}

/// What went as asked and may still not be what was meant.
fn notes(job: &Job, summary: &Summary) -> Vec<String> {
    let mut notes = Vec::new();
    let columns = summary.cells_of.iter().zip(&job.table.columns);
    for (_, column) in columns.filter(|(cells, _)| **cells == 0 && summary.rows > 0 && summary.failed == 0) {
        notes.push(print::harmless(&format!("no row has a value in `{column}`")));
    }
    if summary.sealed_again > 0 {
        let cells = words::count(summary.sealed_again, "cell");
        notes.push(format!("{cells} looked sealed and were sealed once more; open them twice"));
    }
    notes
}

fn to_text(job: &Job, summary: &Summary, server_calls: u64) -> String {
    let mut lines = Vec::new();
    for problem in &summary.problems {
        let crate::columns::error::CellProblem { row, line, column, failure } = problem;
        let place = format!("line {line}: row {row}, column `{column}`");
        lines.push(print::harmless(&format!("{place} stays sealed: {}", failure.message)));
    }
    if summary.failed > summary.problems.len() as u64 {
        lines
            .push(format!("… and {} more", words::thousands(summary.failed - summary.problems.len() as u64)));
    }
    lines.extend(notes(job, summary).into_iter().map(|note| format!("note: {note}")));
    if summary.blank_lines > 0 {
        lines.push(format!("dropped {}", words::count(summary.blank_lines, "blank line")));
    }
    let done = match job.action {
        Action::Seal => "sealed",
        Action::Open => "opened",
        Action::Reseal => "resealed",
    };
    let failed = match summary.failed {
        0 => String::new(),
        failed => format!("; {} did not open", words::count(failed, "cell")),
    };
    lines.push(format!(
        "{done} {} in {}{failed}; {} to the server; {:.2} s",
        words::count(summary.cells, "cell"),
        words::count(summary.rows, "row"),
        words::count(server_calls, "call"),
        summary.elapsed.as_secs_f64(),
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parsed(words: &str) -> Result<(Table, Vec<Column>), Failure> {
        let line = format!("kms columns seal --tenant a --key k --table t --id id {words}");
        let cli = args::Cli::try_parse_from(line.split_whitespace()).unwrap();
        let args::Command::Columns(args::Columns::Seal(seal)) = cli.command else {
            panic!("another command")
        };
        parse(&seal.job)
    }

    #[test]
    fn the_format_follows_from_the_extension_or_is_said() {
        let format = |words: &str| parsed(&format!("--column c {words}")).map(|(table, _)| table.format);
        let csv = |delimiter| Ok(Format::Csv { delimiter });
        assert_eq!(format("a.csv b"), csv(b','));
        assert_eq!(format("- b.CSV"), csv(b','));
        assert_eq!(format("a.tsv b"), csv(b'\t'));
        assert_eq!(format("a.csv b --delimiter ;"), csv(b';'));
        assert_eq!(format("a.csv b --delimiter \\t"), csv(b'\t'));
        assert_eq!(format("a.jsonl b"), Ok(Format::JsonLines));
        assert_eq!(format("a.txt b --format jsonl"), Ok(Format::JsonLines));
        assert_eq!(format("- - --format csv"), csv(b','));
        for wrong in ["- -", "a.txt b", "a.jsonl b --delimiter ;", "a.csv b --delimiter _"] {
            assert_eq!(format(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_column_is_named_once_and_is_never_the_record_id() {
        let (table, columns) = parsed("--column name --column phone:deterministic a.csv b").unwrap();
        assert_eq!(table.columns, ["name", "phone"]);
        assert_eq!(columns.iter().map(Column::is_deterministic).collect::<Vec<_>>(), [false, true]);
        for wrong in ["--column id", "--column c --column c", "--column c --column c:deterministic"] {
            assert_eq!(parsed(&format!("{wrong} a.csv b")).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn the_json_has_the_fields_of_the_contract() {
        let (table, _) = parsed("--column name a.csv b").unwrap();
        let job = Job { table, action: Action::Seal, again: true, keep_going: false, workers: 1 };
        let done = Summary { rows: 2, cells: 5, failed: 1, sealed_again: 4, ..Summary::default() };
        let json = to_json(&job, &done, 3);
        let fields: Vec<_> = json.as_object().unwrap().keys().take(5).cloned().collect();
        assert_eq!(fields, ["rows", "cells", "failed", "server_calls", "seconds"]);
        assert_eq!((&json["rows"], &json["server_calls"]), (&json!(2), &json!(3)));
        assert_eq!(
            json["notes"],
            json!(["4 cells looked sealed and were sealed once more; open them twice"])
        );
    }
}
