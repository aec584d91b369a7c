//! Looks after a running server each second, and says what an operator should see to.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio_util::sync::CancellationToken;

use crate::{
    admin::{AskReadiness, Readiness},
    audit::{self, AuditLog},
    clock::Clock,
    rpc::health::{Fault, HealthState},
    running::RunningTime,
    tls::Tally,
};

/// How often health is looked at, and refused handshakes are handed to the audit.
const WATCH: Duration = Duration::from_secs(1);

/// What an operator should see to, as it was when last looked at.
pub(crate) type Warnings = Arc<parking_lot::Mutex<Vec<String>>>;

/// What `/readyz` says: faults, for which nothing is served, and warnings.
pub(crate) fn readiness(health: HealthState, warnings: Warnings) -> AskReadiness {
    Arc::new(move || Readiness {
        faults: health.faults().into_iter().map(|fault| format!("{fault:?}").to_lowercase()).collect(),
        warnings: warnings.lock().clone(),
    })
}

/// Looks each second: tells health how the audit is, operators where room runs short or the clock was set back, and the audit which
/// handshakes were refused.
pub(crate) struct Watching {
    pub(crate) audit: AuditLog,
    pub(crate) health: HealthState,
    pub(crate) warnings: Warnings,
    pub(crate) data: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) tally: Arc<Tally>,
    pub(crate) running: Arc<RunningTime>,
}

impl Watching {
    /// Until `stop`.
    pub(crate) async fn watch(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(WATCH);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look();
            let refused = self.tally.drain();
            if refused.is_empty() {
                continue;
            }
            let log = self.audit.clone();
            let written = tokio::task::spawn_blocking(move || log.record_handshake_failures(&refused)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "refused handshakes could not be written down");
            }
        }
    }

    fn look(&mut self) {
        let state = self.audit.health();
        if let Some(refusal) = &state.refusing {
            tracing::error!(why = %refusal.why, "the audit cannot be written: requests are refused");
        }
        self.health.set(Fault::Audit, state.refusing.is_some());
        let mut warnings = Vec::new();
        if let Some(shortage) = state.warning {
            warnings.push(format!("{shortage}: export segments, then delete them"));
        }
        let percent = audit::disk_percent(&self.data).unwrap_or(0);
        if percent >= audit::WARN_AT {
            warnings.push(format!("the disk of `data` is {percent} % full: make room"));
        }
        if let Some(behind) = self.clock.behind(SystemTime::now(), Instant::now()) {
            let behind = behind.as_secs();
            warnings.push(format!("the clock was set back by {behind} s: certificates that have expired may be taken for valid; correct it"));
        }
        let now = self.running.read();
        if now.is_doubtful() {
            let forward = now.forward.as_secs();
            warnings.push(format!("the clock went forward by {forward} s: what is scheduled waits; set it right, or say `kms clock confirm`"));
        }
        metrics::gauge!("kms_data_disk_used_percent").set(percent as f64);
        metrics::gauge!("kms_warnings").set(warnings.len() as f64);
        let more = warnings.len() > self.warnings.lock().len();
        for warning in warnings.iter().filter(|_| more) {
            tracing::warn!("{warning}");
        }
        *self.warnings.lock() = warnings;
    }
}
