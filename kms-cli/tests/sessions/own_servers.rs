//! Commands with a server of their own, and what is left when a signal comes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Signal, kill_process},
};

use super::{Place, server, tables::CELLS};

#[test]
fn the_demo_goes_as_told_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_kms")).arg("demo").env("TMPDIR", dir.path()).output().unwrap();
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{said}");
    for promise in
        ["byte for byte", "Exactly the 1,000 rows", "is dead for all four", "What to try next", "NOT SOUND"]
    {
        assert!(told.contains(promise), "{promise}: {told}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "its directory is gone");
}

#[test]
fn the_bench_measures_both_sides_and_a_second_time_on_the_same_data() {
    let place = Place::new("benched");
    let bench = |words: &str| {
        let words = format!("bench --concurrency 2 --connections 1 --seconds 0.1 --turns 1 -o json {words}");
        let json = place.run("operator", &words).ok().json();
        let runs = json["runs"].as_array().unwrap().clone();
        assert!(runs.iter().all(|run| run["calls_per_second"].as_f64().unwrap() > 0.0), "{runs:?}");
        runs.iter().map(|run| run["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(bench("--data bench"), ["echo", "encrypt", "decrypt"]);
    assert_eq!(bench("--data bench --calls reencrypt,reveal --batch 3"), ["echo", "reencrypt", "reveal"]);
    assert_eq!(bench("--data bench --class L3"), ["echo", "encrypt", "decrypt"]);
}

/// Sends a signal once the child has said a line with `word`; answers the line.
fn signalled(child: &mut Child, word: &str, signal: Signal) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains(word)).unwrap();
    kill_process(Pid::from_child(child), signal).unwrap();
    // Reads on, so that it never waits for us.
    lines.for_each(drop);
    line
}

#[test]
fn an_interrupted_demo_or_bench_takes_its_server_and_its_directory_away() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kms"))
            .arg("demo")
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let line = signalled(&mut child, "A server runs at https://", signal);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{signal:?}");
        let address = line.split("https://").nth(1).unwrap().split(',').next().unwrap();
        assert!(std::net::TcpStream::connect(address).is_err(), "its server is gone");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "its directory is gone");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kms"))
        .args(["bench", "--seconds", "3600", "--concurrency", "1"])
        .env("TMPDIR", dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("at a time")));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(lines.any(|line| line.contains("interrupted")));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "its directory is gone");
}

#[test]
fn an_interrupted_run_leaves_neither_output_nor_leftovers() {
    let place = Place::with_key("interrupted", "");
    let columns = format!("columns seal {CELLS} --format csv - out");
    let runs =
        [(columns.as_str(), Signal::TERM), (&columns, Signal::HUP), ("seal-file K - out", Signal::INT)];
    for (words, signal) in runs {
        let profile = server().dir.path().join("server/profiles/attendance.toml");
        let words = words.replace('K', "--tenant interrupted --key attendance");
        let mut child = Command::new(env!("CARGO_BIN_EXE_kms"))
            .args(words.split_whitespace())
            .current_dir(place.dir.path())
            .env("KMS_PROFILE", profile)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let count = || fs::read_dir(place.dir.path()).unwrap().count();
        while count() == 0 {
            assert!(child.try_wait().unwrap().is_none(), "it waits for its input");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(count(), 0, "{words}");
    }
}

/// A server on `dir`; it ends when its stdin does.
fn dev(dir: &Path, setting: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kms"))
        .args(["__server", "dev", "--data"])
        .arg(dir)
        .args(setting)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn serves(child: &mut Child) -> bool {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.any(|line| line.starts_with("ready "))
}

#[test]
fn a_hangup_while_a_server_starts_does_not_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = dev(dir.path(), &[]);
    assert!(serves(&mut first));
    drop(first.stdin.take());
    first.wait().unwrap();

    // The server waits at its key for as long as we like.
    let (key, aside) = (dir.path().join("tls/server.key"), dir.path().join("tls/aside"));
    fs::rename(&key, &aside).unwrap();
    mknodat(CWD, &key, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let mut child = dev(dir.path(), &[]);
    let mut pipe = fs::File::options().write(true).open(&key).unwrap();
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    pipe.write_all(&fs::read(&aside).unwrap()).unwrap();
    fs::rename(&aside, &key).unwrap();
    drop(pipe);
    assert!(serves(&mut child), "{:?}", child.wait());
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn dev_says_what_to_try_and_leaves_a_directory_alone_that_it_did_not_make() {
    let dir = tempfile::tempdir().unwrap();
    let (foreign, own) = (dir.path().join("foreign"), dir.path().join("own"));
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "").unwrap();
    let mut child = dev(&foreign, &[]);
    // Where it closes, the server ends.
    let _open = child.stdin.take();
    let refused = child.wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`thesis.tex`"));
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);

    let mut child = dev(&own, &[]);
    assert!(serves(&mut child));
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let next = said.find_map(|line| line.strip_prefix("try: kms ").map(str::to_owned)).unwrap();
    let tried = Command::new(env!("CARGO_BIN_EXE_kms")).args(next.split(' ')).output().unwrap();
    assert!(tried.status.success(), "{next}: {}", String::from_utf8_lossy(&tried.stderr));
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn dev_listens_on_this_machine_only_and_writes_whole_profiles() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["admin=0.0.0.0:0", "admin=[::]:0", "listen=0.0.0.0:0"] {
        let mut child = dev(dir.path(), &["--set", address]);
        let _open = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{address}: {said}");
        assert!(said.contains("not loopback"), "{said}");
    }
    let profile = server().dir.path().join("server/profiles/operator.toml");
    assert!(fs::read_to_string(profile).unwrap().starts_with("version = 1\n"));
}
