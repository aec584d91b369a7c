//! The proof that policy allowed one operation on one target. Made only by the gate, used once.

use std::marker::PhantomData;
use std::sync::Arc;

use kms_core::names::TenantName;
use kms_proto::reason::Reason;

use super::line::{Line, Note};
use super::target::{KeyDestruction, KeyUpdate, NewKey, System, Target, TenantDestruction};
use super::{Caller, Unrecorded};
use crate::audit::Outcome;
use crate::keyring::KeyEntry;
use crate::operation::Operation;
use crate::policy::Decision;

/// An operation as a type, so that a permit for one is not a permit for another.
pub trait Op {
    /// The operation's word.
    const OPERATION: Operation;
    /// What it is done to.
    type Target: Target;
}

macro_rules! ops {
    ($($target:ty: $($name:ident),+;)+) => {
        /// One type for each operation.
        pub mod op {
            use super::*;
            $($(
                #[doc = concat!("[`Operation::", stringify!($name), "`]")]
                #[derive(Debug)]
                pub enum $name {}
                impl Op for $name {
                    const OPERATION: Operation = Operation::$name;
                    type Target = $target;
                }
            )+)+
        }
    };
}

ops! {
    Arc<KeyEntry>: Encrypt, Decrypt, ReEncrypt, Reveal, GenerateDataKey, LeaseToSeal, LeaseToOpen,
        DescribeKey, CertifyKey, EnsureSubjects, RotateKey, SuspendKey, ResumeKey, CancelDestroyKey;
    KeyDestruction: DestroyKey;
    TenantDestruction: DestroyTenant;
    NewKey: CreateKey;
    KeyUpdate: UpdateKey;
    TenantName: CreateTenant, DescribeTenant, UpdateTenant, SuspendTenant, ResumeTenant, CancelDestroyTenant, ListKeys, CertifyTenant;
    System: ListTenants, GenerateRandom, ReadAudit, DeleteAudit, ReadLog, CosignLog, ExplainPolicy, Reflect, ConfirmClock;
}

/// Leave to do one operation on one target, once.
#[must_use = "policy was asked for nothing"]
pub struct Permit<O: Op> {
    caller: Caller,
    target: O::Target,
    decision: Arc<Decision>,
    operation: PhantomData<O>,
}

impl<O: Op> Permit<O> {
    pub(super) fn granted(caller: Caller, target: O::Target, decision: Arc<Decision>) -> Self {
        Self { caller, target, decision, operation: PhantomData }
    }

    /// What the permit is for.
    pub fn target(&self) -> &O::Target {
        &self.target
    }

    /// Who holds it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Uses the permit up: the result, with the line that must be accepted before anybody sees it.
    pub fn finish<T, E>(self, result: Result<T, E>, note: Note) -> Unrecorded<Result<T, E>>
    where
        for<'a> &'a E: Into<Reason>,
    {
        let outcome = match &result {
            Ok(_) => Outcome::Allowed,
            Err(error) => Outcome::Failed(error.into()),
        };
        let mut line = Line::new(self.caller, O::OPERATION, &self.target, outcome);
        line.decision = Some(self.decision);
        line.alarm = !O::OPERATION.is_control_plane() && self.target.is_scheduled(&note.versions);
        line.note = note;
        Unrecorded::new(result, line)
    }
}
