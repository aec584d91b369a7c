//! The gate: nothing is done without a [`Permit`], and no result leaves without its audit line ([`Unrecorded`]).
//!
//! # Layout
//! - this file: authorize, deny, record.
//! - [`permit`]: the proof that policy allowed one operation on one target; [`target`]: what an operation is done to.
//! - [`items`]: the same for the items of a batch, whose denials share a line.
//! - [`mod@line`]: what is to be recorded; `unrecorded`: results that wait for it.

pub mod items;
pub mod line;
pub mod permit;
pub mod target;
mod unrecorded;

use std::sync::Arc;
use std::time::Duration;

use kms_core::names::{KeyName, TenantName};
use kms_proto::reason::Reason;

use crate::audit::{AuditLog, Outcome, RequestId, Unavailable, durability};
use crate::identity::Identity;
use crate::operation::Operation;
use crate::policy::{Decision, PolicyEngine, PolicyRequest, Resource};
use line::Line;
pub use line::Note;
pub use permit::{Op, Permit};
pub use target::Target;
pub use unrecorded::Unrecorded;

/// Who is calling, and what the call is named in errors, logs and audit.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Made once per connection from the verified chain.
    pub identity: Arc<Identity>,
    /// `x-request-id`.
    pub request_id: Arc<RequestId>,
}

/// Says whether a denial of this identity may cost a line now (then how many did not since its last), or how long it must wait.
pub type DenialLimit = Box<dyn Fn(&Identity) -> Result<u64, Duration> + Send + Sync>;

/// Asks policy, writes the audit.
pub struct Gate {
    policy: Arc<PolicyEngine>,
    audit: AuditLog,
    denials: DenialLimit,
}

/// The answer is no, and that is on record.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Policy said no, or there is no such key: the caller cannot tell which.
    #[error("there is no such key, or policy does not let you use it this way")]
    KeyNotAccessible,
    /// Policy said no, or there is no such tenant.
    #[error("there is no such tenant, or policy does not let you reach it")]
    TenantNotAccessible,
    /// Policy said no to an operation that names neither.
    #[error("policy does not permit this; `kms policy explain` says what it looked at")]
    Policy,
    /// So many denials of this identity came before that this one is not even recorded.
    #[error("too many of your calls were denied; wait before the next")]
    RateLimited {
        /// How long.
        retry_after: Duration,
    },
    /// The denial could not be recorded, or what was asked would change something and could not be.
    #[error(transparent)]
    Audit(#[from] Unavailable),
}

impl Denied {
    /// The code that programs may depend on.
    pub fn reason(&self) -> Reason {
        match self {
            Self::KeyNotAccessible => Reason::KeyNotAccessible,
            Self::TenantNotAccessible => Reason::TenantNotAccessible,
            Self::Policy => Reason::PolicyDenied,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::Audit(_) => Reason::AuditUnavailable,
        }
    }
}

impl Gate {
    /// A gate that asks this policy and writes this audit.
    pub fn new(policy: Arc<PolicyEngine>, audit: AuditLog, denials: DenialLimit) -> Self {
        Self { policy, audit, denials }
    }

    /// The audit behind the gate.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// The policy behind the gate.
    pub fn policy(&self) -> &PolicyEngine {
        &self.policy
    }

    /// Asks policy for one operation on one target. A denial is recorded before it is answered. What may change something is refused
    /// while the audit refuses: it would be done, and its line lost.
    ///
    /// # Errors
    /// [`Denied`], with the same face for "not yours" as for "no such key".
    pub async fn authorize<O: Op>(
        &self,
        caller: &Caller,
        target: O::Target,
        purpose: Option<&str>,
    ) -> Result<Permit<O>, Denied> {
        let decision = self.decide(caller, O::OPERATION, &target, purpose);
        if let Decision::Allow { .. } = &*decision {
            // ORDER: before anything is done. A data-plane result is held back by its line, but a commit is not undone by one.
            if O::OPERATION.is_control_plane() {
                self.audit.ready()?;
            }
            return Ok(Permit::granted(caller.clone(), target, decision));
        }
        let denied = match (target.tenant(), target.key()) {
            (_, Some(_)) => Denied::KeyNotAccessible,
            (Some(_), None) => Denied::TenantNotAccessible,
            (None, None) => Denied::Policy,
        };
        let mut line = Line::new(caller.clone(), O::OPERATION, &target, Outcome::Denied(denied.reason()));
        line.decision = Some(decision);
        Err(self.deny(line, denied).await)
    }

    /// Answers for a key that does not exist as policy would for one that is not the caller's: policy is asked, a line is written,
    /// and the face is the same.
    pub async fn deny_unknown(
        &self,
        caller: &Caller,
        operation: Operation,
        (tenant, key): (TenantName, KeyName),
        purpose: Option<&str>,
    ) -> Denied {
        let refusal = self.ask_unknown(caller, operation, (tenant, Some(key)), purpose);
        self.deny(refusal.line(caller), Denied::KeyNotAccessible).await
    }

    /// What policy says of the target, and of what the operation makes of it.
    fn decide(
        &self,
        caller: &Caller,
        operation: Operation,
        target: &impl Target,
        purpose: Option<&str>,
    ) -> Arc<Decision> {
        let of = |resource| self.decide_on(caller, operation, (resource, target.window()), purpose);
        match target.becomes() {
            None => of(target.resource()),
            Some(after) => Decision::both(of(target.resource()), of(after)),
        }
    }

    fn decide_on(
        &self,
        caller: &Caller,
        operation: Operation,
        (resource, window): (Resource<'_>, Duration),
        purpose: Option<&str>,
    ) -> Arc<Decision> {
        let (principal, group) = (&caller.identity.name, caller.identity.group);
        self.policy.decide(&PolicyRequest { principal, operation, resource, purpose, group, window })
    }

    async fn deny(&self, mut line: Line, denied: Denied) -> Denied {
        // ATTACK: an identity without rights must not fill the audit's disk; what it tried meanwhile is told by the next line.
        match (self.denials)(&line.caller.identity) {
            Ok(suppressed) => line.note.suppressed = suppressed,
            Err(retry_after) => {
                metrics::counter!("kms_denials_suppressed_total").increment(1);
                return Denied::RateLimited { retry_after };
            }
        }
        match self.write(&line).await {
            Ok(_) => denied,
            Err(unavailable) => Denied::Audit(unavailable),
        }
    }

    /// Writes the line of a result, as durably as its class asks, and lets the result out.
    ///
    /// # Errors
    /// Where the audit cannot be written: the result is dropped, nobody sees it.
    pub async fn record<T>(&self, unrecorded: Unrecorded<T>) -> Result<T, Unavailable> {
        let recorded = self.write(unrecorded.line()).await?;
        Ok(unrecorded.open(recorded))
    }

    async fn write(&self, line: &Line) -> Result<crate::audit::Recorded, Unavailable> {
        let durability = durability(line.class, line.operation, line.outcome);
        line.with_entry(|entry| self.audit.record(*entry, durability)).await
    }
}

#[cfg(test)]
mod tests;
