//! A run that a derive describes: which columns, bound to what, under which keys, with which indexes.

use kms_core::names::{KeyName, TenantName};

use super::{Database, IndexColumn, Reseal, ResealError, Table};
use crate::{
    index::IndexedColumn,
    kms::Kms,
    protect::{ColumnSchema, Mode, Protect, Schema},
    records::Column,
};

impl Reseal {
    /// A run over one tenant's rows of a struct's table: its protected columns, their indexes, each subject's rows under its key.
    ///
    /// # Errors
    /// As [`Reseal::described`].
    pub fn of<T: Protect>(kms: &Kms, tenant: &TenantName, database: Database) -> Result<Self, ResealError> {
        Self::described(kms, tenant, T::SCHEMA, database)
    }

    /// The same for a schema, such as one that was read from JSON. Rows are walked by the one column, beside the tenant's, that they
    /// are bound to.
    ///
    /// # Errors
    /// Where the schema has a bad name, or binds rows to several columns beside the tenant's: then build the run from a [`Table`].
    pub fn described(
        kms: &Kms,
        tenant: &TenantName,
        schema: &Schema,
        database: Database,
    ) -> Result<Self, ResealError> {
        Self::described_as(kms, tenant, schema, &schema.stored_as, database)
    }

    /// The same, over a table of another name.
    ///
    /// # Errors
    /// As [`Reseal::described`].
    pub fn described_as(
        kms: &Kms,
        tenant: &TenantName,
        schema: &Schema,
        table: &str,
        database: Database,
    ) -> Result<Self, ResealError> {
        let mut own = schema.bind.iter().filter(|column| **column != schema.tenant);
        let (Some(id), None) = (own.next(), own.next()) else {
            return Err(ResealError::Usage(format!(
                "rows of table `{table}` are not told apart by one column beside the tenant's; name the column to walk by"
            )));
        };
        Self::described_by(kms, tenant, schema, (table, id), database)
    }

    /// The same, over a table of another name, walked by a column of the caller's choice.
    ///
    /// # Errors
    /// Where the schema has a bad name.
    pub fn described_by(
        kms: &Kms,
        tenant: &TenantName,
        schema: &Schema,
        (table, id): (&str, &str),
        database: Database,
    ) -> Result<Self, ResealError> {
        let bad = |error: &dyn std::fmt::Display| {
            ResealError::Usage(format!("the schema of table `{}`: {error}", schema.stored_as))
        };
        let bound = schema.bind.iter().map(ToString::to_string);
        let mut table = Table::new(table, id).bound_to(bound).of_tenant(&schema.tenant, tenant);
        if let Some(per) = &schema.per {
            table = table.per_subject(per);
        }
        let key: KeyName = schema.key.parse().map_err(|error| bad(&error))?;
        let mut run = Self::new(kms.records(tenant, &key), database, table);
        for column in schema.columns.iter() {
            let named = sealed(schema, column).map_err(|error| bad(&error))?;
            let own = column.key.as_ref().map_or(Ok(key.clone()), |own| own.parse());
            run = run.column_under(&column.column, named, &own.map_err(|error| bad(&error))?);
            if let Some(index) = &column.index {
                run = run.index(IndexColumn {
                    stored_as: index.column.to_string(),
                    of: column.column.to_string(),
                    key: index.key.parse().map_err(|error| bad(&error))?,
                    index: IndexedColumn::new(&schema.table, &column.name, &index.name, index.bits)
                        .map_err(|error| bad(&error))?,
                    normalizer: index.normalize.parse().map_err(|error| bad(&error))?,
                });
            }
        }
        Ok(run)
    }
}

fn sealed(schema: &Schema, column: &ColumnSchema) -> Result<Column, kms_core::names::NameError> {
    match column.mode {
        Mode::Encrypt => Column::randomized(&schema.table, &column.name),
        Mode::Deterministic => Column::deterministic(&schema.table, &column.name),
    }
}
