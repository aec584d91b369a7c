//! A run that a derive describes: which columns, bound to what, under which keys, with which indexes; and what their values were before.

use kms_core::names::{KeyName, NameError, TenantName};

use super::{
    Database, IndexColumn, Reseal, ResealError, Table,
    columns::{Described, Scheme, SealedColumn},
};
use crate::{
    index::IndexedColumn,
    kms::Kms,
    protect::{ColumnSchema, Mode, Previous, Protect, Schema, date},
    records::Column,
};

impl Reseal {
    /// A run over one tenant's rows of a struct's table: its protected columns, their indexes, each subject's rows under its key. Values
    /// of `previous(..)` schemes move to the present one; what was never sealed is sealed, where and as long as the struct takes it.
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
            run = run.sealed_column(sealed(schema, column).map_err(|error| bad(&error))?);
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

fn sealed(schema: &Schema, column: &ColumnSchema) -> Result<SealedColumn, String> {
    let said = |error: NameError| format!("column `{}`: {error}", column.column);
    let older = column.previous.iter().map(|previous| scheme(schema, column, previous).map_err(said));
    let until = column.allow_plaintext_until.as_deref().map(|until| {
        date(until)
            .ok_or_else(|| format!("column `{}`: `{until}` is no day such as `2027-01-31`", column.column))
    });
    let class = column.class.as_deref().map(|class| {
        class.parse().map_err(|_| format!("column `{}`: `{class}` is no class such as `L3`", column.column))
    });
    let described = Described {
        older: older.collect::<Result<_, _>>()?,
        plaintext_until: until.transpose()?,
        class: class.transpose()?,
        storage: column.storage,
        max_len: column.max_len,
    };
    let now = scheme(schema, column, &Previous::default()).map_err(said)?;
    Ok(SealedColumn { stored_as: column.column.to_string(), now, described: Some(described) })
}

/// What an older scheme does not say is as it is now.
fn scheme(schema: &Schema, column: &ColumnSchema, previous: &Previous) -> Result<Scheme, NameError> {
    let table = previous.table.as_ref().unwrap_or(&schema.table);
    let name = previous.column.as_ref().unwrap_or(&column.name);
    let key = previous.key.as_ref().or(column.key.as_ref()).unwrap_or(&schema.key);
    let column = match previous.mode.unwrap_or(column.mode) {
        Mode::Encrypt => Column::randomized(table, name),
        Mode::Deterministic => Column::deterministic(table, name),
    };
    Ok(Scheme { column: column?, key: key.parse()?, shared: previous.shared })
}
