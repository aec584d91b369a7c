//! Ctrl-C, SIGTERM and SIGHUP, caught so that nothing unfinished is left behind: no half-written file, no server, no directory.

use std::io::Write as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    failure::{Exit, Failure},
    whole_file::WholeFile,
};

/// The signals that ask a command to end.
#[derive(Debug)]
pub struct Interruption(Vec<Signal>);

impl Interruption {
    /// Catches them; to be called before there is anything to take away. Needs a runtime.
    ///
    /// # Errors
    /// Where the operating system does not let us.
    pub fn catch() -> Result<Self, Failure> {
        let ignored = ignored();
        let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()];
        // Under `nohup` a hangup is ignored, in the background of a script Ctrl-C: that stays so.
        let heard = kinds.into_iter().filter(|kind| ignored >> (kind.as_raw_value() - 1) & 1 == 0);
        let caught: std::io::Result<Vec<_>> = heard.map(signal).collect();
        caught.map(Self).map_err(|e| Failure::failed("INTERNAL", format!("cannot catch signals: {e}")))
    }

    /// Returns when one of them came.
    pub async fn received(&mut self) {
        let each = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        match each.len() {
            0 => std::future::pending().await,
            _ => drop(futures_util::future::select_all(each).await),
        }
    }

    /// What a command that was interrupted ends with.
    pub fn failure() -> Failure {
        Failure::failed("INTERRUPTED", "interrupted; nothing unfinished was left behind")
    }

    /// From now on any of them removes the unfinished `output` and ends the process.
    pub fn removes(mut self, output: &WholeFile) {
        let temp = match output {
            WholeFile::Stream(_) => None,
            WholeFile::Pending { temp, .. } => Some(temp.path().to_owned()),
        };
        tokio::spawn(async move {
            self.received().await;
            // A finished output has its own name by now, and nothing is removed.
            drop(temp.map(std::fs::remove_file));
            drop(writeln!(std::io::stderr(), "kms: interrupted"));
            std::process::exit(Exit::Failed as i32)
        });
    }
}

/// The signals that whoever started us wants ignored, a bit each (proc_pid_status(5)).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
