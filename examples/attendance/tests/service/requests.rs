//! What requests may do, and what they may not.

use std::{sync::mpsc, thread};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::running::{Running, checkin};

#[test]
fn bad_input_is_told_in_words_and_stores_nothing() {
    let service = Running::start(&[]);
    let long = "x".repeat(201);
    let good = checkin("acme", "e-1", "Lin Xiaoyu", "138 0013 8000");
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed
    };
    let cases = [
        (with("company", json!("initech")), 404, "there is no such company"),
        (with("company", json!("../acme")), 422, "tenant has '.' at byte 0"),
        (with("company", json!("")), 422, "tenant is empty"),
        (with("employee", json!("")), 422, "subject is empty"),
        (with("employee", json!("e/1")), 422, "subject has '/'"),
        (with("employee", json!("x".repeat(129))), 422, "subject has 129 bytes; at most 128"),
        (with("name", json!("  ")), 422, "a name has 1 to 200 characters"),
        (with("name", json!(long)), 422, "a name has 1 to 200 characters"),
        (with("name", json!("Lin\u{0}Xiaoyu")), 422, "a name has"),
        (with("phone", json!("1234")), 422, "a phone number has 5 to 15 digits"),
        (with("phone", json!("1234567890123456")), 422, "a phone number has"),
        (with("phone", json!("call 13800138000")), 422, "a phone number has"),
        (with("place", json!({ "lat": 91, "lon": 0 })), 422, "a latitude of -90 to 90"),
        (with("place", json!({ "lat": null, "lon": 0 })), 422, "no request of the page"),
        (with("id", json!("17")), 422, "no request of the page"),
        (with("name", json!("x".repeat(20_000))), 413, "no request of the page"),
        (json!([]), 422, "no request of the page"),
    ];
    for (sent, status, says) in cases {
        let error = service.post("/api/checkins", &sent).error(status);
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("Xiaoyu") && !error.contains("8000"), "it repeats what was sent: {error}");
    }
    let search = json!({ "company": "initech", "phone": "138 0013 8000" });
    assert_eq!(service.post("/api/search", &search).error(404), "there is no such company");
    for path in ["/api/leave", "/api/erase"] {
        let nobody = json!({ "company": "acme", "employee": "e-1" });
        assert_eq!(service.post(path, &nobody).error(404), "the company has no such employee");
    }
    assert_eq!(
        service.post("/api/erase", &json!({ "company": "initech" })).error(404),
        "there is no such company"
    );
    assert_eq!(service.view("thief", "acme", "")["rows"], json!([]));
}

#[test]
fn pages_of_others_are_not_answered() {
    let service = Running::start(&[]);
    let host = service.address;
    let body = checkin("acme", "e-1", "Lin Xiaoyu", "138 0013 8000").to_string();
    let form = format!(
        "POST /api/checkins HTTP/1.1\r\nhost: {host}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(service.send(&form).status, 415, "what a form of another page can send");
    for (host, status) in [
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("10.0.0.1", 421),
        ("localhost:1", 200),
        ("[::1]", 200),
    ] {
        let asked = format!("GET /api/state HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(service.send(&asked).status, status, "{host}");
    }
    assert_eq!(service.view("thief", "acme", "")["rows"], json!([]));
}

#[test]
fn a_repeated_submission_is_one_row_and_nobody_takes_anothers_id() {
    let service = Running::start(&[]);
    let markup = "<img src=x onerror=alert(1)>";
    let first = checkin("acme", "e-1", markup, "138 0013 8000");
    service.post("/api/checkins", &first).ok();
    service.post("/api/checkins", &first).ok();
    assert_eq!(service.column("employee", "acme", "e-1", "name"), [markup], "as it was typed");
    for (company, employee) in [("acme", "e-2"), ("globex", "e-1")] {
        let mut other = checkin(company, employee, "Wang Er", "138 0013 8002");
        other["id"] = first["id"].clone();
        assert_eq!(service.post("/api/checkins", &other).error(409), "another check-in has this id");
    }
    assert_eq!(service.column("thief", "acme", "", "employee"), ["e-1"]);
    assert_eq!(service.view("thief", "globex", "")["rows"], json!([]));
}

#[test]
fn each_sees_what_is_theirs_and_hr_finds_a_full_number() {
    let service = Running::start(&[]);
    let people = [("e-1", "Lin Xiaoyu", "138 0013 8000"), ("e-2", "王小测", "+86 138 0013 8002")];
    for (employee, name, phone) in people {
        service.post("/api/checkins", &checkin("acme", employee, name, phone)).ok();
    }
    assert_eq!(service.column("employee", "acme", "e-2", "name"), ["王小测"]);
    assert_eq!(service.column("hr", "acme", "", "name"), ["L**", "王**"]);
    assert_eq!(service.column("hr", "acme", "", "phone")[0], "138****8000");
    assert_eq!(service.column("hr", "acme", "", "place"), ["31.2, 121.5"; 2]);
    let refused = service.view("admin", "acme", "")["refused"].as_str().unwrap().to_owned();
    assert!(refused.contains("policy does not let you use it this way"), "{refused}");
    let raw = service.view("thief", "acme", "").to_string();
    assert!(people.iter().all(|(_, name, phone)| !raw.contains(name) && !raw.contains(phone)), "{raw}");

    let found = |company: &str, phone: &str| {
        let ids = service.post("/api/search", &json!({ "company": company, "phone": phone })).ok().json();
        ids["ids"].as_array().unwrap().len()
    };
    assert_eq!([found("acme", "13800138000"), found("acme", "0086-138-0013-8002")], [1, 1]);
    assert_eq!(
        [found("acme", "138 0013 8001"), found("globex", "13800138000"), found("acme", "")],
        [0, 0, 0]
    );
}

#[test]
fn no_row_is_stored_after_an_employee_has_left_however_many_are_on_their_way() {
    let service = Running::start(&[]);
    let new = || checkin("acme", "e-1", "Lin Xiaoyu", "138 0013 8000");
    service.post("/api/checkins", &new()).ok();
    let (stored, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..4 {
            let stored = stored.clone();
            let service = &service;
            // Each goes on until it is turned away.
            scope.spawn(move || {
                while service.post("/api/checkins", &new()).status == 200 {
                    stored.send(()).unwrap();
                }
            });
        }
        for _ in 0..8 {
            told.recv().unwrap();
        }
        service.post("/api/leave", &json!({ "company": "acme", "employee": "e-1" })).ok();
        let rows = service.column("thief", "acme", "", "employee").len();
        assert_eq!(service.post("/api/checkins", &new()).error(403), "the employee has left");
        drop(stored);
        while told.recv().is_ok() {}
        assert_eq!(service.column("thief", "acme", "", "employee").len(), rows);
    });
}

#[test]
fn a_leavers_rights_end_at_once_and_their_data_with_their_key_and_nobody_elses() {
    let service = Running::start(&[]);
    for (company, employee) in [("acme", "e-1"), ("acme", "e-2"), ("globex", "e-1")] {
        let name = format!("{company} {employee}");
        service.post("/api/checkins", &checkin(company, employee, &name, "138 0013 8000")).ok();
    }
    let one = json!({ "company": "acme", "employee": "e-1" });
    let error = service.post("/api/erase", &one).error(409);
    assert_eq!(error, "the employee has not left; rights end before data does");

    service.post("/api/leave", &one).ok();
    assert_eq!(service.view("employee", "acme", "e-1")["refused"], "the employee has left");
    let again = checkin("acme", "e-1", "acme e-1", "138 0013 8000");
    assert_eq!(service.post("/api/checkins", &again).error(403), "the employee has left");
    assert_eq!(service.column("hr", "acme", "", "name"), ["a**", "a**"], "HR keeps the rows for their time");
    assert_eq!(service.column("employee", "globex", "e-1", "name"), ["globex e-1"], "another e-1");

    assert!(
        service.get("/api/certificate?company=acme&employee=e-1").status >= 400,
        "nothing is destroyed yet"
    );
    // Also when somebody is impatient.
    for _ in 0..2 {
        assert!(service.post("/api/erase", &one).ok().json()["risks"].is_array());
    }
    let certificate = service.get("/api/certificate?company=acme&employee=e-1").ok();
    assert!(certificate.head.contains("attachment") && certificate.body.starts_with('{'));
    service.post("/api/leave", &one).ok();
    assert_eq!(
        service.post("/api/checkins", &again).error(403),
        "the employee has left",
        "erased is not employed again"
    );
    for column in ["name", "phone", "place"] {
        let seen = service.column("hr", "acme", "", column);
        assert!(seen[0] == "dead: erased" && !seen[1].starts_with("dead"), "{seen:?}");
    }
    let index = service.column("thief", "acme", "", "phone index");
    assert!(index[0].is_empty() && !index[1].is_empty(), "{index:?}");
    let search = json!({ "company": "acme", "phone": "13800138000" });
    assert_eq!(service.post("/api/search", &search).ok().json()["ids"].as_array().unwrap().len(), 1);
    assert_eq!(service.column("employee", "acme", "e-2", "name"), ["acme e-2"], "a colleague");

    service.post("/api/erase", &json!({ "company": "acme" })).ok();
    service.post("/api/erase", &json!({ "company": "acme" })).ok();
    assert_eq!(service.column("hr", "acme", "", "phone"), ["dead: erased"; 2]);
    assert_eq!(service.column("employee", "acme", "e-2", "name"), ["dead: no key"]);
    let new = checkin("acme", "e-3", "acme e-3", "138 0013 8000");
    assert_eq!(service.post("/api/checkins", &new).error(403), "the company has left");
    assert_eq!(service.post("/api/search", &search).error(403), "the company has left");
    assert_eq!(service.column("employee", "globex", "e-1", "name"), ["globex e-1"], "another company");
    service.post("/api/checkins", &checkin("globex", "e-4", "globex e-4", "138 0013 8000")).ok();
    service.signal(Signal::TERM);
    assert_eq!(service.ended().0.code(), Some(0));
}
