//! The binary without a server: exit codes, and where what is said.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::{Command, Output, Stdio};

fn kms(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kms"));
    command.args(words.split_whitespace()).env_remove("KMS_PROFILE");
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_and_version_are_answers_and_not_errors() {
    for words in ["--help", "--version", "columns seal --help", "key destroy --help"] {
        let output = kms(words);
        assert_eq!(output.status.code(), Some(0), "{words}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{words}");
    }
    let unwrapped = |words: &str| {
        let help = String::from_utf8(kms(words).stdout).unwrap();
        help.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let help = unwrapped("columns seal --help");
    assert!(help.contains("That ids are unique is up to you"), "{help}");
    for replacing in ["columns open", "seal-file", "open-file"] {
        let help = unwrapped(&format!("{replacing} --help"));
        assert!(help.contains("replaced where it exists"), "{help}");
    }
    assert!(unwrapped("encrypt --help").contains("64 KiB"));
    let help = unwrapped("key create --help");
    assert!(["L1 ", "L2 ", "L3 ", "L4 "].iter().all(|class| help.contains(class)), "{help}");
    let help = unwrapped("--help");
    assert!(!help.contains("__server") && help.contains("Exit codes: 0 done"), "{help}");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_so_on_stderr() {
    for words in ["tenant create ACME", "key list", "nonsense", "tenant list"] {
        let output = kms(words);
        assert_eq!(output.status.code(), Some(2), "{words}: {}", stderr(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words}");
    }
    assert!(stderr(&kms("tenant list")).contains("KMS_PROFILE"), "it says what to do");
}

#[test]
fn with_json_an_error_is_one_object_on_stderr() {
    let message = |words: &str| {
        let error: serde_json::Value = serde_json::from_slice(&kms(words).stderr).unwrap();
        error["error"]["message"].as_str().unwrap().to_owned()
    };
    let missing = message("key destroy -o json");
    for argument in ["--tenant <T>", "--reason <CODE>", "--version <N>|--all", "<KEY>"] {
        assert!(missing.contains(argument), "{argument} is missing and named: {missing}");
    }
    let missing = message("-o json");
    assert!(missing.contains("columns") && !missing.contains("__"), "{missing}");
    for words in ["-o json tenant list", "tenant create ACME -o json", "--output=json nonsense"] {
        let output = kms(words);
        assert_eq!(output.status.code(), Some(2));
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"]["reason"], "USAGE", "{words}");
        assert!(
            error["error"]["message"].as_str().is_some_and(|m| !m.is_empty() && !m.contains('\n')),
            "{error}"
        );
        assert!(error["error"].as_object().unwrap().contains_key("request_id"));
    }
}

#[test]
fn a_profile_that_does_not_load_is_configuration_and_a_server_that_is_not_there_is_6() {
    let dir = tempfile::tempdir().unwrap();
    let profile = dir.path().join("p.toml");
    let list = format!("-o json tenant list --profile {}", profile.display());
    assert_eq!(kms(&list).status.code(), Some(2));
    std::fs::write(&profile, "version = 1\nendpoint = \"nonsense\"\nca = \"a\"\ncert = \"b\"\nkey = \"c\"\n")
        .unwrap();
    assert_eq!(kms(&list).status.code(), Some(2));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = kms(&format!("completions {shell}"));
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("seal-file") && script.contains("reencrypt"), "{shell}");
    }
}

#[test]
fn every_command_has_its_manual_page_and_what_is_hidden_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    assert_eq!(kms(&format!("man {}", pages.display())).status.code(), Some(0));
    let page = std::fs::read_to_string(pages.join("kms-columns-seal.1")).unwrap();
    assert!(page.contains("That ids are unique is up to you"), "{page}");
    let names =
        std::fs::read_dir(&pages).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.collect();
    assert!(names.contains(&"kms.1".into()) && !names.iter().any(|name| name.contains("__")), "{names:?}");
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert_eq!(kms(&format!("man {}/file", dir.path().display())).status.code(), Some(1));
}

#[test]
fn completions_that_nobody_reads_to_the_end_are_no_crash() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kms"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("kms: cannot write to standard output"), "{}", stderr(&output));
}

#[test]
fn a_wrong_command_line_is_answered_in_one_or_two_lines() {
    for words in [
        "key list",
        "key describe k",
        "nonsense",
        "tenant create a\u{1b}[2J",
        "key destroy",
        "bench --seconds inf",
    ] {
        let said = stderr(&kms(words));
        assert!(said.starts_with("kms: ") && said.lines().count() <= 2, "{words}: {said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    let said = stderr(&kms("key destroy k --tenant acme --reason test"));
    assert!(said.contains("--version <N>") && said.contains("--all"), "what is missing is named: {said}");
    assert!(stderr(&kms("tenat list")).contains("'tenant'"), "what may have been meant is named");
}

#[test]
fn the_doctor_without_a_profile_says_how_to_get_one() {
    let output = kms("doctor");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(said.starts_with("fail  profile") && said.contains("kms-server dev"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn policies_are_checked_offline() {
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    let output = kms(&format!("policy check {policies} -o json"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["valid"], true);

    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(policies).unwrap().map(Result::unwrap).filter(|f| f.path().is_file()) {
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    std::fs::write(dir.path().join("wrong.cedar"), "permit(principal, action == Action::\"Fly\", resource);")
        .unwrap();
    let output = kms(&format!("policy check {}", dir.path().display()));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stdout).unwrap().contains("wrong.cedar"));
}
