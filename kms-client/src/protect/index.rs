//! Equality search over sealed columns: which indexes a schema has, the value that is stored, the values that are looked for.

use kms_core::names::TenantName;

use super::{BlindIndexValue, Encoded, FieldProblem, IndexSchema, Layout, ProtectError, Schema};
use crate::Kms;

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
pub(super) fn columns(schema: &'static Schema) -> impl Iterator<Item = (usize, &'static IndexSchema)> {
    schema.columns.iter().enumerate().filter_map(|(at, column)| Some((at, column.index.as_ref()?)))
}

impl Kms {
    /// What to look for in the index of a struct's column, counted among its protected ones. The derive's own functions call this.
    #[doc(hidden)]
    pub async fn probes<T: super::Protect>(
        &self,
        tenant: &TenantName,
        at: usize,
        value: Result<Encoded<'_>, FieldProblem>,
    ) -> Result<Probes, ProtectError> {
        let schema = T::SCHEMA;
        let column = &schema.columns[at];
        let wrong = |problem: FieldProblem| ProtectError::new(&schema.stored_as, &column.column, problem);
        let value = value.map_err(wrong)?;
        let _ = (tenant, value);
        Err(wrong(FieldProblem::Kms(LATER)))
    }
}

/// What is stored beside values, in order; `at` is the column's place.
pub(super) async fn to_seal(
    _kms: &Kms,
    _tenant: &TenantName,
    (_layout, _at): (&'static Layout, usize),
    _index: &'static IndexSchema,
    values: &[&[u8]],
) -> Vec<Result<Vec<u8>, FieldProblem>> {
    values.iter().map(|_| Err(FieldProblem::Kms(LATER))).collect()
}

const LATER: crate::Error = crate::Error::Unsupported("index");
