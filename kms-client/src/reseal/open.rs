//! Opens what is to be moved: in the present scheme, and what that does not open in the older ones.

use kms_core::{
    field::Header,
    names::{KeyName, RecordId},
    secret::Plaintext,
};
use kms_proto::reason::Reason;

use super::{
    cell::Value,
    columns::Scheme,
    find::Found,
    newest::concerns_one_row,
    outcome::{Outcome, no_record},
    row::Row,
    turn::Turner,
};
use crate::{
    error::Error,
    protect::Older,
    records::{ToOpenField, Under},
};

/// A value that was opened.
pub(super) struct Opened<'f> {
    pub(super) found: &'f Found,
    pub(super) record: &'f RecordId,
    pub(super) plaintext: Plaintext,
    pub(super) was: Was,
}

/// What a value was when it was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Current,
    /// Of another version, in the present scheme.
    OfOtherVersion,
    OfOlderScheme,
    NeverSealed,
}

/// A sealed value, on its way through the schemes that it may be of.
struct Pending<'f> {
    found: &'f Found,
    record: &'f RecordId,
    header: Header,
    ciphertext: &'f [u8],
    /// Which of its column's schemes for its kind.
    tried: usize,
    /// The key of that scheme, for its row.
    key: KeyName,
    /// Why the first of them did not open it, and under which key.
    refused: Option<(KeyName, Error)>,
}

impl Turner {
    /// Opens what is stale, what an index is to be made of, and what may be of an older scheme.
    pub(super) async fn open<'f>(
        &self,
        rows: &[Row],
        records: &'f [Option<RecordId>],
        found: &'f [Found],
        outcome: &mut Outcome,
    ) -> Result<Vec<Opened<'f>>, Error> {
        let (mut opened, mut pending) = (Vec::new(), Vec::new());
        for one in found.iter().filter(|one| self.is_to_be_opened(one)) {
            let (row, column) = one.place;
            let Some(record) = &records[row] else {
                outcome.problem(&rows[row], row, no_record(&self.columns[column].stored_as));
                continue;
            };
            match &one.value {
                Value::Never(value) => {
                    let plaintext = Plaintext::from(value.as_bytes().to_vec());
                    opened.push(Opened { found: one, record, plaintext, was: Was::NeverSealed });
                }
                Value::Sealed(header, ciphertext) => {
                    let known = &self.columns[column];
                    // A call that asks for keys that are not there is a denial to the server, and is paced.
                    let may_open =
                        |scheme: &Scheme| !one.has_no_key_yet() || known.is_under_another_key(scheme);
                    // Nor is the value asked for in the name of one key, where the key of another is at hand that it is of.
                    let is_at_hand = |scheme: &Scheme| {
                        let key = scheme.key_of(&rows[row]).filter(|_| known.had_another_key());
                        key.is_some_and(|key| self.records.has_at_hand(header, &key))
                    };
                    let schemes = || known.schemes(header.kind).enumerate();
                    let first = schemes().find(|(_, scheme)| is_at_hand(scheme));
                    let first = first.or_else(|| schemes().find(|(_, scheme)| may_open(scheme)));
                    let key = first.and_then(|(_, scheme)| scheme.key_of(&rows[row]));
                    pending.push(Pending {
                        found: one,
                        record,
                        header: *header,
                        ciphertext,
                        tried: first.map_or(0, |(number, _)| number),
                        key: key.unwrap_or_else(|| one.key.clone()),
                        refused: None,
                    });
                }
            }
        }
        while !pending.is_empty() {
            let results = self.open_once(&pending).await;
            let mut again = Vec::new();
            for (one, result) in pending.into_iter().zip(results) {
                let place = one.found.place;
                match result {
                    Ok(plaintext) => {
                        let (was, Pending { found, record, .. }) = (self.was(&one), one);
                        opened.push(Opened { found, record, plaintext, was });
                    }
                    Err(error) if concerns_one_row(&one.key, &error) => {
                        match self.older(one, error, &rows[place.0]) {
                            Ok(older) => again.push(older),
                            Err((key, error)) => self.lost(&rows[place.0], place, &key, &error, outcome),
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            pending = again;
        }
        Ok(opened)
    }

    fn is_to_be_opened(&self, found: &Found) -> bool {
        let column = found.place.1;
        found.is_stale
            || self.columns[column].header_says_too_little()
            || self.indexes.iter().any(|index| index.of == column)
    }

    async fn open_once(&self, pending: &[Pending<'_>]) -> Vec<Result<Plaintext, Error>> {
        let (mut items, mut under) = (Vec::with_capacity(pending.len()), Vec::with_capacity(pending.len()));
        for one in pending {
            let column = self.scheme(one, one.tried).unwrap_or(&self.columns[one.found.place.1].now);
            let Pending { record, ciphertext, .. } = *one;
            items.push(ToOpenField { column: &column.column, record, ciphertext });
            under.push(&one.key);
        }
        self.records.open_each(&items, Under::Each(&under)).await
    }

    fn scheme(&self, one: &Pending<'_>, number: usize) -> Option<&Scheme> {
        self.columns[one.found.place.1].schemes(one.header.kind).nth(number)
    }

    fn was(&self, one: &Pending<'_>) -> Was {
        let now = &self.columns[one.found.place.1].now;
        match self.scheme(one, one.tried).is_some_and(|scheme| std::ptr::eq(scheme, now)) {
            true if one.found.is_stale => Was::OfOtherVersion,
            true => Was::Current,
            false => Was::OfOlderScheme,
        }
    }

    /// What to try next of a value that did not open; or why it does not, with the key of which that is said.
    fn older<'f>(
        &self,
        mut one: Pending<'f>,
        error: Error,
        row: &Row,
    ) -> Result<Pending<'f>, (KeyName, Error)> {
        let older = Older::after(&error, one.header.kind, row.subject.is_some());
        // That its key is destroyed tells more than that it is none of another scheme.
        let told = match one.refused.take() {
            Some(first) if error.reason() != Some(Reason::KeyDestroyed) => first,
            _ => (one.key.clone(), error),
        };
        let schemes = self.columns[one.found.place.1].schemes(one.header.kind);
        let tried = self.scheme(&one, one.tried);
        let is_under_same = |scheme: &Scheme| tried.is_some_and(|tried| scheme.has_key_of(tried));
        let mut left = schemes.enumerate().skip(one.tried + 1);
        let next = older.and_then(|older| left.find(|(_, scheme)| older.may_be(is_under_same(scheme))));
        match next.and_then(|(number, scheme)| Some((number, scheme.key_of(row)?))) {
            Some((tried, key)) => Ok(Pending { tried, key, refused: Some(told), ..one }),
            None => Err(told),
        }
    }
}
