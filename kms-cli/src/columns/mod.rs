//! Seals, opens and reseals columns of CSV and JSON Lines files of any size.
//!
//! What is not touched is written back byte for byte; see `kms columns --help`, which is a contract.
//!
//! # Layout
//! - [`cipher`]: the door to whatever seals; [`keyed`]: the key centre behind it.
//! - `frame`: batches of whole rows, bounded in memory; `csv`, `jsonl`: where cells stand; `batch`: their places.
//! - `turn`: one batch through the cipher; `pipeline`: reader, two workers and writer, order kept.
//! - [`error`]: what can be wrong.

mod batch;
pub mod cipher;
mod csv;
pub mod error;
mod frame;
mod jsonl;
pub mod keyed;
mod pipeline;
mod turn;

pub use frame::Format;
pub use pipeline::{Summary, run};

/// What is done to the cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Plaintext to `kf1.` text.
    Seal,
    /// `kf1.` text to plaintext.
    Open,
    /// `kf1.` text to `kf1.` text under the active version.
    Reseal,
}

/// Which cells of which table.
#[derive(Debug, Clone)]
pub struct Table {
    /// How it is written.
    pub format: Format,
    /// The column that holds the record id.
    pub id: String,
    /// The columns to turn, each once, none of them the record id.
    pub columns: Vec<String>,
}

impl Table {
    /// Record id and columns, in the order of a row's spans.
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str()).chain(self.columns.iter().map(String::as_str))
    }

    fn wanted(&self) -> usize {
        1 + self.columns.len()
    }
}

/// A run over one table.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which cells.
    pub table: Table,
    /// What to do with them.
    pub action: Action,
    /// Seals a cell once more that is sealed already; without it, the first such cell ends the run.
    pub again: bool,
    /// Leaves a cell that does not open as it is, and goes on.
    pub keep_going: bool,
    /// Threads that seal or open.
    pub workers: usize,
}

#[cfg(test)]
mod tests;
