//! Results on stdout, for people or for programs. What the server sent is never trusted with the terminal: control characters are
//! shown, not obeyed.

use std::io::{self, Write};

use serde_json::Value;

use crate::failure::Failure;

/// Writes one JSON value on a line of its own.
///
/// # Errors
/// Where stdout is closed.
pub fn json(value: &Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Writes one line of text.
///
/// # Errors
/// Where stdout is closed.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|e| closed(&e))
}

/// Writes bytes as they are.
///
/// # Errors
/// Where stdout is closed.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| closed(&e))
}

fn closed(error: &io::Error) -> Failure {
    Failure::failed("INPUT_OUTPUT", format!("cannot write to standard output: {error}"))
}

/// Rows under headings, in columns as wide as their widest cell.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |row: &Vec<String>| row.iter().map(|cell| harmless(cell)).collect::<Vec<_>>();
    let mut all = vec![headings.iter().map(|h| h.to_uppercase()).collect::<Vec<_>>()];
    all.extend(rows.iter().map(cells));
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..headings.len()).map(|column| width(column).unwrap_or(0)).collect();
    let lines = all.iter().map(|row| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names and values one under the other; empty values are left out.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let shown = facts.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{name:<width$}  {}", harmless(value))).collect::<Vec<_>>().join("\n")
}

/// Text without control characters.
pub fn harmless(text: &str) -> String {
    // ATTACK: a label or an audit line with escape sequences could rewrite what the operator sees.
    let control = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if control(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Harmless text of at most `most` characters.
pub fn brief(text: &str, most: usize) -> String {
    let text = harmless(text);
    match text.chars().count() > most {
        true => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["acme".to_owned(), "active".to_owned()], vec!["müller-gmbh".to_owned(), String::new()]];
        assert_eq!(
            table(&["tenant", "state"], &rows),
            "TENANT       STATE\nacme         active\nmüller-gmbh"
        );
        let shown = facts(&[("name", "acme".into()), ("label", String::new()), ("revision", "3".into())]);
        assert_eq!(shown, "name      acme\nrevision  3");
    }

    #[test]
    fn what_a_server_sends_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\nc\u{202e}d é"), "a\\u{1b}[2Jb\\nc\\u{202e}d é");
    }
}
