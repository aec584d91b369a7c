//! `kms doctor`: each step from the profile to policy.

use serde_json::Value;

use super::{Place, Said, free_port, profile_with};

/// Each check with how it went.
fn checks(said: &Said) -> Vec<(String, String)> {
    let text = |check: &Value, field: &str| check[field].as_str().unwrap().to_owned();
    let checks = said.json()["checks"].as_array().unwrap().clone();
    checks.iter().map(|check| (text(check, "name"), text(check, "state"))).collect()
}

fn last(said: &Said) -> (String, String) {
    checks(said).pop().unwrap()
}

fn pair(name: &str, state: &str) -> (String, String) {
    (name.into(), state.into())
}

#[test]
fn where_all_is_well_every_step_says_so_to_whoever_asks() {
    let place = Place::new("well");
    for who in ["attendance", "hr-portal", "operator"] {
        let said = place.run(who, "doctor -o json").ok();
        assert_eq!(said.json()["ok"], true);
        let names = ["profile", "files", "identity", "name", "network", "tls", "health", "clock", "policy"];
        assert_eq!(checks(&said), names.map(|name| pair(name, "ok")), "{who}");
    }
    let text = place.run("attendance", "doctor").ok().text();
    assert!(text.contains("spiffe://dev.local/attendance") && text.contains("X25519MLKEM768"), "{text}");
    assert_eq!(text.lines().count(), 9, "one line each: {text}");
}

#[test]
fn what_is_wrong_is_named_with_what_to_do_and_its_exit_code() {
    let place = Place::new("unwell");
    let run = |profile: &std::path::Path, code| {
        place.run("attendance", &format!("doctor -o json --profile {}", profile.display())).ends_with(code)
    };
    let gone = format!("endpoint = \"https://127.0.0.1:{}\"", free_port());
    let gone = run(&profile_with("attendance", "doctor-gone", &gone), 6);
    assert_eq!(last(&gone), pair("network", "fail"));
    assert_eq!(gone.reason(), "CHECK_FAILED");
    let nowhere =
        run(&profile_with("attendance", "doctor-nowhere", "endpoint = \"https://nowhere.invalid:1\""), 6);
    assert_eq!(last(&nowhere), pair("name", "fail"));
    // A certificate that has not issued the server's.
    let other_ca = run(&profile_with("attendance", "doctor-ca", "ca = \"attendance.pem\""), 6);
    assert_eq!(last(&other_ca), pair("tls", "fail"));
    let other_key = run(&profile_with("attendance", "doctor-key", "key = \"operator.key\""), 2);
    assert_eq!(last(&other_key), pair("files", "fail"));
    assert!(other_key.text().contains("belongs to another certificate"), "{}", other_key.text());
    let none = run(std::path::Path::new("none.toml"), 2);
    assert_eq!(checks(&none), [pair("profile", "fail")]);
}
