//! The clock leases are counted on: CLOCK_BOOTTIME, which runs on while the machine is suspended.
//!
//! Behind a trait, so that tests move time by hand.

use std::{fmt, future::Future, pin::Pin, time::Duration};

/// A moment, counted from when the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BootTime(Duration);

impl BootTime {
    /// The moment `duration` later.
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long until `later`; nothing where it has passed.
    pub(crate) fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// Tells the time and waits for it.
pub(crate) trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> BootTime;

    /// Returns at `moment` or shortly after.
    fn sleep_until(&self, moment: BootTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MachineClock;

/// Longest sleep before looking at the clock again: the runtime's timer stops with the machine, leases do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

impl Clock for MachineClock {
    fn now(&self) -> BootTime {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        BootTime(Duration::new(seconds, nanoseconds))
    }

    fn sleep_until(&self, moment: BootTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let left = self.now().until(moment);
                if left.is_zero() {
                    return;
                }
                // The runtime's timer has a grain of one millisecond and rounds up.
                tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            }
        })
    }
}

/// A clock that stands still until a test moves it.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub(crate) struct ManualClock(tokio::sync::watch::Sender<BootTime>);

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(tokio::sync::watch::Sender::new(BootTime(Duration::from_secs(1_000))))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.after(by));
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> BootTime {
        *self.0.borrow()
    }

    fn sleep_until(&self, moment: BootTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut time = self.0.subscribe();
            // The clock outlives its sleepers, who borrow it.
            drop(time.wait_for(|now| *now >= moment).await);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_clock_never_runs_backwards() {
        let (first, second) = (MachineClock.now(), MachineClock.now());
        assert!(second >= first);
        assert_eq!(second.until(first), Duration::ZERO);
    }
}
