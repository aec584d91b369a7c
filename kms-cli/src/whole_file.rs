//! Output that is whole or absent: written beside its place under another name, synced, and renamed at the end.
//!
//! Standard output, and anything that is not a regular file (a pipe, `/dev/null`), is written as it comes: there is nothing to rename.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Exit, Failure};

/// Who may read the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Only the owner: it holds plaintext.
    Owner,
    /// Whom the umask lets: it is sealed.
    Umask,
}

/// An output that appears under its name only when it is finished.
#[derive(Debug)]
pub enum WholeFile {
    /// Nothing to rename.
    Stream(File),
    /// Becomes `place` when finished; removed when dropped before.
    Pending {
        /// The file under its temporary name.
        temp: NamedTempFile,
        /// Where it belongs.
        place: PathBuf,
    },
}

impl WholeFile {
    /// Opens the output for `place`; `-` is standard output.
    ///
    /// # Errors
    /// Where the directory cannot be written, or `place` is a directory.
    pub fn create(place: &Path, readers: Readers) -> Result<Self, Failure> {
        if place == Path::new("-") {
            let stdout =
                io::stdout().as_fd().try_clone_to_owned().map_err(|e| cannot("write to", place, &e))?;
            return Ok(Self::Stream(File::from(stdout)));
        }
        // A symbolic link stays one: what it points to is replaced.
        let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
        match place.metadata() {
            Ok(meta) if meta.is_dir() => {
                return Err(Failure::usage(format!("`{}` is a directory; name a file", place.display())));
            }
            Ok(meta) if !meta.is_file() => {
                let stream =
                    File::options().write(true).open(&place).map_err(|e| cannot("write to", &place, &e))?;
                return Ok(Self::Stream(stream));
            }
            _ => {}
        }
        let directory = place.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = place.file_name().ok_or_else(|| Failure::usage("the output has no file name"))?;
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::Umask => 0o666,
        };
        let temp = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".tmp")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
            .tempfile_in(directory)
            .map_err(|e| cannot("create a file in", directory, &e))?;
        Ok(Self::Pending { temp, place })
    }

    /// Makes the output appear under its name.
    ///
    /// # Errors
    /// Where it cannot be synced or renamed; then nothing appears.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stream(mut file) => file.flush(),
            Self::Pending { temp, place } => {
                // ORDER: content before name; a power loss between the two leaves the old file, or none.
                temp.as_file().sync_all()?;
                temp.persist(&place).map_err(|e| e.error)?;
                Ok(())
            }
        }
    }
}

/// Ctrl-C and SIGTERM, caught so that an unfinished output is taken away before the process ends.
#[derive(Debug)]
pub struct Interruption {
    interrupted: Signal,
    terminated: Signal,
}

impl Interruption {
    /// Catches both; to be called before the output is created. Needs a runtime.
    ///
    /// # Errors
    /// Where the operating system does not let us.
    pub fn catch() -> Result<Self, Failure> {
        let caught = |kind| {
            signal(kind).map_err(|e| Failure::failed("INTERNAL", format!("cannot catch signals: {e}")))
        };
        Ok(Self {
            interrupted: caught(SignalKind::interrupt())?,
            terminated: caught(SignalKind::terminate())?,
        })
    }

    /// From now on either of them removes the unfinished `output` and ends the process.
    pub fn removes(mut self, output: &WholeFile) {
        let temp = match output {
            WholeFile::Stream(_) => None,
            WholeFile::Pending { temp, .. } => Some(temp.path().to_owned()),
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = self.interrupted.recv() => {}
                _ = self.terminated.recv() => {}
            }
            // A finished output has its own name by now, and nothing is removed.
            drop(temp.map(std::fs::remove_file));
            drop(writeln!(io::stderr(), "kms: interrupted"));
            std::process::exit(Exit::Failed as i32)
        });
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(file) => file.write(bytes),
            Self::Pending { temp, .. } => temp.as_file_mut().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(file) => file.flush(),
            Self::Pending { temp, .. } => temp.as_file_mut().flush(),
        }
    }
}

/// Opens an input; `-` is standard input.
///
/// # Errors
/// Where it is not there or may not be read.
pub fn open_input(place: &Path) -> Result<File, Failure> {
    if place == Path::new("-") {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|e| cannot("read", place, &e))?;
        return Ok(File::from(stdin));
    }
    let file = File::open(place).map_err(|e| cannot("read", place, &e))?;
    match file.metadata() {
        Ok(meta) if meta.is_dir() => {
            Err(Failure::usage(format!("`{}` is a directory; name a file", place.display())))
        }
        _ => Ok(file),
    }
}

fn cannot(what: &str, place: &Path, error: &io::Error) -> Failure {
    Failure::failed("INPUT_OUTPUT", format!("cannot {what} `{}`: {error}", place.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_unfinished_output_leaves_nothing_behind_and_the_old_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out.csv");
        fs::write(&place, "old").unwrap();
        let mut out = WholeFile::create(&place, Readers::Umask).unwrap();
        out.write_all(b"half").unwrap();
        drop(out);
        assert_eq!(fs::read(&place).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_finished_output_appears_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out.csv");
        let mut out = WholeFile::create(&place, Readers::Owner).unwrap();
        out.write_all(b"whole").unwrap();
        assert!(!place.exists());
        out.finish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&place).unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "plaintext is for its owner");
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut out = WholeFile::create(&link, Readers::Umask).unwrap();
        out.write_all(b"new").unwrap();
        out.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_device_is_written_to_and_never_replaced() {
        let mut out = WholeFile::create(Path::new("/dev/null"), Readers::Umask).unwrap();
        out.write_all(b"gone").unwrap();
        out.finish().unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }

    #[test]
    fn a_directory_is_neither_read_nor_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(WholeFile::create(dir.path(), Readers::Umask).unwrap_err().exit, Exit::Usage);
        assert_eq!(open_input(dir.path()).unwrap_err().exit, Exit::Usage);
    }
}
