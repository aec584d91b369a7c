//! A server of our own, for `demo` and `bench`: this binary again, with a hidden subcommand, as a child that ends when we do.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use kms_client::Profile;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::failure::Failure;

/// How long a server may take until it serves.
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A running child.
#[derive(Debug)]
pub struct OwnServer {
    child: Child,
    data: PathBuf,
    endpoint: String,
}

impl OwnServer {
    /// Starts `kms __server dev --data DIR`, with `OPTION=VALUE` settings.
    ///
    /// # Errors
    /// Where it does not say in time that it serves; with the last words of its log.
    pub fn dev(data: &Path, settings: &[&str]) -> Result<Self, Failure> {
        let mut words =
            vec![OsStr::new("__server"), OsStr::new("dev"), OsStr::new("--data"), data.as_os_str()];
        words.extend(settings.iter().flat_map(|setting| [OsStr::new("--set"), OsStr::new(*setting)]));
        Self::start(&words, data, "server.log")
    }

    /// Starts this binary with `words`.
    ///
    /// # Errors
    /// Where it does not say in time that it serves.
    pub fn start(words: &[&OsStr], data: &Path, log: &str) -> Result<Self, Failure> {
        let cannot =
            |what: &str, e: std::io::Error| Failure::failed("INTERNAL", format!("cannot {what}: {e}"));
        let myself = std::env::current_exe().map_err(|e| cannot("find this program", e))?;
        let log = data.join(log);
        let stderr = File::create(&log).map_err(|e| cannot("write the server's log", e))?;
        let mut child = Command::new(myself)
            .args(words)
            // The child ends when its stdin does, however we end.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|e| cannot("start a server", e))?;
        let (said, hears) = std::sync::mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Reads on to the end, so that the child never waits for us.
            std::thread::spawn(move || lines.for_each(|line| drop(said.send(line))));
        }
        let begun = Instant::now();
        let endpoint = loop {
            let left = READY_WITHIN.saturating_sub(begun.elapsed());
            match hears.recv_timeout(left) {
                Ok(line) => match line.strip_prefix("ready ") {
                    Some(endpoint) => break endpoint.to_owned(),
                    None => continue,
                },
                Err(_) => {
                    drop(child.kill());
                    drop(child.wait());
                    return Err(Failure::failed(
                        "INTERNAL",
                        format!("the server did not start: {}", last_words(&log)),
                    ));
                }
            }
        };
        Ok(Self { child, data: data.to_owned(), endpoint })
    }

    /// Where it serves.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The profile of one of the five identities of `dev`.
    ///
    /// # Errors
    /// Where it does not load.
    pub fn profile(&self, name: &str) -> Result<Profile, Failure> {
        Ok(Profile::load(self.data.join("profiles").join(format!("{name}.toml")))
            .map_err(kms_client::Error::from)?)
    }

    /// CPU time it has used so far, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The name in parentheses may hold anything; utime and stime are the 12th and 13th field after it.
        let after = stat.rsplit_once(')').map(|(_, after)| after).unwrap_or_default();
        let ticks: u64 =
            after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Stops it as an operator would, and waits.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.child.stdin.take());
        if !matches!(ended_within(&mut self.child, STOP_WITHIN), Ok(Some(_))) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Waits for the end of a child; `None` where it takes longer.
///
/// # Errors
/// Where the operating system cannot tell.
pub fn ended_within(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    // Readable once the process has ended (pidfd_open(2)).
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    let ended = retry_on_intr(|| poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience)))?;
    if ended == 0 { Ok(None) } else { child.wait().map(Some) }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lets this process end in the ordinary way (as by SIGTERM) when its stdin ends: when whoever started it is gone.
pub fn end_with_stdin() {
    std::thread::spawn(|| {
        let mut stdin = std::io::stdin().lock();
        let mut nothing = [0; 64];
        while matches!(stdin.read(&mut nothing), Ok(1..)) {}
        // Our own process is always there to be signalled.
        let _signalled =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    });
}

fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}
