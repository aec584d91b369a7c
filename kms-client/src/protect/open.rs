//! Rows to open: one batch a tenant, each value in the newest scheme that it may be of; then what did not open in the older ones, then
//! the structs.

use std::borrow::Cow;

use futures_util::future::join_all;
use kms_core::{
    field::Header,
    names::{KeyName, TenantName},
    secret::Plaintext,
};

use super::{
    Ciphertexts, FieldProblem, Layout, OpenedRow, Place, Protect, ProtectError, SealedRow, class,
    keys::RowKeys,
    layout::{LaidColumn, Scheme},
    migrate::{self, Found},
    older::Older,
    row::Stored,
    seal::{by_tenant, refuse_all, slots},
};
use crate::{
    Error, Kms, ToOpenField,
    records::{Results, Values},
};

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
        let (places, mut values) = self.open_values(layout, &rows).await;
        let rows = rows.into_iter().zip(places).enumerate();
        let opened = rows.map(|(at, (row, place))| {
            place?;
            row.opened(&mut OpenedRow::new(schema, &mut values[at * columns..(at + 1) * columns]))
        });
        opened.collect()
    }

    /// The places of rows, or why a row does not open; and what became of its columns.
    async fn open_values<S: SealedRow>(
        &self,
        layout: &'static Layout,
        rows: &[S],
    ) -> (Vec<Result<Place, ProtectError>>, Vec<Option<Result<Plaintext, Error>>>) {
        let (mut batch, mut values) = Batch::new(layout, rows);
        let tenants = by_tenant(&batch.places);
        for (tenant, rows) in &tenants {
            batch.begin_where_leased(self, tenant, rows);
        }
        if tenants.len() > 1 {
            join_all(tenants.iter().map(|(tenant, rows)| batch.warm(self, tenant, rows))).await;
        }
        for (tenant, rows) in &tenants {
            batch.open_tenant(self, tenant, rows, &mut values).await;
        }
        (batch.places, values)
    }
}

/// Rows looked at; the place of one that failed says why.
struct Batch<'a> {
    layout: &'static Layout,
    places: Vec<Result<Place, ProtectError>>,
    keys: RowKeys,
    /// Row after row, the columns of each; `None` where there is nothing to open.
    sealed: Vec<Option<Sealed<'a>>>,
}

/// A ciphertext of a row, and the scheme in which it is to be opened.
struct Sealed<'a> {
    row: usize,
    ciphertext: Cow<'a, [u8]>,
    scheme: &'static Scheme,
    /// How many newer ones did not open it, or cannot.
    tried: usize,
}

impl<'a> Batch<'a> {
    /// And the values that were never sealed.
    fn new<S: SealedRow>(
        layout: &'static Layout,
        rows: &'a [S],
    ) -> (Self, Vec<Option<Result<Plaintext, Error>>>) {
        let slots = rows.len() * layout.columns.len();
        let (mut sealed, mut values) = (Vec::with_capacity(slots), Vec::with_capacity(slots));
        let mut places = Vec::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            let (mut place, mut columns) = (row.place(), layout.columns.iter().enumerate());
            row.ciphertexts(&mut Ciphertexts(&mut |stored| {
                let Some((column, laid)) = columns.next() else { return };
                let (value, plain) = match look(at, laid, stored) {
                    Ok(Look::Null) => (None, None),
                    Ok(Look::Plain(plaintext)) => (None, Some(Ok(plaintext))),
                    Ok(Look::Sealed(sealed)) => (Some(sealed), None),
                    Err(problem) => {
                        // Of a row that failed in one column nothing is opened.
                        if place.is_ok() {
                            place = Err(layout.error(column, problem));
                        }
                        (None, None)
                    }
                };
                sealed.push(value);
                values.push(plain);
            }));
            places.push(place);
        }
        let keys = RowKeys::of(layout, &mut places);
        (Self { layout, places, keys, sealed }, values)
    }

    /// Lets a tenant's values begin in the scheme whose key is at hand, where rows have keys of their own: asked for in the name of
    /// another key they would be denied with every batch, and denials are recorded and counted.
    // INVARIANT: a version is of one key, and a lease says of which. What is passed over is of other keys, so it opens no such value.
    fn begin_where_leased(&mut self, kms: &Kms, tenant: &TenantName, rows: &[usize]) {
        let columns = &self.layout.columns;
        let Some(any) = self.layout.keys.first() else { return };
        if self.keys.are_the_layouts() || columns.iter().all(|column| column.older.is_empty()) {
            return;
        }
        let records = kms.records(tenant, any);
        for slot in slots(rows, columns.len()) {
            let column = &columns[slot % columns.len()];
            let Some(value) = self.sealed[slot].as_mut().filter(|_| !column.older.is_empty()) else {
                continue;
            };
            let Ok(header) = Header::parse(&value.ciphertext) else { continue };
            let mut schemes = column.schemes(value.scheme.column.is_deterministic()).enumerate();
            let is_at_hand = |scheme: &Scheme| records.has_at_hand(&header, self.keys.key(value.row, scheme));
            if let Some((number, scheme)) = schemes.find(|(_, scheme)| is_at_hand(scheme)) {
                (value.scheme, value.tried) = (scheme, number);
            }
        }
    }

    /// Has the data keys of a tenant's rows come.
    async fn warm(&self, kms: &Kms, tenant: &TenantName, rows: &[usize]) {
        let Some(any) = self.layout.keys.first() else { return };
        let slots = slots(rows, self.layout.columns.len());
        kms.records(tenant, any).warm_to_open(&self, slots).await;
    }

    /// Opens one tenant's values, and in older schemes what the one in which they began does not open. That takes a further call where
    /// the older one's key is a subject's, or was everybody's and is not at hand, or belongs to what the server opens itself.
    async fn open_tenant(
        &mut self,
        kms: &Kms,
        tenant: &TenantName,
        rows: &[usize],
        values: &mut Results<Plaintext>,
    ) {
        let columns = self.layout.columns.len();
        let Some(any) = self.layout.keys.first() else { return };
        let records = kms.records(tenant, any);
        records.open_values(&&*self, slots(rows, columns), values).await;
        let mut wanted: Vec<usize> = match self.layout.columns.iter().all(|column| column.older.is_empty()) {
            true => Vec::new(),
            false => slots(rows, columns).collect(),
        };
        loop {
            wanted.retain(|slot| self.falls_back(*slot, values[*slot].as_ref()));
            if wanted.is_empty() {
                break;
            }
            records.open_values(&&*self, wanted.iter().copied(), values).await;
        }
        for (at, error) in class::differing(kms, self.layout, tenant) {
            self.refuse_class(rows, at, &error, values);
        }
    }

    /// What the present key of a column opened that is of another class than the column declares.
    fn refuse_class(&self, rows: &[usize], at: usize, error: &Error, values: &mut Results<Plaintext>) {
        let present = self.layout.columns[at].now.key;
        for slot in rows.iter().map(|row| row * self.layout.columns.len() + at) {
            let is_present = self.sealed[slot].as_ref().is_some_and(|sealed| sealed.scheme.key == present);
            if is_present && matches!(values[slot], Some(Ok(_))) {
                values[slot] = Some(Err(error.clone()));
            }
        }
    }

    /// Goes over to the next older scheme of a value that did not open, if there is one.
    fn falls_back(&mut self, slot: usize, opened: Option<&Result<Plaintext, Error>>) -> bool {
        let Some((error, value)) =
            opened.and_then(|opened| opened.as_ref().err()).zip(self.sealed[slot].as_mut())
        else {
            return false;
        };
        let Ok(header) = Header::parse(&value.ciphertext) else { return false };
        let has_own_key = self.keys.own_of(value.row).is_some();
        let Some(older) = Older::after(error, header.kind, has_own_key) else { return false };
        let column = &self.layout.columns[slot % self.layout.columns.len()];
        let (tried, deterministic) = (value.scheme, value.scheme.column.is_deterministic());
        let mut left = column.schemes(deterministic).enumerate().skip(value.tried + 1);
        match left.find(|(_, scheme)| older.may_be(scheme.has_key_of(tried))) {
            Some((number, older)) => {
                (value.scheme, value.tried) = (older, number);
                true
            }
            None => false,
        }
    }
}

impl<'a> Values<'a, ToOpenField<'a>> for &'a Batch<'_> {
    fn value(&self, slot: usize) -> Option<(ToOpenField<'a>, &'a KeyName)> {
        let Sealed { row, ciphertext, scheme, .. } = self.sealed[slot].as_ref()?;
        let place = self.places[*row].as_ref().ok()?;
        let item = ToOpenField { column: &scheme.column, record: &place.record, ciphertext };
        Some((item, self.keys.key(*row, scheme)))
    }
}

enum Look<'a> {
    Null,
    Plain(Plaintext),
    Sealed(Sealed<'a>),
}

/// What stands in a column, and the newest scheme that it may have been sealed in.
fn look<'a>(row: usize, column: &'static LaidColumn, stored: Stored<'a>) -> Result<Look<'a>, FieldProblem> {
    let ciphertext = match migrate::look(stored)? {
        Found::Null => return Ok(Look::Null),
        Found::Never(value) => return Ok(Look::Plain(migrate::take_plaintext(column, value)?)),
        Found::Sealed(ciphertext) => ciphertext,
    };
    let deterministic = column.mode_of(&ciphertext)?;
    let scheme = column.schemes(deterministic).next().ok_or(FieldProblem::OtherMode)?;
    Ok(Look::Sealed(Sealed { row, ciphertext, scheme, tried: 0 }))
}
