//! The command line as a process: `kms`, with what it says and how it ends.

use std::{ffi::OsStr, path::Path, process::Command};

use crate::server::built;

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Said {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// On standard output.
    pub stdout: String,
    /// On standard error.
    pub stderr: String,
}

impl Said {
    /// The same, where it ended well.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{} {}", self.stdout, self.stderr);
        self
    }
}

/// Runs `kms`, with a profile where it calls a server.
pub fn kms<W: AsRef<OsStr>>(profile: Option<&Path>, words: impl IntoIterator<Item = W>) -> Said {
    run(&mut command(profile, words))
}

/// `kms`, not yet started.
pub fn command<W: AsRef<OsStr>>(profile: Option<&Path>, words: impl IntoIterator<Item = W>) -> Command {
    let mut command = Command::new(built("kms-tests-cli"));
    command.args(words).env_remove("KMS_PROFILE").env_remove("KMS_DATABASE");
    if let Some(profile) = profile {
        command.env("KMS_PROFILE", profile);
    }
    command
}

/// Runs any command to its end.
pub fn run(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
