//! One lease: a data key, the ciphers prepared from it, and until when.
//!
//! Every use looks at the clock first. `wipe` takes the key out of whoever still holds the lease.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use kms_core::{
    field::{self, DeterministicCipher, FieldCipher, OpenError, SealError},
    id::{DataKeyId, VersionId},
    names::{ColumnName, KeyName, RecordId, TableName, TenantName},
    secret::{DataKey, Plaintext},
};
use parking_lot::{Mutex, RwLock};

use super::{
    budget::Budget,
    index::IndexKeys,
    report::{Reports, Uses},
};
use crate::clock::{BootTime, Clock};

/// Most columns whose ciphers one lease keeps; more are prepared each time and share one budget.
const KEPT_COLUMNS: usize = 1_024;

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
    material: RwLock<Option<Material>>,
    columns: Mutex<Columns>,
    reports: Arc<Reports>,
    reported: AtomicU64,
    touched: AtomicBool,
    renewal_due: AtomicBool,
}

#[derive(Default)]
struct Columns {
    shared: HashMap<(TableName, ColumnName), Arc<Prepared>>,
    /// Given to one holder each, kept here to be wiped with the rest.
    own: Vec<Weak<Prepared>>,
    beyond: Option<Budget>,
}

impl Columns {
    /// Keeps a cipher that one holder has, for as long as it has it.
    fn give(&mut self, prepared: &Arc<Prepared>) {
        self.own.retain(|own| own.strong_count() > 0);
        self.own.push(Arc::downgrade(prepared));
    }
}

/// The cipher of one column, until its lease ends.
pub(crate) struct Prepared {
    cipher: RwLock<Option<Cipher>>,
    budget: Budget,
    /// For the census; a lone counter in nobody's way.
    opens: AtomicU64,
    /// What of seals and opens was taken for a report.
    reported: Mutex<Uses>,
}

enum Cipher {
    Randomized(FieldCipher),
    Deterministic(DeterministicCipher),
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
            material: RwLock::new(Some(material)),
            columns: Mutex::default(),
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
        self.terms.budget.is_some() || matches!(&*self.material.read(), Some(Material::Index(_)))
    }

    /// Whether something of it is derived from one of these versions.
    pub(super) fn is_of(&self, versions: &HashSet<VersionId>) -> bool {
        match &*self.material.read() {
            Some(Material::Index(keys)) => keys.has_any_of(versions),
            _ => versions.contains(&self.terms.version),
        }
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
        self.touched.store(true, Relaxed);
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
        let material = self.material.read();
        match &*material {
            Some(Material::DataKey(data_key)) if self.is_live() => Ok(use_it(data_key)),
            _ => Err(Stop::Ended),
        }
    }

    /// Shows the index keys to `use_it`, if the lease runs and has some.
    // INVARIANT: held to the end of the use, so that `wipe` waits for it and nothing prepared outlives it.
    pub(crate) fn with_index_keys<R>(&self, use_it: impl FnOnce(&IndexKeys) -> R) -> Result<R, Stop> {
        let material = self.material.read();
        match &*material {
            Some(Material::Index(keys)) if self.is_live() => Ok(use_it(keys)),
            _ => Err(Stop::Ended),
        }
    }

    /// The cipher of a column, shared with whoever else seals or opens that column.
    pub(crate) fn prepared(&self, table: &TableName, column: &ColumnName) -> Result<Arc<Prepared>, Stop> {
        let name = (table.clone(), column.clone());
        let mut columns = self.columns.lock();
        if let Some(prepared) = columns.shared.get(&name) {
            return Ok(prepared.clone());
        }
        let beyond = columns.shared.len() >= KEPT_COLUMNS;
        let budget = match beyond {
            true => columns.beyond.get_or_insert_with(|| self.budget()).clone(),
            false => self.budget(),
        };
        let prepared = Arc::new(self.prepare(table, column, budget)?);
        match beyond {
            true => columns.give(&prepared),
            false => drop(columns.shared.insert(name, prepared.clone())),
        }
        Ok(prepared)
    }

    /// A cipher of a column for one holder, so that threads do not meet at its lock; the budget is shared.
    pub(crate) fn prepared_for_one(
        &self,
        table: &TableName,
        column: &ColumnName,
    ) -> Result<Arc<Prepared>, Stop> {
        let budget = self.prepared(table, column)?.budget.clone();
        let prepared = Arc::new(self.prepare(table, column, budget)?);
        self.columns.lock().give(&prepared);
        // ORDER: a wipe that came before the push took the key first, so it shows here.
        self.with_data_key(|_| ())?;
        Ok(prepared)
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
        Ok(Prepared {
            cipher: RwLock::new(Some(cipher)),
            budget,
            opens: AtomicU64::new(0),
            reported: Mutex::default(),
        })
    }

    fn budget(&self) -> Budget {
        Budget::new(self.terms.budget.unwrap_or(0))
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
        let cipher = prepared.cipher.read();
        if !self.is_live() {
            return Err(Stop::Ended);
        }
        match &*cipher {
            Some(Cipher::Randomized(cipher)) => Ok(cipher.seal(record, plaintext)),
            Some(Cipher::Deterministic(cipher)) => Ok(cipher.seal(plaintext)),
            None => Err(Stop::Ended),
        }
    }

    /// Opens a value.
    pub(crate) fn open(
        &self,
        prepared: &Prepared,
        record: &RecordId,
        ciphertext: &[u8],
    ) -> Result<Result<Plaintext, OpenError>, Stop> {
        let cipher = prepared.cipher.read();
        if !self.is_live() {
            return Err(Stop::Ended);
        }
        prepared.opens.fetch_add(1, Relaxed);
        match &*cipher {
            Some(Cipher::Randomized(cipher)) => Ok(cipher.open(record, ciphertext)),
            Some(Cipher::Deterministic(cipher)) => Ok(cipher.open(ciphertext)),
            None => Err(Stop::Ended),
        }
    }

    /// Takes key and ciphers away from all who hold them.
    // ORDER: the key first, so that no cipher is prepared after the ciphers are gone.
    pub(crate) fn wipe(&self) {
        drop(self.material.write().take());
        let columns = self.columns.lock();
        let own = columns.own.iter().filter_map(Weak::upgrade);
        for prepared in columns.shared.values().cloned().chain(own) {
            drop(prepared.cipher.write().take());
        }
    }

    /// How many seals were made that nobody has reported yet; counts as reported from now on.
    pub(super) fn take_report(&self) -> u64 {
        let made = self.seals();
        made.saturating_sub(self.reported.fetch_max(made, Relaxed))
    }

    /// Adds to the reports what each column did since the last time.
    pub(super) fn report_uses(&self) {
        let columns = self.columns.lock();
        for ((table, column), prepared) in &columns.shared {
            let since = prepared.take_uses();
            if since != Uses::default() {
                let place = (self.terms.version, table.clone(), column.clone());
                self.reports.add_uses(&self.terms.tenant, place, since);
            }
        }
    }

    fn seals(&self) -> u64 {
        let columns = self.columns.lock();
        let beyond = columns.beyond.as_ref().map_or(0, Budget::used);
        columns.shared.values().map(|prepared| prepared.budget.used()).sum::<u64>() + beyond
    }
}

#[cfg(test)]
impl Lease {
    pub(crate) fn is_wiped(&self) -> bool {
        self.material.read().is_none()
    }
}

impl Prepared {
    fn take_uses(&self) -> Uses {
        let now = Uses { seals: self.budget.used(), opens: self.opens.load(Relaxed) };
        let mut reported = self.reported.lock();
        let since = Uses {
            seals: now.seals.saturating_sub(reported.seals),
            opens: now.opens.saturating_sub(reported.opens),
        };
        *reported = Uses { seals: now.seals.max(reported.seals), opens: now.opens.max(reported.opens) };
        since
    }

    #[cfg(test)]
    pub(super) fn is_wiped(&self) -> bool {
        self.cipher.read().is_none()
    }

    /// Gives back seals that were taken and not made.
    pub(crate) fn give_back(&self, seals: u64) {
        self.budget.give_back(seals);
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

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("budget", &self.budget).finish_non_exhaustive()
    }
}
