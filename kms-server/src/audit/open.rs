//! Making an audit, and opening one: what a crash left is put right, what is missing is said.
//!
//! Nothing is ever thrown away. Bytes that do not continue the chain are moved to a file of their own, and a line says so; where lines
//! are missing, numbers go on behind them, so that one number never names two lines.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::{Instant, SystemTime},
};

use kms_core::id::InstanceId;

use super::{
    Options,
    chain::{Position, Sealed},
    disk::{Disk, RealDisk, reserve, sync_dir},
    head::{HeadKey, KEY_FILE, SignedHead},
    line,
    log::Writer,
    segment::{self, Header, SegmentFile, file_name, kind_of, step},
};

/// What was found when the audit was opened. Log every finding: none is ever to be silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Lines in the chain, those deleted after an export among them.
    pub lines: u64,
    /// Number of the first line that is still there.
    pub first: u64,
    /// What was not as it was left.
    pub findings: Vec<Found>,
}

impl Opened {
    /// Whether lines are missing or changed: AUDIT_GAP.
    pub fn is_gap(&self) -> bool {
        self.findings.iter().any(|found| !matches!(found, Found::TornTail { .. }))
    }
}

/// Something that was not as it was left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    /// The process or the machine died while it wrote; no whole line is lost by that.
    #[error("the last line of `{segment}` was half written; its {bytes} bytes are now in `{file}`")]
    TornTail {
        /// In which segment.
        segment: Box<str>,
        /// How much was moved.
        bytes: u64,
        /// Where to.
        file: Box<str>,
    },
    /// Lines do not continue the chain: power loss tore unsynced ones, or somebody changed them.
    #[error(
        "from line {line} on, `{segment}` does not continue the chain; {bytes} bytes are now in `{file}`"
    )]
    Broken {
        /// In which segment.
        segment: Box<str>,
        /// Number of the first line that is wrong.
        line: u64,
        /// How much was moved.
        bytes: u64,
        /// Where to.
        file: Box<str>,
    },
    /// The store remembers more lines than there are.
    #[error("AUDIT_GAP: the store remembers {stored} lines and {found} are there")]
    FewerLines {
        /// Lines of the stored head.
        stored: u64,
        /// Lines that are there.
        found: u64,
    },
    /// The line that the store remembers is another one.
    #[error("AUDIT_GAP: line {line} is not the one that the store remembers; run `kms audit verify`")]
    OtherLine {
        /// Its number.
        line: u64,
    },
    /// A segment is not there, or does not continue the one before.
    #[error("AUDIT_GAP: `{segment}` is missing or does not continue the segment before it")]
    Unlinked {
        /// Which.
        segment: Box<str>,
    },
}

/// The audit cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is one already.
    #[error("`{0}` already holds an audit; give another directory, or run the instance that is there")]
    Exists(Box<Path>),
    /// There is none.
    #[error("`{0}` holds no audit; restore it, or make a new instance with `kms-server init`")]
    Missing(Box<Path>),
    /// It is in use.
    #[error("another process uses the audit in `{0}`; stop it first")]
    Locked(Box<Path>),
    /// It is another instance's.
    #[error("the audit in `{dir}` belongs to instance {found}, not to {expected}")]
    OtherInstance {
        /// Where.
        dir: Box<Path>,
        /// Whose it is.
        found: InstanceId,
        /// Whose it should be.
        expected: InstanceId,
    },
    /// The stored head does not verify.
    #[error(
        "the audit head in the store was not signed by the audit key in `{0}`; restore the key that belongs to it"
    )]
    OtherKey(Box<Path>),
    /// Input or output failed.
    #[error("the audit in `{dir}` cannot be opened: {source}")]
    Io {
        /// Where.
        dir: Box<Path>,
        /// What failed.
        source: io::Error,
    },
}

/// Makes the key and the first segment.
pub(super) fn create(dir: &Path, instance: InstanceId) -> Result<(), OpenError> {
    if dir.join(KEY_FILE).exists() || segment::list(dir).is_ok_and(|segments| !segments.is_empty()) {
        return Err(OpenError::Exists(dir.into()));
    }
    let made = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        HeadKey::create(dir, instance)?;
        let (mut body, mut bytes, mut at) = (Vec::new(), Vec::new(), Position::start(instance));
        line::segment(&mut body, SystemTime::now(), instance, 1, at.hash);
        at.append(&mut bytes, &body);
        let file = RealDisk.create(&dir.join(file_name(1)), 0)?;
        RealDisk.write_at(&file, &bytes, 0)?;
        file.sync_all()?;
        sync_dir(dir)
    };
    made().map_err(|source| OpenError::Io { dir: dir.into(), source })
}

/// What opening yields for the log to go on with.
pub(super) struct Start {
    pub(super) key: HeadKey,
    pub(super) writer: Writer,
    pub(super) head_at: u64,
    pub(super) opened: Opened,
    /// Locked for as long as the log is open.
    pub(super) lock: File,
}

pub(super) fn open(options: &Options, disk: &dyn Disk) -> Result<Start, OpenError> {
    let dir = &*options.dir;
    let io_error = |source| OpenError::Io { dir: dir.into(), source };
    if !dir.join(KEY_FILE).exists() {
        return Err(OpenError::Missing(dir.into()));
    }
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join("lock"));
    let lock = lock.map_err(io_error)?;
    if !crate::effaceable::lock::lock(&lock).map_err(io_error)? {
        return Err(OpenError::Locked(dir.into()));
    }
    let key = HeadKey::load(dir, options.instance).map_err(io_error)?;
    if let Some(stored) = &options.stored_head
        && !key.public().verifies(stored)
    {
        return Err(OpenError::OtherKey(dir.into()));
    }
    let mut findings = Vec::new();
    let (segments, header) = usable_segments(dir, &mut findings)?;
    let Some((last, header)) = segments.last().zip(header) else {
        return Err(OpenError::Missing(dir.into()));
    };
    if header.instance != options.instance {
        let (found, expected) = (header.instance, options.instance);
        return Err(OpenError::OtherInstance { dir: dir.into(), found, expected });
    }
    let started = || -> io::Result<(Writer, u64, Opened)> {
        let first = check_links(&segments, options.instance, &mut findings)?;
        let survey = Survey::of(last, header, options.stored_head.as_ref())?;
        let aside = set_aside(dir, last, &survey, &mut findings)?;
        compare(options.stored_head.as_ref(), &survey, &segments, &mut findings)?;

        let file = OpenOptions::new().read(true).write(true).open(&last.path)?;
        let (at, length) = (survey.end, survey.length);
        let mut writer = Writer::new(file, last.number, length, at, begun(last));
        if !findings.is_empty() {
            confess(disk, &mut writer, options.stored_head.as_ref(), aside.as_ref())?;
        }
        disk.sync(&writer.file)?;
        reserve(&writer.file, writer.length, options.room().saturating_sub(writer.length));
        let head_at = if findings.is_empty() && survey.ends_with_head { at.count } else { 0 };
        let opened = Opened { lines: writer.at.count, first, findings };
        Ok((writer, head_at, opened))
    };
    let (writer, head_at, opened) = started().map_err(io_error)?;
    Ok(Start { key, writer, head_at, opened, lock })
}

/// The segments, and the first line of the last. A last segment without a whole first line is what a crash in the middle of rotation
/// leaves: it is taken away where it is empty, and moved aside otherwise.
fn usable_segments(
    dir: &Path,
    findings: &mut Vec<Found>,
) -> Result<(Vec<SegmentFile>, Option<Header>), OpenError> {
    let io_error = |source| OpenError::Io { dir: dir.into(), source };
    let mut segments = segment::list(dir).map_err(io_error)?;
    while let Some(last) = segments.last() {
        let header = last.header().map_err(io_error)?;
        if let Some(header) = header.filter(|header| header.number == last.number) {
            return Ok((segments, Some(header)));
        }
        let bytes = fs::metadata(&last.path).map_err(io_error)?.len();
        if bytes == 0 {
            fs::remove_file(&last.path).map_err(io_error)?;
        } else {
            let file = aside_name(dir, &last.name());
            fs::rename(&last.path, dir.join(&file)).map_err(io_error)?;
            let (segment, file) = (last.name().into(), file.into());
            findings.push(Found::Broken { segment, line: 1, bytes, file });
        }
        segments.pop();
    }
    Ok((segments, None))
}

/// Checks that each segment is there and begins where the one before ends, from first lines and last lines only; the number of the
/// first line of all.
fn check_links(segments: &[SegmentFile], instance: InstanceId, findings: &mut Vec<Found>) -> io::Result<u64> {
    let (mut first, mut before) = (0, None);
    for segment in segments {
        let header = segment.header()?.filter(|header| header.number == segment.number);
        let linked = match (header, before) {
            (Some(header), None) => {
                first = header.before.count;
                segment.number > 1 || header.before == Position::start(instance)
            }
            (Some(header), Some((number, end))) => segment.number == number + 1 && end == Some(header.before),
            (None, _) => false,
        };
        if !linked {
            findings.push(Found::Unlinked { segment: segment.name().into() });
        }
        before = Some((segment.number, segment.claimed_end()?));
    }
    Ok(first)
}

/// What the last segment holds.
struct Survey {
    /// After its last good line.
    end: Position,
    length: u64,
    lines: u64,
    ends_with_head: bool,
    /// Bytes after the last good line, and whether they hold a whole line.
    rest: u64,
    rest_has_lines: bool,
    /// Where the chain stood at the stored head's count, if that is in this segment.
    at_stored: Option<Position>,
}

impl Survey {
    fn of(segment: &SegmentFile, header: Header, stored: Option<&SignedHead>) -> io::Result<Self> {
        let size = fs::metadata(&segment.path)?.len();
        let mut survey = Self {
            end: header.before,
            length: 0,
            lines: 0,
            ends_with_head: false,
            rest: 0,
            rest_has_lines: false,
            at_stored: None,
        };
        let mut lines = segment.lines()?;
        while let Some(line) = lines.next()? {
            if stored.is_some_and(|stored| stored.count == survey.end.count) {
                survey.at_stored = Some(survey.end);
            }
            let Some(next) = step(survey.end, line.bytes).filter(|_| line.whole) else {
                survey.rest_has_lines = line.whole;
                break;
            };
            survey.end = next;
            survey.length = line.offset + line.bytes.len() as u64 + 1;
            survey.lines += 1;
            survey.ends_with_head = kind_of(line.bytes) == Some(b"head");
        }
        if stored.is_some_and(|stored| stored.count == survey.end.count) {
            survey.at_stored = Some(survey.end);
        }
        survey.rest = size - survey.length;
        Ok(survey)
    }
}

/// Moves what does not continue the chain to a file of its own.
fn set_aside(
    dir: &Path,
    segment: &SegmentFile,
    survey: &Survey,
    findings: &mut Vec<Found>,
) -> io::Result<Option<(Box<str>, u64)>> {
    let bytes = survey.rest;
    if bytes == 0 {
        return Ok(None);
    }
    let name = aside_name(dir, &segment.name());
    let mut from = File::open(&segment.path)?;
    from.seek(SeekFrom::Start(survey.length))?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(&name))?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()?;
    sync_dir(dir)?;
    // ORDER: a crash before this line moves them again, under another name.
    OpenOptions::new().write(true).open(&segment.path)?.set_len(survey.length)?;
    let (segment, file): (Box<str>, Box<str>) = (segment.name().into(), name.into());
    findings.push(if survey.rest_has_lines {
        Found::Broken { segment, line: survey.lines + 1, bytes, file: file.clone() }
    } else {
        Found::TornTail { segment, bytes, file: file.clone() }
    });
    Ok(Some((file, bytes)))
}

fn aside_name(dir: &Path, segment: &str) -> String {
    let free = |number: &u32| !dir.join(format!("{segment}.aside-{number}")).exists();
    format!("{segment}.aside-{}", (1..).find(free).unwrap_or(0))
}

/// Compares with the head that the store remembers.
fn compare(
    stored: Option<&SignedHead>,
    survey: &Survey,
    segments: &[SegmentFile],
    findings: &mut Vec<Found>,
) -> io::Result<()> {
    let Some(stored) = stored.filter(|stored| stored.count > 0) else { return Ok(()) };
    if stored.count > survey.end.count {
        findings.push(Found::FewerLines { stored: stored.count, found: survey.end.count });
        return Ok(());
    }
    let line = stored.count - 1;
    let found = match survey.at_stored {
        Some(at) => Some(at.hash),
        None => hash_of(segments, line)?,
    };
    // Lines that were exported and deleted are vouched for by the segment after them.
    if found.is_some_and(|hash| hash != stored.hash) {
        findings.push(Found::OtherLine { line });
    }
    Ok(())
}

/// The hash that a line of an older segment claims; `None` where it is there no more.
fn hash_of(segments: &[SegmentFile], sequence: u64) -> io::Result<Option<super::ChainHash>> {
    for segment in segments.iter().rev() {
        if segment.header()?.is_none_or(|header| header.before.count > sequence) {
            continue;
        }
        let mut lines = segment.lines()?;
        while let Some(line) = lines.next()? {
            if let Some(line) = Sealed::parse(line.bytes).filter(|line| line.sequence == sequence) {
                return Ok(Some(line.hash));
            }
        }
        break;
    }
    Ok(None)
}

/// Writes the line that says what is missing. Numbers go on behind what the store remembers.
fn confess(
    disk: &dyn Disk,
    writer: &mut Writer,
    stored: Option<&SignedHead>,
    aside: Option<&(Box<str>, u64)>,
) -> io::Result<()> {
    let (mut body, mut bytes) = (Vec::new(), Vec::new());
    let aside = aside.map(|(file, bytes)| (&**file, *bytes));
    line::gap(&mut body, SystemTime::now(), writer.at, aside);
    writer.at.count = writer.at.count.max(stored.map_or(0, |stored| stored.count));
    writer.at.append(&mut bytes, &body);
    disk.write_at(&writer.file, &bytes, writer.length)?;
    writer.length += bytes.len() as u64;
    writer.synced_length = writer.length;
    Ok(())
}

/// When a segment was begun, as the monotonic clock would have it; now, where its file does not say.
fn begun(segment: &SegmentFile) -> Instant {
    let made = fs::metadata(&segment.path).and_then(|metadata| metadata.created());
    let age = made.ok().and_then(|made| made.elapsed().ok());
    age.and_then(|age| Instant::now().checked_sub(age)).unwrap_or_else(Instant::now)
}
