//! What becomes of a page: what is not current is opened and sealed again.

use kms_core::{
    field::{Header, text},
    names::RecordId,
    secret::Plaintext,
};
use kms_proto::reason::Reason;

use super::{
    newest::Newest,
    report::{Problem, Tally},
    row::{Cell, Change, Row, Swap},
};
use crate::{
    error::Error,
    records::{Column, Records, ToOpenField, ToSealField},
};

/// Turns pages.
#[derive(Debug)]
pub(super) struct Turner {
    records: Records,
    /// As the database names them.
    names: Vec<String>,
    columns: Vec<Column>,
    newest: Vec<Newest>,
    dry_run: bool,
}

/// What came of a page.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// What is to be written; in a dry run, nothing.
    pub(super) changes: Vec<Change>,
    pub(super) tally: Tally,
}

/// Which row of the page, which column.
type Place = (usize, usize);

/// A cell that is not current.
struct Stale {
    place: Place,
    ciphertext: Vec<u8>,
}

impl Turner {
    pub(super) async fn new(
        records: Records,
        columns: &[(String, Column)],
        dry_run: bool,
    ) -> Result<Self, Error> {
        let (names, columns): (Vec<_>, Vec<_>) = columns.iter().cloned().unzip();
        let mut newest = Vec::with_capacity(columns.len());
        for column in &columns {
            newest.push(Newest::of(&records, column).await?);
        }
        Ok(Self { records, names, columns, newest, dry_run })
    }

    /// Opens and seals what of a page is not current.
    pub(super) async fn turn(&mut self, rows: Vec<Row>) -> Result<Turned, Error> {
        let mut outcome = Outcome::of(rows.len());
        let stale = self.stale(&rows, &mut outcome).await?;
        let records: Vec<Option<RecordId>> = rows.iter().map(Row::record).collect();
        let mut placed = Vec::with_capacity(stale.len());
        for stale in stale {
            let (row, column) = stale.place;
            match &records[row] {
                Some(record) => placed.push((stale, record)),
                None => outcome.problem(&rows[row], row, self.no_record(column)),
            }
        }
        let opened = self.open(&rows, placed, &mut outcome).await?;
        let changes = match self.dry_run {
            true => {
                opened.iter().for_each(|open| outcome.states[open.place.0].stale = true);
                Vec::new()
            }
            false => self.seal(&rows, opened, &mut outcome).await?,
        };
        Ok(Turned { changes, tally: outcome.tally(self.dry_run) })
    }

    /// The cells that are not current; what is current is told by its header, without opening it.
    async fn stale(&mut self, rows: &[Row], outcome: &mut Outcome) -> Result<Vec<Stale>, Error> {
        let mut sealed = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            for (column, cell) in row.cells.iter().enumerate() {
                let Some(read) = ciphertext(cell) else { continue };
                outcome.states[at].has_value = true;
                match read {
                    Ok((header, ciphertext)) => {
                        sealed.push((header, Stale { place: (at, column), ciphertext }));
                    }
                    Err(error) => outcome.problem(row, at, self.failed(column, &error)),
                }
            }
        }
        for (column, newest) in self.newest.iter_mut().enumerate() {
            let met = sealed.iter().filter(|(_, stale)| stale.place.1 == column);
            newest.meet(&self.records, met.map(|(header, _)| header.version)).await?;
        }
        let is_stale = |(header, stale): &(Header, Stale)| !self.newest[stale.place.1].is_that_of(header);
        Ok(sealed.into_iter().filter(is_stale).map(|(_, stale)| stale).collect())
    }

    async fn open<'r>(
        &self,
        rows: &[Row],
        stale: Vec<(Stale, &'r RecordId)>,
        outcome: &mut Outcome,
    ) -> Result<Vec<Open<'r>>, Error> {
        let item = |(stale, record): &(Stale, &'r RecordId)| (stale.place, *record);
        let items: Vec<_> = stale
            .iter()
            .map(|(stale, record)| ToOpenField {
                column: &self.columns[stale.place.1],
                record,
                ciphertext: &stale.ciphertext,
            })
            .collect();
        let mut opened = Vec::with_capacity(items.len());
        for ((place, record), result) in stale.iter().map(item).zip(self.records.open_batch(&items).await) {
            match result {
                Ok(plaintext) => opened.push(Open { place, record, plaintext }),
                Err(error) if error.is_about_one_value() => {
                    outcome.problem(&rows[place.0], place.0, self.failed(place.1, &error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    async fn seal(
        &self,
        rows: &[Row],
        opened: Vec<Open<'_>>,
        outcome: &mut Outcome,
    ) -> Result<Vec<Change>, Error> {
        let item = |open: &'_ Open<'_>| open.place;
        let items: Vec<_> = opened
            .iter()
            .map(|open| ToSealField {
                column: &self.columns[open.place.1],
                record: open.record,
                plaintext: open.plaintext.as_bytes(),
            })
            .collect();
        let mut changes: Vec<(usize, Change)> = Vec::new();
        for ((row, column), result) in opened.iter().map(item).zip(self.records.seal_batch(&items).await) {
            let sealed = match result {
                Ok(sealed) => sealed,
                Err(error) if error.is_about_one_value() => {
                    outcome.problem(&rows[row], row, self.failed(column, &error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            // Cells come row by row, so that the row at hand is the last one.
            if changes.last().is_none_or(|(last, _)| *last != row) {
                let cells = vec![None; self.columns.len()];
                changes.push((row, Change { id: rows[row].id.clone(), cells }));
            }
            outcome.states[row].stale = true;
            if let Some((_, change)) = changes.last_mut() {
                let old = rows[row].cells[column].clone();
                let new = match old {
                    Cell::Text(_) => Cell::Text(text::encode(&sealed)),
                    _ => Cell::Bytes(sealed),
                };
                change.cells[column] = Some(Swap { old, new });
            }
        }
        Ok(changes.into_iter().map(|(_, change)| change).collect())
    }

    fn failed(&self, column: usize, error: &Error) -> Problem {
        let message = match error.reason() {
            Some(Reason::CiphertextMalformed) => "it is not a sealed value, or cut short".to_owned(),
            Some(Reason::CiphertextRejected) if !matches!(error, Error::OtherKey { .. }) => format!(
                "it does not open here: check that it was sealed for table `{}` and this id; or it was moved or changed",
                self.columns[column].table()
            ),
            _ => error.to_string(),
        };
        Problem {
            id: String::new(),
            column: self.names[column].clone(),
            reason: error.reason_word().into(),
            message,
            is_denied: error.exit_code() == DENIED,
        }
    }

    fn no_record(&self, column: usize) -> Problem {
        Problem {
            id: String::new(),
            column: self.names[column].clone(),
            reason: NO_RECORD_ID.into(),
            message: "its row has no id that a value can be bound to: an integer, text of at most 1,024 bytes, or a UUID"
                .into(),
            is_denied: false,
        }
    }
}

/// The reason of a row whose values are bound to nothing.
pub(super) const NO_RECORD_ID: &str = "NO_RECORD_ID";
/// Exit code of what was denied.
const DENIED: u8 = 5;

/// A value that was opened.
struct Open<'r> {
    place: Place,
    record: &'r RecordId,
    plaintext: Plaintext,
}

/// What is known of each row of a page.
struct Outcome {
    states: Vec<State>,
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, Default)]
struct State {
    has_value: bool,
    stale: bool,
    failed: bool,
}

impl Outcome {
    fn of(rows: usize) -> Self {
        Self { states: vec![State::default(); rows], problems: Vec::new() }
    }

    fn problem(&mut self, row: &Row, at: usize, problem: Problem) {
        self.states[at].failed = true;
        self.problems.push(Problem { id: row.id.to_string(), ..problem });
    }

    /// Rows by what became of them. Those to be written are counted when they have been.
    fn tally(self, dry_run: bool) -> Tally {
        let mut tally = Tally { rows: self.states.len() as u64, problems: self.problems, ..Tally::default() };
        for State { has_value, stale, failed } in self.states {
            tally.failed += u64::from(failed);
            tally.resealed += u64::from(stale && dry_run);
            tally.skipped += u64::from(!has_value);
            tally.current += u64::from(has_value && !stale && !failed);
        }
        tally
    }
}

/// Header and ciphertext of a cell; `None` where it holds nothing.
fn ciphertext(cell: &Cell) -> Option<Result<(Header, Vec<u8>), Error>> {
    let bytes = match cell {
        Cell::Null => return None,
        Cell::Text(sealed) => text::decode(sealed).ok(),
        Cell::Bytes(sealed) => Some(sealed.clone()),
        Cell::Other => None,
    };
    let read = bytes.and_then(|bytes| Some((Header::parse(&bytes).ok()?, bytes)));
    Some(read.ok_or(Error::Value { reason: Reason::CiphertextMalformed }))
}
