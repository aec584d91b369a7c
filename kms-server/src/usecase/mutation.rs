//! Changes are idempotent: the outcome of a request id is kept 24 hours for one identity and operation, written in the same
//! commit as the change.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kms_core::canonical::Text;
use kms_proto::storage::{OutcomeRecord, RequestPointer, RequestRecord};
use prost::Message as _;
use uuid::Uuid;

use super::refused::Refused;
use crate::erasure::{Change, Committed, Destruction, Writer};
use crate::gate::Caller;
use crate::identity::IdentityName;
use crate::operation::Operation;
use crate::records::{RequestKey, RequestTimes, Requests};

/// How long an outcome is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Outcomes past their time that one change clears away.
const CLEARED: usize = 4;

/// The caller's side of a change: which request it is.
#[derive(Debug, Clone)]
pub struct Mutation {
    identity: IdentityName,
    operation: Operation,
    id: Uuid,
    digest: [u8; 32],
}

impl Mutation {
    /// A request of this caller; `digest` is SHA-256 over the request's content.
    pub fn new(caller: &Caller, operation: Operation, id: Uuid, digest: [u8; 32]) -> Self {
        Self { identity: caller.identity.name.clone(), operation, id, digest }
    }

    /// Who calls, as the log names them.
    pub(super) fn by(&self) -> String {
        self.identity.to_string()
    }

    /// Runs `change` in one durable commit, or answers with the outcome that the same request had before.
    ///
    /// # Errors
    /// [`Refused::RequestIdReused`] where the id was used for a request of other content; else those of `change`.
    pub(super) async fn run(
        self,
        writer: &Writer,
        change: impl FnOnce(&mut Change<'_>) -> Result<OutcomeRecord, Refused> + Send + 'static,
    ) -> Result<Committed<OutcomeRecord>, Refused> {
        let committed = writer.commit(move |view| match self.known(view)? {
            Some(outcome) => Ok(outcome),
            None => {
                view.act_as(Text::lossy(&self.by()));
                let outcome = change(view)?;
                self.keep(view, &outcome)?;
                Ok(outcome)
            }
        });
        Ok(committed.await?)
    }

    /// As [`Mutation::run`], for a change that destroys: its commit is an epoch.
    ///
    /// # Errors
    /// As [`Mutation::run`].
    pub(super) async fn run_destruction(
        self,
        writer: &Writer,
        change: impl FnOnce(&mut Destruction<'_>) -> Result<OutcomeRecord, Refused> + Send + 'static,
    ) -> Result<Committed<OutcomeRecord>, Refused> {
        let committed = writer.destroy(move |view| match self.known(view)? {
            Some(outcome) => Ok(outcome),
            None => {
                view.act_as(Text::lossy(&self.by()));
                let outcome = change(view)?;
                self.keep(view, &outcome)?;
                Ok(outcome)
            }
        });
        Ok(committed.await?)
    }

    fn key(&self) -> RequestKey {
        RequestKey::new(&self.identity, self.operation, *self.id.as_bytes())
    }

    fn known(&self, view: &Change<'_>) -> Result<Option<OutcomeRecord>, Refused> {
        let Some(known) = view.get::<Requests>(&self.key())? else { return Ok(None) };
        if known.digest != self.digest {
            return Err(Refused::RequestIdReused);
        }
        OutcomeRecord::decode(&*known.outcome).map(Some).map_err(Refused::internal)
    }

    fn keep(&self, view: &mut Change<'_>, outcome: &OutcomeRecord) -> Result<(), Refused> {
        let now = now_ms();
        clear_expired(view, now)?;
        let key = self.key();
        let record =
            RequestRecord { digest: self.digest.to_vec(), at_ms: now, outcome: outcome.encode_to_vec() };
        let pointer = RequestPointer { request: crate::records::key_bytes::<Requests>(&key) };
        view.put::<RequestTimes>(&(now.unsigned_abs(), key.id), &pointer);
        view.put::<Requests>(&key, &record);
        Ok(())
    }
}

fn clear_expired(view: &mut Change<'_>, now: i64) -> Result<(), Refused> {
    let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
    for (time, pointer) in view.range::<RequestTimes>(&(), None, CLEARED)? {
        if time.0.saturating_add(kept) > now.unsigned_abs() {
            break;
        }
        if let Some(request) = crate::records::parse_key::<Requests>(&pointer.request) {
            view.delete::<Requests>(&request);
        }
        view.delete::<RequestTimes>(&time);
    }
    Ok(())
}

/// Milliseconds since 1970 in UTC.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
