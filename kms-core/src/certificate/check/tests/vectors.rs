//! The vectors, with what `expected.json` says of each. Policies are TOML, which the command line reads: its tests go through those.

use super::*;

#[test]
fn every_vector_comes_to_the_verdict_that_is_expected() {
    let expected: serde_json::Value = serde_json::from_slice(&read("expected.json")).unwrap();
    let mut compared = 0;
    for (name, cases) in expected.as_object().unwrap() {
        let file = read(name);
        for (flags, verdict) in cases.as_object().unwrap() {
            let mut given = Given::default();
            for flag in flags.split('+') {
                match flag {
                    "plain" => {}
                    "key" => given.key = Some(key("key.vkey")),
                    "other-key" => given.key = Some(key("other.vkey")),
                    "name" => given.name = Some(named("employee-17", "name.salt")),
                    pinned if pinned.starts_with("pin-") => {
                        given.pin = Some(pin(&format!("checkpoint-{}.txt", &pinned[4..])));
                    }
                    _ => continue,
                }
            }
            if flags.contains("policy") {
                continue;
            }
            let outcome = verify(&file, &given);
            let said: Vec<_> = outcome.failures().map(|check| &check.detail).collect();
            assert_eq!(outcome.verdict.as_str(), verdict.as_str().unwrap(), "{name} {flags}: {said:?}");
            assert_eq!(outcome.verdict == Verdict::Invalid, !said.is_empty(), "{name} {flags}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn what_was_not_brought_along_is_not_checked_and_stands_as_a_risk() {
    let outcome = verify(&read("valid/version.json"), &Given::default());
    let names: Vec<_> = outcome.checks.iter().map(|check| check.name).collect();
    assert_eq!(names, CheckName::ALL[..15], "all but pin, mirror and policy, in their order");
    let risks: Vec<_> = outcome.risks.iter().map(|standing| standing.risk.as_str()).collect();
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
    assert_eq!(outcome.class(), Some(MediumClass::Clear));
    for given in [
        Given { key: Some(key("key.vkey")), ..Given::default() },
        Given { pin: Some(pin("checkpoint-90.txt")), ..Given::default() },
    ] {
        let outcome = verify(&read("valid/version.json"), &given);
        assert!(outcome.risks.iter().all(|standing| standing.risk != Risk::LogKeyUnconfirmed));
    }
}

#[test]
fn whatever_is_no_certificate_is_invalid_and_told_why() {
    let whole = read("valid/version.json");
    let cut = &whole[..whole.len() / 2];
    for file in [&b""[..], b"\n", b"{}\n", b"[]\n", b"\xff\xfe\n", cut, &whole[..whole.len() - 1]] {
        let outcome = verify(file, &Given::default());
        assert_eq!((outcome.verdict, failed(&outcome)), (Verdict::Invalid, vec!["form"]));
        assert!(outcome.certificate.is_none() && outcome.class().is_none());
    }
}
