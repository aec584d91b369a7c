//! Rows to open: one batch a tenant in the present scheme, then what did not open in the older ones, then the structs.

use std::borrow::Cow;

use futures_util::future::join_all;
use kms_core::{
    names::{KeyName, TenantName},
    secret::Plaintext,
};
use kms_proto::reason::Reason;

use super::{
    Ciphertexts, FieldProblem, Layout, OpenedRow, Place, Protect, ProtectError, SealedRow, class,
    layout::{LaidColumn, Scheme},
    migrate::{self, Found},
    row::Stored,
    seal::{by_tenant, refuse_all, row_keys},
};
use crate::{Error, Kms, ToOpenField, records::Under};

impl Kms {
    /// Opens a row. Makes no call where the data keys are at hand, one where they are not.
    ///
    /// # Errors
    /// Where there is no lease to be had; or a value does not open in this row, or is none of its field's type.
    pub async fn open<S: SealedRow + Clone>(&self, row: &S) -> Result<S::Plain, ProtectError> {
        let mut opened = self.open_all([row.clone()]).await;
        let table = &<S::Plain as Protect>::SCHEMA.stored_as;
        opened.pop().unwrap_or_else(|| Err(ProtectError::new(table, "", FieldProblem::Null)))
    }

    /// Opens rows; results in order, a row that does not open harms no other. The data keys of all columns and rows that are not at
    /// hand come in one call for each tenant.
    pub async fn open_all<S: SealedRow>(
        &self,
        rows: impl IntoIterator<Item = S>,
    ) -> Vec<Result<S::Plain, ProtectError>> {
        let rows: Vec<S> = rows.into_iter().collect();
        let schema = <S::Plain as Protect>::SCHEMA;
        let layout = match S::Plain::layout() {
            Ok(layout) => layout,
            Err(error) => {
                return refuse_all(rows.len(), &ProtectError::new(&schema.stored_as, "", error.clone()));
            }
        };
        let columns = layout.columns.len();
        let (mut places, mut values) = self.open_values(layout, &rows).await;
        let mut opened = Vec::with_capacity(rows.len());
        for ((at, row), place) in rows.into_iter().enumerate().zip(places.drain(..)) {
            let values = &mut values[at * columns..(at + 1) * columns];
            opened.push(place.and_then(|_| row.opened(&mut OpenedRow::new(schema, values))));
        }
        opened
    }

    /// The places of rows, or why a row does not open; and what stood in their columns.
    async fn open_values<S: SealedRow>(
        &self,
        layout: &'static Layout,
        rows: &[S],
    ) -> (Vec<Result<Place, ProtectError>>, Vec<Option<Plaintext>>) {
        let columns = layout.columns.len();
        let mut stored = Ciphertexts(Vec::with_capacity(rows.len() * columns));
        for row in rows {
            row.ciphertexts(&mut stored);
        }
        let mut places: Vec<_> = rows.iter().map(SealedRow::place).collect();
        let keys = row_keys(layout, &mut places);
        let mut values: Vec<Option<Plaintext>> =
            std::iter::repeat_with(|| None).take(stored.0.len()).collect();
        let mut tenants = Vec::new();
        for (tenant, rows) in by_tenant(&places) {
            let mut pending = Vec::with_capacity(rows.len() * columns);
            for row in rows {
                let begun = pending.len();
                for (at, column) in layout.columns.iter().enumerate() {
                    let slot = row * columns + at;
                    match look(column, stored.0[slot]) {
                        Ok(Look::Null) => {}
                        Ok(Look::Plain(plaintext)) => values[slot] = Some(plaintext),
                        Ok(Look::Sealed(ciphertext, scheme)) => {
                            pending.push(Pending { slot, ciphertext, scheme, tried: 0 });
                        }
                        Err(problem) => {
                            // Of a row that failed in one column nothing is opened.
                            places[row] = Err(layout.error(at, problem));
                            pending.truncate(begun);
                            break;
                        }
                    }
                }
            }
            tenants.push((tenant, pending));
        }
        let opening = Opening { kms: self, layout, places: &places, keys: &keys };
        let each = tenants.into_iter().map(|(tenant, pending)| opening.tenant(tenant, pending));
        for (slot, opened) in join_all(each).await.into_iter().flatten() {
            let row = slot / columns;
            match opened {
                Ok(plaintext) => values[slot] = Some(plaintext),
                Err(error) if places[row].is_ok() => places[row] = Err(layout.error(slot % columns, error)),
                Err(_) => {}
            }
        }
        (places, values)
    }
}

enum Look<'a> {
    Null,
    Plain(Plaintext),
    Sealed(Cow<'a, [u8]>, &'static Scheme),
}

/// What stands in a column, and the newest scheme that it may have been sealed in.
fn look<'a>(column: &'static LaidColumn, stored: Stored<'a>) -> Result<Look<'a>, FieldProblem> {
    let ciphertext = match migrate::look(stored)? {
        Found::Null => return Ok(Look::Null),
        Found::Never(value) => return Ok(Look::Plain(migrate::take_plaintext(column, value)?)),
        Found::Sealed(ciphertext) => ciphertext,
    };
    let deterministic = column.mode_of(&ciphertext)?;
    let scheme = column.schemes(deterministic).next().ok_or(FieldProblem::OtherMode)?;
    Ok(Look::Sealed(ciphertext, scheme))
}

struct Pending<'a> {
    slot: usize,
    ciphertext: Cow<'a, [u8]>,
    scheme: &'static Scheme,
    /// How many newer ones did not open it.
    tried: usize,
}

impl Pending<'_> {
    /// The next older scheme, if there is one.
    fn older(&self, layout: &'static Layout) -> Option<&'static Scheme> {
        let column = &layout.columns[self.slot % layout.columns.len()];
        column.schemes(self.scheme.column.is_deterministic()).nth(self.tried + 1)
    }
}

struct Opening<'a> {
    kms: &'a Kms,
    layout: &'static Layout,
    places: &'a [Result<Place, ProtectError>],
    keys: &'a [Option<Vec<KeyName>>],
}

impl Opening<'_> {
    /// Opens one tenant's values in the newest scheme, and in older ones what it rejects. Older ones need no further call: the data
    /// key is the same.
    async fn tenant(
        &self,
        tenant: TenantName,
        mut pending: Vec<Pending<'_>>,
    ) -> Vec<(usize, Result<Plaintext, Error>)> {
        let mut done = Vec::with_capacity(pending.len());
        while !pending.is_empty() {
            let (mut items, mut under) =
                (Vec::with_capacity(pending.len()), Vec::with_capacity(pending.len()));
            for Pending { slot, ciphertext, scheme, .. } in &pending {
                let row = slot / self.layout.columns.len();
                let Ok(place) = &self.places[row] else { return done };
                items.push(ToOpenField { column: &scheme.column, record: &place.record, ciphertext });
                let own = self.keys[row].as_deref().filter(|_| !scheme.shared);
                under.push(&own.unwrap_or(&self.layout.keys)[scheme.key]);
            }
            let Some(first) = under.first() else { break };
            let opened = self.kms.records(&tenant, first).open_each(&items, Under::Each(&under)).await;
            let differing = class::differing(self.kms, self.layout, &tenant);
            let mut again = Vec::new();
            for (mut one, opened) in pending.into_iter().zip(opened) {
                let own = self.keys[one.slot / self.layout.columns.len()].is_some();
                let rejected = |error: &Error| match error.reason() {
                    Some(Reason::CiphertextRejected) => true,
                    // A subject's key is named to the server, which knows no such value of it where another family sealed it.
                    Some(Reason::KeyNotAccessible) => own,
                    _ => false,
                };
                let older = opened.as_ref().err().filter(|error| rejected(error));
                match older.and_then(|_| one.older(self.layout)) {
                    Some(scheme) => {
                        one.scheme = scheme;
                        one.tried += 1;
                        again.push(one);
                    }
                    None => done.push((one.slot, self.of_class(&differing, &one, opened))),
                }
            }
            pending = again;
        }
        done
    }

    /// What was opened, unless the column declares another class than the present key has that opened it.
    fn of_class(
        &self,
        differing: &[(usize, Error)],
        one: &Pending<'_>,
        opened: Result<Plaintext, Error>,
    ) -> Result<Plaintext, Error> {
        let at = one.slot % self.layout.columns.len();
        let is_present = one.scheme.key == self.layout.columns[at].now.key;
        match differing.iter().find(|(column, _)| is_present && *column == at) {
            Some((_, error)) if opened.is_ok() => Err(error.clone()),
            _ => opened,
        }
    }
}
