//! The server as a process: started, waited for by the line it prints, signalled, killed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use kms_cli::own_server::ended_within;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

/// Longer than anything that is waited for takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    log: Arc<Log>,
    said: Arc<Log>,
}

/// A server that ended before it was ready.
#[derive(Debug)]
pub struct Failed {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it said on stderr.
    pub stderr: String,
}

#[derive(Debug, Default)]
struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

impl Log {
    fn collect(self: &Arc<Self>, from: impl Read + Send + 'static) -> thread::JoinHandle<()> {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                log.text.lock().unwrap().push_str(&format!("{line}\n"));
                log.grown.notify_all();
            }
        })
    }
}

/// The path of the server's binary, which cargo builds before it runs tests.
pub fn binary() -> PathBuf {
    built("kms-tests-server")
}

/// The path of a binary of this package.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().skip(1).map(|directory| directory.join(name));
    built.take(2).find(|path| path.exists()).unwrap_or_else(|| panic!("no `{name}` beside {test:?}"))
}

/// Runs a command of the server that ends by itself; gives exit code, stdout, stderr.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

impl Server {
    /// Starts the binary and waits for the lines that say where it is.
    ///
    /// # Errors
    /// When it ends before it is ready.
    pub fn start(arguments: &[&str]) -> Result<Self, Failed> {
        Self::spawn(Command::new(binary()).args(arguments))
    }

    /// Starts it so that the user who runs the tests may read its memory, which it hides otherwise.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_readable(arguments: &[&str]) -> Result<Self, Failed> {
        Self::spawn(Command::new(binary()).args(arguments).env("KMS_TESTS_READABLE", "1"))
    }

    /// Starts it so that a write beyond [`Server::limit_file_size`] fails, as on a bad disk, and does not end the process.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with_failing_writes(arguments: &[&str]) -> Result<Self, Failed> {
        let ignoring = ["-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
        Self::spawn(Command::new("sh").args(ignoring).arg(binary()).args(arguments))
    }

    fn spawn(command: &mut Command) -> Result<Self, Failed> {
        let mut child = command
            .env_remove("KMS_LISTEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let collecting = log.collect(child.stderr.take().unwrap());
        let (lines, said) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let all_said = Arc::new(Log::default());
        let keeping = Arc::clone(&all_said);
        thread::spawn(move || {
            // Goes on after nobody listens, so that the server never meets a closed pipe.
            stdout.lines().map_while(Result::ok).for_each(|line| {
                keeping.text.lock().unwrap().push_str(&format!("{line}\n"));
                drop(lines.send(line));
            });
        });
        let address = |prefix: &str| -> Option<SocketAddr> {
            let line = said.recv_timeout(PATIENCE).ok()?;
            let address = line.strip_prefix(prefix).unwrap_or_else(|| panic!("not `{prefix}…`: {line}"));
            Some(address.parse().unwrap())
        };
        let Some((address, admin)) = address("ready https://").zip(address("admin http://")) else {
            drop(child.kill());
            let code = child.wait().unwrap().code();
            collecting.join().unwrap();
            return Err(Failed { code, stderr: log.text.lock().unwrap().clone() });
        };
        Ok(Self { child, address, admin, log, said: all_said })
    }

    /// Where it speaks gRPC.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same, as profiles name it.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// SIGKILL; returns once it is gone.
    pub fn kill(mut self) {
        drop(self.child.kill());
        self.child.wait().unwrap();
    }

    /// SIGTERM; waits for the drain.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        match ended_within(&mut self.child, PATIENCE).unwrap() {
            Some(status) => status,
            None => panic!("still there after SIGTERM; its log:\n{}", self.log()),
        }
    }

    /// SIGHUP: reload.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Any other signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Lets it have `most` open files from now on; gives the limit it had.
    pub fn limit_open_files(&self, most: u64) -> Rlimit {
        // Inherited from this process, and not to be raised again once lowered.
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(Some(self.pid()), Resource::Nofile, Rlimit { current: Some(most), maximum }).unwrap()
    }

    /// Lets no file be written beyond `most` bytes from now on.
    pub fn limit_file_size(&self, most: u64) {
        let maximum = getrlimit(Resource::Fsize).maximum;
        prlimit(Some(self.pid()), Resource::Fsize, Rlimit { current: Some(most), maximum }).unwrap();
    }

    /// Gives it back a limit.
    pub fn restore_open_files(&self, limit: Rlimit) {
        prlimit(Some(self.pid()), Resource::Nofile, limit).unwrap();
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// What it said on stdout so far.
    pub fn said(&self) -> String {
        self.said.text.lock().unwrap().clone()
    }

    /// Waits until its log holds `text` `times` times.
    pub fn wait_for_log(&self, text: &str, times: usize) {
        let log = self.log.text.lock().unwrap();
        let (log, waited) = self
            .log
            .grown
            .wait_timeout_while(log, PATIENCE, |log| log.matches(text).count() < times)
            .unwrap();
        assert!(!waited.timed_out(), "no {text:?} in its log:\n{log}");
    }

    /// What the admin listener answers: status and body.
    pub fn admin(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.admin).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.into()).unwrap_or_default())
    }

    /// The value of a metric, by its full name with labels; 0 when it was never counted.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.admin("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Asks until the metric has reached `least`: what a caller sees may be a moment ahead of what is counted.
    pub fn wait_for_metric(&self, name: &str, least: f64) {
        let started = Instant::now();
        while self.metric(name) < least {
            assert!(started.elapsed() < PATIENCE, "`{name}` stays at {}", self.metric(name));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}
