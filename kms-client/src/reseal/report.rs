//! What a run did, and how far it is.

use std::time::Duration;

use super::row::Written;

/// Most rows that are named when they fail; the rest is counted.
pub(super) const NAMED_PROBLEMS: usize = 1_000;

/// A cell that is not sealed under the newest version, and cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The row's id.
    pub id: String,
    /// The column, as the database names it.
    pub column: String,
    /// Why, as a word for programs.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// Whether we may not open it, where somebody else may.
    pub is_denied: bool,
}

/// What a run did. Each row of the last pass counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows of the table.
    pub rows: u64,
    /// Rows that were written, or would be in a dry run.
    pub written: u64,
    /// Those of them in which a value was sealed anew.
    pub resealed: u64,
    /// Those of them in which a value was sealed otherwise before: one of the schema's `previous(..)`.
    pub from_previous: u64,
    /// Those of them in which a value was never sealed, where the schema lets such values be: `allow_plaintext(..)`.
    pub from_plaintext: u64,
    /// Those of them in which a blind index was made anew; a row can be among both.
    pub reindexed: u64,
    /// Rows in which everything was current when the run met them.
    pub already_current: u64,
    /// Rows that were passed over: without a value in any of the columns, or erased.
    pub skipped: u64,
    /// Rows of subjects whose keys are destroyed.
    pub erased: u64,
    /// The first thousand cells of such rows.
    pub erased_cells: Vec<Problem>,
    /// Rows with a cell that does not open, or is not sealed.
    pub failed: u64,
    /// The first thousand such cells.
    pub problems: Vec<Problem>,
    /// Rows that live writers changed or held in the last pass, before they could be written.
    pub overtaken: u64,
    /// Walks over the table.
    pub passes: u32,
    /// Whether the last of them found nothing to do.
    pub settled: bool,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Whether every value of the table is under the versions that sealed when the last pass met it.
    pub fn nothing_left(&self) -> bool {
        self.settled && self.failed == 0
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Which walk over the table, from 1; 0 while keys are asked about, and index keys settle.
    pub pass: u32,
    /// Rows of this pass that are done.
    pub rows: u64,
    /// Rows of the table when the run began.
    pub of: u64,
    /// Rows written in this run.
    pub written: u64,
}

/// What came of some rows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) written: Written,
    pub(super) overtaken: u64,
    pub(super) current: u64,
    pub(super) skipped: u64,
    pub(super) erased: u64,
    pub(super) failed: u64,
    pub(super) problems: Vec<Problem>,
    pub(super) erased_cells: Vec<Problem>,
}

impl Tally {
    pub(super) fn add(&mut self, more: Self) {
        let Self { rows, written, overtaken, current, skipped, erased, failed, problems, erased_cells } =
            more;
        self.rows += rows;
        self.written.take_in(written);
        self.overtaken += overtaken;
        self.current += current;
        self.skipped += skipped;
        self.erased += erased;
        self.failed += failed;
        for (kept, more) in [(&mut self.problems, problems), (&mut self.erased_cells, erased_cells)] {
            let room = NAMED_PROBLEMS.saturating_sub(kept.len());
            kept.extend(more.into_iter().take(room));
        }
    }
}
