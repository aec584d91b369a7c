//! Tenants, keys and single values.

use super::Place;

#[test]
fn a_value_opens_with_its_context_and_not_with_another() {
    let place = Place::with_key("crypt", "");
    let sealed = place
        .feed("attendance", "encrypt K --context purpose=payroll --context row=7", b"4711\0\xff")
        .ok()
        .stdout;
    assert_eq!(&sealed[..2], &[0x4b, 0x03]);
    let open = |words: &str| place.feed("attendance", words, &sealed);
    assert_eq!(open("decrypt K --context row=7 --context purpose=payroll").ok().stdout, b"4711\0\xff");
    for words in
        ["decrypt K", "decrypt K --context row=7", "decrypt K --context row=8 --context purpose=payroll"]
    {
        let said = open(&format!("{words} -o json")).ends_with(1);
        assert_eq!(said.reason(), "CIPHERTEXT_REJECTED", "{words}");
        assert!(said.said()["error"]["request_id"].is_string());
        assert!(!said.stderr.contains("payroll"), "no context value is shown");
    }
    let moved = open("reencrypt K --context row=7 --context purpose=payroll --to-context row=8").ok().stdout;
    assert_eq!(place.feed("attendance", "decrypt K --context row=8", &moved).ok().stdout, b"4711\0\xff");
    place.feed("attendance", "decrypt K --context row=7 --context purpose=payroll", &moved).ends_with(1);
    place.feed("attendance", "decrypt K", b"nonsense").ends_with(1);
    place.feed("attendance", "encrypt K", &vec![0; (64 << 10) + 1]).ends_with(2);
}

#[test]
fn who_may_not_is_told_so_with_5_and_learns_nothing_else() {
    let place = Place::with_key("denied", "");
    let sealed = place.feed("attendance", "encrypt K", b"secret").ok().stdout;
    for who in ["hr-portal", "operator", "compliance"] {
        let said = place.feed(who, "decrypt K -o json", &sealed).ends_with(5);
        assert_eq!(said.reason(), "KEY_NOT_ACCESSIBLE", "{who}");
    }
    let there = place.feed("hr-portal", "decrypt K -o json", &sealed).said();
    let not_there =
        place.feed("hr-portal", "decrypt --tenant nobody --key attendance -o json", &sealed).said();
    assert_eq!(
        there["error"]["message"], not_there["error"]["message"],
        "no such key and not yours look the same"
    );
    place.run("attendance", "key create other --tenant T").ends_with(5);
    place.run("attendance", "tenant list").ends_with(5);
}

#[test]
fn a_key_is_described_as_the_contract_says() {
    let place = Place::with_key("described", "--class L3 --rotate-every 90d --lease 5m");
    place.run("operator", "key rotate attendance --tenant T").ok();
    let key = place.run("operator", "key describe attendance --tenant T -o json").ok().json();
    let states: Vec<_> =
        key["versions"].as_array().unwrap().iter().map(|v| v["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["deactivated", "active"]);
    assert_eq!((&key["tenant"], &key["name"]), (&"described".into(), &"attendance".into()));
    assert_eq!((&key["class"], &key["state"]), (&"L3".into(), &"active".into()));
    let version = &key["versions"][1];
    assert_eq!(version["version"], 2);
    assert!(version["id"].as_str().unwrap().parse::<u64>().is_ok());
    assert!(version["created"].as_str().unwrap().ends_with('Z'));
    assert_eq!(key["rotate_every_seconds"], 90 * 86_400);
    let text = place.run("operator", "key describe attendance --tenant T").ok().text();
    assert!(text.contains("seals") && text.contains("90d"), "{text}");
    let keys = place.run("operator", "key list --tenant T -o json").ok().json();
    assert_eq!(keys[0]["name"], "attendance");
    let tenants = place.run("operator", "tenant list -o json").ok().json();
    assert!(tenants.as_array().unwrap().iter().any(|tenant| tenant["tenant"] == "described"));
    assert_eq!(place.run("operator", "tenant create T -o json").ends_with(1).reason(), "ALREADY_EXISTS");
}

#[test]
fn a_suspended_key_does_nothing_until_resumed() {
    let place = Place::with_key("suspended", "");
    let sealed = place.feed("attendance", "encrypt K", b"value").ok().stdout;
    place.run("operator", "key suspend attendance --tenant T").ok();
    assert_eq!(
        place.feed("attendance", "encrypt K -o json", b"value").ends_with(1).reason(),
        "KEY_SUSPENDED"
    );
    assert_eq!(place.feed("attendance", "decrypt K -o json", &sealed).ends_with(1).reason(), "KEY_SUSPENDED");
    place.run("operator", "key resume attendance --tenant T").ok();
    assert_eq!(place.feed("attendance", "decrypt K", &sealed).ok().stdout, b"value");
}

#[test]
fn a_destroyed_version_opens_nothing_and_its_neighbours_open_on() {
    let place = Place::with_key("destroyed", "");
    let first = place.feed("attendance", "encrypt K", b"one").ok().stdout;
    let rotated = place.run("operator", "key rotate attendance --tenant T").ok().text();
    assert!(rotated.contains("version 1 goes on sealing deterministic columns"), "{rotated}");
    let second = place.feed("attendance", "encrypt K", b"two").ok().stdout;
    let destroy =
        "key destroy attendance --tenant T --version 1 --reason retention-ended --ticket OPS-1 -o json";
    let done = place.run("operator", destroy).ok().json();
    assert_eq!(done["destroyed_versions"], serde_json::json!([1]));
    assert_eq!(done["effaced"], true);
    assert_eq!(place.feed("attendance", "decrypt K -o json", &first).ends_with(1).reason(), "KEY_DESTROYED");
    assert_eq!(place.feed("attendance", "decrypt K", &second).ok().stdout, b"two");

    let said = place.run("operator", "key destroy attendance --tenant T --all --reason test").ok().text();
    assert!(said.contains("kms key cancel-destroy attendance --tenant"), "{said}");
    let due = place.run("operator", "key describe attendance --tenant T -o json").ok().json();
    assert!(due["state"] == "destroy-scheduled" && due["destroy_due"].is_string(), "{due}");
    assert_eq!(place.feed("attendance", "decrypt K", &second).ok().stdout, b"two", "in seven days, not now");
    assert_eq!(place.feed("attendance", "encrypt K -o json", b"x").ends_with(1).reason(), "KEY_DEACTIVATED");
    place.run("operator", "key cancel-destroy attendance --tenant T --all").ok();
    place.feed("attendance", "encrypt K", b"x").ok();
    assert!(place.run("operator", "clock confirm").ok().text().contains("nothing waited"));
    place.run("operator", "tenant destroy T --in 1h --reason contract-ended").ok();
    place.run("operator", "tenant cancel-destroy T").ok();
    let wide = "key destroy attendance --tenant T --all --now --force --reason test";
    let said = place.run("operator", wide).ok().text();
    assert!(said.contains("end of their leases") && said.contains("lease time 5m"), "{said}");
    assert!(said.contains("the certificate says"), "{said}");
    place.feed("attendance", "decrypt K", &second).ends_with(1);
    place.run("operator", "tenant destroy T --now --reason contract-ended").ok();
    place.feed("attendance", "decrypt K", &second);
}

#[test]
fn subjects_are_ensured_listed_by_id_and_erased_one_by_one() {
    let place = Place::with_key("subjects", "--family");
    let said = place.run("operator", "key list --tenant T").ok().text();
    assert!(said.contains("family"), "{said}");
    let ensured =
        place.feed("attendance", "key ensure attendance --tenant T - -o json", b"one\ntwo\n").ok().json();
    assert!(ensured[0]["subject"] == "one" && ensured[0]["created"] == true, "{ensured}");
    let again = place.run("attendance", "key ensure attendance --tenant T two three").ok().text();
    assert!(again.contains("existed") && again.contains("1 created"), "{again}");
    let listed = place.run("operator", "key list --tenant T --family attendance -o json").ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert!(listed.as_array().unwrap().iter().any(|key| key["name"] == ensured[0]["key"]), "{listed}");
    let by_id = format!("key describe {} --tenant T", ensured[0]["key"].as_str().unwrap());
    place.run("operator", &by_id).ok();

    let encrypt = "encrypt --tenant subjects --key attendance/one";
    let sealed = place.feed("attendance", encrypt, b"value").ok().stdout;
    let family = place.feed("attendance", "encrypt K -o json", b"value").ends_with(1);
    assert_eq!(family.reason(), "KEY_IS_FAMILY");
    let destroy = "key destroy attendance/one --tenant T --all --now --reason subject-request";
    place.run("operator", destroy).ok();
    let decrypt = "decrypt --tenant subjects --key attendance/one -o json";
    assert_eq!(place.feed("attendance", decrypt, &sealed).ends_with(1).reason(), "KEY_DESTROYED");
    let late = place.run("attendance", "key ensure attendance --tenant T one -o json").ends_with(1);
    assert_eq!(late.reason(), "KEY_DESTROYED");
    place.run("attendance", "key ensure attendance --tenant T one two").ends_with(7);
    let said = place.run("operator", "key create attendance/one --tenant T").ok().text();
    assert!(said.contains("version 2 is active"), "{said}");
    place.run("attendance", "key ensure attendance --tenant T one").ok();
    place.run("hr-portal", "key ensure attendance --tenant T four").ends_with(5);
}
