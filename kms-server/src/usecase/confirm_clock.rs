//! An operator says that the wall clock is right although it went forward: what is scheduled goes on.

use std::sync::Arc;
use std::time::Duration;

use kms_proto::storage::{OutcomeRecord, RunningTimeRecord};

use super::mutation::Mutation;
use super::refused::Refused;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::keyring::Keyring;
use crate::records::{RunningTimes, millis};
use crate::running::RunningTime;

/// Believes the clock from now on. Says how far it had gone forward.
pub async fn confirm_clock(
    permit: Permit<op::ConfirmClock>,
    keyring: &Keyring,
    running: &Arc<RunningTime>,
    mutation: Mutation,
) -> Unrecorded<Result<Duration, Refused>> {
    let now = running.read();
    let confirmed = mutation.run(keyring.writer(), move |change| {
        let record = RunningTimeRecord { forward_ms: 0, ..now.record() };
        change.put::<RunningTimes>(&(), &record);
        Ok(OutcomeRecord { forward_ms: millis(now.forward), ..OutcomeRecord::default() })
    });
    let result = confirmed.await.map(|committed| {
        // ORDER: only once that is on record.
        running.confirm(now.forward);
        Duration::from_millis(committed.value.forward_ms)
    });
    permit.finish(result, Note::default())
}
