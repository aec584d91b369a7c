//! What can be wrong with a table, or with one of its cells.

use std::{fmt, io};

use crate::{
    failure::{Exit, Failure},
    print,
};

/// Why a run stopped. Lines are counted as an editor counts them, from 1; rows without the header, from 1.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// Nothing in it, or only blank lines.
    #[error("the input has no header row; the first row must name the columns")]
    NoHeader,
    /// Its byte-order mark says so.
    #[error("the input is UTF-16; convert it to UTF-8 first, for example with `iconv -f utf-16 -t utf-8`")]
    Utf16,
    /// `--id` or `--column` names something that is not there.
    #[error("the header has no column `{name}`; it has {found}")]
    NoSuchColumn {
        /// As given.
        name: String,
        /// What the header has.
        found: String,
    },
    /// `--column` names something that no object has, not even as null.
    #[error("no object has a value named `{}`; they have {found}", print::brief(name, 32))]
    InNoObject {
        /// As given.
        name: String,
        /// What the first objects have.
        found: String,
    },
    /// Which of the two is meant cannot be known.
    #[error("the header has column `{0}` twice; rename one of them")]
    ColumnTwice(String),
    /// More or fewer cells than the header.
    #[error(
        "line {line}: the row has {found} cells, the header {expected}; correct the row, or give the `--delimiter`"
    )]
    Ragged {
        /// Where the row begins.
        line: u64,
        /// Cells of the row.
        found: usize,
        /// Cells of the header.
        expected: usize,
    },
    /// The input ends inside quotes.
    #[error("line {line}: a quote opened in this row is never closed; is the file cut?")]
    OpenQuote {
        /// Where the row begins.
        line: u64,
    },
    /// It would not fit in memory for long.
    #[error("line {line}: the row is longer than {} MiB; is a closing quote missing?", super::frame::MAX_ROW >> 20)]
    RowTooLong {
        /// Where the row begins.
        line: u64,
    },
    /// Every row must say which record it is.
    #[error("line {line}: `{column}` is {problem}; every row needs its record id")]
    NoRecordId {
        /// Where the row begins.
        line: u64,
        /// The column of `--id`.
        column: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not a JSON object on one line.
    #[error("line {line}: {problem}; JSON Lines has one object a line")]
    Json {
        /// Which line.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A cell that could not be sealed or opened.
    #[error("{problem}")]
    Cell {
        /// Which, and why.
        problem: CellProblem,
        /// Whether any cell of the run was sealed or opened.
        others_turned: bool,
    },
    /// Not a matter of one cell: no key, no server, no permission.
    #[error("{0}")]
    Stopped(Failure),
    /// The input could not be read.
    #[error("cannot read the input: {0}")]
    Read(#[source] io::Error),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Write(#[source] io::Error),
    /// A worker ended without an answer.
    #[error("a worker ended before its work was done; please report this")]
    Lost,
}

impl ColumnsError {
    /// The same, in a run in which `turned` cells came before.
    pub(super) fn after(mut self, turned: u64) -> Self {
        if let Self::Cell { others_turned, .. } = &mut self {
            *others_turned |= turned > 0;
        }
        self
    }
}

/// One cell that failed, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellProblem {
    /// Counted without the header, from 1.
    pub row: u64,
    /// Where the row begins.
    pub line: u64,
    /// The column's name.
    pub column: String,
    /// Why.
    pub failure: Failure,
}

impl fmt::Display for CellProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, line, column, failure } = self;
        write!(f, "line {line}: row {row}, column `{}`: {}", print::harmless(column), failure.message)
    }
}

impl CellProblem {
    /// As the end of the run.
    pub fn ends_the_run(self, others_turned: bool) -> Failure {
        let message = self.to_string();
        let exit = match self.failure.exit {
            // Who opened other cells may open: this one names a key that is not theirs, or was changed.
            Exit::Denied if others_turned => Exit::Failed,
            exit => exit,
        };
        Failure { exit, message, ..self.failure }
    }
}

impl From<ColumnsError> for Failure {
    fn from(error: ColumnsError) -> Self {
        use ColumnsError as E;
        let message = error.to_string();
        let (exit, reason) = match error {
            E::Stopped(failure) => return failure,
            E::Cell { problem, others_turned } => return problem.ends_the_run(others_turned),
            E::NoSuchColumn { .. } | E::InNoObject { .. } | E::ColumnTwice(_) => {
                (Exit::Usage, "NO_SUCH_COLUMN")
            }
            E::NoHeader | E::Utf16 | E::Ragged { .. } | E::OpenQuote { .. } | E::RowTooLong { .. } => {
                (Exit::Failed, "MALFORMED_TABLE")
            }
            E::NoRecordId { .. } => (Exit::Failed, "NO_RECORD_ID"),
            E::Json { .. } => (Exit::Failed, "MALFORMED_TABLE"),
            E::Read(_) | E::Write(_) => (Exit::Failed, "INPUT_OUTPUT"),
            E::Lost => (Exit::Failed, "INTERNAL"),
        };
        Failure::new(exit, reason, message)
    }
}
