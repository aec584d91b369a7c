//! Rows to open: one batch a tenant in the present scheme, then what did not open in the older ones, then the structs.

use std::borrow::Cow;

use futures_util::future::join_all;
use kms_core::{
    names::{KeyName, TenantName},
    secret::Plaintext,
};
use kms_proto::reason::Reason;

use super::{
    Ciphertexts, FieldProblem, Layout, OpenedRow, Place, Protect, ProtectError, SealedRow,
    layout::{LaidColumn, Scheme},
    migrate::{self, Found},
    row::Stored,
    seal::{by_tenant, refuse_all},
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
        let mut keys = Vec::with_capacity(rows.len());
        for place in &mut places {
            let own = place.as_ref().map_err(Clone::clone).and_then(|place| place.keys(layout));
            keys.push(own.unwrap_or_else(|error| {
                *place = Err(error);
                None
            }));
        }
        let mut values: Vec<Option<Plaintext>> =
            std::iter::repeat_with(|| None).take(stored.0.len()).collect();
        let mut pending: Vec<Vec<Pending<'_>>> = Vec::new();
        let tenants: Vec<_> = by_tenant(&places).into_iter().collect();
        pending.resize_with(tenants.len(), Vec::new);
        let mut tenant_of = vec![0; rows.len()];
        for (tenant, (_, rows)) in tenants.iter().enumerate() {
            rows.iter().for_each(|row| tenant_of[*row] = tenant);
        }
        for (slot, stored) in stored.0.into_iter().enumerate() {
            let (row, column) = (slot / columns, slot % columns);
            if places[row].is_err() {
                continue;
            }
            match look(&layout.columns[column], stored) {
                Ok(Look::Null) => {}
                Ok(Look::Plain(plaintext)) => values[slot] = Some(plaintext),
                Ok(Look::Sealed(ciphertext, deterministic)) => {
                    pending[tenant_of[row]].push(Pending { slot, ciphertext, deterministic, scheme: 0 });
                }
                Err(problem) => places[row] = Err(layout.error(column, problem)),
            }
        }
        let opening = Opening { kms: self, layout, places: &places, keys: &keys };
        let each = tenants.iter().zip(pending).map(|((tenant, _), pending)| opening.tenant(tenant, pending));
        let results: Vec<_> = join_all(each).await.into_iter().flatten().collect();
        for (slot, opened) in results {
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
    Sealed(Cow<'a, [u8]>, bool),
}

/// What stands in a column, and whether it was sealed deterministically.
fn look<'a>(column: &LaidColumn, stored: Stored<'a>) -> Result<Look<'a>, FieldProblem> {
    let ciphertext = match migrate::look(stored)? {
        Found::Null => return Ok(Look::Null),
        Found::Never(value) => return Ok(Look::Plain(migrate::take_plaintext(column, value)?)),
        Found::Sealed(ciphertext) => ciphertext,
    };
    let deterministic = column.mode_of(&ciphertext)?;
    Ok(Look::Sealed(ciphertext, deterministic))
}

struct Pending<'a> {
    slot: usize,
    ciphertext: Cow<'a, [u8]>,
    deterministic: bool,
    /// Which of the column's schemes of that kind is tried.
    scheme: usize,
}

impl Pending<'_> {
    fn scheme(&self, layout: &'static Layout, at: usize) -> Option<&'static Scheme> {
        layout.columns[self.slot % layout.columns.len()].schemes(self.deterministic).nth(at)
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
        tenant: &TenantName,
        mut pending: Vec<Pending<'_>>,
    ) -> Vec<(usize, Result<Plaintext, Error>)> {
        let mut done = Vec::with_capacity(pending.len());
        loop {
            // Of rows that failed in another column nothing is opened.
            pending.retain(|one| self.places[self.row(one)].is_ok());
            let (mut items, mut under) =
                (Vec::with_capacity(pending.len()), Vec::with_capacity(pending.len()));
            for one in &pending {
                let (Ok(place), Some(scheme)) =
                    (&self.places[self.row(one)], one.scheme(self.layout, one.scheme))
                else {
                    return done;
                };
                let ciphertext = &one.ciphertext;
                items.push(ToOpenField { column: &scheme.column, record: &place.record, ciphertext });
                under.push(&self.keys[self.row(one)].as_deref().unwrap_or(&self.layout.keys)[scheme.key]);
            }
            let Some(first) = under.first() else { return done };
            let opened = self.kms.records(tenant, first).open_each(&items, Under::Each(&under)).await;
            let mut again = Vec::new();
            for (mut one, opened) in pending.into_iter().zip(opened) {
                let own = self.keys[self.row(&one)].is_some();
                let rejected = |error: &Error| match error.reason() {
                    Some(Reason::CiphertextRejected) => true,
                    // A subject's key is named to the server, which knows no such value of it where another family sealed it.
                    Some(Reason::KeyNotAccessible) => own,
                    _ => false,
                };
                match opened {
                    Err(error) if rejected(&error) && one.scheme(self.layout, one.scheme + 1).is_some() => {
                        one.scheme += 1;
                        again.push(one);
                    }
                    opened => done.push((one.slot, opened)),
                }
            }
            pending = again;
        }
    }

    fn row(&self, pending: &Pending<'_>) -> usize {
        pending.slot / self.layout.columns.len()
    }
}
