//! What is known of each row of a page, and how it is counted.

use kms_proto::reason::Reason;

use super::{
    cell::Unreadable,
    columns::SealedColumn,
    open::Was,
    report::{Problem, Tally},
    row::{Row, What},
};
use crate::error::Error;

/// The reason of a row whose values are bound to nothing.
pub(super) const NO_RECORD_ID: &str = "NO_RECORD_ID";
/// The reason of a row without a subject whose key could open it.
const NO_SUBJECT: &str = "NO_SUBJECT";
/// The reason of an index column that holds neither bytes nor text.
const INDEX_MALFORMED: &str = "INDEX_MALFORMED";
/// The reason of a value that was never sealed, and is not taken any more.
const PLAINTEXT_NO_MORE: &str = "PLAINTEXT_NO_MORE";
/// The reason of a value that was sealed in a mode which its schema does not know.
const OTHER_MODE: &str = "OTHER_MODE";
/// The reason of a value that is longer than its column when it is sealed.
const TOO_LONG: &str = "TOO_LONG";
/// Exit code of what was denied.
const DENIED: u8 = 5;

/// What is known of the rows of a page.
#[derive(Debug)]
pub(super) struct Outcome {
    states: Vec<State>,
    problems: Vec<Problem>,
    erased: Vec<Problem>,
}

#[derive(Debug, Clone, Default)]
struct State {
    has_value: bool,
    what: What,
    failed: bool,
    erased: bool,
}

impl Outcome {
    pub(super) fn of(rows: usize) -> Self {
        Self { states: vec![State::default(); rows], problems: Vec::new(), erased: Vec::new() }
    }

    pub(super) fn has_value(&mut self, row: usize) {
        self.states[row].has_value = true;
    }

    pub(super) fn reseals(&mut self, row: usize, was: Was) {
        let what = &mut self.states[row].what;
        what.reseals = true;
        what.from_previous |= was == Was::OfOlderScheme;
        what.from_plaintext |= was == Was::NeverSealed;
    }

    pub(super) fn reindexes(&mut self, row: usize) {
        self.states[row].what.reindexes = true;
    }

    /// What is to be written of a row.
    pub(super) fn what(&self, row: usize) -> What {
        self.states[row].what
    }

    pub(super) fn problem(&mut self, row: &Row, at: usize, problem: Problem) {
        self.states[at].failed = true;
        self.problems.push(Problem { id: row.id.to_string(), ..problem });
    }

    /// The key of its subject is destroyed: nothing opens it any more, and nothing is wrong with that.
    pub(super) fn erased(&mut self, row: &Row, at: usize, problem: Problem) {
        self.states[at].erased = true;
        self.erased.push(Problem { id: row.id.to_string(), ..problem });
    }

    /// Rows by what became of them. Those to be written are counted when they have been.
    pub(super) fn tally(self, dry_run: bool) -> Tally {
        let mut tally = Tally {
            rows: self.states.len() as u64,
            problems: self.problems,
            erased_cells: self.erased,
            ..Tally::default()
        };
        for State { has_value, what, failed, erased } in self.states {
            let is_written = what != What::default();
            if is_written && dry_run {
                tally.written.add(1, what);
            }
            tally.failed += u64::from(failed);
            tally.erased += u64::from(erased);
            let stays = !is_written && !failed;
            tally.skipped += u64::from(stays && (erased || !has_value));
            tally.current += u64::from(stays && has_value && !erased);
        }
        tally
    }
}

/// Why a cell does not open or cannot be sealed.
pub(super) fn failed(column: &SealedColumn, error: &Error) -> Problem {
    let message = match error.reason() {
        Some(Reason::CiphertextMalformed) => "it is not a sealed value, or cut short".to_owned(),
        Some(Reason::CiphertextRejected) if !matches!(error, Error::OtherKey { .. }) => format!(
            "it does not open here: check that it was sealed for table `{}` and this id; or it was moved or changed",
            column.now.column.table()
        ),
        _ => error.to_string(),
    };
    Problem {
        reason: error.reason_word().into(),
        message,
        is_denied: error.exit_code() == DENIED,
        ..of(&column.stored_as)
    }
}

/// Why a cell is left as it is before any key is asked about.
pub(super) fn unreadable(column: &SealedColumn, why: &Unreadable) -> Problem {
    let (reason, message) = match why {
        Unreadable::Malformed(error) => return failed(column, error),
        Unreadable::PlaintextNoMore(until) => (
            PLAINTEXT_NO_MORE,
            format!(
                "it was never sealed, and `allow_plaintext` ended on {until}; give a later day to seal it"
            ),
        ),
        Unreadable::OtherMode => (
            OTHER_MODE,
            "it was sealed in another mode than the column's; name the older one in `previous(..)`"
                .to_owned(),
        ),
    };
    Problem { reason: reason.into(), message, ..of(&column.stored_as) }
}

/// Why a value stays what it was, although it can be read: nobody erases it by destroying the key that it should be under.
pub(super) fn left_readable(column: &SealedColumn, was: Was, error: &Error) -> Problem {
    let what = match was {
        Was::NeverSealed => "it was never sealed",
        Was::Current | Was::OfOtherVersion | Was::OfOlderScheme => "it is still sealed as it was before",
    };
    let message = format!("{what}, and cannot be sealed: {error}; clear it, or give it a key");
    Problem { message, ..failed(column, error) }
}

pub(super) fn too_long(column: &SealedColumn, len: usize, most: u32) -> Problem {
    let message = format!("sealed it is {len} long and the column holds {most}; make the column longer");
    Problem { reason: TOO_LONG.into(), message, ..of(&column.stored_as) }
}

pub(super) fn no_record(stored_as: &str) -> Problem {
    Problem {
        reason: NO_RECORD_ID.into(),
        message: "its row has no id that a value can be bound to: an integer, text of at most 1,024 bytes, or a UUID"
            .into(),
        ..of(stored_as)
    }
}

pub(super) fn no_subject(stored_as: &str) -> Problem {
    Problem {
        reason: NO_SUBJECT.into(),
        message: "its row names no subject: an integer, text of at most 128 printable ASCII characters without `/`, or a UUID"
            .into(),
        ..of(stored_as)
    }
}

pub(super) fn no_index(stored_as: &str) -> Problem {
    Problem {
        reason: INDEX_MALFORMED.into(),
        message: "the index column holds neither bytes nor NULL; it is left as it is".into(),
        ..of(stored_as)
    }
}

fn of(stored_as: &str) -> Problem {
    Problem {
        id: String::new(),
        column: stored_as.into(),
        reason: String::new(),
        message: String::new(),
        is_denied: false,
    }
}
