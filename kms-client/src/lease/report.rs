//! What was done under leased data keys, until the server has been told: how many seals, and for the census what each column did.
//!
//! What is lost with the process is no danger: the server counts a budget as used until its lease has ended and been reported.

use std::collections::HashMap;

use kms_core::{
    id::{DataKeyId, VersionId},
    names::{ColumnName, TableName, TenantName},
};
use kms_proto::v1::open_data_keys_request::{SealReport, UseReport};
use parking_lot::Mutex;

/// Most reports in one call.
const MOST: usize = 1_000;

/// Columns whose uses wait to be told, of one tenant; more are not counted, and the server does not learn that there were more.
const MOST_COLUMNS: usize = 10_000;

/// Seals and uses that nobody has reported yet.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    seals: Mutex<HashMap<TenantName, OfTenant>>,
    uses: Mutex<HashMap<TenantName, HashMap<Place, Uses>>>,
}

type OfTenant = HashMap<(VersionId, DataKeyId), u64>;
type Place = (VersionId, TableName, ColumnName);

/// What was done with the values of one column.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) seals: u64,
    pub(super) opens: u64,
    /// Of the opens, those of a run that seals values anew; also of values that it then leaves as they are.
    pub(super) moved: u64,
}

impl Reports {
    pub(super) fn add(&self, tenant: &TenantName, version: VersionId, data_key: DataKeyId, seals: u64) {
        if seals > 0 {
            let mut pending = self.seals.lock();
            *pending.entry(tenant.clone()).or_default().entry((version, data_key)).or_default() += seals;
        }
    }

    /// Takes what is to be told about a tenant's keys.
    pub(super) fn take(&self, tenant: &TenantName) -> Vec<SealReport> {
        let mut pending = self.seals.lock();
        let Some(of_tenant) = pending.get_mut(tenant) else { return Vec::new() };
        let keys: Vec<_> = of_tenant.keys().take(MOST).copied().collect();
        let report = |(version, data_key): (VersionId, DataKeyId)| {
            let seals = of_tenant.remove(&(version, data_key)).unwrap_or(0);
            SealReport { version_id: version.get(), data_key_id: data_key.get(), seals }
        };
        let reports = keys.into_iter().map(report).collect();
        if of_tenant.is_empty() {
            pending.remove(tenant);
        }
        reports
    }

    /// Adds uses of a column.
    pub(super) fn add_uses(&self, tenant: &TenantName, place: Place, uses: Uses) {
        let mut pending = self.uses.lock();
        let of_tenant = pending.entry(tenant.clone()).or_default();
        if of_tenant.len() < MOST_COLUMNS || of_tenant.contains_key(&place) {
            let known = of_tenant.entry(place).or_default();
            known.seals += uses.seals;
            known.opens += uses.opens;
            known.moved += uses.moved;
        }
    }

    /// Takes uses that are to be told.
    pub(super) fn take_uses(&self, tenant: &TenantName) -> Vec<UseReport> {
        let mut pending = self.uses.lock();
        let Some(of_tenant) = pending.get_mut(tenant) else { return Vec::new() };
        let places: Vec<_> = of_tenant.keys().take(MOST).cloned().collect();
        let report = |place: Place| {
            let Uses { seals, opens, moved } = of_tenant.remove(&place).unwrap_or_default();
            let (version, table, column) = place;
            UseReport {
                version_id: version.get(),
                table: table.to_string(),
                column: column.to_string(),
                seals,
                opens,
                moved,
            }
        };
        let reports = places.into_iter().map(report).collect();
        if of_tenant.is_empty() {
            pending.remove(tenant);
        }
        reports
    }

    /// Whether there were more than one call could tell.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) fn has_uses(&self, tenant: &TenantName) -> bool {
        self.uses.lock().contains_key(tenant)
    }

    /// Puts back uses that could not be told.
    pub(super) fn put_back_uses(&self, tenant: &TenantName, reports: Vec<UseReport>) {
        for UseReport { version_id, table, column, seals, opens, moved } in reports {
            if let (Ok(table), Ok(column)) = (table.parse(), column.parse()) {
                self.add_uses(tenant, (version_id.into(), table, column), Uses { seals, opens, moved });
            }
        }
    }

    /// Puts back what could not be told.
    pub(super) fn put_back(&self, tenant: &TenantName, reports: Vec<SealReport>) {
        for SealReport { version_id, data_key_id, seals } in reports {
            self.add(tenant, version_id.into(), data_key_id.into(), seals);
        }
    }
}
