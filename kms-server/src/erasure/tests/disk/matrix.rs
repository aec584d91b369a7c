//! Every moment of a recording × how the machine stops there, each checked by a start on what it leaves.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, mpsc::sync_channel},
    thread,
};

use super::{
    super::{attacker, crash::Work, world::copy},
    check::{Known, check},
    child::{Run, run},
    dice::Dice,
    place::{Base, open_medium},
    record::{Event, Fault},
    replay::{Disk, State, Stop},
};
use crate::{effaceable::Effaceable, erasure::mistake::Mistake};

/// What is done of all that could be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Of the moments before the work, and of those of a recovery, one in so many.
    pub(super) one_in: usize,
    /// Torn states of each moment before a sync.
    pub(super) torn: u64,
    /// Moments of which the recovery is recorded and stopped in its turn.
    pub(super) recoveries: usize,
    pub(super) seed: u64,
}

impl Extent {
    /// What the environment says.
    pub(super) fn from_environment() -> Self {
        let seed = std::env::var("KMS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        match Self::is_full() {
            true => Self { one_in: 1, torn: 4, recoveries: 4, seed },
            false => Self { one_in: 12, torn: 1, recoveries: 1, seed },
        }
    }

    pub(super) fn is_full() -> bool {
        std::env::var("KMS_CRASH_MATRIX").is_ok_and(|extent| extent == "full")
    }
}

/// A state to be judged.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) acks: Vec<String>,
    pub(super) redos: Vec<Vec<u8>>,
}

/// What was recorded, on what.
pub(super) struct Recording {
    pub(super) name: String,
    pub(super) start: State,
    pub(super) events: Vec<Event>,
    /// What was said, and which redos were written, before.
    acks: Vec<String>,
    redos: Vec<Vec<u8>>,
}

impl Recording {
    pub(super) fn of(base: &Base, work: Work, mistake: Option<Mistake>, fault: Option<&Fault>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        base.state.write(directory.path());
        let events = run(directory.path(), Run::Work(work), mistake, fault);
        let (acks, redos) = (Vec::new(), Vec::new());
        let name = fault.map_or_else(|| format!("{work:?}"), |fault| format!("{work:?}, {fault:?}"));
        Self { name, start: base.state.clone(), events, acks, redos }
    }

    fn of_recovery(case: &Case) -> Self {
        let directory = tempfile::tempdir().unwrap();
        case.state.write(directory.path());
        let events = run(directory.path(), Run::Recovery, None, None);
        let Case { name, state, acks, redos } = case.clone();
        Self { name: format!("{name}, recovery"), start: state, events, acks, redos }
    }

    fn moment(&self, disk: &Disk, at: usize, stop: Stop, acks: &[String], redos: &[Vec<u8>]) -> Case {
        let before = self.events.get(at).map_or("the end".into(), describe);
        let name = format!("{}: {stop:?} before {at} ({before})", self.name);
        Case { name, state: disk.stop(stop), acks: acks.to_vec(), redos: redos.to_vec() }
    }

    /// Hands over every state, one at a time, until that is enough. A moment is that before an event.
    pub(super) fn states(
        &self,
        extent: &Extent,
        each: &mut dyn FnMut(Case) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut disk = Disk::new(&self.start);
        let (mut acks, mut redos) = (self.acks.clone(), self.redos.clone());
        let mut dice = Dice(extent.seed);
        let begin = self.events.iter().position(|event| matches!(event, Event::Ack(_)));
        for at in 0..=self.events.len() {
            let event = self.events.get(at);
            // Systematic while the work is done, sampled before it, and where nothing but a recovery is.
            let chosen = begin.is_some_and(|begin| at > begin) || dice.below(extent.one_in) == 0;
            // A state that is the same until something is written, or synced, is judged by all that was said until then.
            let (syncs, says) =
                (matches!(event, None | Some(Event::Sync(_))), matches!(event, Some(Event::Ack(_))));
            if chosen && !says {
                if event.is_none() || !syncs {
                    each(self.moment(&disk, at, Stop::Killed, &acks, &redos))?;
                }
                if syncs && !disk.is_synced() {
                    each(self.moment(&disk, at, Stop::Lost, &acks, &redos))?;
                    for _ in 0..extent.torn {
                        each(self.moment(&disk, at, Stop::Torn(dice.next()), &acks, &redos))?;
                    }
                }
            }
            if let Some(Event::Ack(ack)) = event {
                acks.push(ack.clone());
            }
            redos.extend(event.and_then(redo));
            event.into_iter().for_each(|event| disk.apply(event));
        }
        ControlFlow::Continue(())
    }

    /// The files as they were when something was said.
    pub(super) fn when(&self, said: &str) -> Option<State> {
        let mut disk = Disk::new(&self.start);
        for event in &self.events {
            match event {
                Event::Ack(ack) if ack == said => return Some(disk.stop(Stop::Killed)),
                event => disk.apply(event),
            }
        }
        None
    }

    /// Kills while the work is done, one in four of them first, and the latest of those first: a mistake has shown by then.
    pub(super) fn kills(&self, each: &mut dyn FnMut(Case) -> ControlFlow<()>) -> ControlFlow<()> {
        let (mut disk, mut acks, mut redos) = (Disk::new(&self.start), Vec::new(), Vec::new());
        let mut moments = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            match event {
                Event::Ack(ack) => acks.push(ack.clone()),
                Event::Sync(_) => {}
                _ if acks.is_empty() => {}
                _ => moments.push((at, disk.clone(), acks.clone(), redos.clone())),
            }
            redos.extend(redo(event));
            disk.apply(event);
        }
        moments.push((self.events.len(), disk, acks, redos));
        let order = (0..4).flat_map(|phase| (0..moments.len()).rev().skip(phase).step_by(4));
        for (at, disk, acks, redos) in order.map(|number| &moments[number]) {
            each(self.moment(disk, *at, Stop::Killed, acks, redos))?;
        }
        ControlFlow::Continue(())
    }

    /// What was synced when the engine was first handed something after the redo was renamed to be one.
    pub(super) fn synced_at_the_head(&self) -> State {
        let mut disk = Disk::new(&self.start);
        let mut renamed = false;
        for event in &self.events {
            match event {
                Event::Rename(_, to) => renamed |= to.starts_with("data/redo"),
                Event::Write { path, .. } if renamed && path.ends_with("sled/db") => break,
                _ => {}
            }
            disk.apply(event);
        }
        disk.stop(Stop::Lost)
    }

    /// The files at the end.
    pub(super) fn end(&self, stop: Stop) -> Case {
        let mut disk = Disk::new(&self.start);
        self.events.iter().for_each(|event| disk.apply(event));
        let acks = self.events.iter().filter_map(|event| match event {
            Event::Ack(ack) => Some(ack.clone()),
            _ => None,
        });
        let redos = self.events.iter().filter_map(redo);
        self.moment(&disk, self.events.len(), stop, &acks.collect::<Vec<_>>(), &redos.collect::<Vec<_>>())
    }
}

/// The redo that is written.
fn redo(event: &Event) -> Option<Vec<u8>> {
    match event {
        Event::Write { path, data, .. } if path.starts_with("data/redo") => Some(data.clone()),
        _ => None,
    }
}

fn describe(event: &Event) -> String {
    match event.kind() {
        Some((kind, path)) => format!("{kind} {}", path.display()),
        None => format!("{event:?}"),
    }
}

/// What failed, by name.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) name: String,
    pub(super) why: String,
}

/// How many states held, and which did not.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) held: usize,
    pub(super) failed: Vec<Failed>,
}

impl Verdict {
    pub(super) fn add(&mut self, other: Self) {
        self.held += other.held;
        self.failed.extend(other.failed);
    }
}

/// Judges states on two threads.
pub(super) fn judge(
    base: &Base,
    work: Work,
    mistake: Option<Mistake>,
    states: impl FnOnce(&mut dyn FnMut(Case) -> ControlFlow<()>) -> ControlFlow<()>,
) -> Verdict {
    let (sender, receiver) = sync_channel::<Case>(1);
    let (receiver, verdict) = (Mutex::new(receiver), Mutex::new(Verdict::default()));
    let (receiver, verdict) = (&receiver, &verdict);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                for number in 1_u32.. {
                    let Ok(case) = receiver.lock().unwrap().recv() else { break };
                    let outcome = judge_one(base, work, mistake, &case, number.is_multiple_of(6));
                    let mut verdict = verdict.lock().unwrap();
                    match outcome {
                        Ok(()) => verdict.held += 1,
                        Err(why) => verdict.failed.push(Failed { name: case.name, why }),
                    }
                }
            });
        }
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = states(&mut |case| {
            sender.send(case).unwrap();
            // A mistake needs to be noticed once.
            let noticed = mistake.is_some() && !verdict.lock().unwrap().failed.is_empty();
            if noticed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        drop(sender);
    });
    std::mem::take(&mut verdict.lock().unwrap())
}

pub(super) fn judge_one(
    base: &Base,
    work: Work,
    mistake: Option<Mistake>,
    case: &Case,
    goes_on: bool,
) -> Result<(), String> {
    let Case { state, acks, redos, .. } = case;
    let known = Known { base, state, work, acks, redos, mistake, goes_on };
    let directory = tempfile::tempdir().unwrap();
    state.write(directory.path());
    catch_unwind(AssertUnwindSafe(|| check(directory.path(), &known))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// The whole of it for one work: the work, and the recoveries from some of its moments.
pub(super) fn matrix(base: &Base, work: Work, extent: &Extent) -> Verdict {
    let recording = Recording::of(base, work, None, None);
    no_secret_is_written(base, &recording);
    let (mut seen, mut chosen, mut dice) = (0, Vec::new(), Dice(extent.seed));
    let mut verdict = judge(base, work, None, |each| {
        recording.states(extent, &mut |case| {
            // Each with the same odds (reservoir sampling), and no more than these are kept.
            seen += 1;
            match dice.below(seen) {
                _ if chosen.len() < extent.recoveries => chosen.push(case.clone()),
                at if at < extent.recoveries => chosen[at] = case.clone(),
                _ => {}
            }
            each(case)
        })
    });
    for case in &chosen {
        let recovery = Recording::of_recovery(case);
        verdict.add(judge(base, work, None, |each| recovery.states(extent, each)));
    }
    verdict
}

/// Neither the secret before nor the one after stands anywhere as it is; and whoever kept the one before gets at what is destroyed.
fn no_secret_is_written(base: &Base, recording: &Recording) {
    let mut needles = Vec::new();
    for state in [&recording.start, &recording.end(Stop::Killed).state] {
        let directory = tempfile::tempdir().unwrap();
        state.write(directory.path());
        let medium = copy(&open_medium(directory.path(), None).unwrap());
        if needles.is_empty() {
            let reached = attacker::reach(&base.pairs, &[], &medium);
            assert!(base.live.keys().all(|version| reached.contains(version)), "the control");
        }
        let ids = medium.list().unwrap().into_iter();
        needles.extend(ids.map(|id| *medium.read(id).unwrap().unwrap().expose_secret()));
    }
    assert_eq!(needles.len(), 2);
    for event in &recording.events {
        let Event::Write { path, data, .. } = event else { continue };
        for needle in &needles {
            assert!(memchr::memmem::find(data, needle).is_none(), "a secret stands in {}", path.display());
        }
    }
}
