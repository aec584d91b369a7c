//! Rows to seal: all values encoded first, then one batch a tenant, then the twins.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use kms_core::names::{FamilyName, KeyName, SubjectName, TenantName};
use kms_proto::reason::Reason;

use super::{
    Encoded, FieldProblem, Layout, Place, Plaintexts, Protect, ProtectError, SealedValues, class, index,
    keys::RowKeys,
};
use crate::{
    Kms, ToSealField,
    lease::{Scope, Want, What},
    records::{Grouped, Results, Values},
};

impl Kms {
    /// Seals a row. Makes no call where the data keys are at hand, one where they are not.
    ///
    /// # Errors
    /// Where there is no lease to be had, or a value cannot be sealed or does not fit its column.
    pub async fn seal<T: Protect>(&self, row: &T) -> Result<T::Sealed, ProtectError> {
        let mut sealed = self.seal_all(std::slice::from_ref(row)).await;
        sealed.pop().unwrap_or_else(|| Err(ProtectError::new(&T::SCHEMA.stored_as, "", FieldProblem::Null)))
    }

    /// Seals rows; results in order. The data keys of all columns and rows that are not at hand come in one call for each tenant.
    ///
    /// Writes nothing: dropped before it is done, nothing has happened. A row that fails does not harm the others; to write all or
    /// none, collect: `let rows: Vec<_> = kms.seal_all(&rows).await.into_iter().collect::<Result<_, _>>()?;`
    pub async fn seal_all<T: Protect>(&self, rows: &[T]) -> Vec<Result<T::Sealed, ProtectError>> {
        let schema = T::SCHEMA;
        let layout = match T::layout() {
            Ok(layout) => layout,
            Err(error) => {
                return refuse_all(rows.len(), &ProtectError::new(&schema.stored_as, "", error.clone()));
            }
        };
        let (columns, indexed) = (layout.columns.len(), index::columns(layout).count());
        let mut batch = Batch::new(layout, rows);
        let tenants = by_tenant(&batch.places);
        if indexed > 0 || schema.per.is_some() || tenants.len() > 1 {
            join_all(tenants.iter().map(|(tenant, rows)| batch.warm(self, tenant, rows))).await;
        }
        let mut values: Vec<Option<Result<Vec<u8>, crate::Error>>> =
            std::iter::repeat_with(|| None).take(rows.len() * columns).collect();
        let mut index_values: Vec<Option<Vec<u8>>> = vec![None; rows.len() * indexed];
        for (tenant, rows) in &tenants {
            batch.seal_tenant(self, tenant, rows, &mut values).await;
            for (slot, result) in batch.index_tenant(self, tenant, rows).await {
                match result {
                    Ok(value) => index_values[slot] = Some(value),
                    Err(error) => batch.fail(slot / indexed, error),
                }
            }
            for (at, error) in class::differing(self, layout, tenant) {
                rows.iter().for_each(|row| batch.fail(*row, layout.error(at, error.clone())));
            }
        }
        let twin = |(at, (row, place)): (usize, (&T, Result<Place, ProtectError>))| {
            place?;
            let (values, indexes) = (
                &mut values[at * columns..(at + 1) * columns],
                &mut index_values[at * indexed..(at + 1) * indexed],
            );
            row.sealed(&mut SealedValues::new(schema, values, indexes))
        };
        rows.iter().zip(batch.places).enumerate().map(twin).collect()
    }
}

/// Rows encoded; the place of one that failed says why.
pub(super) struct Batch<'a> {
    pub(super) layout: &'static Layout,
    places: Vec<Result<Place, ProtectError>>,
    keys: RowKeys,
    /// Row after row, the columns of each; `None` is NULL.
    pub(super) values: Vec<Option<Encoded<'a>>>,
}

impl<'a> Batch<'a> {
    fn new<T: Protect>(layout: &'static Layout, rows: &'a [T]) -> Self {
        let mut plaintexts = Plaintexts::with_capacity(rows.len() * layout.columns.len());
        for row in rows {
            row.plaintexts(&mut plaintexts);
        }
        let mut places: Vec<_> = rows.iter().map(Protect::place).collect();
        let keys = RowKeys::of(layout, &mut places);
        let Plaintexts { values, problems } = plaintexts;
        let mut batch = Self { layout, places, keys, values };
        for (slot, problem) in problems {
            let columns = layout.columns.len();
            batch.fail(slot / columns, layout.error(slot % columns, problem));
        }
        batch
    }

    /// The first reason counts.
    fn fail(&mut self, row: usize, error: ProtectError) {
        if self.places[row].is_ok() {
            self.places[row] = Err(error);
        }
    }

    async fn seal_tenant(
        &self,
        kms: &Kms,
        tenant: &TenantName,
        rows: &[usize],
        values: &mut Results<Vec<u8>>,
    ) {
        let Some(any) = self.layout.keys.first() else { return };
        let slots = slots(rows, self.layout.columns.len());
        kms.records(tenant, any).seal_values(&self, slots, values).await;
    }

    /// Has the leases of index keys come in one call with those of data keys, where both are missing; and ensures subjects.
    async fn warm(&self, kms: &Kms, tenant: &TenantName, rows: &[usize]) {
        let scope = Scope { tenant: tenant.clone(), purpose: kms.terms.purpose.clone() };
        let (mut met, mut wants) = (HashSet::new(), Vec::new());
        let mut want = |what: What| {
            if met.insert(what.clone()) {
                wants.push(Want { scope: scope.clone(), what });
            }
        };
        for row in rows {
            let keys = self.keys.of_row(*row);
            for column in &self.layout.columns {
                let (key, deterministic) =
                    (keys[column.now.key].clone(), column.now.column.is_deterministic());
                want(What::Seal { key, deterministic });
            }
            // Without subjects all rows want the same.
            if self.keys.own_of(*row).is_none() {
                break;
            }
        }
        for (_, index) in index::columns(self.layout) {
            want(What::Index { key: index.key.clone() });
        }
        let leases = kms.leases(&scope, &wants).await;
        // What failed fails again, and says so, where it is used; but subjects that are not there yet are made on first use.
        let mut missing: HashMap<FamilyName, HashSet<SubjectName>> = HashMap::new();
        for (want, lease) in wants.iter().zip(leases) {
            let (What::Seal { key, .. }, Err(error)) = (&want.what, lease) else { continue };
            if let (Some(subject), Some(Reason::KeyNotAccessible)) = (key.subject(), error.reason()) {
                missing.entry(key.family().clone()).or_default().insert(subject.clone());
            }
        }
        if missing.is_empty() {
            return;
        }
        for (family, subjects) in missing {
            let subjects: Vec<_> = subjects.into_iter().collect();
            drop(kms.ensure_subjects(tenant, &family, &subjects).await);
        }
        drop(kms.leases(&scope, &wants).await);
    }

    async fn index_tenant(
        &self,
        kms: &Kms,
        tenant: &TenantName,
        rows: &[usize],
    ) -> Vec<(usize, Result<Vec<u8>, ProtectError>)> {
        let columns = self.layout.columns.len();
        let indexed = index::columns(self.layout).count();
        let mut indexes = Vec::new();
        for (place, (at, index)) in index::columns(self.layout).enumerate() {
            let value =
                |row: &usize| self.values[row * columns + at].as_ref().map(|value| (*row, value.as_bytes()));
            let (rows, values): (Vec<usize>, Vec<&[u8]>) = rows.iter().filter_map(value).unzip();
            match index::values(kms, tenant, index, values.into_iter()).await {
                Ok(values) => {
                    let of_row = |(row, value)| (row * indexed + place, Ok(value));
                    indexes.extend(rows.into_iter().zip(values).map(of_row));
                }
                Err(error) => {
                    let error = self.layout.error(at, error);
                    indexes.extend(rows.into_iter().map(|row| (row * indexed + place, Err(error.clone()))));
                }
            }
        }
        indexes
    }
}

impl<'a> Values<'a, ToSealField<'a>> for &'a Batch<'_> {
    fn value(&self, slot: usize) -> Option<(ToSealField<'a>, &'a KeyName)> {
        let columns = self.layout.columns.len();
        let (row, scheme) = (slot / columns, &self.layout.columns[slot % columns].now);
        let (place, value) = (self.places[row].as_ref().ok()?, self.values[slot].as_ref()?);
        let (record, plaintext) = (&place.record, value.as_bytes());
        Some((ToSealField { column: &scheme.column, record, plaintext }, self.keys.key(row, scheme)))
    }
}

/// The slots of rows, one for each column.
pub(super) fn slots(rows: &[usize], columns: usize) -> impl Iterator<Item = usize> {
    rows.iter().flat_map(move |row| row * columns..(row + 1) * columns)
}

/// Which rows are whose.
pub(super) fn by_tenant(places: &[Result<Place, ProtectError>]) -> Vec<(TenantName, Vec<usize>)> {
    let mut tenants = Grouped::with_room(places.len());
    for (row, place) in places.iter().enumerate() {
        if let Ok(place) = place {
            tenants.push(&place.tenant, row);
        }
    }
    tenants.into_vec()
}

pub(super) fn refuse_all<T>(rows: usize, error: &ProtectError) -> Vec<Result<T, ProtectError>> {
    (0..rows).map(|_| Err(error.clone())).collect()
}
