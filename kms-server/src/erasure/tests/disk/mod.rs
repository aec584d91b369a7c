//! Crashes on real files: the embedded store, the `file` medium and the redo directory, recorded while a process works on them, and
//! replayed as a machine may find them that stopped at any moment.
//!
//! # Layout
//! - `recorder.c`, [`record`]: what a process does to its files, in order; [`replay`]: the disk that loses what was not synced.
//! - [`place`]: the files; [`child`]: the process; [`check`]: what must hold after a start.
//! - [`matrix`]: every moment × how the machine stops; [`faults`]: every call that fails; [`mistakes`]: each is noticed.
//!
//! `KMS_CRASH_MATRIX=full` does all of it, and takes long; otherwise what an epoch does is gone through step by step, and the rest is
//! sampled. `KMS_SEED` repeats a run's choices.

mod check;
mod child;
mod dice;
mod faults;
mod matrix;
mod mistakes;
mod place;
mod record;
mod replay;

use super::{super::redo::Redo, crash::Work};
use crate::effaceable::{Effaceable, SecretId};
use matrix::{Extent, Recording, Verdict, matrix};
use place::Base;

fn holds(work: Work) {
    let extent = Extent::from_environment();
    let started = std::time::Instant::now();
    let base = Base::new(None);
    let Verdict { held, failed } = matrix(&base, work, &extent);
    println!(
        "{work:?}: {held} states hold, {} do not, in {:.1?}; {extent:?}",
        failed.len(),
        started.elapsed()
    );
    for failed in &failed {
        println!("{}: {}", failed.name, failed.why);
    }
    assert!(failed.is_empty() && held > 50);
}

#[test]
fn a_version_that_is_destroyed_survives_no_crash_and_all_else_does() {
    holds(Work::DestroyOne);
}

#[test]
fn a_batch_that_is_destroyed_survives_no_crash_and_all_else_does() {
    holds(Work::DestroyMany);
}

#[test]
fn a_tenant_that_is_destroyed_survives_no_crash_and_all_else_does() {
    holds(Work::DestroyTenant);
}

#[test]
fn a_redo_is_durable_before_the_store_is_handed_anything() {
    let base = Base::new(None);
    let recording = Recording::of(&base, Work::DestroyOne, None, None);
    let synced = recording.synced_at_the_head();
    let redo = synced.files().find(|(path, _)| path.extension().is_some_and(|end| end == "redo"));
    let (_, content) = redo.expect("a redo that power loss leaves");
    let redo = Redo::decode(content).expect("a whole one");
    let directory = tempfile::tempdir().unwrap();
    synced.write(directory.path());
    let secrets = place::open_medium(directory.path(), None).unwrap().list().unwrap();
    assert!(
        secrets.contains(&SecretId { epoch: redo.epoch, attempt: redo.attempt }),
        "and its secret with it"
    );
    assert_eq!(secrets.len(), 2, "nothing is effaced yet");
}
