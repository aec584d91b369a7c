//! How many seals were made under leased data keys, until the server has been told.
//!
//! What is lost with the process is no danger: the server counts a budget as used until its lease has ended and been reported.

use std::collections::HashMap;

use kms_core::{
    id::{DataKeyId, VersionId},
    names::TenantName,
};
use kms_proto::v1::open_data_keys_request::SealReport;
use parking_lot::Mutex;

/// Most reports in one call.
const MOST: usize = 1_000;

/// Seals that were made and not reported.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<HashMap<TenantName, OfTenant>>);

type OfTenant = HashMap<(VersionId, DataKeyId), u64>;

impl Reports {
    pub(super) fn add(&self, tenant: &TenantName, version: VersionId, data_key: DataKeyId, seals: u64) {
        if seals > 0 {
            let mut pending = self.0.lock();
            *pending.entry(tenant.clone()).or_default().entry((version, data_key)).or_default() += seals;
        }
    }

    /// Takes what is to be told about a tenant's keys.
    pub(super) fn take(&self, tenant: &TenantName) -> Vec<SealReport> {
        let mut pending = self.0.lock();
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

    /// Puts back what could not be told.
    pub(super) fn put_back(&self, tenant: &TenantName, reports: Vec<SealReport>) {
        for SealReport { version_id, data_key_id, seals } in reports {
            self.add(tenant, version_id.into(), data_key_id.into(), seals);
        }
    }
}
