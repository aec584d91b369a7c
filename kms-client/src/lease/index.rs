//! Index keys under lease: every live version of a key at once, and the indexes prepared from them.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use kms_core::{blind_index::BlindIndex, field, id::VersionId, names::TenantName, secret::IndexKey};

use crate::{
    clock::BootTime,
    index::{IndexVersions, IndexedColumn},
};

/// Most indexes that one lease keeps prepared; more are prepared each time.
const KEPT: usize = 1_024;

/// The index keys of a key's versions. Nothing prepared leaves it, so that dropping it wipes all there is.
pub(crate) struct IndexKeys {
    tenant: TenantName,
    /// The newest first; never empty.
    keys: Vec<(VersionId, IndexKey)>,
    /// Where among them stood the one that new rows are indexed under when the lease was given.
    writes_under: Option<usize>,
    /// When the newest takes new rows, where it did not then.
    settles: Option<BootTime>,
    /// Where among the keys stands that one; older servers do not say.
    then_under: Option<usize>,
    prepared: ArcSwap<HashMap<IndexedColumn, Arc<[BlindIndex]>>>,
}

impl IndexKeys {
    pub(super) fn new(
        tenant: TenantName,
        keys: Vec<(VersionId, IndexKey)>,
        writes_under: Option<VersionId>,
        settles: Option<(BootTime, Option<VersionId>)>,
    ) -> Result<Self, &'static str> {
        let ids: HashSet<_> = keys.iter().map(|(id, _)| *id).collect();
        if keys.is_empty() || ids.len() != keys.len() {
            return Err("an index key without versions, or with one of them twice");
        }
        let at = |version| keys.iter().position(|(id, _)| *id == version);
        let writes_under = match writes_under {
            Some(version) => Some(at(version).ok_or("an index key that writes under a version it lacks")?),
            None => None,
        };
        let then_under = match settles {
            Some((_, Some(version))) => {
                Some(at(version).ok_or("an index key that is to write under a version it lacks")?)
            }
            _ => None,
        };
        let settles = settles.map(|(moment, _)| moment);
        Ok(Self { tenant, keys, writes_under, settles, then_under, prepared: ArcSwap::default() })
    }

    /// The newest version.
    pub(super) fn newest(&self) -> VersionId {
        self.keys[0].0
    }

    /// Whether it holds one of these versions.
    pub(super) fn has_any_of(&self, versions: &HashSet<VersionId>) -> bool {
        self.keys.iter().any(|(id, _)| versions.contains(id))
    }

    pub(crate) fn versions(&self, now: BootTime) -> IndexVersions {
        IndexVersions {
            live: self.keys.iter().map(|(id, _)| *id).collect(),
            writes_under: self.writes_under(now).map(|at| self.keys[at].0),
        }
    }

    /// Where among the keys stands the one that new rows are indexed under.
    // INVARIANT: once the newest takes rows, all who know of it write under it, those too whose lease began before that: so that rows
    // can be indexed anew from then on, and none is written behind the back of whoever does.
    fn writes_under(&self, now: BootTime) -> Option<usize> {
        match self.settles {
            Some(settles) if settles <= now && self.writes_under.is_some() => {
                self.then_under.or(self.writes_under)
            }
            _ => self.writes_under,
        }
    }

    /// When the newest version takes new rows, where it did not yet when the lease was given.
    pub(crate) fn settles(&self) -> Option<BootTime> {
        self.settles
    }

    /// What stands beside a new value; `None` where the key takes no new values.
    pub(crate) fn value(&self, column: &IndexedColumn, normalized: &[u8], now: BootTime) -> Option<Vec<u8>> {
        let at = self.writes_under(now)?;
        Some(self.prepared(column, |indexes| indexes[at].of(normalized)))
    }

    /// What can stand beside an equal value: an index of each version, equal ones once.
    pub(crate) fn probes(&self, column: &IndexedColumn, normalized: &[u8]) -> Vec<Vec<u8>> {
        let mut probes: Vec<Vec<u8>> = Vec::with_capacity(self.keys.len());
        self.prepared(column, |indexes| {
            for index in indexes {
                let probe = index.of(normalized);
                if !probes.contains(&probe) {
                    probes.push(probe);
                }
            }
        });
        probes
    }

    fn prepared<R>(&self, column: &IndexedColumn, use_it: impl FnOnce(&[BlindIndex]) -> R) -> R {
        let known = self.prepared.load();
        if let Some(indexes) = known.get(column) {
            return use_it(indexes);
        }
        let place = field::Column { tenant: &self.tenant, table: column.table(), column: column.column() };
        let prepare = |(_, key): &(VersionId, IndexKey)| {
            BlindIndex::new(key, place, column.name().as_str(), column.bits())
        };
        let indexes: Arc<[BlindIndex]> = self.keys.iter().map(prepare).collect();
        if known.len() < KEPT {
            self.prepared.rcu(|known| {
                let mut more = HashMap::clone(known);
                more.insert(column.clone(), indexes.clone());
                more
            });
        }
        use_it(&indexes)
    }
}

impl fmt::Debug for IndexKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<_> = self.keys.iter().map(|(id, _)| id).collect();
        f.debug_struct("IndexKeys").field("versions", &versions).finish_non_exhaustive()
    }
}
