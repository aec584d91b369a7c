//! What `verify` found, in types and in words.

use std::{fmt, path::Path, str::FromStr};

use super::{
    chain::{ChainHash, Position},
    head::{AuditKey, SignedHead},
};

/// What to hold an audit against.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The key that must have signed the heads. Without it `audit.pub` beside the segments is taken, which proves only that lines and
    /// key fit together.
    pub key: Option<AuditKey>,
    /// A head known from elsewhere: a store, an earlier export, a witness. Only this shows that the end was cut off.
    pub pin: Option<Pin>,
    /// Where the first segment must begin: the end of an earlier export.
    pub start: Option<Pin>,
}

/// How many lines there were once, and the hash of the last: `COUNT:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Number of lines.
    pub count: u64,
    /// Hash of the last of them.
    pub hash: ChainHash,
}

impl From<&SignedHead> for Pin {
    fn from(head: &SignedHead) -> Self {
        Self { count: head.count, hash: head.hash }
    }
}

impl From<Position> for Pin {
    fn from(at: Position) -> Self {
        Self { count: at.count, hash: at.hash }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.count, self.hash)
    }
}

impl FromStr for Pin {
    type Err = BadPin;
    fn from_str(text: &str) -> Result<Self, BadPin> {
        let (count, hash) = text.trim().split_once(':').ok_or(BadPin)?;
        let hash = ChainHash::from_hex(hash.as_bytes()).ok_or(BadPin)?;
        Ok(Self { count: count.parse().map_err(|_| BadPin)?, hash })
    }
}

/// Not `COUNT:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a head is given as `COUNT:HASH`: the number of lines and 64 hexadecimal digits")]
pub struct BadPin;

/// What an audit proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the first segment begins. Its count is 0 unless older ones were deleted or left out.
    pub start: Pin,
    /// Where the chain stands after the last line: keep it as a [`Pin`] for the next time.
    pub end: Pin,
    /// Segments read.
    pub segments: u64,
    /// Lines up to here, from the start, are complete and vouched for by a signed head or the pin. Nothing is where it equals the start.
    pub complete_to: u64,
    /// The key that checked the heads.
    pub key: AuditKey,
    /// Whether that key was given, rather than found beside the lines.
    pub key_given: bool,
    /// What is wrong, at most [`Report::MOST_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many things are wrong in all.
    pub wrong: u64,
    /// What happened and is accounted for.
    pub notes: Vec<Finding>,
}

impl Report {
    /// Findings kept; more are counted.
    pub const MOST_FINDINGS: usize = 1000;

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.wrong == 0
    }

    /// Lines after the last signed head: chained, vouched for by nothing.
    pub fn unanchored(&self) -> u64 {
        self.end.count - self.complete_to
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings.iter().chain(&self.notes) {
            writeln!(f, "{finding}")?;
        }
        if self.wrong > self.findings.len() as u64 {
            writeln!(f, "and {} more", self.wrong - self.findings.len() as u64)?;
        }
        write!(f, "complete to {}; {} lines after it unanchored", self.complete_to, self.unanchored())
    }
}

/// One thing, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// File name of the segment.
    pub segment: Box<str>,
    /// Line in that file, counted from 1.
    pub line: u64,
    /// What it is.
    pub what: What,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.segment, self.line, self.what)
    }
}

/// What can be wrong with an audit, or noteworthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// A line, or the one before it, is not what was written.
    #[error("the line was changed, or does not follow the one before it")]
    Changed,
    /// A line is none of ours.
    #[error("this is not a line of an audit, or of a version unknown here")]
    Malformed,
    /// The last line has no end.
    #[error("the line is cut off")]
    HalfLine,
    /// Lines are not there.
    #[error("lines {from} to {to} are missing before this one")]
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A line comes again, or too late.
    #[error("line {sequence} stands here again or out of order")]
    OutOfPlace {
        /// Its number.
        sequence: u64,
    },
    /// A file is not there.
    #[error("the segment before this one is missing")]
    SegmentMissing,
    /// The first line of a file does not belong there.
    #[error("the segment does not begin with its own first line, or is another instance's")]
    WrongHeader,
    /// A head was not signed by the key.
    #[error("the signed head in this line was not signed by the audit's key")]
    BadSignature,
    /// A head says otherwise than the lines before it.
    #[error("the signed head disagrees with the lines before it: some after line {since} were changed")]
    OtherThanSigned {
        /// Number of lines up to the head before.
        since: u64,
    },
    /// The first lines are not there, and nothing says that they were deleted in order.
    #[error("the audit begins at line {first}; give the end of the export before as its start")]
    StartMissing {
        /// Number of the first line there is.
        first: u64,
    },
    /// The audit does not begin where it must.
    #[error("the audit does not begin at the given start")]
    OtherStart,
    /// The pinned line is another one.
    #[error("the pinned head disagrees with the lines up to here")]
    OtherThanPinned,
    /// There are fewer lines than pinned.
    #[error("the pinned head counts {pinned} lines, and {found} are there: the end was cut off")]
    FewerThanPinned {
        /// Lines that there must be.
        pinned: u64,
        /// Lines that there are.
        found: u64,
    },
    /// The server found lines missing when it started, and said so.
    #[error("the server found lines {from} to {to} missing when it started")]
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A note: no number is missing, yet the server put something right, such as a half-written line.
    #[error("the server found the audit not as it had left it, when it started")]
    Restarted,
    /// A note: requests were refused since they could not be recorded.
    #[error("the audit could not be written before this line; the requests were refused")]
    Resumed,
}

/// The directory cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No segments.
    #[error(
        "`{0}` holds no audit segments; give the directory that `kms audit export` wrote, or the server's own"
    )]
    Empty(Box<Path>),
    /// No key.
    #[error("`{0}` holds no audit.pub that can be read; give the audit's public key")]
    NoKey(Box<Path>),
    /// Input failed.
    #[error("`{path}` cannot be read: {source}")]
    Io {
        /// Which directory.
        path: Box<Path>,
        /// What failed.
        source: std::io::Error,
    },
}
