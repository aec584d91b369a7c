//! `verify` finds every change that somebody can make who can write the files and has not the key.

use super::*;
use crate::audit::{Pin, Report, VerifyOptions, What, segment, verify};

type Lines = Vec<String>;

fn segment_path(dir: &Path, number: u64) -> std::path::PathBuf {
    dir.join(segment::file_name(number))
}

fn read(dir: &Path, number: u64) -> Lines {
    std::fs::read_to_string(segment_path(dir, number)).unwrap().lines().map(Into::into).collect()
}

fn write(dir: &Path, number: u64, lines: &Lines) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(segment_path(dir, number), text).unwrap();
}

fn check(dir: &Path) -> Report {
    verify(dir, &VerifyOptions::default()).unwrap()
}

fn pinned(dir: &Path, pin: Pin) -> Report {
    verify(dir, &VerifyOptions { pin: Some(pin), ..VerifyOptions::default() }).unwrap()
}

/// Copies the segments, changes the lines of one, and says what `verify` then says.
fn after(dir: &Path, number: u64, change: impl FnOnce(&mut Lines)) -> Report {
    let copy = copied(dir);
    let mut lines = read(copy.path(), number);
    change(&mut lines);
    write(copy.path(), number, &lines);
    check(copy.path())
}

fn copied(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// Where the first finding is, and what.
fn first(report: &Report) -> (&str, u64, &What) {
    let finding = report.findings.first().expect("a finding");
    (&finding.segment, finding.line, &finding.what)
}

#[tokio::test]
async fn an_audit_left_alone_is_sound_and_complete() {
    let dir = made(30, 4000).await;
    let report = check(dir.path());
    assert!(report.is_sound(), "{report}");
    assert!(report.segments >= 3, "{report:?}");
    assert_eq!(
        (report.start.count, report.unanchored()),
        (0, 1),
        "only the last head stands after what it signs"
    );
    assert!(pinned(dir.path(), report.end).is_sound());
    assert_eq!(pinned(dir.path(), report.end).unanchored(), 0);
    assert!(report.to_string().ends_with("1 lines after it unanchored"), "{report}");
}

#[tokio::test]
async fn a_change_of_any_byte_of_a_line_is_found_in_that_line() {
    let dir = made(3, 1 << 20).await;
    let lines = read(dir.path(), 1);
    for (at, line) in lines.iter().enumerate() {
        for byte in 0..line.len() {
            let mut changed = lines.clone();
            let mut bytes = line.clone().into_bytes();
            bytes[byte] ^= 1;
            changed[at] = String::from_utf8(bytes).unwrap();
            write(dir.path(), 1, &changed);
            let report = check(dir.path());
            assert!(!report.is_sound(), "line {at}, byte {byte} of {line}");
            let (_, found, what) = first(&report);
            assert!(found == at as u64 + 1, "line {at}, byte {byte}: {what} in {found}");
        }
    }
}

#[tokio::test]
async fn each_field_changed_to_something_plausible_is_found() {
    let dir = made(3, 1 << 20).await;
    for (from, to) in [
        (r#""tenant":"acme""#, r#""tenant":"acne""#),
        (r#""key":"attendance""#, r#""key":"salaries""#),
        (r#"/attendance""#, r#"/someoneelse""#),
        (r#""operation":"Encrypt""#, r#""operation":"Decrypt""#),
        (r#""outcome":"allowed""#, r#""outcome":"denied""#),
        (r#""rules":["attendance-seals"]"#, r#""rules":[]"#),
        (r#""group":"X25519MLKEM768""#, r#""group":"x25519""#),
        (r#""certificate":"ab"#, r#""certificate":"cd"#),
    ] {
        let report = after(dir.path(), 1, |lines| {
            assert!(lines[1].contains(from), "{from} in {}", lines[1]);
            lines[1] = lines[1].replacen(from, to, 1);
        });
        assert_eq!(first(&report), (&*segment::file_name(1), 2, &What::Changed), "{from}");
    }
}

#[tokio::test]
async fn lines_dropped_swapped_doubled_or_put_in_are_found_where_they_are() {
    let dir = made(10, 1 << 20).await;
    let dropped = after(dir.path(), 1, |lines| drop(lines.remove(4)));
    assert_eq!(first(&dropped).1, 5);
    assert_eq!(first(&dropped).2, &What::Missing { from: 4, to: 4 });
    assert_eq!(dropped.wrong, 1, "{dropped}");

    let swapped = after(dir.path(), 1, |lines| lines.swap(4, 5));
    assert_eq!(first(&swapped).2, &What::Missing { from: 4, to: 4 });
    assert_eq!(swapped.findings[1].what, What::OutOfPlace { sequence: 4 });

    let doubled = after(dir.path(), 1, |lines| lines.insert(5, lines[4].clone()));
    assert_eq!(first(&doubled), (&*segment::file_name(1), 6, &What::OutOfPlace { sequence: 4 }));

    let put_in = after(dir.path(), 1, |lines| lines.insert(5, "{}".into()));
    assert_eq!(first(&put_in), (&*segment::file_name(1), 6, &What::Malformed));
    assert_eq!(put_in.wrong, 1, "{put_in}");
}

#[tokio::test]
async fn a_line_changed_with_all_hashes_after_it_made_anew_is_found_by_the_next_signed_head() {
    let dir = made(10, 1 << 20).await;
    let report = after(dir.path(), 1, |lines| {
        let mut at = crate::audit::chain::Position::start(INSTANCE);
        for (number, line) in lines.iter_mut().enumerate() {
            let body = &line[line.find(",").unwrap() + 1..];
            let body = &body[body.find(",").unwrap() + 1..body.rfind(r#","hash":"#).unwrap()];
            let body = if number == 3 { body.replace("acme", "evil") } else { body.into() };
            let mut out = Vec::new();
            at.append(&mut out, body.as_bytes());
            *line = String::from_utf8(out).unwrap().trim_end().into();
        }
    });
    assert!(matches!(first(&report).2, What::OtherThanSigned { .. }), "{report}");
    assert!(report.complete_to <= 3, "{report}");
}

#[tokio::test]
async fn a_cut_end_is_found_against_a_pinned_head_and_a_half_line_always() {
    let dir = made(10, 1 << 20).await;
    let whole = check(dir.path());
    let copy = copied(dir.path());
    let mut lines = read(copy.path(), 1);
    lines.truncate(5);
    write(copy.path(), 1, &lines);
    let report = pinned(copy.path(), whole.end);
    assert_eq!(first(&report).2, &What::FewerThanPinned { pinned: whole.end.count, found: 5 });

    let path = segment_path(copy.path(), 1);
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length - 7).unwrap();
    assert_eq!(first(&check(copy.path())).2, &What::HalfLine);
}

#[tokio::test]
async fn a_pin_on_another_history_is_found() {
    let (dir, other) = (made(10, 1 << 20).await, made(10, 1 << 20).await);
    let report = pinned(dir.path(), check(other.path()).end);
    assert!(!report.is_sound());
    assert!(report.findings.iter().any(|finding| finding.what == What::OtherThanPinned));
}

#[tokio::test]
async fn a_missing_segment_is_found_wherever_it_was() {
    let dir = made(30, 4000).await;
    let last = check(dir.path()).segments;
    assert!(last >= 3);
    for gone in 1..=last {
        let copy = copied(dir.path());
        std::fs::remove_file(segment_path(copy.path(), gone)).unwrap();
        let report = pinned(copy.path(), check(dir.path()).end);
        assert!(!report.is_sound(), "segment {gone}");
        let found = report.findings.iter().any(|finding| match finding.what {
            What::StartMissing { .. } => gone == 1,
            What::SegmentMissing => gone > 1 && gone < last,
            What::FewerThanPinned { .. } => gone == last,
            _ => false,
        });
        assert!(found, "segment {gone}: {report}");
    }
}

#[tokio::test]
async fn segments_that_changed_places_are_found() {
    let dir = made(30, 4000).await;
    let copy = copied(dir.path());
    let (one, two) = (read(copy.path(), 1), read(copy.path(), 2));
    write(copy.path(), 1, &two);
    write(copy.path(), 2, &one);
    assert!(matches!(first(&check(copy.path())).2, What::WrongHeader), "{}", check(copy.path()));
}

#[tokio::test]
async fn a_log_signed_by_another_key_is_found_where_the_key_is_given() {
    let (dir, other) = (made(3, 1 << 20).await, made(3, 1 << 20).await);
    let text = std::fs::read_to_string(dir.path().join("audit.pub")).unwrap();
    let given = VerifyOptions { key: Some(text.parse().unwrap()), ..VerifyOptions::default() };
    assert!(verify(dir.path(), &given).unwrap().is_sound());
    let report = verify(other.path(), &given).unwrap();
    assert_eq!(first(&report).2, &What::BadSignature);
    assert!(report.key_given && !check(dir.path()).key_given);
    assert_eq!(report.complete_to, 0);
}
