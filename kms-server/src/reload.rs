//! When to read certificates, CRLs and policies again: when their files change, and on SIGHUP.
//!
//! Watches the directories rather than the files: a renewal replaces files by renaming, and what mounts secrets swaps a link
//! beside them. Knows when, not what.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::Instant,
};

/// How long after the first change is waited for the others that belong to it (a certificate and its key).
const TOGETHER: Duration = Duration::from_millis(250);

/// Files on a network or a forgotten watch: everything is looked at this often all the same.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// Why to reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// A file changed, or one beside it.
    Files,
    /// Nothing for a while.
    Time,
}

/// The occasions to reload, one after the other.
#[derive(Debug)]
pub struct Reloads {
    hangups: Signal,
    changes: mpsc::Receiver<()>,
    /// Ends the watching when dropped.
    _watcher: Option<RecommendedWatcher>,
}

impl Reloads {
    /// Begins to listen and to watch, within a tokio runtime. What cannot be watched is logged; SIGHUP and time remain.
    ///
    /// # Errors
    /// When SIGHUP cannot be listened to.
    pub fn watch(paths: &[PathBuf]) -> io::Result<Self> {
        let hangups = signal(SignalKind::hangup())?;
        let (sender, changes) = mpsc::channel(1);
        let watcher = watcher(paths, sender)
            .map_err(|error| tracing::warn!(%error, "files are not watched; send SIGHUP when they change"))
            .ok();
        Ok(Self { hangups, changes, _watcher: watcher })
    }

    /// Waits for the next occasion.
    pub async fn next(&mut self) -> Cause {
        tokio::select! {
            _ = self.hangups.recv() => Cause::Signal,
            () = changed(&mut self.changes) => {
                // Not "quiet for a while": a directory that never rests would put the reload off for ever.
                tokio::time::sleep_until(Instant::now() + TOGETHER).await;
                while self.changes.try_recv().is_ok() {}
                Cause::Files
            }
            () = tokio::time::sleep(AT_LEAST_EVERY) => Cause::Time,
        }
    }
}

/// Without a watcher there are no changes: never, rather than at once.
async fn changed(changes: &mut mpsc::Receiver<()>) {
    if changes.recv().await.is_none() {
        std::future::pending().await
    }
}

fn watcher(paths: &[PathBuf], sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let read_only = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
        if !read_only {
            // Full means that a change is being waited out already.
            sender.try_send(()).unwrap_or_default();
        }
    })?;
    for directory in directories(paths) {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            tracing::warn!(%error, directory = %directory.display(), "not watched; send SIGHUP when files there change");
        }
    }
    Ok(watcher)
}

/// Where the files lie: beside their names, and beside what the names are links to.
fn directories(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let around =
        |path: &Path| if path.is_dir() { Some(path.into()) } else { path.parent().map(Path::to_path_buf) };
    let real = paths.iter().filter_map(|path| path.canonicalize().ok());
    paths.iter().cloned().chain(real).filter_map(|path| around(&path)).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    async fn next(reloads: &mut Reloads) -> Cause {
        tokio::time::timeout(Duration::from_secs(20), reloads.next()).await.unwrap()
    }

    #[tokio::test]
    async fn a_file_written_renamed_over_or_behind_a_link_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, elsewhere) = (dir.path().join("tls/server.pem"), dir.path().join("real"));
        fs::create_dir(dir.path().join("tls")).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::write(&file, "1").unwrap();
        fs::write(elsewhere.join("ca.pem"), "1").unwrap();
        symlink(elsewhere.join("ca.pem"), dir.path().join("tls/ca.pem")).unwrap();

        let mut reloads = Reloads::watch(&[file.clone(), dir.path().join("tls/ca.pem")]).unwrap();
        fs::write(&file, "2").unwrap();
        assert_eq!(next(&mut reloads).await, Cause::Files);
        fs::write(dir.path().join("tls/.new"), "3").unwrap();
        fs::rename(dir.path().join("tls/.new"), &file).unwrap();
        assert_eq!(next(&mut reloads).await, Cause::Files);
        fs::write(elsewhere.join("ca.pem"), "2").unwrap();
        assert_eq!(next(&mut reloads).await, Cause::Files);
    }

    #[tokio::test]
    async fn what_is_not_there_to_be_watched_does_not_stop_the_rest() {
        let mut reloads = Reloads::watch(&["/nowhere/at/all".into()]).unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(50), reloads.next()).await;
        assert!(waiting.is_err(), "no change is made up");
    }
}
