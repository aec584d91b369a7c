//! Equality search over sealed columns: which indexes a schema has, the value that is stored, the values that are looked for.

use kms_core::{names::TenantName, secret::Plaintext};

use super::{BlindIndexValue, Encoded, FieldProblem, Layout, Protect, ProtectError, layout::LaidIndex};
use crate::{Error, Kms, ToIndex};

/// What to look for in an index column: one value for each version of the index key that may stand there. In SQL an `IN`, or
/// `= ANY`. Some rows found have another value, for an index keeps few bits: open them and compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes(Vec<BlindIndexValue>);

impl Probes {
    /// The values.
    pub fn as_slice(&self) -> &[BlindIndexValue] {
        &self.0
    }

    /// The values, for `= ANY($1)`.
    pub fn into_vec(self) -> Vec<BlindIndexValue> {
        self.0
    }
}

impl IntoIterator for Probes {
    type Item = BlindIndexValue;
    type IntoIter = std::vec::IntoIter<BlindIndexValue>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The indexed columns and where they stand among all.
pub(super) fn columns(layout: &'static Layout) -> impl Iterator<Item = (usize, &'static LaidIndex)> {
    layout.columns.iter().enumerate().filter_map(|(at, column)| Some((at, column.index.as_ref()?)))
}

/// What is stored beside values, in order.
pub(super) async fn values(
    kms: &Kms,
    tenant: &TenantName,
    index: &LaidIndex,
    values: impl Iterator<Item = &[u8]>,
) -> Result<Vec<Vec<u8>>, Error> {
    let normalized: Vec<Plaintext> = values.map(|value| index.normalized(value)).collect();
    let item = |normalized| ToIndex { column: &index.column, normalized };
    let items: Vec<_> = normalized.iter().map(|normalized| item(normalized.as_bytes())).collect();
    if items.is_empty() {
        return Ok(Vec::new());
    }
    kms.index(tenant, &index.key).values(&items).await
}

impl Kms {
    /// What to look for in the index of a struct's column, counted among its protected ones. The derive's own functions call this.
    #[doc(hidden)]
    pub async fn probes<T: Protect>(
        &self,
        tenant: &TenantName,
        at: usize,
        value: Result<Encoded<'_>, FieldProblem>,
    ) -> Result<Probes, ProtectError> {
        let schema = T::SCHEMA;
        let column = schema.columns.get(at).map_or("", |column| &column.column);
        let found = async {
            let layout = T::layout().as_ref().map_err(Clone::clone)?;
            let index = layout.columns.get(at).and_then(|column| column.index.as_ref()).ok_or(NO_INDEX)?;
            let normalized = index.normalized(value?.as_bytes());
            Ok(self.index(tenant, &index.key).probes(&index.column, &normalized).await?)
        };
        let found: Result<Vec<Vec<u8>>, FieldProblem> = found.await;
        let found = found.map_err(|problem| ProtectError::new(&schema.stored_as, column, problem))?;
        Ok(Probes(found.into_iter().map(BlindIndexValue::from).collect()))
    }
}

const NO_INDEX: Error = Error::Unsupported("the column has no index");
