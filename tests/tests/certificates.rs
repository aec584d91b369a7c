//! Certificates of destruction, judged by two verifiers that share no code: ours, and `verify_certificate.py`. What is true is true for
//! both, each lie is found by the check that has to find it, and of every change to a certificate they think alike. (That `kms verify` comes
//! to what is expected of every vector is tested beside it.)

#![expect(clippy::unwrap_used, reason = "where a test's setting up fails, the test has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Lines},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    sync::Mutex,
    thread,
};

use kms_client::{Column, Kms, Profile, RecordId};
use kms_core::certificate::{
    check::{Given, Outcome, verify},
    risks::Risk,
};
use kms_proto::v1;
use kms_tests::{
    Api, Place,
    api::{KEY, TENANT},
    cli, services,
};
use serde_json::Value;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certificate_vectors")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(vectors().join(name)).unwrap()).unwrap()
}

/// The verdict on each file, by what the one who checks brings along.
fn expected() -> BTreeMap<String, BTreeMap<String, String>> {
    let object = |value: &Value| value.as_object().unwrap().clone().into_iter();
    let text = |(name, value): (String, Value)| (name, value.as_str().unwrap().to_owned());
    object(&json("expected.json")).map(|(file, cases)| (file, object(&cases).map(text).collect())).collect()
}

/// What `key+policy` stands for.
fn options(brought: &str) -> Vec<String> {
    let file = |name: String| vectors().join(name).to_str().unwrap().to_owned();
    let option = |one: &str| match one {
        "plain" => vec![],
        "key" => vec!["--key".to_owned(), file("key.vkey".into())],
        "other-key" => vec!["--key".to_owned(), file("other.vkey".into())],
        "name" => {
            vec!["--name".to_owned(), "employee-17".to_owned(), "--salt".to_owned(), file("name.salt".into())]
        }
        policy if policy.starts_with("policy") => vec!["--policy".to_owned(), file(format!("{policy}.toml"))],
        pin => vec!["--pin".to_owned(), file(format!("{}.txt", pin.replace("pin-", "checkpoint-")))],
    };
    brought.split('+').flat_map(option).collect()
}

/// The interpreter of the second verifier.
fn python() -> Option<PathBuf> {
    let has_all = |python: &PathBuf| {
        cli::run(Command::new(python).args(["-c", "import cryptography, tomllib"])).code == Some(0)
    };
    let found = services::program("python3", &[]).filter(has_all);
    if found.is_none() {
        services::skip("python3 (3.11 or newer) with its package `cryptography` is not installed");
    }
    found
}

fn failed(outcome: &Outcome) -> BTreeSet<String> {
    outcome.failures().map(|check| check.name.to_string()).collect()
}

#[test]
fn each_lie_is_found_by_the_check_that_has_to_find_it() {
    let checks = json("checks.json");
    let mut found = BTreeSet::new();
    for (file, check) in checks.as_object().unwrap() {
        let outcome = verify(&fs::read(vectors().join(file)).unwrap(), &Given::default());
        let check = check.as_str().unwrap();
        assert!(failed(&outcome).contains(check), "{file}: {:?}", failed(&outcome));
        found.insert(check.to_owned());
    }
    // All but those for which the one who checks brings something along, or reads the whole log.
    assert_eq!(found.len(), 15, "{found:?}");
}

#[test]
fn the_second_verifier_comes_to_what_is_expected_too_and_names_the_one_check_that_fails() {
    let Some(python) = python() else { return };
    let (expected, checks) = (expected(), json("checks.json"));
    let kinds: BTreeSet<&String> = expected.values().flat_map(BTreeMap::keys).collect();
    let mut compared = 0;
    for (directory, brought) in
        kinds.into_iter().map(|kind| ("valid", kind.as_str())).chain([("invalid", "plain")])
    {
        let script = vectors().join("../verify_certificate.py");
        let said = cli::run(
            Command::new(&python)
                .arg(script)
                .arg("--many")
                .arg(vectors().join(directory))
                .args(options(brought)),
        );
        for line in said.ok().stdout.lines() {
            let mut words = line.split(' ');
            let file = format!("{directory}/{}", words.next().unwrap());
            assert_eq!(words.next(), expected[&file].get(brought).map(String::as_str), "{file} {brought}");
            let named: BTreeSet<String> = words.map(str::to_owned).collect();
            if directory == "invalid" {
                assert_eq!(named, BTreeSet::from([checks[&file].as_str().unwrap().to_owned()]), "{file}");
            } else if brought == "plain" {
                let outcome = verify(&fs::read(vectors().join(&file)).unwrap(), &Given::default());
                let standing = outcome.risks.iter().map(|standing| standing.risk.to_string());
                let standing: BTreeSet<_> =
                    standing.filter(|_| expected[&file]["plain"] != "pending").collect();
                assert_eq!(named, standing, "{file}: the same risks stand");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, expected.values().map(BTreeMap::len).sum::<usize>());
}

/// A line of `mutate.py --stream`.
struct Mutation {
    name: String,
    verdict: String,
    content: Vec<u8>,
}

impl Mutation {
    fn read(line: &str, originals: &BTreeMap<String, Vec<u8>>) -> Self {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |member: &str| line[member].as_str().unwrap().to_owned();
        let mut content = originals[&text("file")].clone();
        for change in line["changes"].as_array().unwrap().iter().rev() {
            let [at, cut] = [0, 1].map(|part| change[part].as_u64().unwrap() as usize);
            let put = hex::decode(change[2].as_str().unwrap()).unwrap();
            drop(content.splice(at..at + cut, put));
        }
        Self { name: format!("{}: {}", text("file"), text("mutation")), verdict: text("verdict"), content }
    }
}

/// The next lines, if there are more.
fn some(lines: &Mutex<Lines<BufReader<ChildStdout>>>) -> Vec<String> {
    lines.lock().unwrap().by_ref().take(64).map(Result::unwrap).collect()
}

#[test]
fn both_come_to_one_verdict_on_every_mutation() {
    let Some(python) = python() else { return };
    let valid = expected().into_keys().filter(|file| file.starts_with("valid/"));
    let originals: BTreeMap<_, _> =
        valid.map(|file| (file.clone(), fs::read(vectors().join(file)).unwrap())).collect();
    let mut mutate = Command::new(python)
        .arg(vectors().join("mutate.py"))
        .arg("--stream")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Mutex::new(BufReader::new(mutate.stdout.take().unwrap()).lines());
    let (compared, differing) = (Mutex::new(0), Mutex::new(Vec::new()));
    let judge = || loop {
        let lines = some(&lines);
        if lines.is_empty() {
            return;
        }
        for line in &lines {
            let mutation = Mutation::read(line, &originals);
            let outcome = verify(&mutation.content, &Given::default());
            if outcome.verdict.as_str() != mutation.verdict {
                let said: Vec<_> = outcome.failures().map(|check| check.detail.clone()).collect();
                let ours = outcome.verdict;
                let line =
                    format!("{}: {ours} {said:?}, and python says {}", mutation.name, mutation.verdict);
                differing.lock().unwrap().push(line);
            }
        }
        *compared.lock().unwrap() += lines.len();
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(judge);
        }
    });
    assert!(mutate.wait().unwrap().success(), "a mutation passed that must not");
    let (compared, differing) = (compared.into_inner().unwrap(), differing.into_inner().unwrap());
    assert!(
        differing.is_empty(),
        "{} of {compared} differ: {:#?}",
        differing.len(),
        &differing[..differing.len().min(20)]
    );
    assert!(compared > 35_000, "{compared}");
}

#[tokio::test]
async fn both_judge_alike_what_a_server_hands_out() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let _server = place.start();
    let (operator, _) = Api::ground(&place).await;
    let profile = place.profile("operator");
    let file = |name: &str| place.scratch().join(name).to_str().unwrap().to_owned();
    let kms = |words: &str| {
        let words = words.split(' ').map(|word| word.strip_prefix('@').map_or(word.to_owned(), file));
        cli::kms(Some(&profile), words)
    };
    // Of keys of class L4 no data keys are out: nothing is waited for but the effacement.
    operator.create_key_of(TENANT, "vault", v1::KeyClass::L4).await.unwrap();
    operator.rotate(TENANT, "vault").await.unwrap();
    operator.create_tenant("gone").await.unwrap();
    operator.create_key_of("gone", "vault", v1::KeyClass::L4).await.unwrap();
    kms("log checkpoint @first").ok();
    kms("log key @key").ok();
    let every: Vec<String> = Risk::ALL.iter().map(|risk| format!("\"{risk}\"")).collect();
    fs::write(file("policy.toml"), format!("accept = [{}]\n", every.join(", "))).unwrap();
    operator.destroy(TENANT, "vault", Some(1)).await.unwrap();
    operator.destroy(TENANT, "vault", None).await.unwrap();
    operator.destroy_tenant("gone").await.unwrap();
    // Of this one a data key is out, and its lease runs for minutes: nobody tells that client that it has to forget it.
    let profile_of_client = Profile::load(place.profile("attendance")).unwrap();
    let client = Kms::builder(profile_of_client).without_watching().connect().await.unwrap();
    let records = client.records(&TENANT.parse().unwrap(), &KEY.parse().unwrap());
    let (column, row) =
        (Column::randomized("checkins", "phone").unwrap(), RecordId::try_from(&b"1"[..]).unwrap());
    records.seal(&column, &row, b"138 0013 8000").await.unwrap();
    operator.destroy(TENANT, KEY, None).await.unwrap();

    for (what, code) in [
        ("--tenant acme --key vault --version 1", 3),
        ("--tenant acme --key vault --version 2", 3),
        ("--tenant acme --key vault", 3),
        ("--tenant gone", 3),
        ("--tenant acme --key attendance", 4),
    ] {
        let wait = if code == 4 { "" } else { " --wait 60s" };
        kms(&format!("cert get {what}{wait} --since @first @certificate")).ok();
        for (brought, code) in [
            (vec![], code),
            (vec!["--key".to_owned(), file("key"), "--pin".to_owned(), file("first")], code),
            (vec!["--policy".to_owned(), file("policy.toml")], if code == 3 { 0 } else { code }),
            (vec!["--key".to_owned(), vectors().join("key.vkey").display().to_string()], 1),
        ] {
            let words = [vec!["verify".to_owned(), file("certificate")], brought.clone()].concat();
            let ours = cli::kms(None, words);
            let script = vectors().join("../verify_certificate.py");
            let theirs = cli::run(Command::new(&python).arg(script).arg(file("certificate")).args(&brought));
            assert_eq!(
                (ours.code, theirs.code),
                (Some(code), Some(code)),
                "{what} {brought:?}: {ours:?} {theirs:?}"
            );
        }
    }
}
