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

const SCHEMA: &str = r#"{"table": "checkins", "key": "attendance", "columns": [
    {"name": "phone", "mode": "randomized", "index": {"bits": 20}, "mask": "phone"},
    {"name": "name", "mode": "randomized", "mask": "name"}, {"name": "employee", "mode": "deterministic", "mask": "name"},
    {"name": "email", "mode": "randomized", "mask": "email"}, {"name": "card", "mode": "randomized", "mask": "last4"},
    {"name": "identity_number", "mode": "direct", "mask": "identity"}, {"name": "badge", "mode": "randomized", "mask": "custom"},
    {"name": "location", "mode": "randomized", "mask": "coarse-location"}, {"name": "note", "mode": "randomized", "mask": null}]}"#;

#[test]
fn masked_forms_are_shown_to_those_who_may_see_no_more() {
    let place = Place::with_key("revealed", "");
    fs::write(place.path("in.csv"), "id,phone,salary\n1,13800131234,12000\n").unwrap();
    place
        .run(
            "attendance",
            "columns seal K --table checkins --id id --column phone --column salary in.csv out.csv",
        )
        .ok();
    let sealed = place.read("out.csv");
    let cells: Vec<&str> = sealed.lines().nth(1).unwrap().split(',').collect();
    let reveal = |who: &str, column: &str, cell: &str, more: &str| {
        let words = format!("reveal K --table checkins --column {column} --record 1 {more}");
        place.feed(who, &words, cell.as_bytes())
    };
    assert_eq!(reveal("hr-portal", "phone", cells[1], "").ok().text(), "138****1234\n");
    let json = reveal("hr-portal", "phone", cells[1], "-o json").ok().json();
    assert_eq!(json, serde_json::json!({ "text": "138****1234", "form": "phone", "version": 1 }));
    assert_eq!(
        reveal("attendance", "phone", cells[1], "-o json").ends_with(5).reason(),
        "KEY_NOT_ACCESSIBLE"
    );
    let undeclared = reveal("hr-portal", "salary", cells[2], "-o json").ends_with(5);
    assert_eq!(undeclared.reason(), "MASK_NOT_DECLARED");
    assert!(undeclared.stderr.contains("no mask is declared for column `salary`"), "{}", undeclared.stderr);
    assert_eq!(
        reveal("hr-portal", "phone", "kf1.!", "-o json").ends_with(1).reason(),
        "CIPHERTEXT_MALFORMED"
    );
    // ATTACK: of another column, whose form shows more.
    assert_eq!(reveal("hr-portal", "card", cells[1], "-o json").ends_with(1).reason(), "CIPHERTEXT_REJECTED");
}

#[test]
fn a_schema_is_compared_with_the_masks_of_the_server() {
    let place = Place::new("masked");
    let text = place.run("compliance", "policy masks").ok().text();
    assert!(text.starts_with("KEY") && text.contains("attendance  checkins  phone"), "{text}");
    place.run("hr-portal", "policy masks").ends_with(5);
    assert!(place.run("operator", "policy masks --key payroll").ok().text().contains("nothing is revealed"));

    fs::write(place.path("schema.json"), SCHEMA).unwrap();
    let json = place.run("operator", "policy masks --schema schema.json -o json").ok().json();
    assert_eq!((json["masks"].as_array().unwrap().len(), &json["differences"]), (8, &serde_json::json!([])));
    fs::write(place.path("other.json"), SCHEMA.replace("\"last4\"", "\"phone\"")).unwrap();
    let said = place.run("operator", "policy masks --schema other.json").ends_with(1);
    let text = said.text();
    assert!(
        text.contains("column `card` of table `checkins` under key `attendance` says mask `phone`"),
        "{text}"
    );
    assert!(
        said.stderr.contains("1 difference between the schema and the server's masks"),
        "{}",
        said.stderr
    );
    place.run("operator", "policy masks --schema nowhere.json").ends_with(2);
}

#[test]
fn a_schema_is_compared_with_the_masks_of_a_directory_offline() {
    let place = Place::new("schemas");
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    fs::write(place.path("schema.json"), format!("[{SCHEMA}]")).unwrap();
    let check = |more: &str| place.run("operator", &format!("policy check {policies} {more}"));
    let json = check("--schema schema.json -o json").ok().json();
    assert_eq!((&json["masks"], &json["differences"]), (&8.into(), &serde_json::json!([])));
    assert!(check("").ok().text().contains("8 masks too"));
    fs::write(place.path("other.json"), SCHEMA.replace("\"phone\", \"mode\"", "\"mobile\", \"mode\""))
        .unwrap();
    let said = check("--schema other.json -o json").ends_with(1);
    assert_eq!(said.reason(), "MASKS_DIFFER");
    let differences = said.json()["differences"].as_array().unwrap().len();
    assert_eq!(differences, 2, "one mask for nothing, and nothing for one column");
    fs::write(place.path("broken.json"), "{}").unwrap();
    check("--schema broken.json").ends_with(2);

    let copy = place.path("policies");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(policies).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let masks = fs::read_to_string(copy.join("masks.toml")).unwrap();
    fs::write(copy.join("masks.toml"), masks.replace("\"identity\"", "\"passport\"")).unwrap();
    let said = place.run("operator", "policy check policies --schema schema.json").ends_with(2);
    assert!(said.text().contains("`passport` is no form of a mask"), "{}", said.text());
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
