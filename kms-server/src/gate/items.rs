//! Leave for the items of a batch that each name a key of their own. Their denials share one line, and count once.
//!
//! ATTACK: an item that names a key of somebody else's, and one that names nothing, go the same way here: both are decided by
//! policy, both count for the same line, and both get the same words.

use std::sync::Arc;
use std::time::Duration;

use kms_core::id::Uid;
use kms_core::names::{FamilyName, KeyName, TenantName};
use kms_core::state::KeyClass;

use super::line::{Line, Note};
use super::target::{System, Target};
use super::{Caller, Denied, Gate, Op, Permit};
use crate::audit::{Counts, Outcome};
use crate::operation::Operation;
use crate::policy::{Decision, Resource};

/// An item was denied, and that is not on record yet: [`Gate::deny_items`].
#[derive(Debug)]
#[must_use = "a denial must be on record before it is answered"]
pub struct Refusal {
    operation: Operation,
    tenant: TenantName,
    key: Option<FamilyName>,
    subject: Option<Uid>,
    decision: Option<Arc<Decision>>,
}

impl Refusal {
    pub(super) fn line(self, caller: &Caller) -> Line {
        let outcome = Outcome::Denied(Denied::KeyNotAccessible.reason());
        let mut line = Line::new(caller.clone(), self.operation, &System, outcome);
        (line.tenant, line.key, line.subject) = (Some(self.tenant), self.key, self.subject);
        line.decision = self.decision;
        line
    }
}

impl Gate {
    /// Asks policy for one operation on a key of this tenant.
    ///
    /// # Errors
    /// [`Refusal`], which is to be recorded with those of the other items.
    pub fn ask<O: Op>(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        target: O::Target,
        purpose: Option<&str>,
    ) -> Result<Permit<O>, Refusal> {
        let decision = self.decide(caller, O::OPERATION, &target, purpose);
        if decision.is_allowed() {
            return Ok(Permit::granted(caller.clone(), target, decision));
        }
        let (tenant, key, subject) = (tenant.clone(), target.key().cloned(), target.subject());
        Err(Refusal { operation: O::OPERATION, tenant, key, subject, decision: Some(decision) })
    }

    /// Refuses an item whose key is not there. Policy is asked as for one to be made, so that it takes as long.
    pub fn ask_unknown(
        &self,
        caller: &Caller,
        operation: Operation,
        (tenant, key): (TenantName, Option<KeyName>),
        purpose: Option<&str>,
    ) -> Refusal {
        let asked = key.clone().or_else(|| KeyName::try_from("unknown").ok());
        let decision = asked.map(|name| {
            let (tenant, name, class) = (&tenant, (&name).into(), KeyClass::L2);
            let resource = Resource::Key { tenant, name, class, purposes: &[], key_revision: 0 };
            self.decide_on(caller, operation, (resource, Duration::ZERO), purpose)
        });
        // Where it was not policy that said no, no policy is named.
        let decision = decision.filter(|decision| !decision.is_allowed());
        let key = key.map(|key| key.family().clone());
        Refusal { operation, tenant, key, subject: None, decision }
    }

    /// Records the denied items of a call, `items` of them, in one line. It names the key where they all mean one.
    pub async fn deny_items(&self, caller: &Caller, refusals: Vec<Refusal>, items: u32) -> Option<Denied> {
        let mut refusals = refusals.into_iter();
        let mut shared = refusals.next()?;
        for Refusal { operation, key, subject, .. } in refusals {
            shared.operation = shared.operation.min(operation);
            shared.key = shared.key.filter(|shared| key.as_ref() == Some(shared));
            shared.subject = shared.subject.filter(|shared| subject == Some(*shared));
            shared.decision = None;
        }
        let mut line = shared.line(caller);
        line.note = Note { counts: Some(Counts { items, failed: items }), ..Note::default() };
        Some(self.deny(line, Denied::KeyNotAccessible).await)
    }
}
