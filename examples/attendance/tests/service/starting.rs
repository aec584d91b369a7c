//! Started with nothing installed, stopped, started again.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::running::{Running, assert_empty, checkin, command, refused};

#[test]
fn it_starts_with_nothing_and_leaves_nothing() {
    for signal in [Signal::TERM, Signal::HUP] {
        let service = Running::start(&[]);
        let page = service.get("/").ok();
        assert!(page.body.contains("<title>Attendance"), "{}", page.body);
        assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'self';"));
        service.post("/api/checkins", &checkin("acme", "e-1", "Lin Xiaoyu", "138 0013 8000")).ok();
        service.signal(signal);
        let (status, said, scratch) = service.ended();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(said.contains("all data goes"), "{said}");
        assert_empty(scratch.path());
    }
}

#[test]
fn a_signal_while_it_starts_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut process = command(&["--listen", "127.0.0.1:0"])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while fs::read_dir(scratch.path()).unwrap().next().is_none() {
        assert!(process.try_wait().unwrap().is_none(), "it starts");
        thread::yield_now();
    }
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert_empty(scratch.path());
}

#[test]
fn an_open_connection_does_not_keep_it_from_stopping() {
    let service = Running::start(&[]);
    // As browsers do: connected ahead of a request that may never come.
    let ahead = TcpStream::connect(service.address).unwrap();
    service.get("/").ok();
    service.signal(Signal::TERM);
    let (status, ..) = service.ended();
    assert_eq!(status.code(), Some(0));
    drop(ahead);
}

#[test]
fn what_a_directory_keeps_is_there_at_the_second_start() {
    let kept = tempfile::tempdir().unwrap();
    let data = kept.path().join("data");
    let words = ["--data", data.to_str().unwrap()];
    let service = Running::start(&words);
    service.post("/api/checkins", &checkin("acme", "e-1", "Lin Xiaoyu", "138 0013 8000")).ok();
    service.post("/api/checkins", &checkin("globex", "e-9", "Wang Yi", "138 0013 8009")).ok();
    service.post("/api/erase", &json!({ "company": "globex" })).ok();
    assert_eq!(data.metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let second = refused(&[&["--listen", "127.0.0.1:0"], &words[..]].concat());
    assert!(String::from_utf8_lossy(&second.stderr).contains("no key centre"), "{second:?}");
    assert_eq!(service.column("employee", "acme", "e-1", "name"), ["Lin Xiaoyu"], "the first one goes on");

    service.signal(Signal::TERM);
    let (status, said, scratch) = service.ended();
    assert_eq!(status.code(), Some(0));
    assert!(said.contains("Data is kept in"), "{said}");
    assert_empty(scratch.path());

    let service = Running::start(&words);
    assert_eq!(service.column("employee", "acme", "e-1", "name"), ["Lin Xiaoyu"]);
    service.post("/api/checkins", &checkin("acme", "e-2", "Wang Er", "138 0013 8002")).ok();
    assert_eq!(service.column("hr", "acme", "", "name"), ["L**", "W**"]);
    assert_eq!(service.column("hr", "globex", "", "name"), ["dead: erased"]);
    assert!(service.get("/api/certificate?company=globex").ok().body.starts_with('{'));
}

#[test]
fn what_cannot_work_is_refused_at_once_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cases: [(&[&str], &str); 4] = [
        (&["--listen", &address], "--listen 127.0.0.1:0 takes a free port"),
        (&["--listen", "0.0.0.0:0"], "no login; listen on 127.0.0.1"),
        (&["--database", "sqlite:rows.db"], "would outlive their keys; name a directory"),
        (&["--listen", "127.0.0.1:0", "--profiles", "/nowhere"], "`/nowhere/attendance.toml` cannot be read"),
    ];
    for (words, says) in cases {
        let said = String::from_utf8_lossy(&refused(words).stderr).into_owned();
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
    let data = tempfile::tempdir().unwrap();
    let words = ["--listen", "127.0.0.1:0", "--data", data.path().to_str().unwrap(), "--database", "mysql:x"];
    let said = String::from_utf8_lossy(&refused(&words).stderr).into_owned();
    assert!(said.contains("the database is `sqlite:PATH` or `postgres://…`"), "{said}");
}
