//! Reads a table in batches of whole rows. Memory is bounded by the batch size and the longest row, never by the file.

use std::io::{self, Read};

use super::{
    Table,
    batch::{Batch, Row, Span},
    csv::{self, Split},
    error::ColumnsError,
    jsonl,
};
use crate::{failure::Failure, print};

/// Most bytes of one row.
pub(super) const MAX_ROW: usize = 8 << 20;
/// Most names that an error quotes.
const NAMES_SHOWN: usize = 8;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How the table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header row, then rows; cells divided by `delimiter`.
    Csv {
        /// One byte, such as `,` or a tab.
        delimiter: u8,
    },
    /// One JSON object a line.
    JsonLines,
}

impl Format {
    /// CSV with this delimiter.
    ///
    /// # Errors
    /// Where sealed text, or a quote, could contain it.
    pub fn csv(delimiter: char) -> Result<Self, Failure> {
        let taken = delimiter.is_ascii_alphanumeric() || "._-\"\r\n".contains(delimiter);
        match u8::try_from(delimiter) {
            Ok(delimiter) if delimiter.is_ascii() && !taken => Ok(Self::Csv { delimiter }),
            _ => Err(Failure::usage(format!(
                "{delimiter:?} cannot divide cells; give one such as `,` or `;` or a tab"
            ))),
        }
    }
}

pub(super) struct BatchReader<'a, R> {
    input: R,
    table: &'a Table,
    target: usize,
    /// Bytes read that belong to the next batch.
    rest: Vec<u8>,
    ended: bool,
    line: u64,
    /// Rows given out so far.
    pub(super) rows: u64,
    header: Header,
    objects: Objects,
    pub(super) blank_lines: u64,
}

/// What JSON Lines has in place of a header: the names that stood in its objects.
#[derive(Default)]
struct Objects {
    /// Which of the wanted stood in any object so far.
    seen: Vec<bool>,
    /// The first other names.
    others: Vec<Vec<u8>>,
}

impl Objects {
    fn saw_other(&mut self, name: &str) {
        if self.others.len() <= NAMES_SHOWN && !self.others.iter().any(|known| known == name.as_bytes()) {
            self.others.push(name.into());
        }
    }
}

/// What the header row says; JSON Lines has none.
#[derive(Default)]
struct Header {
    cells: usize,
    /// Each wanted cell in the order of the row: (place in the row, place among the wanted).
    wanted: Vec<(usize, usize)>,
}

impl<'a, R: Read> BatchReader<'a, R> {
    /// Reads up to the first row: answers what stands before it (byte-order mark, header), to be written as it is.
    pub(super) fn start(input: R, table: &'a Table, target: usize) -> Result<(Self, Vec<u8>), ColumnsError> {
        let mut reader = Self {
            input,
            table,
            target,
            rest: Vec::new(),
            ended: false,
            line: 1,
            rows: 0,
            header: Header::default(),
            objects: Objects { seen: vec![false; table.wanted()], others: Vec::new() },
            blank_lines: 0,
        };
        let mut bytes = Vec::new();
        reader.fill(&mut bytes, target.max(BYTE_ORDER_MARK.len()))?;
        let mark = byte_order_mark(&bytes)?;
        let (start, end) = match table.format {
            Format::Csv { delimiter } => reader.header_row(&mut bytes, mark, delimiter)?,
            Format::JsonLines => (mark, mark),
        };
        reader.rest.extend_from_slice(&bytes[end..]);
        let preamble = [&bytes[..mark], &bytes[start..end]].concat();
        Ok((reader, preamble))
    }

    /// Fills `batch` with the next rows; `false` at the end of the input.
    pub(super) fn next(&mut self, batch: &mut Batch) -> Result<bool, ColumnsError> {
        batch.clear();
        batch.rows_before = self.rows;
        batch.bytes.append(&mut self.rest);
        let mut from = 0;
        loop {
            // A row longer than the batch makes the batch grow, by doubling so that it is not scanned again too often.
            let have = batch.bytes.len();
            self.fill(&mut batch.bytes, if have < self.target { self.target } else { have * 2 })?;
            from = match self.table.format {
                Format::Csv { delimiter } => self.take_csv_rows(batch, from, delimiter)?,
                Format::JsonLines => self.take_lines(batch, from)?,
            };
            if self.ended || !batch.rows.is_empty() {
                break;
            }
            batch.bytes.drain(..from);
            from = 0;
            self.check_length(&batch.bytes)?;
        }
        if batch.bytes.len() > MAX_ROW {
            let too_long = batch.rows.iter().find(|row| row.whole.of(&batch.bytes).len() > MAX_ROW);
            too_long.map_or(Ok(()), |row| Err(ColumnsError::RowTooLong { line: row.line }))?;
        }
        self.rest.extend_from_slice(&batch.bytes[from..]);
        self.rows += batch.rows.len() as u64;
        Ok(!batch.rows.is_empty())
    }

    /// After the last row: whether what was asked for stood anywhere. A name with a slip in it must not leave plaintext behind
    /// that passes for sealed.
    pub(super) fn saw_all_columns(&self) -> Result<(), ColumnsError> {
        if self.rows == 0 || self.table.format != Format::JsonLines {
            return Ok(());
        }
        let names = || self.table.names().zip(&self.objects.seen);
        let Some((missing, _)) = names().find(|(_, seen)| !**seen) else { return Ok(()) };
        let seen = names().filter(|(_, seen)| **seen).map(|(name, _)| name.as_bytes().to_vec());
        let found: Vec<_> = seen.chain(self.objects.others.iter().cloned()).collect();
        Err(ColumnsError::InNoObject { name: missing.into(), found: some_of(&found) })
    }

    fn check_length(&self, row: &[u8]) -> Result<(), ColumnsError> {
        if row.len() > MAX_ROW { Err(ColumnsError::RowTooLong { line: self.line }) } else { Ok(()) }
    }

    fn fill(&mut self, bytes: &mut Vec<u8>, wanted: usize) -> Result<(), ColumnsError> {
        let mut have = bytes.len();
        bytes.resize(wanted.max(have), 0);
        while have < wanted && !self.ended {
            match self.input.read(&mut bytes[have..]) {
                Ok(0) => self.ended = true,
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ColumnsError::Read(error)),
            }
        }
        bytes.truncate(have);
        Ok(())
    }

    /// Finds the header row; answers where it begins and ends.
    fn header_row(
        &mut self,
        bytes: &mut Vec<u8>,
        mut from: usize,
        delimiter: u8,
    ) -> Result<(usize, usize), ColumnsError> {
        loop {
            if self.ended && from == bytes.len() {
                return Err(ColumnsError::NoHeader);
            }
            let mut names = Vec::new();
            let split = csv::split_row(bytes, from, delimiter, self.ended, |_, start, end| {
                names.push(csv::content(&bytes[start..end]).into_owned());
            });
            match split {
                Split::Row { end, next, line_breaks } => {
                    self.line += line_breaks;
                    if end > from {
                        self.header = Header { cells: names.len(), wanted: self.places(&names)? };
                        return Ok((from, next));
                    }
                    self.blank_lines += 1;
                    from = next;
                }
                Split::OpenQuote => return Err(ColumnsError::OpenQuote { line: self.line }),
                Split::Incomplete => {
                    self.check_length(&bytes[from..])?;
                    let have = bytes.len();
                    self.fill(bytes, have * 2)?;
                }
            }
        }
    }

    fn take_csv_rows(
        &mut self,
        batch: &mut Batch,
        mut from: usize,
        delimiter: u8,
    ) -> Result<usize, ColumnsError> {
        let Batch { bytes, rows, spans, .. } = batch;
        let width = self.table.wanted();
        while from < bytes.len() {
            let first = spans.len();
            spans.resize(first + width, Span::ABSENT);
            let mut wanted = self.header.wanted.iter().peekable();
            let mut found = 0;
            let split = csv::split_row(bytes, from, delimiter, self.ended, |cell, start, end| {
                found = cell + 1;
                while let Some((_, slot)) = wanted.next_if(|(place, _)| *place == cell) {
                    spans[first + slot] = Span::new(start, end);
                }
            });
            let line = self.line;
            let (end, next) = match split {
                Split::Row { end, next, line_breaks } => {
                    self.line += line_breaks;
                    (end, next)
                }
                Split::OpenQuote => return Err(ColumnsError::OpenQuote { line }),
                Split::Incomplete => {
                    spans.truncate(first);
                    return Ok(from);
                }
            };
            if end == from {
                spans.truncate(first);
                self.blank_lines += 1;
            } else if found != self.header.cells {
                return Err(ColumnsError::Ragged { line, found, expected: self.header.cells });
            } else {
                rows.push(Row { whole: Span::new(from, next), line });
            }
            from = next;
        }
        Ok(from)
    }

    fn places(&self, names: &[Vec<u8>]) -> Result<Vec<(usize, usize)>, ColumnsError> {
        let mut wanted = Vec::new();
        for (slot, name) in self.table.names().enumerate() {
            let mut places = names.iter().enumerate().filter(|(_, n)| n.as_slice() == name.as_bytes());
            let Some((place, _)) = places.next() else {
                return Err(ColumnsError::NoSuchColumn { name: name.into(), found: some_of(names) });
            };
            if places.next().is_some() {
                return Err(ColumnsError::ColumnTwice(name.into()));
            }
            wanted.push((place, slot));
        }
        wanted.sort_unstable();
        Ok(wanted)
    }

    fn take_lines(&mut self, batch: &mut Batch, mut from: usize) -> Result<usize, ColumnsError> {
        let width = self.table.wanted();
        while from < batch.bytes.len() {
            let newline = memchr::memchr(b'\n', &batch.bytes[from..]).map(|n| from + n + 1);
            let Some(next) = newline.or(self.ended.then_some(batch.bytes.len())) else { return Ok(from) };
            let line = self.line;
            self.line += 1;
            if batch.bytes[from..next].trim_ascii().is_empty() {
                self.blank_lines += 1;
            } else {
                let first = batch.spans.len();
                batch.spans.resize(first + width, Span::ABSENT);
                let problem = |problem| ColumnsError::Json { line, problem };
                let text = std::str::from_utf8(&batch.bytes[from..next])
                    .map_err(|_| problem("the line is not UTF-8".into()))?;
                let spans = &mut batch.spans[first..];
                let (table, objects) = (self.table, &mut self.objects);
                jsonl::split_object(text, |name, start, end| {
                    let Some(slot) = table.names().position(|wanted| wanted == name) else {
                        objects.saw_other(&name);
                        return Ok(());
                    };
                    objects.seen[slot] = true;
                    if !spans[slot].is_absent() {
                        return Err(format!("the line has `{name}` twice"));
                    }
                    spans[slot] = Span::new(from + start, from + end);
                    Ok(())
                })
                .map_err(problem)?;
                batch.rows.push(Row { whole: Span::new(from, next), line });
            }
            from = next;
        }
        Ok(from)
    }
}

/// The first names of a header, each cut where it is long: what is no table may have any number of any length.
fn some_of(names: &[Vec<u8>]) -> String {
    let shown = names.iter().take(NAMES_SHOWN);
    let mut shown: Vec<_> =
        shown.map(|name| format!("`{}`", print::brief(&String::from_utf8_lossy(name), 32))).collect();
    if names.len() > NAMES_SHOWN {
        shown.push("and more".into());
    }
    shown.join(", ")
}

/// Length of the byte-order mark that `bytes` begin with.
fn byte_order_mark(bytes: &[u8]) -> Result<usize, ColumnsError> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(ColumnsError::Utf16),
        _ => Ok(if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }),
    }
}
