//! What becomes of a page: what is not current is opened and sealed again, and indexes are made anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use kms_core::{
    field::{Header, text},
    id::VersionId,
    names::{KeyName, RecordId},
    secret::Plaintext,
};
use kms_proto::reason::Reason;

use super::{
    columns::{IndexColumn, SealedColumn},
    newest::{Newest, Under as Address},
    outcome::{Outcome, failed, no_index, no_record, no_subject},
    report::Tally,
    row::{Cell, Change, Row},
};
use crate::{
    error::Error,
    index::{Indexes, ToIndex},
    records::{Records, ToOpenField, ToSealField, Under},
};

/// Turns pages.
#[derive(Debug)]
pub(super) struct Turner {
    records: Records,
    columns: Vec<SealedColumn>,
    indexes: Vec<Index>,
    newest: Newest,
    dry_run: bool,
}

#[derive(Debug)]
struct Index {
    column: IndexColumn,
    /// Which of the sealed columns it indexes.
    of: usize,
    indexes: Indexes,
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

/// A sealed value.
struct Found {
    place: Place,
    key: KeyName,
    header: Header,
    ciphertext: Vec<u8>,
    is_stale: bool,
}

/// A value that was opened.
struct Opened<'f> {
    place: Place,
    key: &'f KeyName,
    record: &'f RecordId,
    plaintext: Plaintext,
    is_stale: bool,
}

impl Turner {
    /// `indexes` names sealed columns of `columns`.
    pub(super) fn new(
        records: Records,
        columns: Vec<SealedColumn>,
        indexes: Vec<IndexColumn>,
        dry_run: bool,
    ) -> Self {
        let index = |column: IndexColumn| {
            let of = columns.iter().position(|known| known.stored_as == column.of)?;
            Some(Index { of, indexes: records.indexes(&column.key), column })
        };
        let indexes = indexes.into_iter().filter_map(index).collect();
        Self { records, columns, indexes, newest: Newest::default(), dry_run }
    }

    /// Asks about the keys of the table; and waits until rows are indexed under the newest versions of the index keys.
    pub(super) async fn prepare(&mut self, per_subject: bool) -> Result<(), Error> {
        for index in &self.indexes {
            index.indexes.settled().await?;
        }
        if per_subject {
            return Ok(());
        }
        for column in &self.columns {
            let under = (column.key.clone(), column.column.is_deterministic());
            self.newest.meet(&self.records, &column.column, HashMap::from([(under, HashSet::new())])).await?;
        }
        Ok(())
    }

    /// Opens and seals what of a page is not current, and indexes it anew.
    pub(super) async fn turn(&mut self, rows: Vec<Row>) -> Result<Turned, Error> {
        let mut outcome = Outcome::of(rows.len());
        let found = self.find(&rows, &mut outcome);
        let found = self.look(&rows, found, &mut outcome).await?;
        let records: Vec<Option<RecordId>> = rows.iter().map(Row::record).collect();
        let opened = self.open(&rows, &records, &found, &mut outcome).await?;
        let mut changes = BTreeMap::new();
        self.seal(&rows, &opened, &mut outcome, &mut changes).await?;
        self.index(&rows, &opened, &mut outcome, &mut changes).await?;
        let with_what = |(at, change): (usize, Change)| Change { what: outcome.what(at), ..change };
        let changes = changes.into_iter().map(with_what).collect();
        Ok(Turned { changes, tally: outcome.tally(self.dry_run) })
    }

    /// The sealed values of a page, with the keys that they are to be under.
    fn find(&self, rows: &[Row], outcome: &mut Outcome) -> Vec<Found> {
        let mut found = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            for (column, cell) in row.cells.iter().enumerate().take(self.columns.len()) {
                let Some(read) = ciphertext(cell) else { continue };
                outcome.has_value(at);
                let SealedColumn { stored_as, column: place, key: family } = &self.columns[column];
                let key = match &row.subject {
                    Some(_) => row.key_of(family),
                    None => Some(family.clone()),
                };
                match (read, key) {
                    (Ok((header, ciphertext)), Some(key)) => {
                        found.push(Found { place: (at, column), key, header, ciphertext, is_stale: false });
                    }
                    (Ok(_), None) => outcome.problem(row, at, no_subject(stored_as)),
                    (Err(error), _) => outcome.problem(row, at, failed(stored_as, place, &error)),
                }
            }
        }
        found
    }

    /// Tells which are not current, by their headers; leaves out those whose subject has no key any more.
    async fn look(
        &mut self,
        rows: &[Row],
        found: Vec<Found>,
        outcome: &mut Outcome,
    ) -> Result<Vec<Found>, Error> {
        let mut met: HashMap<Address, HashSet<VersionId>> = HashMap::new();
        for one in &found {
            met.entry(self.address(one)).or_default().insert(one.header.version);
        }
        if let Some(first) = self.columns.first() {
            self.newest.meet(&self.records, &first.column, met).await?;
        }
        let mut looked = Vec::with_capacity(found.len());
        for one in found {
            match self.newest.is_that_of(&self.address(&one), &one.header) {
                Ok(is_current) => looked.push(Found { is_stale: !is_current, ..one }),
                Err(error) => self.lost(&rows[one.place.0], one.place, &one.key, &error, outcome),
            }
        }
        Ok(looked)
    }

    async fn open<'f>(
        &self,
        rows: &[Row],
        records: &'f [Option<RecordId>],
        found: &'f [Found],
        outcome: &mut Outcome,
    ) -> Result<Vec<Opened<'f>>, Error> {
        let (mut wanted, mut items, mut under) = (Vec::new(), Vec::new(), Vec::new());
        for one in found {
            let (row, column) = one.place;
            if !one.is_stale && !self.indexes.iter().any(|index| index.of == column) {
                continue;
            }
            match &records[row] {
                Some(record) => {
                    let (column, ciphertext) = (&self.columns[column].column, &*one.ciphertext);
                    items.push(ToOpenField { column, record, ciphertext });
                    under.push(&one.key);
                    wanted.push((one, record));
                }
                None => outcome.problem(&rows[row], row, no_record(&self.columns[column].stored_as)),
            }
        }
        let mut opened = Vec::with_capacity(items.len());
        let results = self.records.open_each(&items, Under::Each(&under)).await;
        for ((Found { place, key, is_stale, .. }, record), result) in wanted.into_iter().zip(results) {
            match result {
                Ok(plaintext) => {
                    opened.push(Opened { place: *place, key, record, plaintext, is_stale: *is_stale });
                }
                Err(error) if error.is_about_one_value() => {
                    self.lost(&rows[place.0], *place, key, &error, outcome);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    async fn seal(
        &self,
        rows: &[Row],
        opened: &[Opened<'_>],
        outcome: &mut Outcome,
        changes: &mut BTreeMap<usize, Change>,
    ) -> Result<(), Error> {
        let stale: Vec<_> = opened.iter().filter(|one| one.is_stale).collect();
        if self.dry_run {
            stale.iter().for_each(|one| outcome.reseals(one.place.0));
            return Ok(());
        }
        let items: Vec<_> = stale
            .iter()
            .map(|one| ToSealField {
                column: &self.columns[one.place.1].column,
                record: one.record,
                plaintext: one.plaintext.as_bytes(),
            })
            .collect();
        let under: Vec<_> = stale.iter().map(|one| one.key).collect();
        let results = self.records.seal_each(&items, Under::Each(&under)).await;
        for (one, result) in stale.into_iter().zip(results) {
            let (at, column) = one.place;
            match result {
                Ok(sealed) => {
                    let row = &rows[at];
                    let new = match row.cells[column] {
                        Cell::Text(_) => Cell::Text(text::encode(&sealed)),
                        _ => Cell::Bytes(sealed),
                    };
                    outcome.reseals(at);
                    changes.entry(at).or_insert_with(|| Change::of(row)).set(row, column, new);
                }
                // A subject can be destroyed between opening and sealing.
                Err(error) if error.is_about_one_value() => {
                    self.lost(&rows[at], one.place, one.key, &error, outcome);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Compares indexes with what they should be: nothing in an index says under which version it was made.
    async fn index(
        &self,
        rows: &[Row],
        opened: &[Opened<'_>],
        outcome: &mut Outcome,
        changes: &mut BTreeMap<usize, Change>,
    ) -> Result<(), Error> {
        for (number, Index { column, of, indexes }) in self.indexes.iter().enumerate() {
            let cell = self.columns.len() + number;
            let of_column: Vec<_> = opened.iter().filter(|one| one.place.1 == *of).collect();
            let normalized: Vec<Plaintext> =
                of_column.iter().map(|one| column.normalized(one.plaintext.as_bytes())).collect();
            let items: Vec<_> = normalized
                .iter()
                .map(|normalized| ToIndex { column: &column.index, normalized: normalized.as_bytes() })
                .collect();
            let values = if items.is_empty() { Vec::new() } else { indexes.values(&items).await? };
            let values = of_column.iter().map(|one| one.place.0).zip(values.into_iter().map(Cell::Bytes));
            // What was left of a value that is gone would go on telling which rows were equal.
            let gone = (0..rows.len()).filter(|at| rows[*at].cells[*of] == Cell::Null);
            for (at, new) in values.chain(gone.map(|at| (at, Cell::Null))) {
                let row = &rows[at];
                if row.cells[cell] == new {
                    continue;
                }
                if row.cells[cell] == Cell::Other {
                    outcome.problem(row, at, no_index(&column.stored_as));
                    continue;
                }
                outcome.reindexes(at);
                if self.dry_run {
                    continue;
                }
                let change = changes.entry(at).or_insert_with(|| Change::of(row));
                change.set(row, cell, new);
                // INVARIANT: an index is written beside the value that it was made of, or not at all: one of few bits can be the same
                // for two values, so that to find it unchanged says nothing of the value.
                change.guard(row, *of);
            }
        }
        Ok(())
    }

    fn address(&self, found: &Found) -> Address {
        (found.key.clone(), self.columns[found.place.1].column.is_deterministic())
    }

    /// A value that does not open or cannot be sealed.
    fn lost(&self, row: &Row, (at, column): Place, key: &KeyName, error: &Error, outcome: &mut Outcome) {
        let SealedColumn { stored_as, column, .. } = &self.columns[column];
        let problem = failed(stored_as, column, error);
        match (key.subject(), error.reason()) {
            (Some(_), Some(Reason::KeyDestroyed)) => outcome.erased(row, at, problem),
            _ => outcome.problem(row, at, problem),
        }
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
