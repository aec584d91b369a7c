//! How long the server has run: what is scheduled is due only when that says so too, so that a clock that is put forward brings nothing
//! nearer.
//!
//! Running time is counted by a clock that nobody sets and that goes on while the machine sleeps; through a restart of the server too,
//! not of the machine: a pause in which that was down counts by the wall clock. One of a day or longer does not count. How far the wall clock got ahead of it is remembered: more than [`TOLERATED`] stops what is
//! scheduled, until the clock is set right or somebody confirms it.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kms_proto::storage::RunningTimeRecord;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// Time since boot, suspend included: nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// Now.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)))
    }
}

/// Further forward than this, without time passing, the wall clock is not believed.
pub const TOLERATED: Duration = Duration::from_secs(300);
/// A pause as long as this does not count as running time.
const LONG_PAUSE: Duration = Duration::from_secs(86_400);

/// What the clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Running time since the instance was made, in milliseconds.
    pub running_ms: u64,
    /// The wall clock, in milliseconds since 1970.
    pub wall_ms: u64,
    /// How far the wall clock went forward without time passing.
    pub forward: Duration,
    /// How long the machine has been up.
    pub up_ms: u64,
}

impl Reading {
    /// Whether the wall clock went further forward than is believed.
    pub fn is_doubtful(&self) -> bool {
        self.forward > TOLERATED
    }

    /// As it is kept.
    pub fn record(&self) -> RunningTimeRecord {
        RunningTimeRecord {
            running_ms: self.running_ms,
            wall_ms: i64::try_from(self.wall_ms).unwrap_or(i64::MAX),
            forward_ms: crate::records::millis(self.forward).try_into().unwrap_or(i64::MAX),
            boot: boot().to_owned(),
            boot_ms: self.up_ms,
        }
    }
}

/// The running time of this process, carried on from that of the ones before.
#[derive(Debug)]
pub struct RunningTime(Mutex<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    running: Duration,
    /// Signed: a clock that is set back and forth ends where it was.
    forward_ms: i128,
    /// What the two clocks showed last.
    steady: Duration,
    wall: Duration,
}

impl RunningTime {
    /// Goes on from what was kept last.
    pub fn resume(kept: Option<RunningTimeRecord>) -> Self {
        Self(Mutex::new(State::resume(kept.as_ref(), boot(), BootTime::now().0, wall())))
    }

    /// What the clocks show now.
    pub fn read(&self) -> Reading {
        let mut state = self.0.lock();
        state.advance(BootTime::now().0, wall());
        state.reading()
    }

    /// Believes the wall clock although it went so far forward; further than that it is not believed.
    pub fn confirm(&self, forward: Duration) {
        self.0.lock().confirm(forward);
    }
}

impl State {
    fn resume(kept: Option<&RunningTimeRecord>, boot: &str, steady: Duration, wall: Duration) -> Self {
        let Some(kept) = kept else {
            return Self { running: Duration::ZERO, forward_ms: 0, steady, wall };
        };
        let then = Duration::from_millis(kept.wall_ms.max(0).unsigned_abs());
        let (running, forward_ms) = (Duration::from_millis(kept.running_ms), kept.forward_ms.into());
        if kept.boot == boot && !boot.is_empty() {
            let steady_then = Duration::from_millis(kept.boot_ms);
            let mut state = Self { running, forward_ms, steady: steady_then, wall: then };
            state.advance(steady, wall);
            return state;
        }
        let counted = wall.checked_sub(then).filter(|paused| *paused < LONG_PAUSE).unwrap_or_default();
        Self { running: running + counted, forward_ms, steady, wall }
    }

    fn advance(&mut self, steady: Duration, wall: Duration) {
        let passed = steady.saturating_sub(self.steady);
        // Asleep for as long as that, the machine was not running.
        self.running += if passed < LONG_PAUSE { passed } else { Duration::ZERO };
        let signed = |duration: Duration| i128::try_from(duration.as_millis()).unwrap_or(i128::MAX);
        self.forward_ms += signed(wall) - signed(self.wall) - signed(passed);
        (self.steady, self.wall) = (steady, wall);
    }

    fn confirm(&mut self, forward: Duration) {
        self.forward_ms -= i128::from(crate::records::millis(forward));
    }

    fn reading(&self) -> Reading {
        let forward = u64::try_from(self.forward_ms).unwrap_or(0);
        Reading {
            running_ms: crate::records::millis(self.running),
            wall_ms: crate::records::millis(self.wall),
            forward: Duration::from_millis(forward),
            up_ms: crate::records::millis(self.steady),
        }
    }
}

/// Names this boot of the machine; empty where the system does not say.
fn boot() -> &'static str {
    static BOOT: LazyLock<String> = LazyLock::new(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    });
    &BOOT
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);
    const WALL: Duration = Duration::from_secs(1_800_000_000);

    fn fresh() -> State {
        State::resume(None, "one", HOUR, WALL)
    }

    #[test]
    fn time_passes_on_both_clocks_alike() {
        let mut state = fresh();
        state.advance(HOUR + 10 * MINUTE, WALL + 10 * MINUTE);
        let reading = state.reading();
        assert_eq!((reading.running_ms, reading.forward), (600_000, Duration::ZERO));
        assert!(!reading.is_doubtful());
    }

    #[test]
    fn a_clock_that_is_put_forward_is_not_believed_and_running_time_does_not_follow() {
        let mut state = fresh();
        state.advance(HOUR + MINUTE, WALL + MINUTE + 4 * MINUTE);
        assert!(!state.reading().is_doubtful(), "a correction");
        // ATTACK: many small steps are as good as one.
        state.advance(HOUR + 2 * MINUTE, WALL + 2 * MINUTE + 8 * MINUTE);
        let reading = state.reading();
        assert!(reading.is_doubtful());
        assert_eq!((reading.running_ms, reading.forward), (120_000, 8 * MINUTE));
        state.advance(HOUR + 3 * MINUTE, WALL + 3 * MINUTE);
        assert!(!state.reading().is_doubtful(), "set right again");
    }

    #[test]
    fn one_that_is_set_back_is_not_forward_and_stays_so_across_a_restart_until_confirmed() {
        let mut state = fresh();
        state.advance(HOUR + MINUTE, WALL - 24 * HOUR);
        assert_eq!(state.reading().forward, Duration::ZERO);
        let mut state = fresh();
        state.advance(HOUR, WALL + 24 * HOUR);
        let kept = state.reading().record();
        let mut restarted = State::resume(Some(&kept), "another", MINUTE, WALL + 24 * HOUR + MINUTE);
        assert!(restarted.reading().is_doubtful(), "a restart confirms nothing");
        restarted.confirm(24 * HOUR);
        assert!(!restarted.reading().is_doubtful());
        restarted.advance(2 * MINUTE, WALL + 30 * HOUR);
        assert!(restarted.reading().is_doubtful(), "what comes after is another matter");
    }

    #[test]
    fn pauses_count_unless_they_were_a_day_or_longer() {
        let kept = fresh().reading().record();
        let after = |pause: Duration| {
            State::resume(Some(&kept), "another", MINUTE, WALL + pause).reading().running_ms
        };
        assert_eq!(after(23 * HOUR), 23 * 3_600_000);
        assert_eq!(after(24 * HOUR), 0);
        let back = State::resume(Some(&kept), "another", MINUTE, WALL - HOUR);
        assert_eq!(back.reading().running_ms, 0, "a clock that was set back meanwhile");
        // ATTACK: while the machine is up, setting the clock in a pause of the server brings nothing nearer.
        let kept = RunningTimeRecord { boot: "one".into(), ..kept };
        let set = State::resume(Some(&kept), "one", HOUR + MINUTE, WALL + 23 * HOUR);
        assert_eq!(set.reading().running_ms, 60_000);
        assert!(set.reading().is_doubtful());
        let mut asleep = fresh();
        asleep.advance(HOUR + 23 * HOUR, WALL + 23 * HOUR);
        assert_eq!(asleep.reading().running_ms, 23 * 3_600_000);
        asleep.advance(HOUR + 73 * HOUR, WALL + 73 * HOUR);
        assert_eq!(asleep.reading().running_ms, 23 * 3_600_000);
    }
}
