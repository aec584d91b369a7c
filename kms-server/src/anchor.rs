//! Anchors the audit in the transparency log: how many lines it has and the hash of the last, so that whoever rewrites the audit must
//! rewrite the log too, which others keep copies of.

use std::time::Duration;

use kms_core::event::{AuditGap, AuditHead, Event};
use tokio::sync::oneshot;

use crate::audit::AuditLog;
use crate::erasure::{ChangeError, Writer};

/// How often, while lines are written.
const INTERVAL: Duration = Duration::from_secs(60);

/// Anchors until the other end of `stop` is dropped, and once more then. `gap`: how many lines the audit should have had when it was
/// opened, where it had not.
pub(crate) async fn anchor(
    writer: Writer,
    audit: AuditLog,
    mut gap: Option<u64>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut anchored = 0;
    loop {
        let running = tokio::select! {
            _ = &mut stop => false,
            _ = ticks.tick() => true,
        };
        if let Some(count) = gap
            && log(&writer, AuditGap { count }.into()).await
        {
            gap = None;
        }
        let head = audit.head();
        // Nothing was said since: the log does not grow while nobody does anything.
        if head.count != anchored
            && log(&writer, AuditHead { count: head.count, hash: head.hash.0 }.into()).await
        {
            anchored = head.count;
        }
        if !running {
            return;
        }
    }
}

async fn log(writer: &Writer, event: Event) -> bool {
    let logged = writer.commit(move |change| {
        change.log(event);
        Ok::<_, ChangeError>(())
    });
    let logged = logged.await;
    if let Err(error) = &logged {
        tracing::error!(%error, "the audit is not anchored in the log");
    }
    logged.is_ok()
}
