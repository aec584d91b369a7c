//! When the last lease of what an epoch destroyed has ended: until then a client may still hold a data key.
//!
//! Time is counted by a clock that stands still while the machine sleeps, and from the start of the process where the destruction was
//! before: both only make it later. That it is over is put on record once, and does not depend on a clock any more.

use std::time::{Duration, Instant};

use kms_core::{id::Epoch, tree::Plan};
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

/// Epochs of which leases may run, each with the moment when none does any more.
pub(super) type Quiescing = std::collections::BTreeMap<Epoch, Instant>;

/// Those that the processes before left.
pub(super) fn read(store: &dyn Store) -> Result<Quiescing, RecordError> {
    let left = view::range::<RunningLeases>(store, &[], &(), None, usize::MAX)?;
    let now = Instant::now();
    Ok(left.into_iter().map(|(epoch, record)| (epoch, now + lease(record.longest_lease_ms))).collect())
}

pub(super) fn lease(ms: u64) -> Duration {
    // A lease of more than a year is none; an instant must not overflow.
    Duration::from_millis(ms.min(366 * 24 * 3_600_000))
}

impl State {
    /// When the next leases will have ended.
    pub(super) fn next_quiescence(&self) -> Option<Instant> {
        self.quiescing.values().min().copied()
    }

    /// Puts on record which leases have ended.
    pub(super) fn record_quiescence(&mut self) {
        let now = Instant::now();
        let due: Vec<_> =
            self.quiescing.iter().filter(|(_, end)| **end <= now).map(|(epoch, _)| *epoch).collect();
        if due.is_empty() || self.published.is_stopped() {
            return;
        }
        let recorded = self.quiescence(&due).and_then(|group| {
            let planned = Plan::new(&mut self.nodebook(), self.base()).finish(false);
            let planned = planned.map_err(|error| Failure::not_written(&error))?;
            self.write(group, planned, |_| {})
        });
        match recorded {
            Ok(()) => self.quiescing.retain(|epoch, _| !due.contains(epoch)),
            Err(Failure::NotWritten(why)) => {
                tracing::error!("the end of leases is not on record yet: {why}");
                self.quiescing.extend(due.into_iter().map(|epoch| (epoch, now + RETRY)));
            }
            Err(unknown) => drop(self.failed(unknown)),
        }
    }

    fn quiescence(&self, due: &[Epoch]) -> Result<Draft, Failure> {
        let mut group = Draft::default();
        for epoch in due {
            let stored = view::stored::<Epochs>(&*self.published.store, epoch);
            if let Some(mut record) = stored.map_err(|error| Failure::not_written(&error))? {
                record.quiesced_ms = log::now().millis();
                group.writes.insert(key_bytes::<Epochs>(epoch), Some(record.encode_to_vec()));
            }
            group.writes.insert(key_bytes::<RunningLeases>(epoch), None);
        }
        Ok(group)
    }
}

/// How soon it is tried again where it could not be written.
const RETRY: Duration = Duration::from_secs(10);
