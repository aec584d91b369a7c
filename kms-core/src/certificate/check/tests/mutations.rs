//! Certificates that were changed: by a stranger, who cannot sign, and by the key centre itself, which can.
//!
//! What a stranger changes is always invalid. What the key centre changes and signs again is invalid wherever something is proven; only what it
//! attests is its own to say.

use std::thread;

use super::*;
use crate::canonical::{Text, Value};

const CERTIFICATES: [&str; 6] = [
    "valid/subject-named.json",
    "valid/version.json",
    "valid/version-cosigned.json",
    "valid/tenant.json",
    "valid/key.json",
    "valid/version-consistency.json",
];

fn verdict(file: &[u8]) -> Verdict {
    verify(file, &Given::default()).verdict
}

/// What of `all` comes to another verdict than invalid.
fn not_invalid<T: Sync>(all: &[T], file: impl Fn(&T) -> Vec<u8> + Sync) -> Vec<&T> {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let file = &file;
        let parts = all.chunks(all.len().div_ceil(threads).max(1));
        let running: Vec<_> = parts
            .map(|part| {
                let valid = move |it: &&T| verdict(&file(it)) != Verdict::Invalid;
                scope.spawn(move || part.iter().filter(valid).collect::<Vec<_>>())
            })
            .collect();
        running.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

#[test]
fn no_byte_can_be_changed() {
    for name in ["valid/version-cosigned.json", "valid/tenant.json", "valid/version-pending.json"] {
        let whole = read(name);
        assert_ne!(verdict(&whole), Verdict::Invalid, "the control");
        let places: Vec<usize> = (0..whole.len()).collect();
        let changed = not_invalid(&places, |at| {
            let mut file = whole.clone();
            // Another of its kind, so that as many as can be are still spelled canonically.
            file[*at] = match file[*at] {
                b'9' => b'0',
                b'f' => b'a',
                b'z' => b'y',
                byte @ (b'0'..=b'8' | b'a'..=b'e' | b'g'..=b'y') => byte + 1,
                byte => byte ^ 1,
            };
            file
        });
        assert_eq!(changed, Vec::<&usize>::new(), "{name}");
    }
}

#[test]
fn no_byte_can_be_left_out_and_none_put_in() {
    let whole = read("valid/tenant.json");
    let places: Vec<usize> = (0..=whole.len()).step_by(3).collect();
    for damage in [
        |file: &mut Vec<u8>, at: usize| file.truncate(at),
        |file: &mut Vec<u8>, at: usize| drop(file.drain(at..(at + 1).min(file.len()))),
        |file: &mut Vec<u8>, at: usize| file.insert(at, b' '),
        |file: &mut Vec<u8>, at: usize| file.insert(at, file.get(at).copied().unwrap_or(b'\n')),
    ] {
        let places: Vec<usize> = places.iter().copied().filter(|at| *at < whole.len()).collect();
        let changed = not_invalid(&places, |at| {
            let mut file = whole.clone();
            damage(&mut file, *at);
            file
        });
        assert!(changed.is_empty(), "{changed:?}");
    }
}

#[test]
fn no_member_stands_twice() {
    let whole = String::from_utf8(read("valid/version.json")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let scalars: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].contains("\": ") && !lines[*at].ends_with(['{', '[']))
        .collect();
    assert!(scalars.len() > 100);
    let doubled = not_invalid(&scalars, |at| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let again = format!("{},", lines[*at].trim_end_matches(','));
        lines.insert(*at, again);
        format!("{}\n", lines.join("\n")).into_bytes()
    });
    assert_eq!(doubled, Vec::<&usize>::new());
}

/// Where something stands in a value.
type Path = Vec<Step>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
}

fn named(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Member(name) => format!(".{name}"),
        Step::Item(_) => "[]".to_owned(),
    };
    path.iter().map(step).collect()
}

fn paths(value: &Value, here: &mut Path, all: &mut Vec<Path>) {
    let mut below = |step: Step, value: &Value| {
        here.push(step);
        all.push(here.clone());
        paths(value, here, all);
        here.pop();
    };
    match value {
        Value::List(items) => items.iter().enumerate().for_each(|(at, item)| below(Step::Item(at), item)),
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| below(Step::Member(name.clone()), value));
        }
        _ => {}
    }
}

fn at<'v>(value: &'v mut Value, path: &[Step]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, step| match (value, step) {
        (Value::List(items), Step::Item(at)) => items.get_mut(*at),
        (Value::Object(members), Step::Member(name)) => members.get_mut(name),
        _ => None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Drop,
    Double,
    Other,
    Shorter,
    Longer,
    Foreign,
    Emptied,
    Swapped(&'static str),
}

/// The file after a change, signed again or not; `None` where it changes nothing.
fn changed(file: &[u8], path: &[Step], change: Change, again: bool) -> Option<Vec<u8>> {
    let before = Value::from_pretty(file.strip_suffix(b"\n")?).ok()?;
    let mut value = before.clone();
    let (last, above) = path.split_last()?;
    match change {
        Change::Drop => match (at(&mut value, above)?, last) {
            (Value::List(items), Step::Item(at)) => drop(items.remove(*at)),
            (Value::Object(members), Step::Member(name)) => drop(members.remove(name)),
            _ => return None,
        },
        Change::Double => match (at(&mut value, above)?, last) {
            (Value::List(items), Step::Item(at)) => items.insert(*at, items[*at].clone()),
            // A name cannot stand twice in an object; a second name with the same value can be tried.
            (Value::Object(members), Step::Member(name)) => {
                members.insert(format!("{name}_"), members.get(name)?.clone());
            }
            _ => return None,
        },
        Change::Other => match at(&mut value, path)? {
            Value::Number(number) => *number += 1,
            Value::Text(text) => *text = other(text),
            _ => return None,
        },
        Change::Shorter => match at(&mut value, path)? {
            Value::List(items) => drop(items.pop()?),
            Value::Text(text) => *text = text.as_str().get(1..)?.parse().ok()?,
            _ => return None,
        },
        Change::Longer => match at(&mut value, path)? {
            Value::List(items) => items.push(items.last()?.clone()),
            Value::Text(text) => *text = format!("{text}0").parse().ok()?,
            _ => return None,
        },
        Change::Foreign => match at(&mut value, path)? {
            Value::List(items) => items.insert(0, Value::Text("00".repeat(32).parse().ok()?)),
            Value::Object(members) => drop(members.insert("another".to_owned(), Value::Number(1))),
            _ => return None,
        },
        Change::Emptied => match at(&mut value, path)? {
            Value::List(items) => items.clear(),
            Value::Object(members) => members.clear(),
            Value::Number(number) => *number = 0,
            Value::Text(text) => *text = Text::default(),
        },
        Change::Swapped(name) => {
            let mut theirs = Value::from_pretty(read(name).strip_suffix(b"\n")?).ok()?;
            *at(&mut value, path)? = at(&mut theirs, path)?.clone();
        }
    }
    if value == before {
        return None;
    }
    if again {
        let Value::Object(members) = &mut value else { return None };
        let message = format!("kms/certificate/v1\n{}", members.get("certificate")?.pretty());
        let signature = hex::encode(sign(message.as_bytes()));
        members.insert("signature".to_owned(), Value::Text(signature.parse().ok()?));
    }
    Some(format!("{}\n", value.pretty()).into_bytes())
}

fn other(text: &Text) -> Text {
    let mut bytes = text.as_str().as_bytes().to_vec();
    match bytes.last_mut() {
        Some(last) => *last = if *last == b'1' { b'2' } else { b'1' },
        None => bytes.push(b'1'),
    }
    String::from_utf8(bytes).unwrap().parse().unwrap()
}

fn every_change(file: &[u8]) -> Vec<(Path, Change)> {
    let value = Value::from_pretty(file.strip_suffix(b"\n").unwrap()).unwrap();
    let mut all = Vec::new();
    paths(&value, &mut Vec::new(), &mut all);
    let mut changes = vec![
        Change::Drop,
        Change::Double,
        Change::Other,
        Change::Shorter,
        Change::Longer,
        Change::Foreign,
        Change::Emptied,
    ];
    changes.extend(["valid/version-of-three.json", "valid/key-singly.json"].map(Change::Swapped));
    all.iter().flat_map(|path| changes.iter().map(|change| (path.clone(), *change))).collect()
}

#[test]
fn what_a_stranger_changes_is_invalid_wherever_it_stands() {
    for name in CERTIFICATES {
        let file = read(name);
        let all: Vec<_> = every_change(&file)
            .into_iter()
            .filter_map(|(path, change)| Some((changed(&file, &path, change, false)?, path, change)))
            .collect();
        assert!(all.len() > 500, "{name}: {}", all.len());
        let valid = not_invalid(&all, |(file, ..)| file.clone());
        let valid: Vec<_> = valid.into_iter().map(|(_, path, change)| (named(path), change)).collect();
        assert_eq!(valid, [], "{name}");
    }
}

/// What the key centre attests, and may say in another way. Everything else is computed.
fn is_attested(path: &str, change: Change) -> bool {
    const ATTESTED: [&str; 12] = [
        ".certificate.issued",
        ".certificate.sanitization",
        ".certificate.proven",
        ".certificate.attested",
        ".certificate.assumed",
        ".certificate.risks",
        ".certificate.request[].approvals",
        ".certificate.subject.versions[].data_keys_issued",
        ".certificate.subject.subject_name",
        ".certificate.erasure.epochs[].quiesced",
        ".certificate.erasure.epochs[].clients_confirmed",
        ".certificate.erasure.epochs[].clients_ended",
    ];
    let whole = |wholes: &[&str]| wholes.contains(&path);
    ATTESTED.iter().any(|attested| path.starts_with(attested))
        // The name of a key's tenant stands in no entry of its own.
        || path == ".certificate.subject.tenant"
        // Fewer earlier heads (others have none), more witnesses; each that is named must hold.
        || whole(&[".certificate.proofs.consistency", ".certificate.proofs.consistency[]"])
            && matches!(change, Change::Drop | Change::Shorter | Change::Emptied | Change::Swapped(_))
        || path.starts_with(".certificate.proofs.checkpoint.cosignatures")
            && matches!(change, Change::Double | Change::Longer)
        // The only version that a key had is all of the key.
        || path == ".certificate.kind" && matches!(change, Change::Swapped(_))
        // Another certificate of the same key centre is one.
        || path == ".certificate" && matches!(change, Change::Swapped(_))
        || path == ".signature"
}

#[test]
fn what_the_key_centre_itself_changes_is_invalid_wherever_something_is_proven() {
    let mut attested = 0;
    for name in CERTIFICATES {
        let file = read(name);
        let all: Vec<_> = every_change(&file)
            .into_iter()
            .filter_map(|(path, change)| Some((changed(&file, &path, change, true)?, named(&path), change)))
            .collect();
        let valid = not_invalid(&all, |(file, ..)| file.clone());
        attested += valid.len();
        let wrong: Vec<_> = valid.iter().filter(|(_, path, change)| !is_attested(path, *change)).collect();
        let wrong: Vec<_> = wrong.iter().map(|(_, path, change)| (path, change)).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
    assert!(attested > 50, "the control: what is signed again and only attested holds ({attested})");
}
