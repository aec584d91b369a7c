//! A store whose commits are watched: an engine that does not come back from the disk (sled was seen to wait for ever after an error of
//! one write) must end the process, for nobody else would. The restart decides what became of the commit.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use kms_core::id::CommitNumber;

use super::{Batch, CommitError, Pair, ReadError, Store};

/// Longest time for one commit: far beyond what a disk that works takes, so that a stop means that it does not.
pub const LONGEST: Duration = Duration::from_secs(120);

/// Told once that a commit did not end: the process must stop.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

/// The store, watched.
pub struct Watched {
    inner: Arc<dyn Store>,
    /// A commit begins (`true`), or has ended.
    tell: mpsc::Sender<bool>,
}

impl Watched {
    /// Watches a store.
    ///
    /// # Errors
    /// Where the system has no thread for it.
    pub fn new(inner: Arc<dyn Store>, longest: Duration, fatal: Fatal) -> std::io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name("commit watch".into());
        thread.spawn(move || watch(&told, longest, &fatal))?;
        Ok(Self { inner, tell })
    }
}

fn watch(told: &mpsc::Receiver<bool>, longest: Duration, fatal: &Fatal) {
    while let Ok(begins) = told.recv() {
        if begins && told.recv_timeout(longest) == Err(mpsc::RecvTimeoutError::Timeout) {
            let seconds = longest.as_secs();
            return fatal(&format!("the store did not end a commit within {seconds} s: look at its disk"));
        }
    }
}

impl Store for Watched {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.inner.get(key)
    }

    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError> {
        self.inner.range(prefix, after, limit)
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError> {
        self.inner.last(prefix)
    }

    fn committed(&self) -> CommitNumber {
        self.inner.committed()
    }

    fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError> {
        // An error means that the watch has ended: then the process is being stopped.
        self.tell.send(true).ok();
        let done = self.inner.commit(number, batch);
        self.tell.send(false).ok();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    /// Commits when it is let.
    struct Slow(MemoryStore, parking_lot::Mutex<mpsc::Receiver<()>>);

    impl Store for Slow {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
            self.0.get(key)
        }
        fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ReadError> {
            self.0.range(prefix, after, limit)
        }
        fn last(&self, prefix: &[u8]) -> Result<Option<Pair>, ReadError> {
            self.0.last(prefix)
        }
        fn committed(&self) -> CommitNumber {
            self.0.committed()
        }
        fn commit(&self, number: CommitNumber, batch: Batch) -> Result<(), CommitError> {
            self.1.lock().recv().unwrap();
            self.0.commit(number, batch)
        }
    }

    fn watched(longest: Duration) -> (Arc<Watched>, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (go, wait) = mpsc::channel();
        let (fatal, died) = mpsc::channel();
        let fatal = parking_lot::Mutex::new(fatal);
        let tell = Arc::new(move |why: &str| fatal.lock().send(why.to_owned()).unwrap());
        let slow = Arc::new(Slow(MemoryStore::default(), parking_lot::Mutex::new(wait)));
        (Arc::new(Watched::new(slow, longest, tell).unwrap()), go, died)
    }

    #[test]
    fn a_commit_that_does_not_end_stops_the_process_and_those_that_do_do_not() {
        let (store, go, died) = watched(Duration::from_secs(60));
        for number in 1..=3 {
            go.send(()).unwrap();
            store.commit(CommitNumber(number), Batch::default()).unwrap();
        }
        assert!(died.try_recv().is_err());
        let (store, go, died) = watched(Duration::from_millis(20));
        let stuck = thread::spawn(move || store.commit(CommitNumber(1), Batch::default()));
        assert!(died.recv().unwrap().contains("did not end a commit"));
        go.send(()).unwrap();
        stuck.join().unwrap().unwrap();
    }
}
