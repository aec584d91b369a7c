//! Runs a program under the recorder (`recorder.c`), and reads what that wrote down.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::OnceLock,
};

/// The file that the program appends to when something was acknowledged. It is no part of the disk.
pub(super) const ACKS: &str = "acks";

/// What a call did to the files below the root. Paths are relative to it.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Create(PathBuf),
    Directory(PathBuf),
    Write {
        path: PathBuf,
        offset: u64,
        data: Vec<u8>,
    },
    Length(PathBuf, u64),
    /// At least this long.
    Allocate(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// A file, or the names in a directory.
    Sync(PathBuf),
    SyncAll,
    /// The fault that was asked for was met.
    Fault,
    /// The program said something.
    Ack(String),
}

/// The names by which the recorder knows calls.
impl Event {
    pub(super) fn kind(&self) -> Option<(&'static str, &Path)> {
        Some(match self {
            Self::Create(path) => ("create", path),
            Self::Write { path, .. } => ("write", path),
            Self::Length(path, _) => ("truncate", path),
            Self::Allocate(path, _) => ("allocate", path),
            Self::Rename(from, _) => ("rename", from),
            Self::Remove(path) => ("unlink", path),
            Self::Sync(path) => ("sync", path),
            Self::Directory(_) | Self::SyncAll | Self::Fault | Self::Ack(_) => return None,
        })
    }
}

/// Where the program first said something.
pub(super) const SAID: &str = "/acks";

/// A call that is to fail.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: &'static str,
    pub(super) path: PathBuf,
    /// Counted from the first call on a file whose path ends in this.
    pub(super) after: &'static str,
    pub(super) nth: usize,
    pub(super) error: i32,
    /// And all that need room, from then on.
    pub(super) ever: bool,
}

/// Runs this test binary, with one test and these variables in its environment, and gives what it did below `root`.
pub(super) fn record(
    root: &Path,
    test: &str,
    variables: &[(&str, OsString)],
    fault: Option<&Fault>,
) -> Vec<Event> {
    let root = root.canonicalize().unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(recorder());
    command.arg(&root).arg(log.path());
    if let Some(Fault { kind, path, after, nth, error, ever }) = fault {
        let path = Path::new("/").join(path);
        command.args(["--fail", kind]).arg(path).args([nth.to_string(), error.to_string()]);
        command.args([if *ever { "ever" } else { "once" }, after]);
    }
    command.arg("--").arg(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    read(&fs::read(log.path()).unwrap(), &root)
}

/// The recorder, compiled once beside the test binary.
fn recorder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/erasure/tests/disk/recorder.c");
        let directory = env::current_exe().unwrap().parent().unwrap().to_path_buf();
        let (built, target) =
            (directory.join(format!("kms-recorder.{}", process::id())), directory.join("kms-recorder"));
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(&compiler);
        command.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-o"]).arg(&built).arg(source);
        let output = command.output().expect("a C compiler, `cc` or what `CC` names");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Another test process may be doing the same.
        fs::rename(&built, &target).unwrap();
        target
    })
}

fn read(mut log: &[u8], root: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    while !log.is_empty() {
        let number = |at: usize, size: usize| {
            let bytes = &log[at..at + size];
            if size == 4 {
                u64::from(u32::from_ne_bytes(bytes.try_into().unwrap()))
            } else {
                u64::from_ne_bytes(bytes.try_into().unwrap())
            }
        };
        let (kind, name, other) = (number(0, 4), number(4, 4) as usize, number(8, 4) as usize);
        let (size, offset, length) = (number(16, 8) as usize, number(24, 8), number(32, 8));
        let (text, rest) = log[40..].split_at(name + other);
        let (data, rest) = rest.split_at(size);
        log = rest;
        let relative = |path: &[u8]| {
            let path = Path::new(std::str::from_utf8(path).unwrap());
            path.strip_prefix(root).unwrap().to_path_buf()
        };
        let path = relative(&text[..name]);
        if path == Path::new(ACKS) {
            if kind == 3 {
                events.push(Event::Ack(std::str::from_utf8(data).unwrap().trim().to_owned()));
            }
            continue;
        }
        events.push(match kind {
            1 => Event::Create(path),
            2 => Event::Directory(path),
            3 => Event::Write { path, offset, data: data.to_vec() },
            4 => Event::Length(path, length),
            5 => Event::Allocate(path, offset + length),
            6 => Event::Rename(path, relative(&text[name..])),
            7 | 8 => Event::Remove(path),
            10 => Event::Sync(path),
            11 => Event::SyncAll,
            12 => Event::Fault,
            other => panic!("an entry of kind {other}: links are not replayed"),
        });
    }
    events
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, OpenOptions},
        io::Write,
        os::unix::fs::FileExt,
    };

    use super::*;

    const ROOT: &str = "KMS_TEST_RECORDED";

    /// Does one of each, by libc and past it; does nothing unless a test here started it.
    #[test]
    fn child() {
        let Some(root) = env::var_os(ROOT) else { return };
        let root = Path::new(&root);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(root.join("file")).unwrap();
        file.write_all_at(b"libc", 0).unwrap();
        assert_eq!(rustix::io::pwrite(&file, b"past it", 4).unwrap(), 7);
        (&file).write_all(b"L").unwrap();
        file.sync_data().unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 4096).unwrap();
        rustix::fs::fdatasync(&file).unwrap();
        fs::copy(root.join("file"), root.join("copy")).unwrap();
        fs::rename(root.join("file"), root.join("renamed")).unwrap();
        File::open(root).unwrap().sync_all().unwrap();
        let mut acks = OpenOptions::new().append(true).create(true).open(root.join(ACKS)).unwrap();
        acks.write_all(b"said\n").unwrap();
        let failed =
            fs::create_dir(root.join("full")).and_then(|()| fs::write(root.join("full/file"), "more"));
        let said = failed.map_or_else(|error| error.to_string(), |()| "written".into());
        acks.write_all(said.as_bytes()).unwrap();
        fs::remove_file(root.join("renamed")).unwrap();
    }

    fn recorded(fault: Option<&Fault>) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let events =
            record(root, "erasure::tests::disk::record::tests::child", &[(ROOT, root.into())], fault);
        let text = |event: Event| match event {
            Event::Write { path, offset, data } => {
                let text =
                    String::from_utf8_lossy(data.split(|byte| *byte == 0).next().unwrap()).into_owned();
                format!("write {} at {offset}: {text} ({})", path.display(), data.len())
            }
            other => format!("{other:?}").replace('"', ""),
        };
        events.into_iter().map(text).collect()
    }

    #[test]
    fn every_way_to_change_a_file_is_recorded_in_order() {
        let mut wanted = vec![
            "Create(file)",
            "write file at 0: libc (4)",
            "write file at 4: past it (7)",
            "write file at 0: L (1)",
            "Sync(file)",
            "Allocate(file, 4096)",
            "Sync(file)",
            "Create(copy)",
            "write copy at 0: Libcpast it (4096)",
            "Rename(file, renamed)",
            "Sync()",
            "Ack(said)",
            "Directory(full)",
            "Create(full/file)",
            "write full/file at 0: more (4)",
            "Ack(written)",
            "Remove(renamed)",
        ];
        assert_eq!(recorded(None), wanted);
        wanted.truncate(12);
        wanted.extend(["Directory(full)", "Create(full/file)", "Fault"]);
        wanted.extend(["Ack(No space left on device (os error 28))", "Remove(renamed)"]);
        let fault =
            Fault { kind: "write", path: "full/file".into(), after: SAID, nth: 1, error: 28, ever: true };
        assert_eq!(recorded(Some(&fault)), wanted);
    }
}
