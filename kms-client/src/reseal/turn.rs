//! What becomes of a page: what is not current is opened and sealed again, and indexes are made anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use kms_core::{
    names::{FamilyName, KeyName, RecordId, SubjectName},
    secret::Plaintext,
};
use kms_proto::reason::Reason;

use super::{
    cell::written,
    columns::{IndexColumn, Scheme, SealedColumn},
    find::Place,
    newest::{Met, Newest},
    open::{Opened, Was},
    outcome::{Outcome, failed, left_readable, no_index, too_long},
    report::Tally,
    row::{Cell, Change, Row},
};
use crate::{
    error::Error,
    index::{Indexes, ToIndex},
    records::{Records, ToSealField, Under},
};

/// Calls that tell what was done: one takes the uses of a thousand columns, ten thousand wait at most.
const MOST_TELLS: usize = 12;

/// Turns pages.
#[derive(Debug)]
pub(super) struct Turner {
    pub(super) records: Records,
    pub(super) columns: Vec<SealedColumn>,
    pub(super) indexes: Vec<Index>,
    pub(super) newest: Newest,
    pub(super) dry_run: bool,
}

#[derive(Debug)]
pub(super) struct Index {
    column: IndexColumn,
    /// Which of the sealed columns it indexes.
    pub(super) of: usize,
    indexes: Indexes,
}

/// What came of a page.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// What is to be written; in a dry run, nothing.
    pub(super) changes: Vec<Change>,
    pub(super) tally: Tally,
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
        // What a dry run opens stays where it is, and its version is needed as before.
        let records = records.moving(!dry_run);
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
            let SealedColumn { now: Scheme { column, key, .. }, .. } = column;
            let under = (key.clone(), column.is_deterministic());
            let met = Met { column, versions: HashSet::new() };
            self.newest.meet(&self.records, HashMap::from([(under, met)])).await?;
        }
        Ok(())
    }

    /// Has the server told what was opened: the process may end with the run. What cannot be told is missing in the census only.
    pub(super) async fn tell(&self) {
        let Some(under) = self.newest.any() else { return };
        for _ in 0..MOST_TELLS {
            let told = self.records.sealing_versions_anew(std::slice::from_ref(&under)).await;
            if told.iter().any(Result::is_err) || !self.records.has_more_to_tell() {
                return;
            }
        }
    }

    /// Opens and seals what of a page is not current, and indexes it anew.
    pub(super) async fn turn(&mut self, rows: Vec<Row>) -> Result<Turned, Error> {
        let mut outcome = Outcome::of(rows.len());
        let found = self.find(&rows, &mut outcome);
        let found = self.look(&rows, found, &mut outcome).await?;
        self.check_classes()?;
        let records: Vec<Option<RecordId>> = rows.iter().map(Row::record).collect();
        let opened = self.open(&rows, &records, &found, &mut outcome).await?;
        let mut changes = BTreeMap::new();
        self.seal(&rows, &opened, &mut outcome, &mut changes).await?;
        // Where nobody on the page had a key yet, the class is known now only.
        self.check_classes()?;
        self.index(&rows, &opened, &mut outcome, &mut changes).await?;
        // Each subject has versions of its own: over a few pages there would be more than wait to be told.
        if self.records.has_more_to_tell() {
            self.tell().await;
        }
        let with_what = |(at, change): (usize, Change)| Change { what: outcome.what(at), ..change };
        let changes = changes.into_iter().map(with_what).collect();
        Ok(Turned { changes, tally: outcome.tally(self.dry_run) })
    }

    /// Under a key of another class than its column declares the application would neither seal nor open.
    fn check_classes(&self) -> Result<(), Error> {
        for SealedColumn { now, described, .. } in &self.columns {
            let declared = described.as_ref().and_then(|described| described.class);
            if let (Some(declared), Some(actual)) = (declared, self.records.class_of(&now.key))
                && declared != actual
            {
                return Err(Error::OtherClass { key: now.key.clone().into(), declared, actual });
            }
        }
        Ok(())
    }

    async fn seal(
        &mut self,
        rows: &[Row],
        opened: &[Opened<'_>],
        outcome: &mut Outcome,
        changes: &mut BTreeMap<usize, Change>,
    ) -> Result<(), Error> {
        let stale: Vec<_> = opened.iter().filter(|one| one.was != Was::Current).collect();
        let made = if self.dry_run { HashMap::new() } else { self.make_subjects(&stale).await };
        let mut to_seal = Vec::with_capacity(stale.len());
        for one in stale {
            match made.get(&one.found.key).unwrap_or(&one.found.seals_not) {
                // A dry run makes no keys: whether one could be made is not known.
                Some(error) if !(self.dry_run && one.found.has_no_key_yet()) => {
                    self.not_sealed(rows, one, error, outcome);
                }
                _ if self.dry_run => outcome.reseals(one.found.place.0, one.was),
                _ => to_seal.push(one),
            }
        }
        let items: Vec<_> = to_seal
            .iter()
            .map(|one| ToSealField {
                column: &self.columns[one.found.place.1].now.column,
                record: one.record,
                plaintext: one.plaintext.as_bytes(),
            })
            .collect();
        let under: Vec<_> = to_seal.iter().map(|one| &one.found.key).collect();
        let results = self.records.seal_each(&items, Under::Each(&under)).await;
        for (one, result) in to_seal.into_iter().zip(results) {
            let (at, place) = one.found.place;
            let (row, column) = (&rows[at], &self.columns[place]);
            let new = match result {
                Ok(sealed) => written(column.form(&row.cells[place]), sealed),
                // A subject can be destroyed between opening and sealing.
                Err(error) if error.is_about_one_value() => {
                    self.not_sealed(rows, one, &error, outcome);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(most) = column.holds_less_than(new.len()) {
                outcome.problem(row, at, too_long(column, new.len(), most));
                continue;
            }
            outcome.reseals(at, one.was);
            changes.entry(at).or_insert_with(|| Change::of(row)).set(row, place, new);
        }
        Ok(())
    }

    /// Has keys made for subjects that have none, and whose rows are to be sealed; says which still seal nothing, and why.
    async fn make_subjects(&mut self, stale: &[&Opened<'_>]) -> HashMap<KeyName, Option<Error>> {
        let mut missing: HashMap<FamilyName, HashMap<SubjectName, KeyName>> = HashMap::new();
        for one in stale {
            let key = &one.found.key;
            if let (Some(subject), true) = (key.subject(), one.found.has_no_key_yet()) {
                missing.entry(key.family().clone()).or_default().insert(subject.clone(), key.clone());
            }
        }
        let mut made = HashMap::new();
        for (family, subjects) in missing {
            let (subjects, keys): (Vec<_>, Vec<_>) = subjects.into_iter().unzip();
            let ensured = self.records.ensure_subjects(&family, &subjects).await;
            for (key, ensured) in keys.into_iter().zip(ensured) {
                self.newest.forget(&key);
                made.insert(key, ensured.err());
            }
        }
        made
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
            let of_column: Vec<_> = opened.iter().filter(|one| one.found.place.1 == *of).collect();
            let normalized: Vec<Plaintext> =
                of_column.iter().map(|one| column.normalized(one.plaintext.as_bytes())).collect();
            let items: Vec<_> = normalized
                .iter()
                .map(|normalized| ToIndex { column: &column.index, normalized: normalized.as_bytes() })
                .collect();
            let values = if items.is_empty() { Vec::new() } else { indexes.values(&items).await? };
            let values =
                of_column.iter().map(|one| one.found.place.0).zip(values.into_iter().map(Cell::Bytes));
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

    /// A value that does not open.
    pub(super) fn lost(
        &self,
        row: &Row,
        (at, column): Place,
        key: &KeyName,
        error: &Error,
        outcome: &mut Outcome,
    ) {
        let problem = failed(&self.columns[column], error);
        match (key.subject(), error.reason()) {
            (Some(_), Some(Reason::KeyDestroyed)) => outcome.erased(row, at, problem),
            _ => outcome.problem(row, at, problem),
        }
    }

    /// A value that opens, and cannot be sealed.
    fn not_sealed(&self, rows: &[Row], one: &Opened<'_>, error: &Error, outcome: &mut Outcome) {
        let (at, column) = one.found.place;
        match one.was {
            Was::Current | Was::OfOtherVersion => {
                self.lost(&rows[at], (at, column), &one.found.key, error, outcome);
            }
            // ATTACK: who was erased is not, while a value of theirs stands where another key opens it, or none is needed.
            was @ (Was::OfOlderScheme | Was::NeverSealed) => {
                outcome.problem(&rows[at], at, left_readable(&self.columns[column], was, error));
            }
        }
    }
}
