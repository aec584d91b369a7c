//! Output that is whole or absent: written beside its place under another name, synced, and renamed at the end.
//!
//! Standard output, and anything that is not a regular file (a pipe, `/dev/null`), is written as it comes: there is nothing to rename.

use std::{
    fs::{File, Metadata, Permissions},
    io::{self, Write},
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// Who may read the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Only the owner: it holds plaintext.
    Owner,
    /// It is sealed: who may read what it replaces; where it is new, whom these bits and the umask let.
    Mode(u32),
}

impl Readers {
    /// Nobody who may not read `input`, which is sealed into the result.
    pub fn of_sealed(input: &File) -> Self {
        let mode = input.metadata().ok().filter(Metadata::is_file).map(|meta| meta.permissions().mode());
        Self::Mode(mode.unwrap_or(0o666))
    }
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
        let mut replaced = None;
        match place.metadata() {
            Ok(meta) if meta.is_dir() => {
                return Err(is_directory(&place));
            }
            Ok(meta) if !meta.is_file() => {
                let stream =
                    File::options().write(true).open(&place).map_err(|e| cannot("write to", &place, &e))?;
                return Ok(Self::Stream(stream));
            }
            Ok(meta) => replaced = Some(meta.permissions()),
            Err(_) => {}
        }
        let directory = place.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            let message = format!("the directory `{}` is not there; make it first", directory.display());
            return Err(Failure::failed("INPUT_OUTPUT", message));
        }
        let name = place.file_name().ok_or_else(|| Failure::usage("the output has no file name"))?;
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::Mode(mode) => mode & 0o666 | 0o600,
        };
        let temp = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".tmp")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(directory)
            .map_err(|e| cannot_create(directory, &e))?;
        if let (Readers::Mode(_), Some(permissions)) = (readers, replaced) {
            temp.as_file()
                .set_permissions(permissions)
                .map_err(|e| cannot("give its mode to", &place, &e))?;
        }
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
        Ok(meta) if meta.is_dir() => Err(is_directory(place)),
        _ => Ok(file),
    }
}

fn is_directory(place: &Path) -> Failure {
    Failure::failed("INPUT_OUTPUT", format!("`{}` is a directory; name a file", place.display()))
}

/// The file has a name of ours, which says nothing to who reads it: only what happened is passed on.
fn cannot_create(directory: &Path, error: &io::Error) -> Failure {
    cannot("create a file in", directory, &error.kind().into())
}

fn cannot(what: &str, place: &Path, error: &io::Error) -> Failure {
    Failure::failed("INPUT_OUTPUT", format!("cannot {what} `{}`: {error}", place.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::failure::Exit;

    fn mode(place: &Path) -> u32 {
        fs::metadata(place).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_unfinished_output_leaves_nothing_behind_and_the_old_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out.csv");
        fs::write(&place, "old").unwrap();
        let mut out = WholeFile::create(&place, Readers::Mode(0o666)).unwrap();
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
        assert_eq!(mode(&place) & 0o077, 0, "plaintext is for its owner");
    }

    #[test]
    fn what_is_sealed_is_read_by_nobody_new() {
        let dir = tempfile::tempdir().unwrap();
        let (input, place) = (dir.path().join("in.csv"), dir.path().join("out.csv"));
        fs::write(&input, "in").unwrap();
        let sealed = || {
            let readers = Readers::of_sealed(&open_input(&input).unwrap());
            WholeFile::create(&place, readers).unwrap().finish().unwrap();
            mode(&place)
        };
        let change = |place: &Path, mode| fs::set_permissions(place, Permissions::from_mode(mode)).unwrap();
        change(&input, 0o600);
        assert_eq!(sealed(), 0o600, "a new one is no wider than what was sealed");
        change(&place, 0o640);
        assert_eq!(sealed(), 0o640, "one that is replaced keeps its mode");
        change(&input, 0o644);
        change(&place, 0o600);
        assert_eq!(sealed(), 0o600);
        assert_eq!(Readers::of_sealed(&open_input(Path::new("/dev/null")).unwrap()), Readers::Mode(0o666));
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut out = WholeFile::create(&link, Readers::Mode(0o666)).unwrap();
        out.write_all(b"new").unwrap();
        out.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_device_is_written_to_and_never_replaced() {
        let mut out = WholeFile::create(Path::new("/dev/null"), Readers::Mode(0o666)).unwrap();
        out.write_all(b"gone").unwrap();
        out.finish().unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }

    #[test]
    fn a_directory_is_neither_read_nor_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(WholeFile::create(dir.path(), Readers::Mode(0o666)).unwrap_err().exit, Exit::Failed);
        assert_eq!(open_input(dir.path()).unwrap_err().exit, Exit::Failed);
        assert_eq!(open_input(&dir.path().join("missing")).unwrap_err().exit, Exit::Failed);
    }

    #[test]
    fn an_output_that_cannot_be_made_is_told_by_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("no/out.csv");
        let failure = WholeFile::create(&place, Readers::Owner).unwrap_err();
        let expected =
            format!("the directory `{}` is not there; make it first", dir.path().join("no").display());
        assert_eq!((failure.exit, failure.message), (Exit::Failed, expected));
        let denied = io::Error::new(io::ErrorKind::PermissionDenied, "at path .out.csv.x7.tmp");
        let failure = cannot_create(Path::new("out"), &denied);
        assert_eq!(failure.message, "cannot create a file in `out`: permission denied");
    }
}
