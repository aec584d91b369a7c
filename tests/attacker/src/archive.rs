//! Copies of the product's files, as they were after each step; what a copy has in common with the one before is kept once.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use crate::record::LARGEST;

/// Files are compared in such parts.
const PART: usize = 4096;
/// What is kept on both sides of a change: anything of interest that touches the change lies in one stretch as a whole.
const MARGIN: usize = LARGEST;

/// Bytes that stood beside each other in some copy.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// After which step.
    pub step: String,
    /// In which file.
    pub path: PathBuf,
    /// What was there.
    pub bytes: Vec<u8>,
}

/// All copies.
#[derive(Debug, Default)]
pub struct Archive {
    latest: HashMap<PathBuf, Vec<u8>>,
    stretches: Vec<Stretch>,
    copied: u64,
}

impl Archive {
    /// Copies every file below a directory, but for the paths left out.
    ///
    /// # Errors
    /// Where a file that is there cannot be read.
    pub fn copy(&mut self, step: &str, root: &Path, left_out: &[PathBuf]) -> io::Result<()> {
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            if left_out.contains(&path) {
                continue;
            }
            // A file may go, by the server's hand, while others are copied.
            match if path.is_dir() { self.copy(step, &path, left_out) } else { self.copy_file(step, &path) } {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => copied?,
            }
        }
        Ok(())
    }

    /// Copies one file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn copy_file(&mut self, step: &str, path: &Path) -> io::Result<()> {
        let bytes = fs::read(path)?;
        self.add(step, path, bytes);
        Ok(())
    }

    /// Adds what a file, or anything that is like one, holds after a step.
    pub fn add(&mut self, step: &str, path: &Path, bytes: Vec<u8>) {
        self.copied += bytes.len() as u64;
        let before = self.latest.remove(path).unwrap_or_default();
        let changed = |at: usize| {
            let end = (at + PART).min(bytes.len());
            match before.get(at..end) {
                Some(same) => *same != bytes[at..end],
                // Where there was nothing, zeros are not news.
                None => bytes[at..end].iter().any(|byte| *byte != 0),
            }
        };
        let mut parts = (0..bytes.len()).step_by(PART).filter(|at| changed(*at)).peekable();
        while let Some(first) = parts.next() {
            let mut last = first;
            while let Some(next) = parts.next_if(|next| *next <= last + 2 * PART) {
                last = next;
            }
            let stretch = first.saturating_sub(MARGIN)..(last + PART + MARGIN).min(bytes.len());
            let bytes = bytes[stretch].to_vec();
            self.stretches.push(Stretch { step: step.into(), path: path.into(), bytes });
        }
        self.latest.insert(path.into(), bytes);
    }

    /// Every stretch; what lies within [`LARGEST`] bytes in any copy lies within one of them, but for zeros.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// Files, of all steps.
    pub fn files(&self) -> BTreeSet<&Path> {
        self.stretches.iter().map(|stretch| &*stretch.path).collect()
    }

    /// A file as it was copied last.
    pub fn last(&self, path: &Path) -> Option<&[u8]> {
        self.latest.get(path).map(Vec::as_slice)
    }

    /// Bytes that were looked at.
    pub fn bytes_copied(&self) -> u64 {
        self.copied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(archive: &Archive, needle: &[u8]) -> usize {
        let holds = |stretch: &&Stretch| stretch.bytes.windows(needle.len()).any(|window| window == needle);
        archive.stretches().iter().filter(holds).count()
    }

    #[test]
    fn what_was_there_at_any_step_is_held_whole_and_once() {
        let (mut archive, path) = (Archive::default(), Path::new("db"));
        let mut file = vec![0; 20 * PART];
        let at = 5 * PART - 7;
        file[at..at + 14].copy_from_slice(b"across a limit");
        archive.add("one", path, file.clone());
        archive.add("two", path, file.clone());
        assert_eq!((held(&archive, b"across a limit"), archive.stretches().len()), (1, 1));
        file[at..at + 6].copy_from_slice(b"on two");
        file[19 * PART] = 1;
        archive.add("three", path, file.clone());
        assert_eq!((held(&archive, b"across a limit"), held(&archive, b"on two a limit")), (1, 1));
        assert_eq!(archive.stretches().len(), 3, "two places changed");
        file.truncate(PART);
        archive.add("four", path, file);
        assert_eq!(held(&archive, b"on two a limit"), 1);
    }

    #[test]
    fn a_directory_is_copied_but_for_what_is_left_out() {
        let root = std::env::temp_dir().join(format!("kms-attacker-{}", std::process::id()));
        fs::create_dir_all(root.join("inner")).unwrap();
        for name in ["one", "inner/two", "left"] {
            fs::write(root.join(name), name).unwrap();
        }
        let mut archive = Archive::default();
        archive.copy("step", &root, &[root.join("left")]).unwrap();
        let files: Vec<_> =
            archive.files().into_iter().map(|path| path.strip_prefix(&root).unwrap()).collect();
        assert_eq!(files, [Path::new("inner/two"), Path::new("one")]);
        fs::remove_dir_all(root).unwrap();
    }
}
