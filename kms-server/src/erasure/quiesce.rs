//! When the last lease of what an epoch destroyed has ended, or is confirmed to be purged: until then a client may still hold a data key.
//!
//! Time is counted by a clock that stands still while the machine sleeps, and from the start of the process where the destruction was
//! before: both only make it later. That it is over is put on record once, and does not depend on a clock any more.

use std::time::{Duration, Instant};

use kms_core::{id::Epoch, tree::Plan};
use kms_proto::storage::PurgesRecord;
use prost::Message;

use super::{
    change::Draft,
    log,
    state::{Failure, State},
    view::{self, RecordError},
};
use crate::{
    records::{
        key_bytes,
        tree::{Epochs, RunningLeases},
    },
    store::Store,
};

/// Epochs of which data keys may be held.
pub(super) type Quiescing = std::collections::BTreeMap<Epoch, Quiesce>;

/// When an epoch is quiesced, and how that will have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quiesce {
    /// When none is held any more.
    pub(super) at: Instant,
    /// `None` where not every client that held one is known.
    pub(super) purges: Option<PurgesRecord>,
}

impl Quiesce {
    /// Nobody holds a data key once the longest lease has ended.
    pub(super) fn after(longest_lease_ms: u64) -> Self {
        Self { at: Instant::now() + lease(longest_lease_ms), purges: None }
    }
}

/// Those that the processes before left.
pub(super) fn read(store: &dyn Store) -> Result<Quiescing, RecordError> {
    let left = view::range::<RunningLeases>(store, &[], &(), None, usize::MAX)?;
    Ok(left.into_iter().map(|(epoch, record)| (epoch, Quiesce::after(record.longest_lease_ms))).collect())
}

fn lease(ms: u64) -> Duration {
    // A lease of more than a year is none; an instant must not overflow.
    Duration::from_millis(ms.min(366 * 24 * 3_600_000))
}

impl State {
    /// When the next epoch will be quiesced.
    pub(super) fn next_quiescence(&self) -> Option<Instant> {
        self.quiescing.values().map(|quiesce| quiesce.at).min()
    }

    /// More is known of an epoch that this process committed.
    pub(super) fn quiesces(&mut self, epoch: Epoch, quiesce: Quiesce) {
        if let Some(known) = self.quiescing.get_mut(&epoch) {
            *known = Quiesce { at: quiesce.at.min(known.at), ..quiesce };
        }
    }

    /// Puts on record which epochs are quiesced.
    pub(super) fn record_quiescence(&mut self) {
        let now = Instant::now();
        let due: Quiescing = self
            .quiescing
            .iter()
            .filter(|(_, quiesce)| quiesce.at <= now)
            .map(|(epoch, quiesce)| (*epoch, *quiesce))
            .collect();
        if due.is_empty() || self.published.is_stopped() {
            return;
        }
        let recorded = self.quiescence(&due).and_then(|group| {
            let planned = Plan::new(&mut self.nodebook(), self.base()).finish(false);
            let planned = planned.map_err(|error| Failure::not_written(&error))?;
            self.write(group, planned, |_| {})
        });
        match recorded {
            Ok(()) => self.quiescing.retain(|epoch, _| !due.contains_key(epoch)),
            Err(Failure::NotWritten(why)) => {
                tracing::error!("the end of leases is not on record yet: {why}");
                let again = |(epoch, quiesce)| (epoch, Quiesce { at: now + RETRY, ..quiesce });
                self.quiescing.extend(due.into_iter().map(again));
            }
            Err(unknown) => drop(self.failed(unknown)),
        }
    }

    fn quiescence(&self, due: &Quiescing) -> Result<Draft, Failure> {
        let mut group = Draft::default();
        for (epoch, quiesce) in due {
            let stored = view::stored::<Epochs>(&*self.published.store, epoch);
            if let Some(mut record) = stored.map_err(|error| Failure::not_written(&error))? {
                record.quiesced_ms = log::now().millis();
                record.purges = quiesce.purges;
                group.writes.insert(key_bytes::<Epochs>(epoch), Some(record.encode_to_vec()));
            }
            group.writes.insert(key_bytes::<RunningLeases>(epoch), None);
        }
        Ok(group)
    }
}

/// How soon it is tried again where it could not be written.
const RETRY: Duration = Duration::from_secs(10);
