//! What a policy lets pass, and what it does not.

use super::*;
use crate::certificate::policy::Policy;

fn under(name: &str, policy: Policy) -> Outcome {
    verify(&read(name), &Given { policy: Some(policy), ..Given::default() })
}

fn accepting(risks: &[Risk]) -> Policy {
    Policy { accept: risks.iter().copied().collect(), ..Policy::default() }
}

#[test]
fn every_risk_that_stands_must_be_accepted_by_name() {
    let name = "valid/version.json";
    let stands: Vec<Risk> =
        verify(&read(name), &Given::default()).risks.iter().map(|standing| standing.risk).collect();
    let all = under(name, accepting(&stands));
    assert_eq!(all.verdict, Verdict::Erased);
    assert!(all.risks.iter().all(|standing| standing.accepted), "they stand, and are told all the same");
    for left_out in &stands {
        let others: Vec<Risk> = stands.iter().copied().filter(|risk| risk != left_out).collect();
        let outcome = under(name, accepting(&others));
        let open: Vec<Risk> = outcome
            .risks
            .iter()
            .filter(|standing| !standing.accepted)
            .map(|standing| standing.risk)
            .collect();
        assert_eq!((outcome.verdict, open), (Verdict::Residual, vec![*left_out]));
    }
    assert_eq!(under(name, Policy::default()).verdict, Verdict::Residual, "an empty policy accepts nothing");
}

#[test]
fn nothing_that_is_accepted_makes_a_pending_erasure_complete() {
    for name in ["valid/version-pending.json", "valid/version-lease.json", "valid/tenant-pending.json"] {
        assert_eq!(under(name, accepting(Risk::ALL)).verdict, Verdict::Pending, "{name}");
    }
}

#[test]
fn a_medium_of_a_lower_class_than_asked_for_is_refused() {
    for (name, has) in [
        ("valid/version-medium-none.json", MediumClass::None),
        ("valid/tenant-token.json", MediumClass::Token),
        ("valid/version.json", MediumClass::Clear),
    ] {
        for wanted in MediumClass::ALL {
            let outcome = under(name, Policy { minimum_class: *wanted, ..accepting(Risk::ALL) });
            let (verdict, fails) =
                if has >= *wanted { (Verdict::Erased, vec![]) } else { (Verdict::Invalid, vec!["policy"]) };
            assert_eq!((outcome.verdict, failed(&outcome)), (verdict, fails), "{name} {wanted}");
        }
    }
}

#[test]
fn approvals_are_counted_by_identity() {
    let approved = |who: &[&str]| {
        let mut certificate = Certificate::from_file(&read("valid/version.json")).unwrap().certificate;
        certificate.request[0].approvals = who.iter().map(|who| who.parse().unwrap()).collect();
        Certificate::sign(certificate, sign).to_file()
    };
    let two = Given { policy: Some(Policy { approvals: 2, ..accepting(Risk::ALL) }), ..Given::default() };
    for (who, verdict) in [
        (&[][..], Verdict::Invalid),
        (&["one"], Verdict::Invalid),
        (&["one", "one"], Verdict::Invalid),
        (&["one", "two"], Verdict::Erased),
        (&["one", "two", "three"], Verdict::Erased),
    ] {
        assert_eq!(verify(&approved(who), &two).verdict, verdict, "{who:?}");
    }
}

#[test]
fn a_witness_counts_where_the_policy_names_its_key() {
    let certificate = Certificate::from_file(&read("valid/version-cosigned-twice.json")).unwrap().certificate;
    let keys: Vec<String> = certificate
        .proofs
        .checkpoint
        .cosignatures
        .iter()
        .map(|cosignature| cosignature.key.to_string())
        .collect();
    let unwitnessed = |outcome: &Outcome| {
        outcome.risks.iter().any(|standing| standing.risk == Risk::NoWitness && !standing.accepted)
    };
    for key in &keys {
        let policy = Policy { witnesses: vec![key.parse().unwrap()], ..Policy::default() };
        assert!(!unwitnessed(&under("valid/version-cosigned-twice.json", policy.clone())));
        assert!(unwitnessed(&under("valid/version.json", policy)), "named, and has not signed this one");
    }
    assert!(
        unwitnessed(&under("valid/version-cosigned-twice.json", Policy::default())),
        "signed, and nobody trusts it"
    );
}

#[test]
fn the_key_that_the_policy_names_is_the_logs_or_the_certificate_is_refused() {
    let named = |name: &str| Policy { log_key: Some(key(name)), ..Policy::default() };
    let outcome = under("valid/version.json", named("key.vkey"));
    assert_eq!(outcome.verdict, Verdict::Residual);
    assert!(outcome.risks.iter().all(|standing| standing.risk != Risk::LogKeyUnconfirmed));
    let outcome = under("valid/version.json", named("other.vkey"));
    assert_eq!((outcome.verdict, failed(&outcome)), (Verdict::Invalid, vec!["policy"]));
}

#[test]
fn a_checkpoint_of_another_log_or_that_nobody_signed_is_no_pin() {
    let text = String::from_utf8(read("checkpoint-90.txt")).unwrap();
    let mut given = Given { pin: Some(pin("checkpoint-90.txt")), ..Given::default() };
    assert_ne!(verify(&read("valid/version.json"), &given).verdict, Verdict::Invalid);
    for (from, to) in [
        ("90\n", "91\n"),
        ("STI1", "STI2"),
        ("keycentre/a", "keycentre/b"),
        ("rVgcd5", "rVgcd4"),
        ("rVg", "sVg"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        given.pin = Some(Note::parse(changed.as_bytes()).unwrap());
        let outcome = verify(&read("valid/version.json"), &given);
        assert_eq!((outcome.verdict, failed(&outcome)), (Verdict::Invalid, vec!["pin"]), "{from}");
    }
}
