//! Which values of a page are to be moved, and which can be.

use std::collections::{HashMap, HashSet};

use kms_core::names::KeyName;
use kms_proto::reason::Reason;

use super::{
    cell::{self, Value},
    newest::{Met, Under as Address},
    outcome::{Outcome, no_subject, unreadable},
    row::Row,
    turn::Turner,
};
use crate::error::Error;

/// Which row of the page, which column.
pub(super) type Place = (usize, usize);

/// A value, and the key that it is to be under.
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) key: KeyName,
    pub(super) value: Value,
    /// By its header. Where that says too little it is found out when the value is opened.
    pub(super) is_stale: bool,
    /// Why that key seals nothing, of a value that something else may still open.
    pub(super) seals_not: Option<Error>,
}

impl Found {
    /// Whether it is of a subject that is not there yet: nothing is sealed under its key, what stands in its rows is older, or was never
    /// sealed.
    pub(super) fn has_no_key_yet(&self) -> bool {
        let reason = self.seals_not.as_ref().and_then(Error::reason);
        self.key.subject().is_some() && reason == Some(Reason::KeyNotAccessible)
    }
}

impl Turner {
    /// The values of a page, with the keys that they are to be under.
    pub(super) fn find(&self, rows: &[Row], outcome: &mut Outcome) -> Vec<Found> {
        let mut found = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            for (place, (cell, column)) in row.cells.iter().zip(&self.columns).enumerate() {
                let Some(value) = cell::read(column, cell) else { continue };
                outcome.has_value(at);
                match (value, column.now.key_of(row)) {
                    (Ok(value), Some(key)) => {
                        found.push(Found { place: (at, place), key, value, is_stale: false, seals_not: None })
                    }
                    (Ok(_), None) => outcome.problem(row, at, no_subject(&column.stored_as)),
                    (Err(why), _) => outcome.problem(row, at, unreadable(column, &why)),
                }
            }
        }
        found
    }

    /// Tells which are not current, by their headers; leaves out those whose subject has no key any more.
    pub(super) async fn look(
        &mut self,
        rows: &[Row],
        found: Vec<Found>,
        outcome: &mut Outcome,
    ) -> Result<Vec<Found>, Error> {
        let mut met: HashMap<Address, Met<'_>> = HashMap::new();
        for one in &found {
            let column = &self.columns[one.place.1].now.column;
            let met =
                met.entry(self.address(one)).or_insert_with(|| Met { column, versions: HashSet::new() });
            if let Value::Sealed(header, _) = &one.value {
                met.versions.insert(header.version);
            }
        }
        self.newest.meet(&self.records, met).await?;
        let mut looked = Vec::with_capacity(found.len());
        for mut one in found {
            match (self.newest.of(&self.address(&one)), &one.value) {
                (Ok(newest), Value::Sealed(header, _)) => {
                    one.is_stale = newest != (header.kind, header.version)
                }
                (Ok(_), Value::Never(_)) => one.is_stale = true,
                (Err(error), value) => {
                    if !matches!(value, Value::Never(_)) && !self.columns[one.place.1].had_another_key() {
                        self.lost(&rows[one.place.0], one.place, &one.key, &error, outcome);
                        continue;
                    }
                    one.is_stale = true;
                    one.seals_not = Some(error);
                }
            }
            looked.push(one);
        }
        Ok(looked)
    }

    fn address(&self, found: &Found) -> Address {
        (found.key.clone(), self.columns[found.place.1].now.column.is_deterministic())
    }
}
