//! What a worker does with one batch: cells out of the rows, through the cipher, and back into their places.

use std::borrow::Cow;

use kms_core::field::{Header, text};

use super::{
    Action, Table,
    batch::{Batch, Row, Span},
    cipher::{Answers, Cell, CellCipher},
    csv,
    error::{CellProblem, ColumnsError},
    frame::Format,
    jsonl,
};
use crate::failure::Failure;

/// Most cells that are named when they fail; the rest is counted.
pub(super) const NAMED_PROBLEMS: usize = 20;

/// What came of a batch.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// The rows as they belong in the output.
    pub(super) bytes: Vec<u8>,
    pub(super) rows: u64,
    /// Bytes of input.
    pub(super) read: u64,
    /// Cells that were turned, a column.
    pub(super) cells: Vec<u64>,
    /// Cells that stay as they were (`--keep-going`).
    pub(super) failed: u64,
    /// The first of them.
    pub(super) problems: Vec<CellProblem>,
    /// Cells that were sealed although they looked sealed.
    pub(super) sealed_again: u64,
}

pub(super) struct Turner<'a, C> {
    pub(super) table: &'a Table,
    pub(super) action: Action,
    pub(super) keep_going: bool,
    pub(super) again: bool,
    pub(super) cipher: &'a C,
    pub(super) answers: Answers,
}

/// Which row of the batch, which column.
type Place = (usize, usize);
/// Cells in the order in which they stand in the batch.
type Contents<'b> = (Vec<Place>, Vec<Cow<'b, [u8]>>);

impl<C: CellCipher> Turner<'_, C> {
    /// Turns a batch; `out` is a buffer to use again.
    pub(super) fn turn(&mut self, batch: &Batch, mut out: Vec<u8>) -> Result<Turned, ColumnsError> {
        out.clear();
        let mut turned = Turned {
            bytes: out,
            rows: batch.rows.len() as u64,
            read: batch.bytes.len() as u64,
            cells: vec![0; self.table.columns.len()],
            ..Turned::default()
        };
        let (places, contents) = self.contents(batch, &mut turned)?;
        let ids = batch.rows.iter().zip(batch.spans.chunks(self.table.wanted()));
        let ids: Vec<_> =
            ids.map(|(row, spans)| self.record_id(batch, row, spans[0])).collect::<Result<_, _>>()?;
        let cells: Vec<_> = (places.iter().zip(&contents))
            .map(|((row, column), content)| Cell { column: *column, record: &ids[*row], content })
            .collect();
        self.answers.clear();
        self.cipher.turn(&cells, &mut self.answers).map_err(ColumnsError::Stopped)?;
        if self.answers.len() != cells.len() {
            return Err(ColumnsError::Lost);
        }
        self.write(batch, &places, &mut turned)?;
        Ok(turned)
    }

    /// The cells of the batch in the order in which they stand there.
    fn contents<'b>(&self, batch: &'b Batch, turned: &mut Turned) -> Result<Contents<'b>, ColumnsError> {
        let room = batch.rows.len() * self.table.columns.len();
        let (mut places, mut contents) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let mut order: Vec<usize> = (0..self.table.columns.len()).collect();
        for (row, spans) in batch.spans.chunks(self.table.wanted()).enumerate() {
            let spans = &spans[1..];
            order.sort_by_key(|column| spans[*column].start);
            for &column in order.iter().filter(|column| !spans[**column].is_absent()) {
                let raw = spans[column].of(&batch.bytes);
                let content = match (self.table.format, self.action) {
                    (Format::Csv { .. }, _) => csv::content(raw),
                    (Format::JsonLines, Action::Seal) => match jsonl::plaintext(raw) {
                        Some(content) => content,
                        None => continue,
                    },
                    (Format::JsonLines, _) if raw == b"null" => continue,
                    (Format::JsonLines, _) => jsonl::sealed(raw).0,
                };
                if self.action == Action::Seal && looks_sealed(&content, raw, self.table.format) {
                    self.may_seal_again(batch, row, column)?;
                    turned.sealed_again += 1;
                }
                places.push((row, column));
                contents.push(content);
            }
        }
        Ok((places, contents))
    }

    /// Refuses what a job that is run twice would do: what is sealed twice opens to sealed text, and nobody notices until then.
    fn may_seal_again(&self, batch: &Batch, row: usize, column: usize) -> Result<(), ColumnsError> {
        if self.again {
            return Ok(());
        }
        let failure = Failure::failed(
            "ALREADY_SEALED",
            "it is sealed already; `kms columns reseal` moves it to the active version, `--again` seals it once more",
        );
        let problem = self.problem(batch, row, column, failure);
        Err(ColumnsError::Cell { problem, others_turned: false })
    }

    fn problem(&self, batch: &Batch, row: usize, column: usize, failure: Failure) -> CellProblem {
        CellProblem {
            row: batch.rows_before + row as u64 + 1,
            line: batch.rows[row].line,
            column: self.table.columns[column].clone(),
            failure,
        }
    }

    fn record_id<'b>(&self, batch: &'b Batch, row: &Row, span: Span) -> Result<Cow<'b, [u8]>, ColumnsError> {
        let problem =
            |problem| ColumnsError::NoRecordId { line: row.line, column: self.table.id.clone(), problem };
        if span.is_absent() {
            return Err(problem("missing"));
        }
        let raw = span.of(&batch.bytes);
        let id = match self.table.format {
            Format::Csv { .. } => csv::content(raw),
            Format::JsonLines => {
                jsonl::record_id(raw).ok_or_else(|| problem("neither text nor an integer"))?
            }
        };
        match id.len() {
            0 => Err(problem("empty")),
            n if n > kms_core::names::MAX_VALUE => Err(problem("longer than 1,024 bytes")),
            _ => Ok(id),
        }
    }

    fn write(&self, batch: &Batch, places: &[Place], turned: &mut Turned) -> Result<(), ColumnsError> {
        let width = self.table.wanted();
        let mut next = places.iter().zip(self.answers.iter()).peekable();
        for (number, row) in batch.rows.iter().enumerate() {
            let mut at = row.whole.start;
            while let Some(((_, column), answer)) = next.next_if(|((row, _), _)| *row == number) {
                let span = batch.spans[number * width + 1 + column];
                turned.bytes.extend_from_slice(Span { start: at, end: span.start }.of(&batch.bytes));
                let raw = span.of(&batch.bytes);
                let written = match answer {
                    Ok(answer) => self.write_cell(raw, answer, &mut turned.bytes),
                    Err(failure) => Err(failure.clone()),
                };
                match written {
                    Ok(()) => turned.cells[*column] += 1,
                    Err(failure) => {
                        let problem = self.problem(batch, number, *column, failure);
                        // ATTACK: a cell that is not sealed never passes for one that is.
                        if !self.keep_going || self.action == Action::Seal {
                            let others_turned = self.answers.iter().any(|answer| answer.is_ok());
                            return Err(ColumnsError::Cell { problem, others_turned });
                        }
                        turned.failed += 1;
                        turned.bytes.extend_from_slice(raw);
                        if turned.problems.len() < NAMED_PROBLEMS {
                            turned.problems.push(problem);
                        }
                    }
                }
                at = span.end;
            }
            turned.bytes.extend_from_slice(Span { start: at, end: row.whole.end }.of(&batch.bytes));
        }
        Ok(())
    }

    fn write_cell(&self, raw: &[u8], answer: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        match (self.table.format, self.action) {
            // Sealed text keeps the quotes of its plaintext, so that opening gives them back.
            (Format::Csv { delimiter }, _) => csv::write_cell(answer, csv::is_quoted(raw), delimiter, out),
            (Format::JsonLines, Action::Seal) => jsonl::write_sealed(answer, jsonl::text(raw).is_some(), out),
            (Format::JsonLines, Action::Reseal) => jsonl::write_sealed(answer, jsonl::sealed(raw).1, out),
            (Format::JsonLines, Action::Open) => {
                if !jsonl::write_opened(answer, jsonl::sealed(raw).1, out) {
                    return Err(Failure::failed(
                        "NOT_TEXT",
                        "its content is not UTF-8, which JSON cannot hold",
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether a plaintext is what this product makes: `kf1.` text around a header that it knows.
fn looks_sealed(content: &[u8], raw: &[u8], format: Format) -> bool {
    let content = match format {
        Format::JsonLines if raw.starts_with(b"[") => jsonl::sealed(raw).0,
        _ => Cow::Borrowed(content),
    };
    content.starts_with(text::PREFIX.as_bytes())
        && std::str::from_utf8(&content)
            .is_ok_and(|sealed| text::decode(sealed).is_ok_and(|sealed| Header::parse(&sealed).is_ok()))
}
