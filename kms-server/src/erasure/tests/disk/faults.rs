//! Calls that fail: each that an epoch makes on each of its files, with EIO once, or with ENOSPC from then on.

use std::{collections::BTreeMap, path::PathBuf};

use rustix::io::Errno;

use super::{
    super::crash::Work,
    matrix::{Extent, Recording, Verdict, judge},
    place::{Base, open_medium},
    record::{Event, Fault, SAID},
    replay::{State, Stop},
};
use crate::{effaceable::Effaceable, erasure::mistake::Mistake};

/// Every call of the work that may fail, as it was made in a run without faults.
fn calls(recording: &Recording) -> BTreeMap<(&'static str, PathBuf), usize> {
    let mut calls = BTreeMap::new();
    let said = |event: &Event| matches!(event, Event::Ack(_));
    let work = recording.events.iter().skip_while(|event| !said(event)).skip(1);
    let more = |event: &&Event| !matches!(event, Event::Ack(ack) if ack.starts_with("done"));
    // What an epoch does after its reply is ready is done before it is given, so all of it is here.
    for (kind, path) in work.take_while(more).filter_map(Event::kind) {
        *calls.entry((kind, path.to_path_buf())).or_default() += 1;
    }
    calls
}

/// The faults to be tried: the first call of each kind on each file, or, in a full run, all of them.
fn faults(recording: &Recording, full: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for ((kind, path), count) in calls(recording) {
        // Of writes to the medium the second effaces; the rest of what is done more than once is done alike.
        let last = if full || path.ends_with("epochs") { count } else { 1 };
        for nth in 1..=last {
            let (io, full) = (Errno::IO.raw_os_error(), Errno::NOSPC.raw_os_error());
            let fault = Fault { kind, path: path.clone(), after: SAID, nth, error: io, ever: false };
            faults.push(fault.clone());
            if matches!(kind, "write" | "create" | "allocate") {
                faults.push(Fault { error: full, ever: true, ..fault });
            }
        }
    }
    faults
}

fn secrets(state: &State) -> usize {
    let directory = tempfile::tempdir().unwrap();
    state.write(directory.path());
    open_medium(directory.path(), None).unwrap().list().unwrap().len()
}

/// What an attempt leaves that was refused although the medium works; `None` where nothing was refused.
pub(super) fn left_by_an_attempt(base: &Base, mistake: Option<Mistake>) -> Option<usize> {
    let path = PathBuf::from("data/redo/spare");
    let fault =
        Fault { kind: "write", path, after: SAID, nth: 1, error: Errno::IO.raw_os_error(), ever: false };
    let recording = Recording::of(base, Work::DestroyOne, mistake, Some(&fault));
    recording.when("refused").map(|state| secrets(&state))
}

/// What holds after a barrier of the store failed and the process stopped.
pub(super) fn after_a_failed_barrier(base: &Base, mistake: Option<Mistake>) -> Verdict {
    let mut verdict = Verdict::default();
    // One of the first after the redo is the epoch's own, the others are those of the engine's flusher.
    for nth in 1..=3 {
        let path = PathBuf::from("data/store/sled/db");
        let fault =
            Fault { kind: "sync", path, after: ".redo", nth, error: Errno::IO.raw_os_error(), ever: false };
        let recording = Recording::of(base, Work::DestroyOne, mistake, Some(&fault));
        verdict.add(judge(base, Work::DestroyOne, None, |each| each(recording.end(Stop::Killed))));
    }
    verdict
}

fn fails(work: Work, full: bool) {
    let base = Base::new(None);
    let extent = Extent::from_environment();
    let clean = Recording::of(&base, work, None, None);
    let faults = faults(&clean, full);
    let (mut verdict, mut met) = (Verdict::default(), 0);
    for fault in &faults {
        let recording = Recording::of(&base, work, None, Some(fault));
        if !recording.events.iter().any(|event| matches!(event, Event::Fault)) {
            continue;
        }
        met += 1;
        if !fault.ever && fault.path.starts_with("data/redo") {
            // The medium works, so what is refused leaves nothing.
            assert!(recording.when("refused").is_none_or(|state| secrets(&state) == 1), "{fault:?}");
        }
        verdict.add(judge(&base, work, None, |each| {
            let stops = [Stop::Killed, Stop::Lost, Stop::Torn(extent.seed)];
            let mut stops = stops.into_iter().take(if full { 3 } else { 2 });
            stops.try_for_each(|stop| each(recording.end(stop)))
        }));
    }
    let Verdict { held, failed } = verdict;
    println!("{work:?}: {met} faults, {held} states hold, {} do not", failed.len());
    failed.iter().for_each(|failed| println!("{}: {}", failed.name, failed.why));
    assert!(failed.is_empty() && met >= faults.len() / 2);
}

#[test]
fn a_call_that_fails_leaves_what_a_start_brings_to_its_end() {
    fails(Work::DestroyOne, Extent::is_full());
}

#[test]
fn a_call_that_fails_leaves_what_a_start_brings_to_its_end_of_batches_and_tenants() {
    if Extent::is_full() {
        fails(Work::DestroyMany, true);
        fails(Work::DestroyTenant, true);
    }
}
