//! The table engine without keys: a cipher that turns text around shows what is touched and what is not.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::{
    cipher::{Answers, Cell, CellCipher},
    error::{CellProblem, ColumnsError},
    *,
};
use crate::failure::{Exit, Failure};

/// Binds a cell to its record and column the way the product does, with no secret at all.
struct Toy(Action);

impl CellCipher for Toy {
    fn turn(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
        for cell in cells {
            let bound = |content: &[u8]| {
                [&[cell.column as u8, cell.record.len() as u8], cell.record, content].concat()
            };
            let opened = || {
                let text = cell.content.strip_prefix(b"kf1.")?;
                let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
                Some(bytes.strip_prefix(&bound(b"")[..])?.to_vec())
            };
            let sealed =
                |content: &[u8]| format!("kf1.{}", URL_SAFE_NO_PAD.encode(bound(content))).into_bytes();
            let answer = match self.0 {
                Action::Seal => Some(sealed(cell.content)),
                Action::Open => opened(),
                Action::Reseal => opened().map(|content| sealed(&content)),
            };
            match answer {
                Some(answer) => answers.done(|out| out.extend_from_slice(&answer)),
                None => answers.failed(Failure::failed("DOES_NOT_OPEN", "does not open")),
            }
        }
        Ok(())
    }
}

const CSV: Format = Format::Csv { delimiter: b',' };

fn job(format: Format, action: Action, columns: &[&str]) -> Job {
    let columns = columns.iter().map(|c| c.to_string()).collect();
    Job {
        table: Table { format, id: "id".into(), columns },
        action,
        again: false,
        keep_going: false,
        workers: 2,
    }
}

fn turn(job: &Job, input: &[u8]) -> Result<(String, Summary), ColumnsError> {
    let mut out = Vec::new();
    let summary = run(job, &Toy(job.action), input, &mut out, &|_| {})?;
    Ok((String::from_utf8_lossy(&out).into_owned(), summary))
}

fn there_and_back(format: Format, columns: &[&str], input: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    let seal = job(format, Action::Seal, columns);
    run(&seal, &Toy(Action::Seal), input, &mut sealed, &|_| {}).unwrap();
    let open = job(format, Action::Open, columns);
    run(&open, &Toy(Action::Open), &sealed[..], &mut opened, &|_| {}).unwrap();
    (sealed, opened)
}

#[test]
fn what_is_not_touched_stays_as_it_was() {
    let input = "\u{feff}\"id\",  name ,note\r\n1,Zoë,\"needless\"\r\n\r\n2,\"a\nb\",\"x\"\"y\"\n3,,";
    let (sealed, summary) = turn(&job(CSV, Action::Seal, &["  name "]), input.as_bytes()).unwrap();
    let rows: Vec<&str> = sealed.split("kf1.").collect();
    assert_eq!(rows[0], "\u{feff}\"id\",  name ,note\r\n1,");
    assert!(rows[1].ends_with(",\"needless\"\r\n2,\""));
    assert!(rows[2].ends_with("\",\"x\"\"y\"\n3,"));
    assert!(rows[3].ends_with(','), "an empty cell is sealed too: {sealed}");
    assert_eq!((summary.rows, summary.cells, summary.blank_lines), (3, 3, 1));
    let (opened, _) = turn(&job(CSV, Action::Open, &["  name "]), sealed.as_bytes()).unwrap();
    assert_eq!(opened, input.replace("\r\n\r\n", "\r\n"));
}

#[test]
fn a_missing_json_value_stays_missing_and_every_other_type_comes_back() {
    let input = concat!(
        r#"{"id":"a","v":"text","w":1}"#,
        "\n",
        r#"{"id":17,"w":2}"#,
        "\r\n \n",
        r#"{ "v" : null , "id":"c" }"#,
        "\n",
        r#"{"id":"d","v":-1.50}"#,
        "\n",
        r#"{"id":"e","v":{"lat": 1, "x":[true]}}"#,
        "\n",
        r#"{"id":"f","v":false}"#,
        "\n",
        r#"{"v":"17","id":"g"}"#
    );
    let (sealed, opened) = there_and_back(Format::JsonLines, &["v"], input.as_bytes());
    for line in String::from_utf8(sealed).unwrap().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let sealed = |v: &serde_json::Value| v.as_str().unwrap_or_default().starts_with("kf1.");
        let sealed = value.get("v").filter(|v| !v.is_null()).map(|v| sealed(v) || sealed(&v[0]));
        assert_eq!(
            sealed,
            if ["17", "\"c\""].contains(&value["id"].to_string().as_str()) { None } else { Some(true) }
        );
    }
    assert_eq!(String::from_utf8(opened).unwrap(), input.replace(" \n", ""));
}

#[test]
fn json_strings_that_are_no_text_come_back_byte_for_byte_and_never_as_nothing() {
    let input = concat!(
        r#"{"id":"1","v":"\ud800"}"#,
        "\n",
        r#"{"id":"2","v":"a \udc00\u0041 b"}"#,
        "\n",
        r#"{"id":"3","v":""}"#,
        "\n",
        r#"{"id":"4","v":"\ud83d\ude00"}"#,
        "\n",
        "{\"id\":\"5\",\"v\":[1,\r2]}\n",
    );
    let (sealed, opened) = there_and_back(Format::JsonLines, &["v"], input.as_bytes());
    let marked =
        |line: usize| String::from_utf8_lossy(&sealed).lines().nth(line).unwrap().contains("[\"kf1.");
    assert_eq!([0, 1, 2, 3].map(marked), [true, true, false, false]);
    assert_eq!(String::from_utf8(opened).unwrap(), input.replace(r"\ud83d\ude00", "\u{1f600}"));

    let open = job(Format::JsonLines, Action::Open, &["v"]);
    let problem = turn(&open, input.as_bytes()).unwrap_err();
    assert!(
        matches!(problem, ColumnsError::Cell { problem: CellProblem { row: 1, .. }, .. }),
        "it is not sealed: {problem}"
    );
    let seal = job(Format::JsonLines, Action::Seal, &["v"]);
    let problem = turn(&seal, br#"{"id":"\ud800","v":"x"}"#).unwrap_err();
    assert!(matches!(problem, ColumnsError::NoRecordId { line: 1, .. }), "{problem}");
}

#[test]
fn a_sealed_json_value_keeps_its_type_when_other_programs_write_the_file_again() {
    let input = concat!(
        r#"{"id":1,"v":41}"#,
        "\n",
        r#"{"id":2,"v":"41"}"#,
        "\n",
        r#"{"id":3,"v":-1.50e3}"#,
        "\n",
        r#"{"id":4,"v":{"lat": 1, "x":[true]}}"#,
        "\n",
        r#"{"id":5,"v":["kf1.is no sealed text"]}"#,
        "\n",
    );
    let (sealed, summary) = turn(&job(Format::JsonLines, Action::Seal, &["v"]), input.as_bytes()).unwrap();
    assert_eq!((summary.cells, sealed.matches("[\"kf1.").count()), (5, 4), "{sealed}");
    let again = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let open = job(Format::JsonLines, Action::Open, &["v"]);
    for write in [|v: &_| serde_json::to_string(v).unwrap(), |v: &_| format!("{v:#}").replace('\n', " ")] {
        let rewritten: String = sealed.lines().map(|line| write(&again(line)) + "\n").collect();
        let resealed = turn(&job(Format::JsonLines, Action::Reseal, &["v"]), rewritten.as_bytes()).unwrap().0;
        for (opened, given) in turn(&open, resealed.as_bytes()).unwrap().0.lines().zip(input.lines()) {
            let value = given.split_once("\"v\":").unwrap().1.strip_suffix('}').unwrap();
            assert!(opened.contains(value), "{opened} has {value} as it stood");
        }
    }
}

#[test]
fn a_column_that_no_json_object_has_is_an_error_that_names_what_they_have() {
    for action in [Action::Seal, Action::Open, Action::Reseal] {
        let wrong = job(Format::JsonLines, action, &["v", "nmae"]);
        let failure = Failure::from(turn(&wrong, br#"{"id":1,"name":"a","v":null}"#).unwrap_err());
        assert_eq!((failure.exit, failure.reason.as_str()), (Exit::Usage, "NO_SUCH_COLUMN"));
        assert_eq!(failure.message, "no object has a value named `nmae`; they have `id`, `v`, `name`");
    }
    let seal = job(Format::JsonLines, Action::Seal, &["v"]);
    let (out, _) = turn(&seal, b"{\"id\":1}\n{\"id\":2,\"v\":null}\n").unwrap();
    assert!(out.ends_with("null}\n"), "null is a value that is missing, not a name that is wrong");
}

#[test]
fn what_is_sealed_is_sealed_again_only_where_that_is_said() {
    let header = [0x4B, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 16];
    let sealed = kms_core::field::text::encode(&[&header[..], &[7; 64]].concat());
    for (format, cell) in [
        (CSV, format!("id,v\n1,a\n2,{sealed}\n")),
        (Format::JsonLines, format!("{{\"id\":1,\"v\":2}}\n{{\"id\":2,\"v\":\"{sealed}\"}}\n")),
        (Format::JsonLines, format!("{{\"id\":1,\"v\":2}}\n{{\"id\":2,\"v\":[ \"{sealed}\" ]}}\n")),
    ] {
        let mut seal = job(format, Action::Seal, &["v"]);
        let failure = Failure::from(turn(&seal, cell.as_bytes()).unwrap_err());
        assert_eq!((failure.exit, failure.reason.as_str()), (Exit::Failed, "ALREADY_SEALED"));
        assert!(failure.message.contains("row 2, column `v`"), "{failure}");
        assert!(
            failure.message.contains("columns reseal") && failure.message.contains("--again"),
            "{failure}"
        );
        seal.again = true;
        let (twice, summary) = turn(&seal, cell.as_bytes()).unwrap();
        assert_eq!((summary.cells, summary.sealed_again), (2, 1));
        assert_eq!(turn(&job(format, Action::Open, &["v"]), twice.as_bytes()).unwrap().0, cell);
    }
    let text = turn(&job(CSV, Action::Seal, &["v"]), b"id,v\n1,kf1.notes\n2,kf1.\n").unwrap().1;
    assert_eq!((text.cells, text.sealed_again), (2, 0), "text that only begins like it is text");
}

#[test]
fn a_cell_moved_to_another_row_does_not_open_and_is_named() {
    let (sealed, _) = turn(&job(CSV, Action::Seal, &["v"]), b"id,v\n1,a\n2,b\n3,c\n").unwrap();
    let mut lines: Vec<String> = sealed.lines().map(str::to_owned).collect();
    lines[3] = lines[2].replace("2,", "3,");
    let moved = lines.join("\n");
    let mut open = job(CSV, Action::Open, &["v"]);
    let failure = Failure::from(turn(&open, moved.as_bytes()).unwrap_err());
    assert_eq!((failure.exit, failure.reason.as_str()), (Exit::Failed, "DOES_NOT_OPEN"));
    assert!(failure.message.contains("line 4: row 3, column `v`"), "{failure}");

    open.keep_going = true;
    let (opened, summary) = turn(&open, moved.as_bytes()).unwrap();
    assert_eq!(opened, format!("id,v\n1,a\n2,b\n{}", lines[3]), "it stays sealed");
    assert_eq!((summary.cells, summary.failed, summary.problems.len()), (2, 1, 1));
}

#[test]
fn a_cell_under_a_foreign_key_is_named_and_is_a_denial_only_where_nothing_opened() {
    /// Opens what says so.
    struct Foreign;
    impl CellCipher for Foreign {
        fn turn(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
            for cell in cells {
                match cell.content {
                    b"mine" => answers.done(|out| out.extend_from_slice(b"x")),
                    _ => answers.failed(Failure::new(Exit::Denied, "KEY_NOT_ACCESSIBLE", "no such key")),
                }
            }
            Ok(())
        }
    }
    let open = job(CSV, Action::Open, &["v"]);
    let failure =
        |input: &[u8]| Failure::from(run(&open, &Foreign, input, &mut Vec::new(), &|_| {}).unwrap_err());
    let later = failure(b"id,v\n1,mine\n2,theirs\n");
    assert_eq!((later.exit, later.reason.as_str()), (Exit::Failed, "KEY_NOT_ACCESSIBLE"));
    assert_eq!(later.message, "line 3: row 2, column `v`: no such key");
    let all = failure(b"id,v\n1,theirs\n2,theirs\n");
    assert_eq!((all.exit, all.message.as_str()), (Exit::Denied, "line 2: row 1, column `v`: no such key"));
    let far = [b"id,v\n".to_vec(), b"1,mine\n".repeat(100_000), b"2,theirs\n".to_vec()].concat();
    assert_eq!(failure(&far).exit, Exit::Failed, "in another batch too");
}

#[test]
fn a_table_that_is_not_one_is_refused_with_its_line() {
    let seal = job(CSV, Action::Seal, &["v"]);
    let problem = |input: &[u8]| turn(&seal, input).map(|_| ()).unwrap_err();
    assert!(matches!(problem(b""), ColumnsError::NoHeader));
    assert!(matches!(problem(b"\n\n"), ColumnsError::NoHeader));
    assert!(matches!(problem(b"\xff\xfei\0d\0"), ColumnsError::Utf16));
    assert!(matches!(problem(b"id,w\n"), ColumnsError::NoSuchColumn { name, .. } if name == "v"));
    assert!(matches!(problem(b"v,w\n"), ColumnsError::NoSuchColumn { name, .. } if name == "id"));
    assert!(matches!(problem(b"id,v,v\n"), ColumnsError::ColumnTwice(_)));
    assert!(matches!(
        problem(b"id,v\n1,\"a\n\"\n2,b,c\n"),
        ColumnsError::Ragged { line: 4, found: 3, expected: 2 }
    ));
    assert!(matches!(problem(b"id,v\n1,a\n2\n"), ColumnsError::Ragged { line: 3, found: 1, expected: 2 }));
    assert!(matches!(problem(b"id,v\n1,a\n2,\"b\n3,c\n"), ColumnsError::OpenQuote { line: 3 }));
    assert!(matches!(
        problem(b"id,v\n1,a\n,b\n"),
        ColumnsError::NoRecordId { line: 3, problem: "empty", .. }
    ));
    assert!(matches!(problem(b"id,v\n\"\",b\n"), ColumnsError::NoRecordId { line: 2, problem: "empty", .. }));
    let long = [b"id,v\n1,\"", &vec![b'x'; frame::MAX_ROW + 2][..], b"\"\n"].concat();
    assert!(matches!(problem(&long), ColumnsError::RowTooLong { line: 2 }));

    let seal = job(Format::JsonLines, Action::Seal, &["v"]);
    let problem = |input: &[u8]| turn(&seal, input).map(|_| ()).unwrap_err();
    assert!(matches!(
        problem(b"{\"id\":\"1\"}\n{\"v\":1}\n"),
        ColumnsError::NoRecordId { line: 2, problem: "missing", .. }
    ));
    assert!(matches!(problem(b"{\"id\":1.5}\n"), ColumnsError::NoRecordId { line: 1, .. }));
    assert!(matches!(problem(b"\n[1]\n"), ColumnsError::Json { line: 2, .. }));
    assert!(matches!(problem(b"{\"id\":1,\"v\":1,\"v\":2}\n"), ColumnsError::Json { line: 1, .. }));
    assert!(matches!(problem(b"{\"id\":1,\"w\":\"\xff\"}\n"), ColumnsError::Json { line: 1, .. }));
}

#[test]
fn a_delimiter_never_stands_inside_sealed_text_or_quotes() {
    for delimiter in ['-', '_', '.', 'a', 'Z', '7', '"', '\r', '\n', '，', 'é'] {
        assert_eq!(Format::csv(delimiter).unwrap_err().exit, Exit::Usage, "{delimiter}");
    }
    for delimiter in [',', ';', '\t', '|', ' '] {
        assert!(Format::csv(delimiter).is_ok(), "{delimiter}");
    }
}

#[test]
fn a_table_without_rows_is_a_table() {
    assert_eq!(turn(&job(CSV, Action::Seal, &["v"]), b"id,v").unwrap().0, "id,v");
    assert_eq!(turn(&job(Format::JsonLines, Action::Seal, &["v"]), b"").unwrap().1.rows, 0);
}

#[test]
fn rows_longer_than_a_batch_and_rows_over_many_batches_keep_their_order() {
    let mut input = String::from("id,v,w\n");
    for n in 0..20_000 {
        input.push_str(&format!(
            "{n},value {n},{}\n",
            "x".repeat(if n % 5000 == 0 { 700_000 } else { n % 90 })
        ));
    }
    let (sealed, opened) = there_and_back(CSV, &["v"], input.as_bytes());
    assert!(sealed.len() > input.len());
    assert!(opened == input.as_bytes());
}

#[test]
fn a_broken_output_is_an_error_and_nothing_hangs() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if bytes.len() > 100 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut input = b"id,v\n".to_vec();
    input.extend((0..200_000).flat_map(|n| format!("{n},value\n").into_bytes()));
    let seal = job(CSV, Action::Seal, &["v"]);
    let written = run(&seal, &Toy(Action::Seal), &input[..], &mut Full, &|_| {});
    assert!(matches!(written, Err(ColumnsError::Write(_))));
}

fn csv_cell(content: &str, quoted: bool, delimiter: char) -> String {
    let needs = content.contains([delimiter, '"', '\n', '\r']);
    if quoted || needs { format!("\"{}\"", content.replace('"', "\"\"")) } else { content.to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_csv_file_sealed_and_opened_is_the_file_without_its_blank_lines(
        cells in proptest::collection::vec((("[^\\x00]{1,6}", any::<bool>()), (".*", any::<bool>()), ("[,;\"\r\n\u{feff}aé中]{0,8}", any::<bool>())), 0..8),
        mark: bool, crlf: bool, last_ending: bool, blanks in proptest::collection::vec(0usize..3, 9),
        delimiter in prop_oneof![Just(','), Just(';'), Just('\t'), Just('|')],
    ) {
        let ending = if crlf { "\r\n" } else { "\n" };
        let rows = cells.iter().map(|((id, iq), (v, vq), (w, wq))| {
            [csv_cell(v, *vq, delimiter), csv_cell(id, *iq, delimiter), csv_cell(w, *wq, delimiter)].join(&delimiter.to_string())
        });
        let lines: Vec<String> = std::iter::once(["v", "id", "w"].join(&delimiter.to_string())).chain(rows).collect();
        let mut tidy = String::from(if mark { "\u{feff}" } else { "" });
        let mut given = tidy.clone();
        for (n, line) in lines.iter().enumerate() {
            let end = if n + 1 < lines.len() || last_ending { ending } else { "" };
            given.push_str(&ending.repeat(blanks[n]));
            given.push_str(line);
            given.push_str(end);
            tidy.push_str(line);
            tidy.push_str(end);
        }
        let format = Format::Csv { delimiter: delimiter as u8 };
        let (sealed, opened) = there_and_back(format, &["v", "w"], given.as_bytes());
        prop_assert_eq!(String::from_utf8_lossy(&opened), tidy);
        let sealed = String::from_utf8(sealed).unwrap();
        prop_assert_eq!(sealed.matches("kf1.").count() >= 2 * cells.len(), true);
        // Another reader sees the same ids, and sealed text in the sealed places.
        let resealed = turn(&job(format, Action::Reseal, &["v", "w"]), sealed.as_bytes()).unwrap().0;
        prop_assert_eq!(resealed, sealed);
    }

    #[test]
    fn a_json_lines_file_sealed_and_opened_holds_the_same_values(
        rows in proptest::collection::vec((".{1,6}", proptest::option::of(".*"), proptest::option::of(any::<i64>()), any::<f64>()), 0..8),
    ) {
        // A column that stands nowhere is an error of its own.
        let mut given = String::from("{\"id\":\"first\",\"v\":null,\"w\":null}\n");
        for (id, text, number, float) in &rows {
            let mut row = serde_json::Map::new();
            row.insert("kept".into(), (*float).into());
            row.insert("id".into(), id.clone().into());
            if let Some(text) = text { row.insert("v".into(), text.clone().into()); }
            row.insert("w".into(), (*number).into());
            given.push_str(&serde_json::to_string(&row).unwrap());
            given.push('\n');
        }
        let (_, opened) = there_and_back(Format::JsonLines, &["v", "w"], given.as_bytes());
        prop_assert_eq!(String::from_utf8(opened).unwrap(), given);
    }
}
