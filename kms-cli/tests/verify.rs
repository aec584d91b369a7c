//! `kms verify` on the vectors: exit codes, both forms of output, policies, the report; and that nothing but files is needed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../kms-core/tests/centre/mod.rs"]
mod centre;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use centre::{Centre, What, lived};
use kms_core::{
    canonical::Text,
    event::{Entry, Event},
};
use serde_json::Value;

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/certificate_vectors").join(name)
}

fn verify(certificate: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kms"));
    command.arg("verify").arg(certificate).args(flags).env_remove("KMS_PROFILE");
    command.output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}{}", out(output), error(output)))
}

/// The flags that a name in `expected.json` stands for.
fn flags(name: &str) -> Vec<String> {
    let path = |file: &str| vectors(file).display().to_string();
    name.split('+')
        .flat_map(|flag| match flag {
            "plain" => vec![],
            "key" => vec!["--key".to_owned(), path("key.vkey")],
            "other-key" => vec!["--key".to_owned(), path("other.vkey")],
            "name" => {
                vec!["--name".to_owned(), "employee-17".to_owned(), "--salt".to_owned(), path("name.salt")]
            }
            policy if policy.starts_with("policy") => {
                vec!["--policy".to_owned(), path(&format!("{policy}.toml"))]
            }
            pin => match pin.strip_prefix("pin-") {
                Some(size) => vec!["--pin".to_owned(), path(&format!("checkpoint-{size}.txt"))],
                None => panic!("`expected.json` has flags that this test does not know: {pin}"),
            },
        })
        .collect()
}

#[test]
fn every_vector_with_every_policy_ends_as_expected() {
    let expected: Value = serde_json::from_slice(&fs::read(vectors("expected.json")).unwrap()).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for (name, cases) in expected.as_object().unwrap() {
        for (case, verdict) in cases.as_object().unwrap() {
            let flags = flags(case);
            let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["-o", "json"]).collect();
            let output = verify(&vectors(name), &flags);
            let said = json(&output);
            let verdict = verdict.as_str().unwrap();
            assert_eq!(said["verdict"], verdict, "{name} {case}: {said}");
            let code = match verdict {
                "erased" => 0,
                "residual" => 3,
                "pending" => 4,
                _ => 1,
            };
            assert_eq!(output.status.code(), Some(code), "{name} {case}");
            let failed =
                said["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false).count();
            assert_eq!(failed > 0, verdict == "invalid", "{name} {case}: {said}");
            seen.insert(code);
        }
    }
    assert_eq!(seen, [0, 1, 3, 4].into());
}

#[test]
fn the_json_is_what_the_contract_says() {
    let output = verify(&vectors("valid/version.json"), &["-o", "json"]);
    let said = json(&output);
    assert_eq!((said["verdict"].as_str(), said["class"].as_str()), (Some("residual"), Some("clear")));
    let risks: Vec<&str> =
        said["risks"].as_array().unwrap().iter().map(|risk| risk.as_str().unwrap()).collect();
    assert_eq!(
        risks,
        [
            "clock-unproven",
            "log-key-unconfirmed",
            "log-not-replayed",
            "memory-swap-core",
            "no-witness",
            "restore-unwitnessed"
        ]
    );
    for check in said["checks"].as_array().unwrap() {
        assert!(check["name"].is_string() && check["ok"] == true, "{check}");
        let detail = check["detail"].as_str().unwrap();
        assert!(detail.ends_with('.') && detail.contains(' '), "a sentence: {detail}");
    }
    assert_eq!(said["subject"]["key"], "orders");
    assert_eq!(said["accepted_risks"], serde_json::json!([]));

    let policy = vectors("policy.toml");
    let output =
        verify(&vectors("valid/version.json"), &["-o", "json", "--policy", policy.to_str().unwrap()]);
    assert_eq!(json(&output)["accepted_risks"], json(&output)["risks"]);

    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none.json");
    fs::write(&none, "{}\n").unwrap();
    let said = json(&verify(&none, &["-o", "json"]));
    assert_eq!(said["verdict"], "invalid");
    assert!(said["class"].is_null() && said["subject"].is_null(), "{said}");
}

#[test]
fn people_read_the_verdict_first_then_what_was_destroyed_and_what_is_not_proven() {
    let output = verify(&vectors("valid/version.json"), &[]);
    let said = out(&output);
    assert!(said.starts_with("residual: version 1 of the key orders is erased; 6 risks stand"), "{said}");
    let at = |part: &str| said.find(part).unwrap_or_else(|| panic!("`{part}` is missing: {said}"));
    let order = [
        "requested by",
        "Checks",
        "Proven:",
        "Attested, not proven",
        "Assumed, not proven",
        "Risks that stand",
    ];
    assert!(order.map(at).is_sorted(), "{said}");
    assert!(said.contains("no-witness: ") && said.contains("What would lift it: "), "{said}");

    let output = verify(&vectors("valid/version.json"), &["--key", vectors("other.vkey").to_str().unwrap()]);
    let said = out(&output);
    assert!(said.starts_with("invalid: "), "{said}");
    assert!(said.contains("FAIL  log-key"), "{said}");
    assert!(!said.contains("orders") && !said.contains("Proven"), "nothing of it is repeated: {said}");
}

#[test]
fn no_word_promises_what_nobody_can_keep() {
    for name in ["version", "tenant", "key-pending", "version-medium-none", "version-class-l1"] {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.html");
        let output = verify(&vectors(&format!("valid/{name}.json")), &["--report", page.to_str().unwrap()]);
        let said = format!("{}{}", out(&output), fs::read_to_string(page).unwrap()).to_lowercase();
        for never in ["unrecoverable", "gdpr-compliant", "military-grade"] {
            assert!(!said.contains(never), "{name}: {never}");
        }
    }
}

#[test]
fn what_is_not_what_it_should_be_is_a_wrong_use_and_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let place = dir.path().join(name);
        fs::write(&place, text).unwrap();
        place.display().to_string()
    };
    let certificate = vectors("valid/version.json");
    let absent = dir.path().join("absent").display().to_string();
    let misspelled = file("misspelled.toml", "minimum_clas = \"clear\"\n");
    let unknown = file("unknown.toml", "accept = [\"no-witnes\"]\n");
    let garbage = file("garbage", "nothing\n");
    let here = dir.path().display().to_string();
    for (flags, sentence) in [
        (["--policy", &misspelled], "unknown field `minimum_clas`"),
        (["--policy", &unknown], "`accept` has `no-witnes`"),
        (["--policy", &absent], "cannot read"),
        (["--key", &garbage], "is not the key of a log"),
        (["--pin", &garbage], "is not a checkpoint"),
        (["--mirror", &here], "is not a mirror of a log"),
        (["--mirror", &absent], "is not a mirror of a log"),
        (["--report", &format!("{absent}/page.html")], "make it first"),
    ] {
        let output = verify(&certificate, &flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(
            out(&output).is_empty() && error(&output).contains(sentence),
            "{flags:?}: {}",
            error(&output)
        );
        assert!(error(&output).lines().count() <= 2, "{}", error(&output));
    }
    assert_eq!(verify(Path::new(&absent), &[]).status.code(), Some(2));
    let output = verify(Path::new(&absent), &["-o", "json"]);
    let said: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(said["error"]["message"].as_str().unwrap().contains("cannot read"), "{said}");
}

/// A certificate, the log's key and a mirror, as files.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn of(centre: &Centre, what: What<'_>) -> Self {
        let (dir, size) = (tempfile::tempdir().unwrap(), centre.entries.len());
        fs::write(dir.path().join("certificate.json"), centre.certificate(what, size, &[]).to_file())
            .unwrap();
        fs::write(dir.path().join("log.key"), format!("{}\n", centre.key())).unwrap();
        for (path, bytes) in centre.mirror(size) {
            let place = dir.path().join("mirror").join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, bytes).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn verify(&self, flags: &[&str]) -> Output {
        verify(&self.dir.path().join("certificate.json"), flags)
    }

    fn report(&self, flags: &[&str]) -> (Output, String) {
        let page = self.path("report.html");
        let output = self.verify(&[flags, &["--report", &page]].concat());
        (output, fs::read_to_string(page).unwrap())
    }
}

const ONE: What<'_> = What::Version("acme", "orders", 1);

#[test]
fn a_mirror_is_read_whole_and_lifts_its_risk() {
    let case = Case::of(&lived(), ONE);
    let (key, mirror) = (case.path("log.key"), case.path("mirror"));
    let output = case.verify(&["--key", &key, "--mirror", &mirror, "-o", "json"]);
    let said = json(&output);
    assert_eq!((output.status.code(), said["verdict"].as_str()), (Some(3), Some("residual")), "{said}");
    assert_eq!(
        said["risks"],
        serde_json::json!(["no-witness", "restore-unwitnessed"]),
        "neither of the two that one can lift"
    );

    let policy = case.path("policy.toml");
    fs::write(&policy, "accept = [\"no-witness\", \"restore-unwitnessed\"]\n").unwrap();
    let output = case.verify(&["--key", &key, "--mirror", &mirror, "--policy", &policy]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    let output = case.verify(&["--key", &key, "--policy", &policy]);
    assert_eq!(output.status.code(), Some(3), "without the mirror its risk stands: {}", out(&output));
}

#[test]
fn a_mirror_in_which_anything_is_changed_or_missing_is_told_by_the_file() {
    let case = Case::of(&lived(), ONE);
    let (mirror, centre) = (case.path("mirror"), lived());
    let files = centre.mirror(centre.entries.len());
    assert!(files.len() > 4, "full and partial tiles: {:?}", files.keys());
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "checkpoint") {
        let place = Path::new(&mirror).join(name);
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for damaged in [Some(flipped), Some(bytes[..bytes.len() - 1].to_vec()), None] {
            match &damaged {
                Some(damaged) => fs::write(&place, damaged).unwrap(),
                None => fs::remove_file(&place).unwrap(),
            }
            let output = case.verify(&["--mirror", &mirror, "-o", "json"]);
            let said = json(&output);
            assert_eq!(
                (output.status.code(), said["verdict"].as_str()),
                (Some(1), Some("invalid")),
                "{name}: {said}"
            );
            let failed: Vec<&Value> =
                said["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false).collect();
            assert!(failed.len() == 1 && failed[0]["name"] == "mirror", "{name}: {said}");
            if damaged.is_none() {
                assert!(failed[0]["detail"].as_str().unwrap().contains(name), "{name}: {said}");
            }
            fs::write(&place, bytes).unwrap();
        }
    }
    assert_eq!(case.verify(&["--mirror", &mirror]).status.code(), Some(3), "the control: it is whole again");
}

#[test]
fn a_report_is_one_page_that_needs_and_runs_nothing() {
    for what in [ONE, What::Key("acme", "cards"), What::Tenant("doomed")] {
        let case = Case::of(&lived(), what);
        let (output, page) = case.report(&[]);
        assert_eq!(output.status.code(), Some(3));
        let lower = page.to_lowercase();
        for never in [
            "<script",
            "http",
            "src=",
            "href=",
            "url(",
            "@import",
            "javascript:",
            "<iframe",
            "<object",
            "<link",
            " onload",
        ] {
            assert!(!lower.contains(never), "{never}");
        }
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        for part in [
            "ERASED, WITH RESIDUAL RISKS",
            "1. What was destroyed, when, at whose request",
            "spiffe://dev.local/operator",
            "<h3>Proven</h3>",
            "<h3>Attested, not proven</h3>",
            "<h3>Assumed, not proven</h3>",
            "Signed head of the log",
            "its place is empty",
            "log-key-unconfirmed",
            "NIST SP 800-88r2",
            "No mirror of the whole log was given",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
        assert_eq!(page.matches('<').count(), page.matches('>').count(), "nothing breaks out of the markup");
    }
}

#[test]
fn what_the_log_says_is_never_markup() {
    let mut centre = lived();
    let hostile = "<script>alert(1)</script>&'<b>";
    let says = |entry: &mut Entry| match &mut entry.event {
        Event::DestroyVersion(event) => event.ticket = Text::lossy(hostile),
        Event::EpochEffaced(event) => event.media = Text::lossy(hostile),
        _ => {}
    };
    for entry in &mut centre.entries {
        says(entry);
        if entry.event.destroys() {
            entry.by = Text::lossy(hostile);
        }
    }
    let (output, page) = Case::of(&centre, ONE).report(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", out(&output));
    assert!(!page.contains("<script") && !page.contains("<b>&") && !page.contains(hostile));
    assert!(
        page.matches("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#39;&lt;b&gt;").count() >= 3,
        "it is shown, as text"
    );
}

#[test]
fn a_report_of_what_does_not_hold_cannot_be_taken_for_one_that_does() {
    let case = Case::of(&lived(), ONE);
    let other = vectors("other.vkey").display().to_string();
    let (output, page) = case.report(&["--key", &other]);
    assert_eq!(output.status.code(), Some(1));
    assert!(page.contains("INVALID") && page.contains("This is not a proof of destruction"));
    for never in ["orders", "acme", "Proven", "ERASED", "<svg", "NIST", "holds"] {
        assert!(!page.contains(never), "{never}");
    }
    let pending = case.path("pending.html");
    let output = verify(&vectors("valid/version-pending.json"), &["--report", &pending]);
    assert_eq!(output.status.code(), Some(4));
    let page = fs::read_to_string(pending).unwrap();
    assert!(page.contains("PENDING: NOT ERASED YET") && !page.contains(">ERASED"));
}

#[test]
fn a_wrong_use_leaves_the_report_that_was_there() {
    let case = Case::of(&lived(), ONE);
    let page = case.path("report.html");
    fs::write(&page, "an earlier one").unwrap();
    let output = case.verify(&["--report", &page, "--policy", &case.path("absent.toml")]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&page).unwrap(), "an earlier one");
    assert_eq!(case.verify(&["--report", &page]).status.code(), Some(3));
    assert!(fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    let left: Vec<_> = fs::read_dir(case.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "no temporary file is left: {left:?}");
}
