//! What witnesses say of the log, and what is pinned: certificates carry the one, no start goes back behind either.

use std::{collections::BTreeSet, fs, path::Path};

use kms_core::{
    certificate::{
        check::{Given, Verdict, verify},
        policy::Policy,
        risks::Risk,
    },
    secret::SigningSeed,
    transparency::{NoteSigner, SignedCheckpoint, WitnessSigner, checkpoint::Checkpoint},
};
use kms_proto::{reason::Reason, v1};
use kms_tests::{
    Place, Server,
    api::{Api, KEY, TENANT, answer},
};

fn witness(name: &str) -> WitnessSigner {
    WitnessSigner::new(name.parse().unwrap(), SigningSeed::random().unwrap()).unwrap()
}

/// A server that knows these witnesses, with a destroyed version.
async fn started(witnesses: &[&WitnessSigner]) -> (Place, Server, Api) {
    let place = Place::new();
    let keys: Vec<_> =
        witnesses.iter().map(|witness| format!("{:?}", witness.verifier().to_string())).collect();
    place.change_config(|text| format!("{text}\n[transparency]\nwitnesses = [{}]\n", keys.join(", ")));
    let server = place.start();
    let (operator, _) = Api::ground(&place).await;
    operator.rotate(TENANT, KEY).await.unwrap();
    operator.destroy(TENANT, KEY, Some(1)).await.unwrap();
    (place, server, operator)
}

async fn checkpoint(api: &Api) -> SignedCheckpoint {
    let answered = answer(api.log().get_checkpoint(v1::GetCheckpointRequest {}).await).unwrap();
    let key: kms_core::transparency::VerifierKey = answered.verifier_key.parse().unwrap();
    let origin = key.name().as_str().parse().unwrap();
    SignedCheckpoint::open(answered.note.as_bytes(), &origin, &[key]).unwrap()
}

async fn hand_in(api: &Api, note: &SignedCheckpoint) -> Result<(u64, Vec<String>), Reason> {
    let message = v1::AddCosignaturesRequest { note: note.to_string() };
    answer(api.log().add_cosignatures(message).await).map(|taken| (taken.size, taken.witnesses))
}

async fn certificate(api: &Api) -> Vec<u8> {
    let subject =
        Some(v1::Subject { tenant: TENANT.into(), key: KEY.into(), version: 1, tenant_uid: Vec::new() });
    let message = v1::GetCertificateRequest { subject, earlier_sizes: Vec::new() };
    answer(api.log().get_certificate(message).await).unwrap().certificate
}

fn standing(certificate: &[u8], witnesses: &[&WitnessSigner]) -> BTreeSet<Risk> {
    let witnesses = witnesses.iter().map(|witness| witness.verifier().clone()).collect();
    let policy = Policy { witnesses, ..Policy::default() };
    let outcome = verify(certificate, &Given { policy: Some(policy), ..Given::default() });
    assert_eq!(outcome.verdict, Verdict::Residual, "{:?}", outcome.failures().collect::<Vec<_>>());
    outcome.risks.iter().map(|standing| standing.risk).collect()
}

#[tokio::test]
async fn a_certificate_carries_what_the_witnesses_signed_and_then_they_are_no_risk_any_more() {
    let (one, two) = (witness("one.example"), witness("two.example"));
    let (place, _server, operator) = started(&[&one, &two]).await;
    assert!(standing(&certificate(&operator).await, &[&one]).contains(&Risk::NoWitness));
    let head = checkpoint(&operator).await;
    let mut by_one = head.clone();
    by_one.add(one.cosign(&head, 1_800_000_000)).unwrap();
    let size = head.checkpoint().size;
    assert_eq!(hand_in(&operator, &by_one).await, Ok((size, vec!["one.example".into()])));
    // A second comes later, under the same head; the first stays.
    let mut by_two = head.clone();
    by_two.add(two.cosign(&head, 1_800_000_001)).unwrap();
    let both = vec!["one.example".to_owned(), "two.example".to_owned()];
    assert_eq!(hand_in(&operator, &by_two).await, Ok((size, both.clone())));
    assert_eq!(hand_in(&operator, &by_two).await, Ok((size, both)), "once, however often");

    // The log grows; the certificate rests on the head that was cosigned.
    operator.create_key(TENANT, "another").await.unwrap();
    let cosigned = certificate(&operator).await;
    for trusted in [&[&one][..], &[&two], &[&one, &two]] {
        let risks = standing(&cosigned, trusted);
        assert!(!risks.contains(&Risk::NoWitness) && !risks.contains(&Risk::RestoreUnwitnessed), "{risks:?}");
    }
    assert!(standing(&cosigned, &[&witness("stranger.example")]).contains(&Risk::NoWitness));
    // What happens after it needs a later head.
    operator.destroy(TENANT, KEY, Some(2)).await.unwrap();
    let subject =
        Some(v1::Subject { tenant: TENANT.into(), key: KEY.into(), version: 2, tenant_uid: Vec::new() });
    let message = v1::GetCertificateRequest { subject, earlier_sizes: Vec::new() };
    let later = answer(operator.log().get_certificate(message).await).unwrap().certificate;
    assert!(standing(&later, &[&one]).contains(&Risk::NoWitness));
    // It is there after a restart, too.
    drop(_server);
    let _server = place.start();
    let operator = Api::of(&place, "operator").await;
    assert!(!standing(&certificate(&operator).await, &[&one]).contains(&Risk::NoWitness));
}

#[tokio::test]
async fn what_no_known_witness_signed_over_this_log_is_refused() {
    let (known, stranger) = (witness("known.example"), witness("stranger.example"));
    let (_place, _server, operator) = started(&[&known]).await;
    let head = checkpoint(&operator).await;
    let signed = |line| {
        let mut note = head.clone();
        note.add(line).unwrap();
        note
    };
    // Nobody; somebody unknown; somebody unknown under a known name.
    let impostor = witness("known.example");
    for note in [head.clone(), signed(stranger.cosign(&head, 1)), signed(impostor.cosign(&head, 1))] {
        assert_eq!(hand_in(&operator, &note).await, Err(Reason::FieldInvalid));
    }
    // A cosignature of another head.
    operator.create_key(TENANT, "another").await.unwrap();
    let later = checkpoint(&operator).await;
    assert_eq!(hand_in(&operator, &signed(known.cosign(&later, 1))).await, Err(Reason::FieldInvalid));
    // A head that another key signed.
    let origin = head.checkpoint().origin.clone();
    let forger = NoteSigner::new(origin.as_str().parse().unwrap(), SigningSeed::random().unwrap()).unwrap();
    let forged = Checkpoint { origin, ..head.checkpoint().clone() };
    let mut forged = SignedCheckpoint::sign(forged, &forger).unwrap();
    forged.add(known.cosign(&forged.clone(), 1)).unwrap();
    assert_eq!(hand_in(&operator, &forged).await, Err(Reason::FieldInvalid));
    // An older one than what is there.
    let mut newest = later.clone();
    newest.add(known.cosign(&later, 1)).unwrap();
    hand_in(&operator, &newest).await.unwrap();
    assert_eq!(hand_in(&operator, &signed(known.cosign(&head, 2))).await, Err(Reason::FieldInvalid));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => assert!(fs::copy(from, to).is_ok()),
        }
    }
}

#[tokio::test]
async fn a_whole_machine_that_was_set_back_does_not_start_behind_what_is_pinned_or_cosigned() {
    let known = witness("known.example");
    let (place, server, operator) = started(&[&known]).await;
    assert_eq!(server.terminate().code(), Some(0));
    let yesterday = place.scratch().join("yesterday");
    copy(&place.dir(), &yesterday);

    let server = place.start();
    let operator_today = Api::of(&place, "operator").await;
    drop(operator);
    operator_today.create_key(TENANT, "another").await.unwrap();
    let head = checkpoint(&operator_today).await;
    let pin = place.scratch().join("pinned");
    fs::write(&pin, head.to_string()).unwrap();
    let mut cosigned = head.clone();
    cosigned.add(known.cosign(&head, 1)).unwrap();
    hand_in(&operator_today, &cosigned).await.unwrap();
    let witnessed = fs::read(place.path("store/log/witnessed")).unwrap();
    assert_eq!(server.terminate().code(), Some(0));

    // All of it set back, medium and checkpoints too: nothing on the machine can tell.
    fs::remove_dir_all(place.dir()).unwrap();
    copy(&yesterday, &place.dir());
    assert_eq!(place.start().terminate().code(), Some(0), "the control");
    fs::remove_dir_all(place.dir()).unwrap();
    copy(&yesterday, &place.dir());
    place.change_config(|text| text.replace("[transparency]", &format!("[transparency]\npin = {pin:?}")));
    let refused = place.try_start(&[]).unwrap_err();
    assert!(
        refused.stderr.contains("not a continuation of the checkpoint of `transparency.pin`"),
        "{refused:?}"
    );
    fs::remove_dir_all(place.dir()).unwrap();
    copy(&yesterday, &place.dir());
    fs::write(place.path("store/log/witnessed"), witnessed).unwrap();
    let refused = place.try_start(&[]).unwrap_err();
    assert!(
        refused.stderr.contains("not a continuation of the checkpoint that witnesses cosigned"),
        "{refused:?}"
    );
}
