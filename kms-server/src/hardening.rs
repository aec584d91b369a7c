//! Keeps the process's memory to itself: no core dumps, no debugger, no swapping of keys.
//!
//! Says what could not be had; a key centre that is easier to look into than its operator believes is worse than one that
//! says so.

use std::{fmt, fs};

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
};

/// A limit of locked memory from which a process this size never reaches it.
const ENOUGH_TO_LOCK: u64 = 64 << 30;

/// Bit of CAP_IPC_LOCK in a capability set (capabilities(7)).
const CAP_IPC_LOCK: u64 = 1 << 14;

/// A protection that this process does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// Which.
    pub what: &'static str,
    /// Why, and what to do.
    pub why: String,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// Protects the process as far as it may, and raises its limit of open files. Call first, before there are threads and secrets.
pub fn apply() -> Vec<Shortfall> {
    let mut shortfalls = Vec::new();
    let mut try_to = |what, outcome: Result<(), String>| {
        shortfalls.extend(outcome.err().map(|why| Shortfall { what, why }));
    };
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    try_to("core dumps are not off", setrlimit(Resource::Core, none).map_err(|error| error.to_string()));
    try_to(
        "other processes of this user may read this one's memory",
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| error.to_string()),
    );
    try_to("memory is not locked, keys may reach the swap", lock_memory());
    try_to("the limit of open files is not raised", raise_open_files());
    shortfalls
}

/// Locks pages as they are touched, now and later, so that locking costs no memory of its own.
fn lock_memory() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock).current;
    // With a limit in reach, locking would succeed now and let an allocation fail later, which ends the process.
    if limit.is_some_and(|limit| limit < ENOUGH_TO_LOCK) && !may_lock() {
        let limit = limit.unwrap_or_default() >> 10;
        return Err(format!(
            "the limit is {limit} KiB; raise it with `LimitMEMLOCK=infinity` or grant CAP_IPC_LOCK"
        ));
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|error| error.to_string())
}

/// Whether the process has CAP_IPC_LOCK, which lifts the limit.
fn may_lock() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    bits.is_some_and(|bits| bits & CAP_IPC_LOCK != 0)
}

fn raise_open_files() -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).map_err(|error| error.to_string())
}
