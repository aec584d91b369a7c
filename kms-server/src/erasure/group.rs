//! The writer's thread: takes changes from the queue, so that those that wait together share a commit.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use kms_core::id::{CommitNumber, Epoch};

use super::{
    change::{Change, Destruction, Draft, Ground},
    options::Fatal,
    published::Published,
    quiesce::Quiesce,
    state::{Ran, State},
    writer::WriteError,
};

/// Most changes of one commit, so that nobody waits long for the others; how much they may write is [`super::room`]'s to say.
const MOST: usize = 256;
/// How often an effacement that failed is tried again while nothing else happens.
const RETRY: Duration = Duration::from_secs(10);

/// What became of the commit that a change was part of.
#[derive(Clone)]
pub(super) enum Outcome {
    Durable {
        revision: CommitNumber,
        epoch: Epoch,
        effaced: bool,
    },
    NotWritten(Arc<WriteError>),
    /// More than any commit takes.
    TooLarge,
    Unknown,
}

/// Answers the one who asked for a change.
pub(super) type Finish = Box<dyn FnOnce(Outcome) + Send>;
/// A change: runs, and says whether it is to be kept, and how to answer.
type Run = Box<dyn FnOnce(&mut Destruction<'_>) -> (bool, Finish) + Send>;

pub(super) struct Job {
    pub(super) destroys: bool,
    pub(super) run: Run,
}

pub(super) enum Message {
    Job(Job),
    /// When an epoch is quiesced, as far as is known now.
    Quiesces(Epoch, Quiesce),
    /// From now on no destruction waits for others to share its epoch.
    Hurry,
    Stop(Sender<()>),
}

/// Runs until the queue is closed, somebody says stop, or an outcome is unknown.
pub(super) fn run(mut state: State, queue: &Receiver<Message>) {
    let published = state.published.clone();
    // Whatever ends this thread, nobody waits for it in vain.
    let _guard = StopAtEnd(published.clone(), state.fatal.clone());
    let mut destructions = VecDeque::new();
    let (mut hurry, mut stop) = (false, None);
    while stop.is_none() && !published.is_stopped() {
        let mut changes = VecDeque::new();
        let next_epoch =
            (!destructions.is_empty()).then(|| if hurry { Instant::now() } else { state.next_epoch });
        let mut message = match wait(&state, queue, next_epoch) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        while let Some(next) = message {
            match next {
                Message::Job(job) if job.destroys => destructions.push_back(job),
                Message::Job(job) => changes.push_back(job),
                Message::Quiesces(epoch, quiesce) => state.quiesces(epoch, quiesce),
                Message::Hurry => hurry = true,
                Message::Stop(ended) => stop = Some(ended),
            }
            let full = stop.is_some() || changes.len() + destructions.len() >= MOST;
            message = if full { None } else { queue.try_recv().ok() };
        }
        state.commit(changes);
        let due = hurry || destructions.len() >= MOST || Instant::now() >= state.next_epoch;
        if due && !published.is_stopped() {
            state.commit_epoch(&mut destructions);
        }
        state.retry_efface();
        state.record_quiescence();
    }
    while !destructions.is_empty() && !published.is_stopped() {
        state.commit_epoch(&mut destructions);
    }
    published.set_stopped();
    // Whoever waits for the end may open the directory again: all of it is closed by then.
    drop(state);
    if let Some(ended) = stop {
        ended.send(()).ok();
    }
}

fn wait(
    state: &State,
    queue: &Receiver<Message>,
    next_epoch: Option<Instant>,
) -> Result<Message, RecvTimeoutError> {
    let now = Instant::now();
    let waited_for = [next_epoch, state.retry_at, state.next_quiescence()];
    match waited_for.into_iter().flatten().min() {
        Some(until) => queue.recv_timeout(until.saturating_duration_since(now)),
        None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

impl State {
    /// Runs one change over what those before it in the same commit wrote. `None` where it is not to be kept: its caller is
    /// answered by `refused`, once the commit of the others is decided.
    pub(super) fn run_change(&self, job: Job, group: &Draft, refused: &mut Vec<Finish>) -> Option<Ran> {
        let epoch = if job.destroys { self.head.epoch.next() } else { self.head.epoch };
        let store = &*self.published.store;
        let (next_tenant, next_entry) = (self.head.next_tenant, self.head.log_size);
        let ground = Ground { store, group, next_tenant, epoch, next_entry };
        let mut destruction = Destruction(Change::new(&ground));
        // A change that panics drops its reply unsent, and has written nothing.
        let run = catch_unwind(AssertUnwindSafe(|| (job.run)(&mut destruction)));
        let (kept, finish) = run.ok()?;
        let draft = destruction.0.draft;
        if kept {
            return Some(Ran { draft, finish });
        }
        refused.push(finish);
        None
    }

    pub(super) fn set_retry(&mut self, pending: bool) {
        self.retry_at = pending.then(|| Instant::now() + RETRY);
    }
}

struct StopAtEnd(Arc<Published>, Fatal);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.set_stopped();
        if std::thread::panicking() {
            (self.1)("the writer's thread panicked");
        }
    }
}
