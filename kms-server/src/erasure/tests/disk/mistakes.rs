//! The mistakes that the protocol's order prevents, each made on purpose, and each noticed. The control is that nothing is noticed without.

use super::{
    super::crash::Work,
    faults::{after_a_failed_barrier, left_by_an_attempt},
    matrix::{Case, Recording, judge, judge_one},
    place::{Base, open_store, start_on},
    replay::Stop,
};
use crate::erasure::mistake::Mistake;

/// What the matrix says of a version that is destroyed wrongly.
fn noticed(mistake: Mistake) -> String {
    let base = Base::new(Some(mistake));
    let recording = Recording::of(&base, Work::DestroyOne, Some(mistake), None);
    // The start after the crash does nothing wrong; it only looks for the medium where it is.
    let verdict = judge(&base, Work::DestroyOne, Some(mistake), |each| recording.kills(each));
    let first = verdict.failed.into_iter().next().unwrap_or_else(|| panic!("{mistake:?} is not noticed"));
    println!("{mistake:?}: {}: {}", first.name, first.why);
    first.why
}

#[test]
fn effacing_before_the_barrier_is_noticed() {
    assert!(noticed(Mistake::EffaceBeforeBarrier).contains("OlderThanMedium"));
}

#[test]
fn keeping_the_root_key_is_noticed() {
    assert!(noticed(Mistake::KeepRoot).contains("nothing destroyed comes back"));
}

#[test]
fn certifying_before_effacing_is_noticed() {
    assert!(noticed(Mistake::CertifyBeforeEffacing).contains("the log says is gone"));
}

#[test]
fn creating_over_what_stood_before_the_epoch_is_noticed() {
    noticed(Mistake::KeepChildren);
}

#[test]
fn a_medium_in_the_data_directory_is_noticed() {
    assert!(noticed(Mistake::MediumInBackup).contains("a copy of data/epochs has 1 secrets"));
}

#[test]
fn leaving_the_secret_of_a_failed_attempt_behind_is_noticed() {
    let base = Base::new(None);
    assert_eq!(left_by_an_attempt(&base, None), Some(1));
    assert_eq!(left_by_an_attempt(&base, Some(Mistake::KeepFailedSecret)), Some(2));
}

#[test]
fn effacing_the_new_secret_after_a_failed_barrier_is_noticed() {
    let base = Base::new(None);
    let sane = after_a_failed_barrier(&base, None);
    assert!(sane.failed.is_empty(), "{:?}", sane.failed);
    assert!(!after_a_failed_barrier(&base, Some(Mistake::EffaceAfterFailedBarrier)).failed.is_empty());
}

#[test]
fn effacing_what_yesterdays_store_does_not_know_is_noticed() {
    let base = Base::new(None);
    let today = Recording::of(&base, Work::DestroyOne, None, None).end(Stop::Killed);
    for mistake in [None, Some(Mistake::EffaceUnopened)] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        base.state.beside(&today.state, "epochs").write(root);
        let store = open_store(root);
        start_on(root, store, mistake).map(|_| ()).unwrap_err();
        // Today's store, and the medium as that start left it.
        let state = today.state.beside(&super::replay::State::read(root), "epochs");
        let after = Case { state, ..today.clone() };
        let holds = judge_one(&base, Work::DestroyOne, None, &after, true);
        assert_eq!(holds.is_ok(), mistake.is_none(), "{holds:?}");
    }
}
