//! How long to leave a server alone that did not answer: callers in the meantime get the same error at once, and do not all come
//! back in the same moment.
//!
//! Only what may pass by itself is remembered. A denial never is.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;

use super::Want;
use crate::{call::jittered, clock::BootTime, error::Error};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
const MOST: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Setbacks(Mutex<HashMap<Want, Setback>>);

#[derive(Debug)]
struct Setback {
    until: BootTime,
    times: u32,
    error: Error,
}

impl Setbacks {
    /// The error of the last try, where it is too early for another.
    pub(super) fn in_force(&self, want: &Want, now: BootTime) -> Option<Error> {
        self.0.lock().get(want).filter(|setback| now < setback.until).map(|setback| setback.error.clone())
    }

    /// Notes how a try went.
    pub(super) fn note(&self, want: &Want, outcome: Result<(), &Error>, now: BootTime) {
        let mut setbacks = self.0.lock();
        match outcome {
            Err(error) if error.is_setback() => {
                if setbacks.len() >= MOST {
                    setbacks.retain(|_, setback| now < setback.until);
                }
                let times = setbacks.get(want).map_or(0, |setback| setback.times.saturating_add(1));
                let wait = jittered(FIRST.saturating_mul(1 << times.min(16)).min(LONGEST));
                let until = now.after(error.retry_after().unwrap_or(Duration::ZERO).max(wait));
                if setbacks.len() < MOST || setbacks.contains_key(want) {
                    setbacks.insert(want.clone(), Setback { until, times, error: error.clone() });
                }
            }
            _ => drop(setbacks.remove(want)),
        }
    }
}
