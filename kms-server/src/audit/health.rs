//! What the log says about itself.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use super::log::Core;

/// Share of the room, in percent, from which health warns.
pub const WARN_AT: u64 = 80;

/// How the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why lines, and with them requests, are refused; `None` while they are accepted.
    pub refusing: Option<Refusal>,
    /// Where room runs short.
    pub warning: Option<Shortage>,
    /// Lines in the chain.
    pub lines: u64,
    /// Lines of them that survive power loss.
    pub synced: u64,
}

/// Why lines are refused, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the operating system said.
    pub why: Arc<str>,
    /// For how long.
    pub lasting: Duration,
}

/// Room that runs short. Exported segments can be deleted: `kms audit export`, then delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The file system is at least 80 % full.
    Disk {
        /// How full, in percent.
        percent: u64,
    },
    /// The segments take at least 80 % of what the configuration gives them.
    Quota {
        /// How much of it, in percent.
        percent: u64,
    },
    /// The operating system does not say how full the disk is.
    Unknown,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { percent } => write!(f, "the audit's disk is {percent} % full"),
            Self::Quota { percent } => write!(f, "the audit takes {percent} % of its quota"),
            Self::Unknown => f.write_str("nobody can say how full the audit's disk is"),
        }
    }
}

impl Health {
    /// Whether requests can be recorded.
    pub fn is_writing(&self) -> bool {
        self.refusing.is_none()
    }
}

impl Core {
    pub(super) fn health(&self) -> Health {
        let tail = self.tail.lock();
        let refusing = tail
            .refusing
            .as_ref()
            .map(|refusing| Refusal { why: Arc::clone(&refusing.why), lasting: refusing.since.elapsed() });
        let lines = tail.at.count;
        drop(tail);
        let refusing = refusing.or_else(|| {
            self.bell.sync_is_stalled().then(|| Refusal {
                why: "the disk has not finished a sync for seconds".into(),
                lasting: Duration::ZERO,
            })
        });
        let warning = shortage(&self.options.dir, self.options.quota).unwrap_or(Some(Shortage::Unknown));
        Health { refusing, warning, lines, synced: self.synced.borrow().count }
    }
}

/// How full the file system of a directory is, in percent of what this process may use.
///
/// # Errors
/// Where the operating system does not say.
pub fn disk_percent(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    let usable = disk.f_bavail + (disk.f_blocks - disk.f_bfree);
    Ok(share(disk.f_blocks - disk.f_bfree, usable))
}

fn shortage(dir: &Path, quota: Option<u64>) -> io::Result<Option<Shortage>> {
    let percent = disk_percent(dir)?;
    if percent >= WARN_AT {
        return Ok(Some(Shortage::Disk { percent }));
    }
    let Some(quota) = quota else { return Ok(None) };
    let mut used = 0;
    for file in std::fs::read_dir(dir)? {
        used += file?.metadata()?.len();
    }
    let percent = share(used, quota);
    Ok((percent >= WARN_AT).then_some(Shortage::Quota { percent }))
}

fn share(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}
