//! `kms audit`

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use kms_client::api::{AuditFilter, AuditLine};
use kms_server::audit::{
    self, Pin,
    report::{Finding, Report, VerifyOptions},
};
use serde_json::{Value, json};

use crate::{args, failure::Failure, print, session::Session, words};

/// Shows lines.
///
/// # Errors
/// Those of the call.
pub async fn query(filter: args::AuditFilter, limit: Option<u64>, session: &Session) -> Result<(), Failure> {
    let kms = session.connect().await?;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut lines = kms.query_audit(filter.into()).take(limit);
    while let Some(line) = lines.try_next().await? {
        show(&line, session)?;
    }
    Ok(())
}

/// Shows lines as they are written, until interrupted.
///
/// # Errors
/// Those of the call.
pub async fn tail(filter: args::AuditFilter, session: &Session) -> Result<(), Failure> {
    let mut lines = session.connect().await?.tail_audit(&filter.into()).await?;
    loop {
        let line = tokio::select! {
            line = lines.try_next() => line?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match line {
            Some(line) => show(&line, session)?,
            None => return Ok(()),
        }
    }
}

impl From<args::AuditFilter> for AuditFilter {
    fn from(filter: args::AuditFilter) -> Self {
        let args::AuditFilter { tenant, key, identity, operation, outcome, request_id, from, until } = filter;
        Self { tenant, key, identity, operation, outcome, request_id, from, until }
    }
}

/// A line as written, or its story in words.
fn show(line: &AuditLine, session: &Session) -> Result<(), Failure> {
    if session.is_json() { print::line(&line.json) } else { print::line(&in_words(line)) }
}

/// One line for people: when, what came of it, who did what with which key, by which rule.
pub fn in_words(line: &AuditLine) -> String {
    let fields: Value = serde_json::from_str(&line.json).unwrap_or_default();
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    // The server writes UTC.
    let when = format!("{}Z", text("time").get(..19).unwrap_or_default().replace('T', " "));
    if text("type") != "request" {
        let about = if text("type") == "server" { text("event") } else { text("type") };
        return print::harmless(&format!("{when}  {:<7}  the audit itself: {about}", "-"));
    }
    let mut what = format!("{} {}", text("identity"), text("operation"));
    match (text("tenant").as_str(), text("key").as_str()) {
        ("", _) => {}
        (tenant, "") => what.push_str(&format!(" {tenant}")),
        (tenant, key) => what.push_str(&format!(" {tenant}/{key}")),
    }
    if let Some(version) = fields["version"].as_u64() {
        what.push_str(&format!(" version {version}"));
    }
    if let Some(items) = fields["items"].as_u64() {
        let failed = fields["failed"].as_u64().filter(|failed| *failed > 0);
        let failed = failed.map(|failed| format!(", {failed} failed")).unwrap_or_default();
        what.push_str(&format!(" ({}{failed})", words::count(items, "item")));
    }
    let rules: Vec<_> = fields["rules"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let why = match (text("reason").as_str(), rules.join(", ").as_str()) {
        ("", "") => String::new(),
        ("", rules) => format!(" by {rules}"),
        (reason, "") => format!(": {reason}"),
        (reason, rules) => format!(": {reason} by {rules}"),
    };
    let mut what_for = String::new();
    for (name, said) in [("destroy_reason", "because of"), ("ticket", "ticket")] {
        if let Some(word) = fields[name].as_str() {
            what_for.push_str(&format!(", {said} {word}"));
        }
    }
    print::harmless(&format!("{when}  {:<7}  {what}{why}{what_for}", text("outcome")))
}

/// Writes the segments below `dir`, each whole or absent.
///
/// # Errors
/// Those of the call; where `dir` cannot be written; where the server names a file that is none.
pub async fn export(from_segment: u64, dir: &Path, session: &Session) -> Result<(), Failure> {
    let cannot =
        |e: &io::Error| Failure::failed("INPUT_OUTPUT", format!("cannot write `{}`: {e}", dir.display()));
    let mut chunks = session.connect().await?.export_audit(from_segment).await?;
    fs::create_dir_all(dir).map_err(|e| cannot(&e))?;
    let mut parts = Parts::default();
    let mut bytes = 0;
    while let Some(chunk) = chunks.try_next().await? {
        parts.write(below(dir, &chunk.file)?, &chunk.content).map_err(|e| cannot(&e))?;
        bytes += chunk.content.len() as u64;
    }
    let files = parts.finish().map_err(|e| cannot(&e))?;
    session.answer(
        || json!({ "files": files, "bytes": bytes }),
        || {
            let (files, bytes) = (words::count(files as u64, "file"), words::count(bytes, "byte"));
            format!("exported {files}, {bytes}, to {}; check with `kms audit verify {0}`", dir.display())
        },
    )
}

/// The files of an export under their temporary names, one of them open: an audit has more segments than a process may have files.
#[derive(Default)]
struct Parts {
    places: BTreeSet<PathBuf>,
    open: Option<(PathBuf, File)>,
}

impl Parts {
    fn write(&mut self, place: PathBuf, content: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != place) {
            self.close()?;
            let part = Self::part(&place);
            let file = match self.places.insert(place.clone()) {
                true => File::create(part)?,
                false => File::options().append(true).open(part)?,
            };
            self.open = Some((place, file));
        }
        self.open.as_mut().map_or(Ok(()), |(_, file)| file.write_all(content))
    }

    fn close(&mut self) -> io::Result<()> {
        self.open.take().map_or(Ok(()), |(_, file)| file.sync_all())
    }

    /// Gives the files their names; says how many there are.
    // ORDER: only what came whole gets its name; an export that broke off leaves `.part` files and is done again.
    fn finish(mut self) -> io::Result<usize> {
        self.close()?;
        self.places.iter().try_for_each(|place| fs::rename(Self::part(place), place))?;
        Ok(self.places.len())
    }

    fn part(place: &Path) -> PathBuf {
        let mut part = place.as_os_str().to_owned();
        part.push(".part");
        part.into()
    }
}

/// What a verification is held against.
#[derive(Debug, Default)]
pub struct Against {
    /// File of the public key.
    pub key: Option<PathBuf>,
    /// A head that must be in it.
    pub pin: Option<Pin>,
    /// Where it must begin.
    pub start: Option<Pin>,
}

/// Checks a directory of segments, offline.
///
/// # Errors
/// Where there is nothing to check, or anything is wrong with it.
pub fn verify(dir: &Path, against: Against, session: &Session) -> Result<(), Failure> {
    let is_pinned = against.pin.is_some();
    let report = checked(dir, against)?;
    let as_json = || {
        let finding =
            |f: &Finding| json!({ "segment": f.segment, "line": f.line, "problem": f.what.to_string() });
        json!({
            "sound": report.is_sound(),
            "segments": report.segments,
            "start": report.start.to_string(),
            "end": report.end.to_string(),
            "complete_to": report.complete_to,
            "unanchored": report.unanchored(),
            "key": report.key.to_string(),
            "key_given": report.key_given,
            "pin_given": is_pinned,
            "wrong": report.wrong,
            "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
            "notes": report.notes.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    session.answer(as_json, || {
        let lines: Vec<_> = in_lines(&report).iter().map(|line| print::harmless(line)).collect();
        match report.is_sound() {
            true => {
                let unchecked = unchecked(report.key_given, is_pinned);
                let head = format!("sound; its head, to pin next time: {}", report.end);
                lines.into_iter().chain(unchecked).chain([head]).collect::<Vec<_>>().join("\n")
            }
            false => format!("{}\nNOT SOUND", lines.join("\n")),
        }
    })?;
    if report.is_sound() { Ok(()) } else { Err(not_sound(dir, &report)) }
}

/// What was found, and how far the audit is vouched for.
fn in_lines(report: &Report) -> Vec<String> {
    let mut lines: Vec<_> = report.findings.iter().chain(&report.notes).map(ToString::to_string).collect();
    if report.wrong > report.findings.len() as u64 {
        lines.push(format!("and {} more", words::thousands(report.wrong - report.findings.len() as u64)));
    }
    let after = match (report.unanchored(), report.is_sound()) {
        (0, _) => String::new(),
        (n, true) => format!("; after the last signed head {}, not yet vouched for", words::count(n, "line")),
        (n, false) => format!("; {} after that not vouched for", words::count(n, "line")),
    };
    lines.push(format!("complete up to line {}{after}", words::thousands(report.complete_to)));
    lines
}

/// What a sound copy proves nothing about, for want of something from outside of it.
fn unchecked(key_given: bool, is_pinned: bool) -> Option<String> {
    let by_whom = (!key_given).then_some("who signed it (give `--key`)");
    let how_far = (!is_pinned).then_some("whether its end is there (give `--pin`)");
    let open: Vec<_> = by_whom.into_iter().chain(how_far).collect();
    (!open.is_empty()).then(|| format!("not checked against anything outside this copy: {}", open.join(", ")))
}

fn checked(dir: &Path, against: Against) -> Result<Report, Failure> {
    let key = against.key.map(|file| {
        let text = fs::read_to_string(&file)
            .map_err(|e| Failure::usage(format!("cannot read `{}`: {e}", file.display())))?;
        text.parse()
            .map_err(|_| Failure::usage(format!("`{}` holds no public key of an audit", file.display())))
    });
    let options = VerifyOptions { key: key.transpose()?, pin: against.pin, start: against.start };
    audit::verify(dir, &options).map_err(|e| Failure::failed("AUDIT_UNREADABLE", e))
}

fn not_sound(dir: &Path, report: &Report) -> Failure {
    let wrong = words::count(report.wrong, "thing");
    Failure::failed(
        "AUDIT_NOT_SOUND",
        format!("the audit in `{}` is not what was written: {wrong} wrong", dir.display()),
    )
}

/// Deletes segments on the server that a sound export holds.
///
/// # Errors
/// Where the export is not sound or does not hold them; those of the call.
pub async fn delete(through_segment: u64, dir: &Path, session: &Session) -> Result<(), Failure> {
    let report = checked(dir, Against::default())?;
    if !report.is_sound() {
        return Err(not_sound(dir, &report));
    }
    let head = head_after(through_segment, dir)?;
    let deleted = session.connect().await?.delete_audit(through_segment, &head, None).await?;
    session.answer(
        || json!({ "deleted_segments": deleted.segments, "first_sequence": deleted.first_sequence }),
        || {
            let segments = words::count(deleted.segments, "segment");
            format!("deleted {segments}; the server's audit now begins at line {}", deleted.first_sequence)
        },
    )
}

/// The chain hash after a segment's last line: what the next segment says that it follows.
fn head_after(segment: u64, dir: &Path) -> Result<Vec<u8>, Failure> {
    let held = |number: u64| dir.join(format!("audit-{number:010}.jsonl"));
    let lacks =
        |what: &str| Failure::usage(format!("the export in `{}` {what}; export again", dir.display()));
    if !held(segment).is_file() {
        return Err(lacks("does not hold that segment"));
    }
    let next = File::open(held(segment.saturating_add(1))).map_err(|_| lacks("ends with that segment"))?;
    let mut first = String::new();
    BufReader::new(next).take(1 << 16).read_line(&mut first).map_err(|_| lacks("cannot be read"))?;
    let line: Value = serde_json::from_str(&first).unwrap_or_default();
    let previous = line["previous"].as_str().and_then(|hash| hex::decode(hash).ok());
    previous.ok_or_else(|| lacks("has a segment without its first line"))
}

/// Where a file that the server named belongs.
fn below(dir: &Path, name: &str) -> Result<PathBuf, Failure> {
    // ATTACK: a server that is not ours must not write outside the directory.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        true => Ok(dir.join(name)),
        false => Err(Failure::failed(
            "ANSWER_INVALID",
            "the server named a file that is no plain name; nothing was kept",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destruction_is_shown_with_its_reason_and_ticket() {
        let json = r#"{"type":"request","time":"2026-11-04T08:00:00.1Z","identity":"spiffe://d/o","operation":"DestroyKey","tenant":"acme","key":"k","outcome":"allowed","rules":["operators-manage"],"version":1,"destroy_reason":"retention-ended","ticket":"OPS-1"}"#;
        let line = in_words(&AuditLine { sequence: 1, json: json.into() });
        assert!(
            line.ends_with("acme/k version 1 by operators-manage, because of retention-ended, ticket OPS-1"),
            "{line}"
        );
    }

    #[test]
    fn a_sound_copy_says_what_it_was_not_checked_against() {
        assert_eq!(unchecked(true, true), None);
        let said = |key, pin| unchecked(key, pin).unwrap();
        assert!(
            said(false, false).contains("`--key`), whether its end is there (give `--pin`)")
                && said(false, true).contains("who signed it")
        );
        assert!(said(true, false).contains("its end is there") && !said(true, false).contains("--key"));
    }

    #[test]
    fn a_server_cannot_write_outside_the_directory() {
        let dir = Path::new("/tmp/export");
        assert_eq!(below(dir, "00000001.jsonl").unwrap(), dir.join("00000001.jsonl"));
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\\b", "a\0b", "é"] {
            assert!(below(dir, name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_export_keeps_one_file_open_and_names_them_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let here = |name: &str| dir.path().join(name);
        let handles = || {
            let fds =
                fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
            fds.filter(|file| file.starts_with(dir.path())).count()
        };
        let mut parts = Parts::default();
        for n in 0..50 {
            parts.write(here(&format!("{n}.jsonl")), b"first ").unwrap();
            parts.write(here(&format!("{n}.jsonl")), b"second").unwrap();
            assert_eq!(handles(), 1);
        }
        parts.write(here("0.jsonl"), b" third").unwrap();
        assert!(!here("0.jsonl").exists());
        assert_eq!(parts.finish().unwrap(), 50);
        assert_eq!(fs::read(here("0.jsonl")).unwrap(), b"first second third");
        assert_eq!(fs::read(here("49.jsonl")).unwrap(), b"first second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 50, "no `.part` is left");
    }

    #[test]
    fn a_line_says_who_did_what_with_which_key_and_why() {
        let json = r#"{"v":1,"type":"request","time":"2026-11-04T08:00:00.123Z","request_id":"r","identity":"spiffe://dev.local/hr-portal","operation":"Decrypt","tenant":"acme","key":"attendance","outcome":"denied","reason":"KEY_NOT_ACCESSIBLE","rules":[],"items":3,"failed":1}"#;
        let line = AuditLine { sequence: 1, json: json.into() };
        assert_eq!(
            in_words(&line),
            "2026-11-04 08:00:00Z  denied   spiffe://dev.local/hr-portal Decrypt acme/attendance (3 items, 1 failed): KEY_NOT_ACCESSIBLE"
        );
    }
}
