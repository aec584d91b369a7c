//! Does by itself what fell due: waits for the next row, or for a commit that may have brought an earlier one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kms_proto::storage::DueRecord;
use tokio_util::sync::CancellationToken;

use crate::audit::{AuditLog, ServerEvent};
use crate::erasure::RecordError;
use crate::keyring::Keyring;
use crate::records::{Due, DueKey, RunningTimes, Work, millis};
use crate::running::{Reading, RunningTime};
use crate::usecase::due::{Done, carry_out};
use crate::usecase::refused::Refused;

/// Rows that are looked at, and carried out, together.
const TOGETHER: usize = 256;
/// How often running time is put on record while something waits for it, and the clocks are compared.
const RECORDED: Duration = Duration::from_secs(60);
/// How soon something that could not be done is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// What the scheduler rests on.
pub(crate) struct Scheduler {
    keyring: Arc<Keyring>,
    audit: AuditLog,
    running: Arc<RunningTime>,
    /// Whether somebody was told that the clock is not believed.
    doubted: bool,
    recorded_ms: u64,
}

/// What is due, in order.
type Rows = Vec<(DueKey, DueRecord)>;

/// What came of what was due.
enum Turn {
    /// For so long nothing more will be, unless a commit brings it.
    Done(Duration),
    /// Something could not be done.
    Failed,
}

impl Scheduler {
    pub(crate) fn new(keyring: Arc<Keyring>, audit: AuditLog, running: Arc<RunningTime>) -> Self {
        Self { keyring, audit, running, doubted: false, recorded_ms: 0 }
    }

    /// Until `stop`; what is being carried out then is carried out to its end.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut commits = self.keyring.writer().commits();
        loop {
            commits.borrow_and_update();
            let (pause, failed) = match self.turn().await {
                Ok(Turn::Done(pause)) => (pause, false),
                Ok(Turn::Failed) => (RETRY, true),
                Err(error) => {
                    tracing::error!("what is scheduled waits: {error}");
                    (RETRY, true)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                // What failed is not tried again before its time, whatever else is committed, by itself too.
                changed = commits.changed(), if !failed => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Does what is due.
    async fn turn(&mut self) -> Result<Turn, Refused> {
        let now = self.running.read();
        let (due, next) = self.due(&now)?;
        let Some(next) = next else { return Ok(Turn::Done(RECORDED)) };
        self.look_at_the_clock(&now).await?;
        if now.is_doubtful() {
            return Ok(Turn::Done(RECORDED));
        }
        let done = due.into_iter().map(|(at, row)| self.carry_out(at, row));
        match join_all(done).await.into_iter().all(|done| done) {
            true => Ok(Turn::Done(next.min(RECORDED))),
            false => Ok(Turn::Failed),
        }
    }

    /// What is due, at most [`TOGETHER`] of it, and how long until something more is; `None` where nothing is scheduled.
    fn due(&self, now: &Reading) -> Result<(Rows, Option<Duration>), RecordError> {
        let snapshot = self.keyring.writer().snapshot();
        let (mut due, mut next, mut after) = (Vec::new(), None::<u64>, None);
        loop {
            let rows = snapshot.range::<Due>(&(), after.as_ref(), TOGETHER)?;
            let is_last = rows.len() < TOGETHER;
            for (at, row) in rows {
                after = Some(at);
                let wait =
                    at.at_ms.saturating_sub(now.wall_ms).max(row.running_ms.saturating_sub(now.running_ms));
                if wait == 0 && due.len() < TOGETHER {
                    due.push((at, row));
                    continue;
                }
                next = Some(next.map_or(wait, |next| next.min(wait)));
                // Later rows are due later by the wall clock.
                if at.at_ms > now.wall_ms || wait == 0 {
                    return Ok((due, next.map(Duration::from_millis)));
                }
            }
            if is_last {
                let next = next.or((!due.is_empty()).then_some(0));
                return Ok((due, next.map(Duration::from_millis)));
            }
        }
    }

    /// Puts running time on record now and then, and raises the alarm where the wall clock is not believed.
    async fn look_at_the_clock(&mut self, now: &Reading) -> Result<(), Refused> {
        let doubted = std::mem::replace(&mut self.doubted, now.is_doubtful());
        let is_new = now.is_doubtful() && !doubted;
        if is_new {
            let forward_ms = millis(now.forward);
            tracing::error!(
                forward_seconds = now.forward.as_secs(),
                "the clock went forward: what is scheduled waits until the clock is set right, or `kms clock confirm` says that it is"
            );
            metrics::counter!("kms_alarms_total").increment(1);
            self.record(ServerEvent::ClockForward { forward_ms }).await;
        }
        if is_new
            || now.running_ms.saturating_sub(self.recorded_ms) >= millis(RECORDED)
            || self.recorded_ms == 0
        {
            let record = now.record();
            let put = self.keyring.writer().commit(move |change| {
                change.put::<RunningTimes>(&(), &record);
                Ok::<_, Refused>(())
            });
            put.await?;
            self.recorded_ms = now.running_ms.max(1);
        }
        Ok(())
    }

    /// Whether it is done.
    async fn carry_out(&self, at: DueKey, row: DueRecord) -> bool {
        let done = carry_out(&self.keyring, at, row).await;
        let DueKey { work, uid, .. } = at;
        let event = match &done {
            Ok(Done::Destroyed(epoch)) => ServerEvent::DestructionDue { uid, epoch: *epoch },
            Ok(Done::Rotated(version)) => ServerEvent::RotationDue { uid, version: *version },
            Ok(Done::NotRotated) => ServerEvent::RotationFailed { uid },
            Ok(Done::Moot) => return true,
            Err(error) => {
                tracing::error!(uid = %hex::encode(uid.0), ?work, "what fell due could not be done: {error}");
                match work {
                    Work::RotateKey => ServerEvent::RotationFailed { uid },
                    _ => ServerEvent::DestructionFailed { uid },
                }
            }
        };
        if event.is_alarm() {
            metrics::counter!("kms_alarms_total").increment(1);
        }
        self.record(event).await;
        done.is_ok()
    }

    async fn record(&self, event: ServerEvent) {
        if let Err(error) = self.audit.record_server(event).await {
            tracing::error!(%error, event = event.as_str(), "not on record");
        }
    }
}
