//! Logs that are read from their first entry on: those that hold, those that do not, and what they say about certificates.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod centre;

use centre::{Centre, What, lived};
use kms_core::{
    canonical::Instant,
    certificate::{
        check::{Given, Mirror, Outcome, Verdict, verify},
        replay::{Fault, Replay, ReplayError, Replayed, Watch},
        risks::Risk,
    },
    event::{Entry, Event},
    id::{Epoch, LeafSlot, Uid},
};

fn replay(entries: &[Entry], watch: Watch) -> Result<Replayed, ReplayError> {
    let mut replay = Replay::new(watch);
    entries.iter().try_for_each(|entry| replay.entry(&entry.to_bytes(), |_, _| ()))?;
    Ok(replay.finish().unwrap())
}

fn checked(centre: &Centre, what: What<'_>, of: &Centre, size: usize) -> Outcome {
    let certificate = centre.certificate(what, centre.entries.len(), &[]);
    let replayed = replay(&of.entries[..size], Watch::of(&certificate)).map_err(|error| error.to_string());
    let mirror = Mirror { head: of.note(size), replayed };
    verify(&certificate.to_file(), &Given { mirror: Some(mirror), ..Given::default() })
}

fn failed(outcome: &Outcome) -> Vec<&str> {
    outcome.failures().map(|check| check.name.as_str()).collect()
}

const ALL: [What<'_>; 7] = [
    What::Version("acme", "orders", 1),
    What::Version("acme", "cards", 2),
    What::Version("acme", "cards", 3),
    What::Key("acme", "cards"),
    What::Key("acme", "bulk-3"),
    What::Version("doomed", "payroll", 2),
    What::Tenant("doomed"),
];

#[test]
fn a_log_of_everything_comes_to_every_state_and_lifts_the_risk() {
    let centre = lived();
    for what in ALL {
        let certificate = centre.certificate(what, centre.entries.len(), &[]);
        let alone = verify(&certificate.to_file(), &Given::default());
        assert_eq!((alone.verdict, failed(&alone)), (Verdict::Residual, vec![]));
        let with = checked(&centre, what, &centre, centre.entries.len());
        assert_eq!((with.verdict, failed(&with)), (Verdict::Residual, vec![]));
        let stands = |outcome: &Outcome| outcome.risks.iter().any(|risk| risk.risk == Risk::LogNotReplayed);
        assert!(stands(&alone) && !stands(&with));
    }
    let replayed = replay(&centre.entries, Watch::default()).unwrap();
    assert_eq!((replayed.size, replayed.epochs), (centre.entries.len() as u64, 5));
}

#[test]
fn a_mirror_of_another_log_or_an_earlier_one_is_told_apart() {
    let (centre, mut fork) = (lived(), lived());
    let size = centre.entries.len();
    let what = What::Version("acme", "orders", 1);
    let Some(padding) = fork.entries.iter_mut().find(|entry| matches!(entry.event, Event::AuditHead(_)))
    else {
        panic!("there is padding")
    };
    let Event::AuditHead(head) = &mut padding.event else { panic!("found as one") };
    head.count += 1;
    for (other, size, said) in [
        (&fork, size, "the log was forked"),
        (&centre, size - 1, "run `kms log mirror` again"),
        (&Centre::new(2), 1, "not one that this log's key signed"),
    ] {
        let outcome = checked(&centre, what, other, size);
        assert_eq!((outcome.verdict, failed(&outcome)), (Verdict::Invalid, vec!["mirror"]));
        let detail = outcome.failures().next().unwrap().detail.clone();
        assert!(detail.contains(said), "{detail}");
    }
}

#[test]
fn a_later_pin_needs_a_mirror_and_an_earlier_one_a_proof_or_a_mirror() {
    let mut centre = lived();
    let size = centre.entries.len();
    let certificate = centre.certificate(What::Version("acme", "orders", 1), size, &[17]);
    centre.pad(40);
    let later = centre.entries.len();
    for (pinned, alone) in [(size, true), (17, true), (18, false), (later, false)] {
        for mirrored in [false, true] {
            let mut watch = Watch::of(&certificate);
            watch.sizes.insert(pinned as u64);
            let replayed = replay(&centre.entries, watch).map_err(|error| error.to_string());
            let mirror = mirrored.then(|| Mirror { head: centre.note(later), replayed });
            let given = Given { pin: Some(centre.note(pinned)), mirror, ..Given::default() };
            let outcome = verify(&certificate.to_file(), &given);
            let fails = if alone || mirrored { vec![] } else { vec!["pin"] };
            assert_eq!(failed(&outcome), fails, "{pinned} {mirrored}");
        }
    }
    // ATTACK: a head that the key signed, of a log that is not the one.
    let mut fork = lived();
    fork.pad(41);
    for (pinned, mirrored) in [(17, true), (18, true), (size, true), (later, true), (later + 1, false)] {
        fork.entries[1].at = Instant::from_millis(fork.entries[1].at.millis() + 1);
        let mut watch = Watch::of(&certificate);
        watch.sizes.insert(pinned as u64);
        let replayed = replay(&centre.entries, watch).map_err(|error| error.to_string());
        let mirror = mirrored.then(|| Mirror { head: centre.note(later), replayed });
        let given = Given { pin: Some(fork.note(pinned)), mirror, ..Given::default() };
        let outcome = verify(&certificate.to_file(), &given);
        assert_eq!((outcome.verdict, failed(&outcome)), (Verdict::Invalid, vec!["pin"]), "{pinned}");
    }
}

#[test]
fn a_second_copy_of_what_was_destroyed_is_found() {
    let what = What::Version("acme", "orders", 1);
    let original = lived();
    let destroyed = &original.certificate(what, original.entries.len(), &[]).certificate;
    let version = destroyed.versions()[0].clone();
    for (uid, kc) in [(version.uid, [9; 32]), (Uid([250; 16]), version.kc), (version.uid, version.kc)] {
        let mut centre = lived();
        centre.create_as("globex", "hidden", uid, kc);
        let certificate = centre.certificate(what, centre.entries.len(), &[]);
        assert!(replay(&centre.entries, Watch::default()).is_ok(), "the control: the log as such holds");
        let found = replay(&centre.entries, Watch::of(&certificate)).unwrap_err();
        assert_eq!((found.index, found.fault), (centre.entries.len() as u64 - 1, Fault::SecondCopy));
        let outcome = checked(&centre, what, &centre, centre.entries.len());
        assert_eq!((outcome.verdict, failed(&outcome)), (Verdict::Invalid, vec!["mirror"]));
    }
}

#[test]
fn a_second_copy_of_what_a_destroyed_tenant_had_is_found() {
    let what = What::Tenant("doomed");
    let of_tenant = lived().certificate(What::Version("doomed", "payroll", 2), lived().entries.len(), &[]);
    let version = of_tenant.certificate.versions()[0].clone();
    for (uid, kc) in [(version.uid, [9; 32]), (Uid([250; 16]), version.kc)] {
        let mut centre = lived();
        centre.create_as("globex", "hidden", uid, kc);
        assert!(replay(&centre.entries, Watch::default()).is_ok(), "the control: the log as such holds");
        let outcome = checked(&centre, what, &centre, centre.entries.len());
        assert_eq!((outcome.verdict, failed(&outcome)), (Verdict::Invalid, vec!["mirror"]));
    }
}

#[test]
fn an_epoch_that_waited_for_its_medium_is_effaced_after_others_once() {
    let last = |centre: &Centre| centre.entries.len() as u64 - 1;
    let late = || {
        let mut centre = Centre::new(1);
        centre.create_tenant("acme");
        ["one", "two", "three"].into_iter().for_each(|key| centre.create("acme", key));
        centre.destroy(&[What::Key("acme", "one")]);
        centre.destroy(&[What::Key("acme", "two")]);
        centre.efface_before(Epoch(2));
        centre.efface_before(Epoch(3));
        // A start effaces once more what it finds.
        centre.efface_before(Epoch(3));
        centre
    };
    let centre = late();
    assert!(replay(&centre.entries, Watch::default()).is_ok());
    let outcome = checked(&centre, What::Key("acme", "one"), &centre, centre.entries.len());
    assert_eq!(failed(&outcome), Vec::<&str>::new());
    for epoch in [Epoch(1), Epoch(2), Epoch(4)] {
        let mut centre = late();
        centre.efface_before(Epoch(3));
        let Event::EpochEffaced(event) = &mut centre.entries.last_mut().unwrap().event else {
            unreachable!()
        };
        event.epoch = epoch;
        let found = replay(&centre.entries, Watch::default()).unwrap_err();
        assert_eq!((found.index, found.fault), (last(&centre), Fault::Epoch), "{epoch:?}");
    }
}

/// A change of one entry, the first of which the condition holds, and the fault that is found there or later.
fn fault(change: impl Fn(&mut Entry) -> bool) -> Fault {
    let mut centre = lived();
    assert!(centre.entries.iter_mut().any(change), "no entry was changed");
    replay(&centre.entries, Watch::default()).unwrap_err().fault
}

#[test]
fn a_log_that_says_what_does_not_follow_is_refused() {
    macro_rules! changed {
        ($kind:ident, |$event:ident| $change:expr) => {
            fault(|entry| match &mut entry.event {
                Event::$kind($event) => {
                    $change;
                    true
                }
                _ => false,
            })
        };
    }
    assert_eq!(changed!(Genesis, |e| e.state_root[0] ^= 1), Fault::After);
    assert_eq!(changed!(Genesis, |e| e.epoch = Epoch(2)), Fault::Genesis);
    assert_eq!(changed!(EpochCommit, |e| e.state_root_before[0] ^= 1), Fault::Before);
    assert_eq!(changed!(EpochCommit, |e| e.state_root[31] ^= 1), Fault::After);
    assert_eq!(changed!(EpochCommit, |e| e.live += 1), Fault::After);
    assert_eq!(changed!(EpochCommit, |e| e.first -= 1), Fault::Span);
    assert_eq!(changed!(EpochCommit, |e| e.last -= 1), Fault::Span);
    assert_eq!(changed!(EpochCommit, |e| e.epoch = Epoch(3)), Fault::Epoch);
    assert_eq!(changed!(EpochEffaced, |e| e.attempt.0[0] ^= 1), Fault::Epoch);
    assert_eq!(changed!(EpochEffaced, |e| e.epoch = Epoch(1)), Fault::Epoch);
    assert_eq!(changed!(KeyCreate, |e| e.kc[0] ^= 1), Fault::Before);
    assert_eq!(changed!(KeyCreate, |e| e.slot = LeafSlot(0)), Fault::Slot(0));
    assert_eq!(changed!(KeyCreate, |e| e.slot = LeafSlot(9)), Fault::Slot(2));
    assert_eq!(changed!(KeyCreate, |e| e.tenant_uid = Uid([99; 16])), Fault::Unknown("tenant"));
    assert_eq!(changed!(KeyRotate, |e| e.number = 3), Fault::Number);
    assert_eq!(changed!(KeyRotate, |e| e.key_uid = Uid([99; 16])), Fault::Unknown("key"));
    assert_eq!(changed!(DestroyVersion, |e| e.epoch = Epoch(7)), Fault::Epoch);
    assert_eq!(changed!(DestroyVersion, |e| e.number = 9), Fault::Unknown("version"));
    assert_eq!(changed!(DestroyVersion, |e| e.slot = LeafSlot(4)), Fault::Unknown("version"));
    assert_eq!(changed!(DestroyVersion, |e| e.last = 2), Fault::Left { live: 2 });
    assert_eq!(changed!(DestroyVersion, |e| e.live = 0), Fault::Left { live: 2 });
    assert_eq!(changed!(DestroyKey, |e| e.key_uid = Uid([99; 16])), Fault::Unknown("key"));
    assert_eq!(changed!(DestroyKey, |e| e.last += 1), Fault::Left { live: 0 });
    assert_eq!(changed!(TenantDestroy, |e| e.live += 1), Fault::Left { live: 2 });
    assert_eq!(changed!(TenantDestroy, |e| e.tenant_slot.0 += 1), Fault::Unknown("tenant"));
    assert_eq!(changed!(TenantCreate, |e| e.index_kc[0] ^= 1), Fault::Before);
    assert_eq!(
        fault(|entry| {
            entry.commit.0 += 9;
            true
        }),
        Fault::Falls
    );
}

#[test]
fn entries_left_out_doubled_or_in_another_order_are_noticed() {
    let centre = lived();
    let changes = |entry: &Entry| !matches!(entry.event, Event::AuditHead(_) | Event::EpochEffaced(_));
    // What comes last changes nothing that an epoch after it commits to.
    let last = centre.entries.iter().rposition(|entry| matches!(entry.event, Event::EpochCommit(_))).unwrap();
    for at in (0..last).filter(|at| changes(&centre.entries[*at])) {
        let mut without = centre.entries.clone();
        without.remove(at);
        assert!(replay(&without, Watch::default()).is_err(), "without {at}");
        let mut twice = centre.entries.clone();
        twice.insert(at, twice[at].clone());
        assert!(replay(&twice, Watch::default()).is_err(), "{at} twice");
    }
    let between = centre.entries.iter().position(|entry| entry.event.destroys()).unwrap();
    let mut moved = centre.entries.clone();
    let mut made = moved.remove(between - 1);
    (made.commit, made.at) = (moved[between - 1].commit, moved[between - 1].at);
    moved.insert(between, made);
    let fault = replay(&moved, Watch::default()).unwrap_err().fault;
    assert_eq!(fault, Fault::BetweenDestructions);
    for no_entry in [&b""[..], b"{}", b"[]", b"\xff"] {
        let error = Replay::new(Watch::default()).entry(no_entry, |_, _| ()).unwrap_err();
        assert!(matches!(error.fault, Fault::Form(_)), "{error}");
    }
    assert!(Replay::new(Watch::default()).finish().is_none());
}
