//! How the sync thread is called: at once by who waits for a sync, within milliseconds by the first line since the last one.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// How long a written line waits for its sync to begin; with the sync itself, it is on the medium within 10 ms.
const SYNC_WITHIN: Duration = Duration::from_millis(5);
/// How often the thread looks after heads, rotation and a disk that failed.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// How long a sync may take before lines that want one are refused at once.
const STALLED: Duration = Duration::from_secs(5);

pub(super) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
    /// Whether `soon` was called since the thread last began.
    soon: AtomicBool,
    wanted: AtomicBool,
    epoch: Instant,
    /// When the sync in flight began, in milliseconds since `epoch`, plus 1; 0 for none.
    syncing_since: AtomicU64,
}

#[derive(Default)]
struct State {
    since: Option<Instant>,
    wanted: bool,
    stop: bool,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            rung: Condvar::new(),
            soon: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            epoch: Instant::now(),
            syncing_since: AtomicU64::new(0),
        }
    }

    /// There is something to sync within [`SYNC_WITHIN`].
    pub(super) fn soon(&self) {
        if !self.soon.swap(true, Ordering::AcqRel) {
            self.state.lock().since = Some(Instant::now());
            self.rung.notify_one();
        }
    }

    /// Somebody waits for a sync.
    pub(super) fn want_sync(&self) {
        if !self.wanted.swap(true, Ordering::AcqRel) {
            self.state.lock().wanted = true;
            self.rung.notify_one();
        }
    }

    /// The log is being closed.
    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.rung.notify_one();
    }

    /// Waits for something to do; `false` at the end. Whatever was rung for before this returns is what the caller now does.
    pub(super) fn wait(&self) -> bool {
        let idle_until = Instant::now() + HOUSEKEEPING;
        let mut state = self.state.lock();
        while !state.stop && !state.wanted {
            let until = state.since.map_or(idle_until, |since| since + SYNC_WITHIN);
            if self.rung.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        // ORDER: cleared before the caller gathers lines, so that a line added meanwhile rings again.
        (state.since, state.wanted) = (None, false);
        self.soon.store(false, Ordering::Release);
        self.wanted.store(false, Ordering::Release);
        !state.stop
    }

    /// Notes that a sync begins or has ended.
    pub(super) fn syncing(&self, now: bool) {
        let since = if now { self.millis() + 1 } else { 0 };
        self.syncing_since.store(since, Ordering::Relaxed);
    }

    /// Whether a sync has been in flight for so long that the disk must be taken for stuck.
    pub(super) fn sync_is_stalled(&self) -> bool {
        let since = self.syncing_since.load(Ordering::Relaxed);
        since > 0 && u128::from(self.millis().saturating_sub(since)) > STALLED.as_millis()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
