//! A file that one process holds: `flock`, released by the operating system when the process ends, however it ends.

use std::{
    fs::File,
    io, thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// How long to wait for a process that is just ending. (A process that this one starts also holds all our locks until its `exec`.)
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// Locks the file; false where another process holds it.
pub(crate) fn lock(file: &File) -> io::Result<bool> {
    let locked = || match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        outcome => outcome.map(|()| true),
    };
    Ok(patiently(locked, |outcome| *outcome == Ok(false))?)
}

/// Tries until the outcome is not `again`, or patience ends.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> T, again: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    loop {
        let outcome = attempt();
        if !again(&outcome) || start.elapsed() > PATIENCE {
            return outcome;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
