//! The ciphers of a lease's columns, each prepared once: looked up without a lock, added under one.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, Guard};
use kms_core::{
    field::{DeterministicCipher, FieldCipher},
    names::{ColumnName, TableName},
};
use parking_lot::{Mutex, MutexGuard};

use super::{Stop, budget::Budget, report::Uses, revocable::Revocable};

/// Most columns whose ciphers one lease keeps; more are prepared each time and share one budget.
const KEPT: usize = 1_024;

/// The cipher of one column, until its lease ends.
pub(crate) struct Prepared {
    pub(super) cipher: Revocable<Cipher>,
    pub(super) budget: Budget,
    /// For the census.
    opens: Apart<AtomicU64>,
    /// Opens by which values are sealed anew; not among the others.
    moved: AtomicU64,
    /// What of seals and opens was taken for a report.
    reported: Mutex<Uses>,
}

/// On cache lines of its own, so that writing it does not slow those who read what is beside it.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

pub(super) enum Cipher {
    Randomized(FieldCipher),
    Deterministic(DeterministicCipher),
}

/// All ciphers of a lease.
#[derive(Default)]
pub(super) struct Columns {
    known: ArcSwap<Vec<Known>>,
    adding: Mutex<Adding>,
}

/// Sorted by names.
#[derive(Clone)]
struct Known {
    table: TableName,
    column: ColumnName,
    prepared: Arc<Prepared>,
}

#[derive(Default)]
pub(super) struct Adding {
    /// Given to one holder each, kept here to be wiped with the rest.
    own: Vec<Weak<Prepared>>,
    beyond: Option<Budget>,
}

/// The ciphers there were when it was asked for.
pub(crate) struct Ciphers(Guard<Arc<Vec<Known>>>);

impl Ciphers {
    /// Where the cipher of a column stands, if it is prepared.
    pub(crate) fn position(&self, table: &TableName, column: &ColumnName) -> Option<usize> {
        position(&self.0, table, column).ok()
    }

    /// The cipher that stands there.
    pub(crate) fn at(&self, position: usize) -> &Prepared {
        &self.0[position].prepared
    }
}

fn position(known: &[Known], table: &TableName, column: &ColumnName) -> Result<usize, usize> {
    known.binary_search_by(|known| (&known.table, &known.column).cmp(&(table, column)))
}

impl Columns {
    pub(super) fn ciphers(&self) -> Ciphers {
        Ciphers(self.known.load())
    }

    /// The cipher of a column, shared with whoever else seals or opens that column; `prepare` makes it under the budget given.
    // INVARIANT: prepared while `adding` is locked, so that `revoke` meets whatever was prepared before the key was taken.
    pub(super) fn shared(
        &self,
        (table, column): (&TableName, &ColumnName),
        budget: impl Fn() -> Budget,
        prepare: impl FnOnce(Budget) -> Result<Prepared, Stop>,
    ) -> Result<Arc<Prepared>, Stop> {
        let mut adding = self.adding.lock();
        let known = self.known.load();
        let place = match position(&known, table, column) {
            Ok(at) => return Ok(known[at].prepared.clone()),
            Err(place) => place,
        };
        if known.len() >= KEPT {
            let budget = adding.beyond.get_or_insert_with(&budget).clone();
            return Ok(adding.keep(prepare(budget)?));
        }
        let prepared = Arc::new(prepare(budget())?);
        let mut more = Vec::clone(&known);
        more.insert(
            place,
            Known { table: table.clone(), column: column.clone(), prepared: prepared.clone() },
        );
        self.known.store(Arc::new(more));
        Ok(prepared)
    }

    pub(super) fn adding(&self) -> MutexGuard<'_, Adding> {
        self.adding.lock()
    }

    /// Takes the ciphers from all who hold them. The key must be gone before.
    pub(super) fn revoke(&self) {
        let adding = self.adding.lock();
        let shared = self.known.load();
        let own = adding.own.iter().filter_map(Weak::upgrade);
        for prepared in shared.iter().map(|known| known.prepared.clone()).chain(own) {
            prepared.cipher.revoke();
        }
    }

    /// Seals made, or given out to be made.
    pub(super) fn seals(&self) -> u64 {
        let beyond = self.adding.lock().beyond.as_ref().map_or(0, Budget::used);
        self.known.load().iter().map(|known| known.prepared.budget.used()).sum::<u64>() + beyond
    }

    /// What each column did since the last time.
    pub(super) fn take_uses(&self, mut each: impl FnMut(&TableName, &ColumnName, Uses)) {
        for Known { table, column, prepared } in self.known.load().iter() {
            let since = prepared.take_uses();
            if since != Uses::default() {
                each(table, column, since);
            }
        }
    }
}

impl Adding {
    /// Keeps an eye on a cipher that one holder has for itself.
    pub(super) fn keep(&mut self, prepared: Prepared) -> Arc<Prepared> {
        let prepared = Arc::new(prepared);
        self.own.retain(|own| own.strong_count() > 0);
        self.own.push(Arc::downgrade(&prepared));
        prepared
    }
}

impl Prepared {
    pub(super) fn new(cipher: Cipher, budget: Budget) -> Self {
        Self {
            cipher: Revocable::new(cipher),
            budget,
            opens: Apart::default(),
            moved: AtomicU64::new(0),
            reported: Mutex::default(),
        }
    }

    /// Notes that values were opened.
    pub(crate) fn add_opens(&self, opens: u64) {
        self.opens.0.fetch_add(opens, Relaxed);
    }

    /// Notes that values were opened to be sealed anew.
    pub(crate) fn add_moved(&self, moved: u64) {
        self.moved.fetch_add(moved, Relaxed);
    }

    /// Gives back seals that were taken and not made.
    pub(crate) fn give_back(&self, seals: u64) {
        self.budget.give_back(seals);
    }

    fn take_uses(&self) -> Uses {
        let moved = self.moved.load(Relaxed);
        let now = Uses { seals: self.budget.used(), opens: self.opens.0.load(Relaxed) + moved, moved };
        let mut reported = self.reported.lock();
        let since = Uses {
            seals: now.seals.saturating_sub(reported.seals),
            opens: now.opens.saturating_sub(reported.opens),
            moved: now.moved.saturating_sub(reported.moved),
        };
        *reported = Uses {
            seals: now.seals.max(reported.seals),
            opens: now.opens.max(reported.opens),
            moved: now.moved.max(reported.moved),
        };
        since
    }

    #[cfg(test)]
    pub(super) fn is_wiped(&self) -> bool {
        self.cipher.is_revoked()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("budget", &self.budget).finish_non_exhaustive()
    }
}
