//! One lease: a data key, the ciphers prepared from it, and until when.
//!
//! Every use looks at the clock first. `wipe` takes the key out of whoever still holds the lease.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use kms_core::{
    field::{self, DeterministicCipher, FieldCipher, OpenError, SealError},
    id::{DataKeyId, VersionId},
    names::{ColumnName, KeyName, RecordId, TableName, TenantName},
    secret::{DataKey, Plaintext},
    state::KeyClass,
};

use super::{
    budget::Budget,
    columns::{Cipher, Ciphers, Columns, Prepared},
    index::IndexKeys,
    report::Reports,
    revocable::Revocable,
};
use crate::clock::{BootTime, Clock};

/// Why a lease does nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its time is over.
    Ended,
    /// The field key has made as many seals as it may.
    Spent,
}

/// The terms of a lease, as the server stated them.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) tenant: TenantName,
    pub(crate) key: KeyName,
    pub(crate) version: VersionId,
    pub(crate) data_key: DataKeyId,
    /// Hard: nothing is sealed or opened from this moment on.
    pub(crate) deadline: BootTime,
    /// Seals of one field key; `None` where the key may only open.
    pub(crate) budget: Option<u64>,
    /// Of the key; servers of before do not say it.
    pub(crate) class: Option<KeyClass>,
}

/// What is under lease.
#[derive(Debug)]
pub(crate) enum Material {
    DataKey(DataKey),
    Index(IndexKeys),
}

/// A data key, or an index key, under lease.
pub(crate) struct Lease {
    terms: Terms,
    clock: Arc<dyn Clock>,
    material: Revocable<Material>,
    columns: Columns,
    reports: Arc<Reports>,
    reported: AtomicU64,
    touched: AtomicBool,
    renewal_due: AtomicBool,
}

impl Lease {
    pub(crate) fn new(
        terms: Terms,
        material: Material,
        clock: Arc<dyn Clock>,
        reports: Arc<Reports>,
    ) -> Self {
        Self {
            terms,
            clock,
            material: Revocable::new(material),
            columns: Columns::default(),
            reports,
            reported: AtomicU64::new(0),
            touched: AtomicBool::new(false),
            renewal_due: AtomicBool::new(false),
        }
    }

    pub(crate) fn key(&self) -> &KeyName {
        &self.terms.key
    }

    pub(crate) fn version(&self) -> VersionId {
        self.terms.version
    }

    pub(crate) fn data_key_id(&self) -> DataKeyId {
        self.terms.data_key
    }

    /// Whether another version takes its place with the next rotation: what is leased by the name of a key.
    pub(super) fn is_by_name(&self) -> bool {
        let is_index = |material: &Material| matches!(material, Material::Index(_));
        self.terms.budget.is_some() || self.material.with(is_index).unwrap_or(false)
    }

    /// Whether something of it is derived from one of these versions.
    pub(super) fn is_of(&self, versions: &HashSet<VersionId>) -> bool {
        let of_index = |material: &Material| match material {
            Material::Index(keys) => Some(keys.has_any_of(versions)),
            Material::DataKey(_) => None,
        };
        self.material.with(of_index).flatten().unwrap_or_else(|| versions.contains(&self.terms.version))
    }

    pub(super) fn class(&self) -> Option<KeyClass> {
        self.terms.class
    }

    pub(super) fn deadline(&self) -> BootTime {
        self.terms.deadline
    }

    /// Whether it may be used at this moment.
    pub(crate) fn is_live(&self) -> bool {
        self.clock.now() < self.terms.deadline
    }

    /// Notes that somebody uses it, which is why it will be renewed.
    pub(super) fn touch(&self) {
        // Written once: a line that threads only read does not go from core to core.
        if !self.was_touched() {
            self.touched.store(true, Relaxed);
        }
    }

    pub(super) fn was_touched(&self) -> bool {
        self.touched.load(Relaxed)
    }

    /// Whether a budget runs low; true once.
    pub(super) fn takes_early_renewal(&self) -> bool {
        self.renewal_due.swap(false, Relaxed)
    }

    /// Whether a budget runs low.
    pub(crate) fn runs_low(&self) -> bool {
        self.renewal_due.load(Relaxed)
    }

    /// Shows the data key to `use_it`, if the lease runs.
    pub(crate) fn with_data_key<R>(&self, use_it: impl FnOnce(&DataKey) -> R) -> Result<R, Stop> {
        let used = self.material.with(|material| match material {
            Material::DataKey(data_key) if self.is_live() => Some(use_it(data_key)),
            _ => None,
        });
        used.flatten().ok_or(Stop::Ended)
    }

    /// Shows the index keys to `use_it`, if the lease runs and has some.
    // INVARIANT: held to the end of the use, so that `wipe` waits for it and nothing prepared outlives it.
    pub(crate) fn with_index_keys<R>(&self, use_it: impl FnOnce(&IndexKeys) -> R) -> Result<R, Stop> {
        let used = self.material.with(|material| match material {
            Material::Index(keys) if self.is_live() => Some(use_it(keys)),
            _ => None,
        });
        used.flatten().ok_or(Stop::Ended)
    }

    /// The ciphers that are prepared.
    pub(crate) fn ciphers(&self) -> Ciphers {
        self.columns.ciphers()
    }

    /// The cipher of a column, shared with whoever else seals or opens that column. [`Self::ciphers`] has it afterwards, unless the
    /// lease has too many columns to keep them all.
    pub(crate) fn prepared(&self, table: &TableName, column: &ColumnName) -> Result<Arc<Prepared>, Stop> {
        let budget = || Budget::new(self.terms.budget.unwrap_or(0));
        self.columns.shared((table, column), budget, |budget| self.prepare(table, column, budget))
    }

    /// A cipher of a column for one holder, so that threads do not meet at its lock; the budget is shared.
    pub(crate) fn prepared_for_one(
        &self,
        table: &TableName,
        column: &ColumnName,
    ) -> Result<Arc<Prepared>, Stop> {
        let budget = self.prepared(table, column)?.budget.clone();
        let mut adding = self.columns.adding();
        Ok(adding.keep(self.prepare(table, column, budget)?))
    }

    fn prepare(&self, table: &TableName, column: &ColumnName, budget: Budget) -> Result<Prepared, Stop> {
        let Terms { tenant, version, data_key: id, .. } = &self.terms;
        let column = field::Column { tenant, table, column };
        let cipher = self.with_data_key(|data_key| match *id {
            DataKeyId::DETERMINISTIC => {
                Cipher::Deterministic(DeterministicCipher::new(data_key, *version, column))
            }
            id => Cipher::Randomized(FieldCipher::new(data_key, *version, id, column)),
        })?;
        Ok(Prepared::new(cipher, budget))
    }

    /// Takes up to `wanted` seals of a column's field key.
    pub(crate) fn take_seals(&self, prepared: &Prepared, wanted: u64) -> Result<u64, Stop> {
        let taken = prepared.budget.take(wanted);
        if taken.renew || taken.seals == 0 {
            self.renewal_due.store(true, Relaxed);
        }
        if taken.seals == 0 { Err(Stop::Spent) } else { Ok(taken.seals) }
    }

    /// Seals a value for which a seal was taken.
    pub(crate) fn seal_taken(
        &self,
        prepared: &Prepared,
        record: &RecordId,
        plaintext: &[u8],
    ) -> Result<Result<Vec<u8>, SealError>, Stop> {
        self.used(prepared, |cipher| match cipher {
            Cipher::Randomized(cipher) => cipher.seal(record, plaintext),
            Cipher::Deterministic(cipher) => cipher.seal(plaintext),
        })
    }

    /// Opens a value.
    pub(crate) fn open(
        &self,
        prepared: &Prepared,
        record: &RecordId,
        ciphertext: &[u8],
    ) -> Result<Result<Plaintext, OpenError>, Stop> {
        self.used(prepared, |cipher| match cipher {
            Cipher::Randomized(cipher) => cipher.open(record, ciphertext),
            Cipher::Deterministic(cipher) => cipher.open(ciphertext),
        })
    }

    fn used<R>(&self, prepared: &Prepared, use_it: impl FnOnce(&Cipher) -> R) -> Result<R, Stop> {
        let used = prepared.cipher.with(|cipher| self.is_live().then(|| use_it(cipher)));
        used.flatten().ok_or(Stop::Ended)
    }

    /// Takes key and ciphers away from all who hold them.
    // ORDER: the key first, so that no cipher is prepared after the ciphers are gone.
    pub(crate) fn wipe(&self) {
        self.material.revoke();
        self.columns.revoke();
    }

    /// How many seals were made that nobody has reported yet; counts as reported from now on.
    pub(super) fn take_report(&self) -> u64 {
        let made = self.columns.seals();
        made.saturating_sub(self.reported.fetch_max(made, Relaxed))
    }

    /// Adds to the reports what each column did since the last time.
    pub(super) fn report_uses(&self) {
        let Terms { tenant, version, .. } = &self.terms;
        self.columns.take_uses(|table, column, since| {
            self.reports.add_uses(tenant, (*version, table.clone(), column.clone()), since);
        });
    }
}

#[cfg(test)]
impl Lease {
    pub(crate) fn is_wiped(&self) -> bool {
        self.material.is_revoked()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.report_uses();
        let seals = self.take_report();
        self.reports.add(&self.terms.tenant, self.terms.version, self.terms.data_key, seals);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("terms", &self.terms).finish_non_exhaustive()
    }
}
