//! Columns and whole files.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use super::Place;

pub(super) const CELLS: &str = "K --table checkins --id id --column name --column phone:deterministic";
const TABLE: &str =
    "\u{feff}id,name,phone,note\r\n1,\"Zoë, M.\",030,a\r\n\r\n2,,030,\"b\nc\"\r\n3,张三,\"0\"\"31\",\r\n";

#[test]
fn columns_come_back_as_they_were_and_cost_a_handful_of_calls() {
    let place = Place::with_key("columns", "");
    fs::write(place.path("in.csv"), TABLE).unwrap();
    fs::set_permissions(place.path("in.csv"), fs::Permissions::from_mode(0o600)).unwrap();
    let sealed = place.run("attendance", &format!("columns seal {CELLS} in.csv sealed.csv -o json")).ok();
    assert!(sealed.stdout.is_empty());
    let summary = sealed.said();
    assert_eq!((&summary["rows"], &summary["cells"], &summary["failed"]), (&3.into(), &6.into(), &0.into()));
    assert!(summary["server_calls"].as_u64().unwrap() <= 4, "{summary}");
    assert!(summary["seconds"].is_f64() && summary["blank_lines"] == 1);

    let mode = fs::metadata(place.path("sealed.csv")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "as private as what was sealed");
    let file = place.read("sealed.csv");
    assert!(file.starts_with("\u{feff}id,name,phone,note\r\n1,\"kf1."));
    let cell = |row: usize| file.lines().nth(row).unwrap().split(',').nth(2).unwrap().to_owned();
    assert_eq!(cell(1), cell(2), "equal phones stay equal");
    assert_eq!(file.matches("kf1.").count(), 6);

    place.run("attendance", &format!("columns open {CELLS} sealed.csv out.csv")).ok();
    assert_eq!(place.read("out.csv"), TABLE.replace("\r\n\r\n", "\r\n"));

    let piped =
        place.feed("attendance", &format!("columns open {CELLS} --format csv - -"), file.as_bytes()).ok();
    assert_eq!(piped.text(), place.read("out.csv"));
    place.run("hr-portal", &format!("columns open {CELLS} sealed.csv peek.csv")).ends_with(5);
    place.run("hr-portal", &format!("columns open {CELLS} --keep-going sealed.csv peek.csv")).ends_with(5);
    assert!(!place.path("peek.csv").exists());
    place
        .run("attendance", "columns open K --table other --id id --column name sealed.csv x.csv")
        .ends_with(1);
}

#[test]
fn a_reseal_moves_cells_to_the_active_version_and_then_the_old_one_can_go() {
    let place = Place::with_key("resealed", "");
    fs::write(place.path("in.csv"), TABLE).unwrap();
    place.run("attendance", &format!("columns seal {CELLS} in.csv v1.csv")).ok();
    place.run("operator", "key rotate attendance --tenant T --deterministic").ok();
    place.run("attendance", &format!("columns reseal {CELLS} v1.csv v2.csv")).ok();
    assert_ne!(place.read("v1.csv"), place.read("v2.csv"));
    place.run("attendance", &format!("columns reseal {CELLS} v2.csv again.csv")).ok();
    assert_eq!(place.read("v2.csv"), place.read("again.csv"), "what is current stays as it is");

    place.run("operator", "key destroy attendance --tenant T --version 1 --reason superseded --force").ok();
    place.run("attendance", &format!("columns open {CELLS} v2.csv out.csv")).ok();
    assert_eq!(place.read("out.csv"), TABLE.replace("\r\n\r\n", "\r\n"));

    let stopped =
        place.run("attendance", &format!("columns open {CELLS} v1.csv lost.csv -o json")).ends_with(1);
    assert_eq!(stopped.reason(), "KEY_DESTROYED");
    assert!(!place.path("lost.csv").exists());
    // Half old, half new: the old half stays sealed, the rest opens.
    let (old, new) = (place.read("v1.csv"), place.read("v2.csv"));
    let row = |file: &str, n: usize| file.split_inclusive("\r\n").nth(n).unwrap().to_owned();
    fs::write(place.path("mixed.csv"), row(&new, 0) + &row(&old, 1) + &row(&new, 3)).unwrap();
    let partly =
        place.run("attendance", &format!("columns open {CELLS} --keep-going mixed.csv left.csv -o json"));
    let partly = partly.ends_with(7).said();
    assert_eq!((&partly["cells"], &partly["failed"]), (&2.into(), &2.into()));
    assert_eq!((&partly["problems"][0]["line"], &partly["problems"][0]["row"]), (&2.into(), &1.into()));
    assert_eq!(
        place.read("left.csv"),
        row(TABLE, 0) + &row(&old, 1) + &row(&TABLE.replace("\r\n\r\n", "\r\n"), 3)
    );
}

#[test]
fn json_lines_keep_their_types() {
    let place = Place::with_key("jsonl", "");
    let lines = "{\"id\":1,\"v\":\"Zoë\",\"w\":17}\n{\"id\":\"b\",\"w\":null,\"x\":[1, 2]}\n{\"id\":\"c\",\"v\":{\"lat\":1.50},\"w\":true}\n";
    let cells = "K --table t --id id --column v --column w";
    let sealed =
        place.feed("attendance", &format!("columns seal {cells} --format jsonl - -"), lines.as_bytes()).ok();
    for line in sealed.text().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let is_sealed = |v: &Value| v.as_str().is_some_and(|v| v.starts_with("kf1."));
        let sealed =
            |name: &str| row.get(name).is_none_or(|v| v.is_null() || is_sealed(v) || is_sealed(&v[0]));
        assert!(sealed("v") && sealed("w"), "{line}");
    }
    let opened =
        place.feed("attendance", &format!("columns open {cells} --format jsonl - -"), &sealed.stdout).ok();
    assert_eq!(opened.text(), lines);
}

#[test]
fn a_job_that_seals_the_same_file_again_and_one_that_names_no_column_write_nothing() {
    let place = Place::with_key("twice", "");
    let cells = "K --table t --id id --column v";
    fs::write(place.path("in.jsonl"), "{\"id\":1,\"v\":17}\n{\"id\":2,\"v\":\"a\"}\n").unwrap();
    place.run("attendance", &format!("columns seal {cells} in.jsonl sealed.jsonl")).ok();
    let again = format!("columns seal {cells} sealed.jsonl twice.jsonl -o json");
    assert_eq!(place.run("attendance", &again).ends_with(1).reason(), "ALREADY_SEALED");
    assert!(!place.path("twice.jsonl").exists());
    let said = place.run("attendance", &format!("{again} --again")).ok().said();
    assert!(said["notes"][0].as_str().unwrap().contains("2 cells looked sealed"), "{said}");
    place.run("attendance", &format!("columns open {cells} twice.jsonl once.jsonl")).ok();
    assert_eq!(place.read("once.jsonl"), place.read("sealed.jsonl"));

    let wrong = place.run("attendance", "columns seal K --table t --id id --column vv in.jsonl plain.jsonl");
    let said = wrong.ends_with(2);
    assert!(said.stderr.contains("they have `id`, `v`"));
    assert!(!place.path("plain.jsonl").exists());
}

#[test]
fn under_class_l4_the_server_seals_each_cell_and_no_data_key_leaves_it() {
    let place = Place::with_key("l4", "--class L4");
    fs::write(place.path("in.csv"), TABLE).unwrap();
    let cells = "K --table checkins --id id --column name --column phone";
    place.run("attendance", &format!("columns seal {cells} in.csv sealed.csv")).ok();
    place.run("attendance", &format!("columns open {cells} sealed.csv out.csv")).ok();
    assert_eq!(place.read("out.csv"), TABLE.replace("\r\n\r\n", "\r\n"));
    place.run("attendance", &format!("columns reseal {cells} sealed.csv again.csv")).ok();
    place.run("attendance", &format!("columns seal {CELLS} in.csv no.csv")).ends_with(2);
    fs::write(place.path("file"), "x").unwrap();
    place.run("attendance", "seal-file K file sealed").ends_with(1);
    assert!(!place.path("sealed").exists() && !place.path("no.csv").exists());
}

#[test]
fn a_sealed_file_opens_whole_or_not_at_all() {
    let place = Place::with_key("files", "");
    for length in [0, 1, 65_535, 65_536, 65_537, 300_000] {
        let content: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        fs::write(place.path("plain"), &content).unwrap();
        place.run("attendance", "seal-file K plain sealed").ok();
        place.run("attendance", "open-file K sealed opened").ok();
        assert_eq!(fs::read(place.path("opened")).unwrap(), content, "{length} bytes");
        fs::remove_file(place.path("opened")).unwrap();
    }
    let sealed = fs::read(place.path("sealed")).unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        fs::write(place.path("bad"), bytes).unwrap();
        place.run("attendance", "open-file K bad opened").ends_with(1);
        assert!(!place.path("opened").exists(), "{name}");
    };
    let (header, chunk) = (sealed.len() - 300_000 - 5 * 16, 65_536 + 16);
    refused("cut in a chunk", &sealed[..sealed.len() - 1]);
    refused("cut after a chunk", &sealed[..header + 2 * chunk]);
    refused("cut after the header", &sealed[..header]);
    refused("cut in the header", &sealed[..20]);
    refused("extended", &[&sealed[..], b"x"].concat());
    refused("not sealed", b"hello");
    let mut swapped = sealed.clone();
    let (first, second) = swapped[header..header + 2 * chunk].split_at_mut(chunk);
    first.swap_with_slice(second);
    refused("reordered", &swapped);
    let mut flipped = sealed.clone();
    flipped[header + 5] ^= 1;
    refused("flipped", &flipped);
    place.run("hr-portal", "open-file K sealed opened").ends_with(5);
}

#[test]
fn what_does_not_open_says_what_to_check() {
    let place = Place::with_key("slips", "");
    fs::write(place.path("in.csv"), "id,v\n1,a\n").unwrap();
    place.run("attendance", "columns seal K --table t --id id --column v in.csv sealed.csv").ok();
    place.run("attendance", "seal-file K in.csv sealed").ok();
    let other = "--tenant T --key payroll".replace('T', "slips");
    for words in ["columns open OTHER --table t --id id --column v sealed.csv x", "open-file OTHER sealed x"]
    {
        let said = place.run("attendance", &words.replace("OTHER", &other)).ends_with(1).stderr;
        assert!(said.contains("`attendance`") && said.contains("`payroll`"), "both keys are named: {said}");
        assert!(said.contains("give `--key attendance`"), "{said}");
    }
    let moved = place.run("attendance", "columns open K --table other --id id --column v sealed.csv x");
    let said = moved.ends_with(1).stderr;
    assert!(said.contains("`--table other`") && said.contains("`--id`"), "{said}");
    let value = place.feed("attendance", "encrypt K", b"value").ok().stdout;
    fs::write(place.path("value"), value).unwrap();
    let said = place.run("attendance", "open-file K value x").ends_with(1).stderr;
    assert!(said.contains("`kms encrypt` made this"), "{said}");
    for words in
        ["seal-file K missing x", "seal-file K . x", "seal-file K in.csv .", "seal-file K in.csv no/x"]
    {
        place.run("attendance", words).ends_with(1);
    }
    assert!(!place.path("x").exists());
}

#[test]
fn a_file_of_one_subject_is_turned_under_its_key_and_a_family_is_refused_with_what_to_do() {
    let place = Place::with_key("family-file", "--family");
    fs::write(place.path("in.csv"), TABLE).unwrap();
    place.run("attendance", "key ensure attendance --tenant T 17").ok();
    let of_subject = CELLS.replacen("K", "--tenant T --key attendance/17", 1);
    place.run("attendance", &format!("columns seal {of_subject} in.csv v1.csv")).ok();
    place.run("operator", "key rotate attendance --tenant T --deterministic").ok();
    place.run("attendance", &format!("columns reseal {of_subject} v1.csv v2.csv")).ok();
    let (old, new) = (place.read("v1.csv"), place.read("v2.csv"));
    let cells = |file: &str| -> Vec<String> {
        file.split([',', '\r', '"']).filter(|cell| cell.starts_with("kf1.")).map(str::to_owned).collect()
    };
    let (old, new) = (cells(&old), cells(&new));
    let moved = old.iter().filter(|cell| !new.contains(cell)).count();
    assert_eq!((old.len(), moved), (6, 6), "both columns moved");
    place
        .run("operator", "key destroy attendance/17 --tenant T --version 1 --reason superseded --force")
        .ok();
    place.run("attendance", &format!("columns open {of_subject} v2.csv out.csv")).ok();
    assert_eq!(place.read("out.csv"), TABLE.replace("\r\n\r\n", "\r\n"));

    for (action, file) in [("seal", "in.csv"), ("open", "v2.csv"), ("reseal", "v2.csv")] {
        let said =
            place.run("attendance", &format!("columns {action} {CELLS} {file} no.csv -o json")).ends_with(1);
        assert_eq!(said.reason(), "KEY_IS_FAMILY", "{action}");
        assert!(said.stderr.contains("--key attendance/SUBJECT") && said.stderr.contains("--per COLUMN"));
        assert!(!place.path("no.csv").exists());
    }
}
