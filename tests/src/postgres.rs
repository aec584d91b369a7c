//! A PostgreSQL of a test's own, on a socket in a temporary directory, where it is installed.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::services::{program, skip};

/// PostgreSQL runs as nobody where the test is root, for it refuses to run as that.
const NOBODY: u32 = 65_534;

/// A running cluster with a database `postgres` and a superuser `postgres`. Gone when dropped.
#[derive(Debug)]
pub struct PostgreSql {
    directory: TempDir,
    process: Child,
}

impl PostgreSql {
    /// Makes and starts a cluster. Where PostgreSQL is not installed the test is skipped, and fails where services are required.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skip("PostgreSQL is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        if geteuid().is_root() {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = directory.path().join("data");
        let made = as_other(&programs.join("initdb"), directory.path())
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut process = as_other(&programs.join("postgres"), directory.path())
            // Nothing here outlives the machine.
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=40", "-k"])
            .arg(directory.path())
            .arg("-D")
            .arg(&data)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(log.any(|line| line.contains("ready to accept connections")), "PostgreSQL did not start");
        // Goes on, so that the server never meets a full pipe.
        thread::spawn(move || log.for_each(drop));
        Some(Self { directory, process })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("postgres://postgres@localhost/postgres?host={}", self.directory.path().display())
    }

    /// Its files: tables, log of writes, everything.
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What `pg_dump` makes of it.
    pub fn dump(&self) -> Vec<u8> {
        let dumped = Command::new(installed("pg_dump").unwrap()).arg(self.url()).output().unwrap();
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        dumped.stdout
    }
}

impl Drop for PostgreSql {
    fn drop(&mut self) {
        // Its processes with it, at once; SIGKILL would leave them.
        if kill_process(Pid::from_child(&self.process), Signal::QUIT).is_ok() {
            drop(self.process.wait());
        }
    }
}

/// The directory of its programs, the newest version's.
fn programs() -> Option<PathBuf> {
    Some(installed("postgres")?.parent()?.to_owned())
}

/// One of its programs.
fn installed(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut directories: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    directories.sort();
    let directories: Vec<_> = directories.iter().rev().filter_map(|bin| bin.to_str()).collect();
    program(name, &directories)
}

fn as_other(program: &Path, directory: &Path) -> Command {
    let mut command = match geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args([
                &format!("--reuid={NOBODY}"),
                &format!("--regid={NOBODY}"),
                "--clear-groups",
                "--",
            ]);
            command.arg(program);
            command
        }
        false => Command::new(program),
    };
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    command
}
