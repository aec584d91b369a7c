//! How long the server takes to serve again where there are many versions, and what it holds in memory then:
//! `cargo bench -p kms-server --bench start [-- VERSIONS]` (1,000,000 where nothing is said).
//!
//! The server is the real binary. The page cache is warm: the store was written or read just before. Goals: 1 s after a clean stop,
//! 3 s after a kill, 150 MiB with 1,000,000 versions; 60 MiB where it is empty.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has failed")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use kms_server::{
    config::{Config, Overrides},
    instance,
};
use rustix::process::{Pid, Signal, kill_process};

mod filling;
use filling::{fill, tenant};

const TURNS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |text: &str| text.parse().expect("a number of versions");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", dir, versions] => fill_instance(Path::new(dir), number(versions)),
        [versions] => measure(number(versions)),
        _ => measure(1_000_000),
    }
}

fn measure(versions: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let empty = serve(dir.path());
    println!("empty: {:.2?} to serve, {} resident", empty.took, empty.resident());
    empty.end(Signal::TERM);

    let begun = Instant::now();
    // A process of its own, as its end lets go of the instance for sure.
    let this = std::env::current_exe().expect("this program");
    let filled = Command::new(this).arg("fill").arg(dir.path()).arg(versions.to_string()).status();
    assert!(filled.expect("a process").success());
    println!("{versions} versions made in {:.0?}", begun.elapsed());
    for (how, signal) in [("a clean stop", Signal::TERM), ("a kill", Signal::KILL)] {
        let mut times = Vec::new();
        let mut resident = String::new();
        // The first start is after the filling, not after `signal`.
        serve(dir.path()).end(signal);
        for _ in 0..TURNS {
            let server = serve(dir.path());
            times.push(server.took);
            resident = server.resident();
            server.end(signal);
        }
        times.sort_unstable();
        println!(
            "after {how}: {:.2?} to serve (median of {TURNS}, most {:.2?}), {resident} resident",
            times[TURNS / 2],
            times[TURNS - 1]
        );
    }
}

fn fill_instance(dir: &Path, versions: u32) {
    let config =
        Config::read(&dir.join("kms-server.toml"), &Overrides::default()).expect("the configuration");
    let instance = instance::open(&config, Arc::new(|why| eprintln!("{why}"))).expect("the instance");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let tenant = tenant(&instance.writer).await;
        fill(&instance.writer, tenant, versions).await;
    });
    instance.writer.stop();
}

struct Server {
    child: Child,
    took: Duration,
}

/// Starts the binary; how long until it says that it serves.
fn serve(dir: &Path) -> Server {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kms-server"))
        .args(["dev", "--data"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server's binary");
    let said = child.stdout.take().expect("its output");
    let mut lines = BufReader::new(said).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("ready ")), "the server did not start");
    Server { child, took: begun.elapsed() }
}

impl Server {
    fn resident(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let field = |name| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").trim().to_owned()
        };
        format!("{} (peak {})", field("VmRSS:"), field("VmHWM:"))
    }

    fn end(mut self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("a signal");
        self.child.wait().expect("its end");
    }
}
