//! Failed handshakes: counted per source and second, in two files that take turns and never grow past their cap.
//!
//! ATTACK: anybody on the network can cause these, so they must not fill the disk, nor push a line of the chain away. They are outside
//! the chain for that; their total rides in every signed head line, so lines taken from here show as a difference.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use parking_lot::Mutex;

use super::line::Body;

/// Bytes of one of the two files.
const CAP: u64 = 4 << 20;
/// Sources that get a line of their own in one call; the rest are summed.
const MOST_SOURCES: usize = 256;

/// Handshakes from one source that failed in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedHandshakes {
    /// Where they came from.
    pub source: IpAddr,
    /// The second in which they failed.
    pub second: SystemTime,
    /// How many.
    pub count: u32,
}

pub(super) struct Handshakes {
    dir: PathBuf,
    failed: AtomicU64,
    file: Mutex<Option<(File, u64)>>,
}

impl Handshakes {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), failed: AtomicU64::new(0), file: Mutex::new(None) }
    }

    /// How many have failed since the start of the process.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes them down. Calls block, for the length of one write.
    pub(super) fn record(&self, counts: &[FailedHandshakes]) -> io::Result<()> {
        let total: u64 = counts.iter().map(|count| u64::from(count.count)).sum();
        self.failed.fetch_add(total, Ordering::Relaxed);
        let (named, rest) = counts.split_at(counts.len().min(MOST_SOURCES));
        let mut bytes = Vec::new();
        for count in named {
            push(&mut bytes, count.second, &count.source.to_string(), count.count.into());
        }
        if let Some(first) = rest.first() {
            let sum = rest.iter().map(|count| u64::from(count.count)).sum();
            push(&mut bytes, first.second, "others", sum);
        }
        let mut file = self.file.lock();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (current, used) = match &mut *file {
            Some((current, used)) => (current, used),
            None => {
                let current = open(&self.dir.join("handshakes.jsonl"))?;
                let used = current.metadata()?.len();
                let (current, used) = file.insert((current, used));
                (current, used)
            }
        };
        if *used + length > CAP {
            std::fs::rename(self.dir.join("handshakes.jsonl"), self.dir.join("handshakes.1.jsonl"))?;
            (*current, *used) = (open(&self.dir.join("handshakes.jsonl"))?, 0);
        }
        current.write_all(&bytes)?;
        *used += length;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn push(bytes: &mut Vec<u8>, second: SystemTime, source: &str, count: u64) {
    bytes.extend_from_slice(b"{\"v\":1,");
    let mut body = Body::new(bytes, "failed-handshakes", second);
    body.text("source", source);
    body.number("count", count);
    bytes.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_handshakes_are_counted_and_never_outgrow_their_cap() {
        let dir = tempfile::tempdir().unwrap();
        let handshakes = Handshakes::new(dir.path());
        let second = SystemTime::now();
        let one = FailedHandshakes { source: IpAddr::from([127, 0, 0, 1]), second, count: 2 };
        let many = vec![one; 1000];
        for _ in 0..500 {
            handshakes.record(&many).unwrap();
        }
        assert_eq!(handshakes.failed(), 1_000_000);
        let sizes: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= CAP), "{sizes:?}");
        let text = std::fs::read_to_string(dir.path().join("handshakes.jsonl")).unwrap();
        for line in text.lines().take(300) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["source"] == "127.0.0.1" && line["count"] == 2 || line["source"] == "others");
        }
        assert!(text.contains(r#""source":"others","count":1488}"#));
    }
}
