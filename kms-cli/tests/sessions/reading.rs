//! Those who look: audit, policy, and a server that is not there.

use std::fs;

use serde_json::Value;

use super::{Place, free_port, profile_with};

#[test]
fn the_audit_is_read_by_compliance_and_a_changed_copy_is_found_out() {
    let place = Place::with_key("audited", "");
    let sealed = place.feed("attendance", "encrypt K", b"plain text").ok().stdout;
    place.feed("hr-portal", "decrypt K", &sealed).ends_with(5);
    place.run("attendance", "audit query").ends_with(5);
    let lines = place.run("compliance", "audit query --tenant T -o json").ok().text();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let operations: Vec<_> = lines.iter().map(|line| line["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["CreateTenant", "CreateKey", "Encrypt", "Decrypt"]);
    assert_eq!(lines[3]["outcome"], "denied");
    let denied = place.run("compliance", "audit query --tenant T --outcome denied --from 1h").ok().text();
    assert_eq!(denied.lines().count(), 1, "{denied}");
    assert!(denied.contains("Z  denied") && denied.contains(": KEY_NOT_ACCESSIBLE"), "{denied}");
    let part = place.run("compliance", "audit query --identity hr-portal").ends_with(2);
    assert!(part.stderr.contains("spiffe://DOMAIN/PATH"), "{}", part.stderr);
    assert!(denied.contains("hr-portal") && !denied.contains("plain text"));
    assert_eq!(place.run("compliance", "audit query --limit 2 -o json").ok().text().lines().count(), 2);

    place.run("compliance", "audit export copy").ok();
    let report = place.run("compliance", "audit verify copy -o json").ok().json();
    assert_eq!((&report["sound"], &report["wrong"]), (&true.into(), &0.into()));
    let bare = place.run("compliance", "audit verify copy").ok().text();
    assert!(bare.contains("give `--key`") && bare.contains("give `--pin`"), "{bare}");
    place.run("compliance", &format!("audit verify copy --pin {}", report["end"].as_str().unwrap())).ok();
    let segment = fs::read_dir(place.path("copy")).unwrap().map(|f| f.unwrap().path());
    let segment = segment.filter(|f| f.extension().is_some_and(|e| e == "jsonl")).max().unwrap();
    let text = fs::read_to_string(&segment).unwrap();
    let wrong = |text: String| {
        fs::write(&segment, text).unwrap();
        let said = place.run("compliance", "audit verify copy -o json").ends_with(1);
        assert_eq!((said.reason().as_str(), &said.json()["sound"]), ("AUDIT_NOT_SOUND", &false.into()));
    };
    wrong(text.replacen("\"denied\"", "\"allowed\"", 1));
    let mut cut: Vec<&str> = text.split_inclusive('\n').collect();
    cut.remove(2);
    wrong(cut.concat());
    place.run("compliance", "audit verify nothing-here").ends_with(1);
    place.run("operator", "audit delete --through-segment 1 --export copy").ends_with(1);
    fs::write(&segment, &text).unwrap();
    let open_ended = place.run("operator", "audit delete --through-segment 1 --export copy").ends_with(2);
    assert!(open_ended.stderr.contains("ends with that segment"), "{}", open_ended.stderr);
}

#[test]
fn policy_explains_itself_to_those_who_may_ask() {
    let place = Place::with_key("explained", "");
    let ask = |who: &str, operation: &str| {
        let words = format!("policy explain --as spiffe://dev.local/{who} --operation {operation} K -o json");
        place.run("operator", &words).ok().json()
    };
    assert_eq!(ask("attendance", "Decrypt")["allowed"], true);
    let denied = ask("hr-portal", "Decrypt");
    assert_eq!(denied["allowed"], false);
    assert!(!denied["explanation"].as_str().unwrap().is_empty());
    let words = "policy explain --as spiffe://dev.local/hr-portal --operation Decrypt K";
    assert!(place.run("operator", words).ok().text().starts_with("denied"));
    place.run("attendance", words).ends_with(5);
    let text = place.run("operator", words).ok().text();
    assert!(!text.contains("denied: denied") && !text.contains("note:"), "{text}");
    let missing = words.replace('K', "--tenant T --key nowhere");
    let text = place.run("operator", &missing).ok().text();
    assert!(text.contains("note: there is no key nowhere of tenant explained"), "{text}");
    let said = place.run("operator", &words.replace('K', "")).ends_with(2);
    assert!(said.stderr.contains("give `--tenant`"), "{}", said.stderr);
}

#[test]
fn a_server_that_is_not_there_is_6() {
    let place = Place::new("unreachable");
    let gone = profile_with("operator", "gone", &format!("endpoint = \"https://127.0.0.1:{}\"", free_port()));
    let words = format!("--profile {} tenant list -o json", gone.display());
    let said = place.run("operator", &words).ends_with(6);
    assert_eq!(said.reason(), "SERVER_UNREACHABLE");
    assert!(said.stderr.contains("is the server running?"), "{}", said.stderr);
}
