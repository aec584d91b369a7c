//! What is known of a finished operation, kept until its line is written.

use std::sync::Arc;

use kms_core::id::{Epoch, Uid, VersionId};
use kms_core::names::{FamilyName, TenantName};
use kms_core::state::{DestroyReason, KeyClass, LifecycleState};

use super::Caller;
use super::target::Target;
use crate::audit::{Change, Counts, Entry, Outcome, Ticket};
use crate::operation::Operation;
use crate::policy::Decision;

/// A line to be.
pub(super) struct Line {
    pub(super) caller: Caller,
    pub(super) operation: Operation,
    pub(super) tenant: Option<TenantName>,
    pub(super) key: Option<FamilyName>,
    /// The id of its subject.
    pub(super) subject: Option<Uid>,
    pub(super) class: Option<KeyClass>,
    pub(super) decision: Option<Arc<Decision>>,
    pub(super) outcome: Outcome,
    /// Something was used that is to be destroyed soon.
    pub(super) alarm: bool,
    pub(super) note: Note,
}

/// What a line says beyond who, what and whether.
#[derive(Debug, Default)]
pub struct Note {
    /// Key versions used or made.
    pub versions: Vec<VersionId>,
    /// Items of a batch.
    pub counts: Option<Counts>,
    /// State that the tenant or key was left in.
    pub state: Option<LifecycleState>,
    /// Epoch of a destruction.
    pub epoch: Option<Epoch>,
    /// Number of the version that it is about.
    pub version: Option<u32>,
    /// Why something was destroyed.
    pub reason: Option<DestroyReason>,
    /// The operator's ticket.
    pub ticket: Option<Ticket>,
    /// Denials of the same identity before this one that were not recorded.
    pub suppressed: u64,
}

impl Line {
    pub(super) fn new(caller: Caller, operation: Operation, target: &impl Target, outcome: Outcome) -> Self {
        Self {
            caller,
            operation,
            tenant: target.tenant().cloned(),
            key: target.key().cloned(),
            subject: target.subject(),
            class: target.class(),
            decision: None,
            outcome,
            alarm: false,
            note: Note::default(),
        }
    }

    /// Hands the line to `write`, as the audit takes it.
    pub(super) fn with_entry<R>(&self, write: impl FnOnce(&Entry<'_>) -> R) -> R {
        let Note { versions, counts, state, epoch, version, reason, ticket, suppressed } = &self.note;
        let decided = self.decision.iter().flat_map(|decision| decision.policies());
        let rules: Vec<&str> = decided.map(|policy| policy.as_str()).collect();
        let mut entry =
            Entry::new(&self.caller.request_id, &self.caller.identity, self.operation, self.outcome);
        entry.tenant = self.tenant.as_ref();
        entry.key = self.key.as_ref();
        entry.uid = self.subject;
        entry.class = self.class;
        entry.versions = versions;
        entry.counts = *counts;
        entry.rules = &rules;
        entry.suppressed = *suppressed;
        entry.alarm = self.alarm;
        if self.operation.is_control_plane() {
            entry.change = Some(Change {
                state: *state,
                epoch: *epoch,
                revision: None,
                version: *version,
                reason: *reason,
                ticket: ticket.as_ref(),
            });
        }
        write(&entry)
    }
}
