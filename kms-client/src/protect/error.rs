//! What can go wrong with a row. Names the table and the column, never a value.

use kms_core::{encoding::EncodingError, names::NameError};
use kms_proto::reason::Reason;

use crate::error::Error;

/// Why a row was not sealed or opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{table}.{column}`: {problem}")]
pub struct ProtectError {
    table: Box<str>,
    column: Box<str>,
    #[source]
    problem: FieldProblem,
}

/// What is wrong with one column of a row.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FieldProblem {
    /// There is no key for it, or it does not seal or open.
    #[error(transparent)]
    Kms(#[from] Error),
    /// The value names no tenant, row or subject.
    #[error("it cannot name what it is to name: {0}")]
    Name(#[from] NameError),
    /// The value has no encoding, or what was opened is no value of the field's type.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// What was opened is no JSON of the field's type, or the value has no JSON.
    // The message of the JSON library is left out: it quotes the value.
    #[error("the value is not JSON of the field's type (at byte {at}); has the type changed?")]
    Json {
        /// Where reading stopped.
        at: usize,
    },
    /// A number that the field's type does not hold.
    #[error("the number does not fit the field's type; has the type changed?")]
    Range,
    /// More than the column holds, so the database would cut it or refuse it.
    #[error(
        "sealed it is {len} long and the column holds {max}; make the column longer, and `max_len` with it"
    )]
    TooLong {
        /// Characters or bytes when sealed.
        len: usize,
        /// What the column holds.
        max: u32,
    },
    /// A value that was never sealed, where none is taken.
    #[error("the value is not sealed; seal it, or let `allow_plaintext(until = ..)` take it for a time")]
    Plaintext,
    /// A value that was never sealed, and the time for it is over.
    #[error("the value is not sealed, and `allow_plaintext` ended on {until}; seal what is left")]
    PlaintextNoMore {
        /// The last day on which it was taken.
        until: Box<str>,
    },
    /// Sealed in another mode than the column's, which binds it less or otherwise.
    #[error("the value was sealed in another mode than the column's; name the older one in `previous(..)`")]
    OtherMode,
    /// NULL in a field that is not `Option`.
    #[error("there is no value; make the field an `Option`")]
    Null,
}

impl ProtectError {
    pub(super) fn new(table: &str, column: &str, problem: impl Into<FieldProblem>) -> Self {
        Self { table: table.into(), column: column.into(), problem: problem.into() }
    }

    /// The table, as the database calls it.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The column, as the database calls it.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// What is wrong.
    pub fn problem(&self) -> &FieldProblem {
        &self.problem
    }

    /// The reason, where it is one that the key centre has a word for.
    pub fn reason(&self) -> Option<Reason> {
        match &self.problem {
            FieldProblem::Kms(error) => error.reason(),
            FieldProblem::Name(_) => Some(Reason::NameInvalid),
            _ => None,
        }
    }

    /// Whether the same can succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(&self.problem, FieldProblem::Kms(error) if error.is_retryable())
    }
}
