//! Which rows a run walks, and what binds a value to its row.

use kms_core::names::TenantName;

/// A table as the database knows it. The name that values are bound to can be another: see [`crate::Column`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) bound: Vec<String>,
    pub(super) tenant: Option<(String, TenantName)>,
    pub(super) per: Option<String>,
}

impl Table {
    /// A table, and the column with its row ids: integers, text or UUIDs, unique.
    ///
    /// PostgreSQL takes `schema.table` too.
    pub fn new(name: &str, id: &str) -> Self {
        Self { name: name.into(), id: id.into(), bound: Vec::new(), tenant: None, per: None }
    }

    /// The columns that values were bound to, in order, where that is not the id alone.
    #[must_use]
    pub fn bound_to(mut self, columns: impl IntoIterator<Item = String>) -> Self {
        self.bound = columns.into_iter().collect();
        self
    }

    /// Walks only the rows in which this column names the tenant: for tables that tenants share.
    #[must_use]
    pub fn of_tenant(mut self, column: &str, tenant: &TenantName) -> Self {
        self.tenant = Some((column.into(), tenant.clone()));
        self
    }

    /// The column that names the subject, where each has a key of its own: rows are opened and sealed under `KEY/SUBJECT`.
    #[must_use]
    pub fn per_subject(mut self, column: &str) -> Self {
        self.per = Some(column.into());
        self
    }

    /// What of a row is read beside its id and its cells: what binds it, then what names its subject.
    pub(super) fn read_too(&self) -> impl Iterator<Item = &String> {
        self.bound.iter().chain(&self.per)
    }

    /// Every column of the table that must be there beside the sealed ones.
    pub(super) fn key_columns(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.id).chain(self.read_too()).chain(self.tenant.iter().map(|(column, _)| column))
    }

    /// Whether a unique index over these columns makes the id unique among the rows that are walked.
    pub(super) fn is_told_apart_by(&self, unique: &[String], same: impl Fn(&str, &str) -> bool) -> bool {
        let fixed = |column: &String| {
            same(column, &self.id) || self.tenant.as_ref().is_some_and(|(tenant, _)| same(column, tenant))
        };
        !unique.is_empty() && unique.iter().all(fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_unique_by_itself_or_within_its_tenant() {
        let same = |a: &str, b: &str| a == b;
        let table = Table::new("checkins", "id");
        let [id, company, other] = ["id", "company_id", "day"].map(str::to_owned);
        assert!(table.is_told_apart_by(std::slice::from_ref(&id), same));
        let shared = [company.clone(), id.clone()];
        assert!(!table.is_told_apart_by(&shared, same));
        assert!(!table.is_told_apart_by(&[], same));
        let of_tenant = table.of_tenant("company_id", &"acme".parse().unwrap());
        assert!(of_tenant.is_told_apart_by(&shared, same));
        assert!(!of_tenant.is_told_apart_by(&[other, id], same));
    }
}
