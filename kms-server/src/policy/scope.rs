//! A policy's scope in our own types: which callers, operations and resources it can apply to at all.
//!
//! Cedar tests the scope first, and a scope cannot fail. So a policy whose scope does not match has no say, and leaving it out of
//! an evaluation changes nothing: that is what sharding, caching and `explain` rest on.

use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint, Schema,
};

use super::request::{PolicyRequest, Resource};
use crate::operation::Operation;

/// The kinds of resource that policy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// The key centre as a whole.
    System,
    /// A tenant.
    Tenant,
    /// A key.
    Key,
}

impl ResourceKind {
    /// The entity type in the schema.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Tenant => "Tenant",
            Self::Key => "Key",
        }
    }

    fn of_type(name: &EntityTypeName) -> Option<Self> {
        [Self::System, Self::Tenant, Self::Key].into_iter().find(|kind| kind.type_name() == name.basename())
    }
}

/// What an operation may be asked of; a request for anything else is denied with an error.
pub fn resource_kinds(operation: Operation) -> &'static [ResourceKind] {
    use Operation as Op;
    match operation {
        Op::Encrypt
        | Op::Decrypt
        | Op::ReEncrypt
        | Op::GenerateDataKey
        | Op::LeaseToSeal
        | Op::LeaseToOpen
        | Op::Reveal
        | Op::CreateKey
        | Op::EnsureSubjects
        | Op::DescribeKey
        | Op::UpdateKey
        | Op::RotateKey
        | Op::SuspendKey
        | Op::ResumeKey
        | Op::DestroyKey
        | Op::CancelDestroyKey
        | Op::CertifyKey => &[ResourceKind::Key],
        Op::CreateTenant
        | Op::DescribeTenant
        | Op::UpdateTenant
        | Op::SuspendTenant
        | Op::ResumeTenant
        | Op::DestroyTenant
        | Op::CancelDestroyTenant
        | Op::ListKeys
        | Op::CertifyTenant => &[ResourceKind::Tenant],
        Op::ReadAudit => &[ResourceKind::System, ResourceKind::Tenant],
        Op::ListTenants
        | Op::GenerateRandom
        | Op::DeleteAudit
        | Op::ReadLog
        | Op::CosignLog
        | Op::ConfirmClock
        | Op::ExplainPolicy
        | Op::Reflect => &[ResourceKind::System],
    }
}

/// Who, what and to what.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// The one caller, where the scope names one.
    pub(super) principal: Option<Arc<str>>,
    operations: u64,
    kind: Option<ResourceKind>,
    /// The one tenant, where the scope names one or a key of it.
    pub(super) tenant: Option<Arc<str>>,
    /// The one key, as `TENANT/KEY`.
    key: Option<Arc<str>>,
}

/// How a request and a scope agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreement {
    pub(super) principal: bool,
    pub(super) operation: bool,
    pub(super) resource: bool,
}

impl Agreement {
    pub(super) fn is_full(self) -> bool {
        self.principal && self.operation && self.resource
    }
}

impl Scope {
    /// Reads the scope of a validated policy.
    pub(super) fn of(policy: &Policy, schema: &Schema) -> Self {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            // Services stand in no hierarchy: `in` means the one.
            PrincipalConstraint::In(uid)
            | PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::IsIn(_, uid) => Some(plain_id(&uid)),
        };
        let operations = match policy.action_constraint() {
            ActionConstraint::Any => u64::MAX,
            ActionConstraint::Eq(uid) => operations_below(&[uid], schema),
            ActionConstraint::In(uids) => operations_below(&uids, schema),
        };
        let mut scope = Self { principal, operations, kind: None, tenant: None, key: None };
        match policy.resource_constraint() {
            ResourceConstraint::Any => {}
            ResourceConstraint::Is(name) => scope.kind = ResourceKind::of_type(&name),
            ResourceConstraint::In(uid) => scope.within(&uid),
            ResourceConstraint::IsIn(name, uid) => {
                scope.within(&uid);
                scope.kind = ResourceKind::of_type(&name);
            }
            ResourceConstraint::Eq(uid) => {
                scope.within(&uid);
                scope.kind = ResourceKind::of_type(uid.type_name());
            }
        }
        scope
    }

    /// Whether it can reach a tenant, or a key of one.
    pub(super) fn reaches_tenants(&self) -> bool {
        self.kind != Some(ResourceKind::System)
            && Operation::ALL.iter().any(|operation| {
                self.covers(*operation)
                    && resource_kinds(*operation)
                        .iter()
                        .any(|kind| *kind != ResourceKind::System && self.kind.is_none_or(|own| own == *kind))
            })
    }

    pub(super) fn agreement(&self, request: &PolicyRequest<'_>, principal: &str) -> Agreement {
        let (kind, tenant) = match request.resource {
            Resource::System => (ResourceKind::System, None),
            Resource::Tenant { name } => (ResourceKind::Tenant, Some(name)),
            Resource::Key { tenant, .. } => (ResourceKind::Key, Some(tenant)),
        };
        let named_tenant = |own: &Arc<str>| tenant.is_some_and(|tenant| tenant.as_str() == &**own);
        let named_key = |own: &Arc<str>| match request.resource {
            Resource::Key { tenant, name, .. } => format!("{tenant}/{name}") == **own,
            _ => false,
        };
        Agreement {
            principal: self.principal.as_deref().is_none_or(|own| own == principal),
            operation: self.covers(request.operation),
            resource: self.kind.is_none_or(|own| own == kind)
                && self.tenant.as_ref().is_none_or(named_tenant)
                && self.key.as_ref().is_none_or(named_key),
        }
    }

    /// Whether it can apply to a key of the request's tenant and family: to a subject's, whichever that is.
    pub(super) fn may_reach(&self, request: &PolicyRequest<'_>, principal: &str) -> bool {
        let Resource::Key { tenant, name, .. } = request.resource else { return false };
        let family = |own: &Arc<str>| {
            let own = own.split_once('/').map_or("", |(_, key)| key.split('/').next().unwrap_or_default());
            own == name.family.as_str()
        };
        self.principal.as_deref().is_none_or(|own| own == principal)
            && self.covers(request.operation)
            && self.kind.is_none_or(|own| own == ResourceKind::Key)
            && self.tenant.as_deref().is_none_or(|own| own == tenant.as_str())
            && self.key.as_ref().is_none_or(family)
    }

    /// Whether it names the key of one subject.
    pub(super) fn names_subject(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.matches('/').count() > 1)
    }

    /// Whether it names one key, which may be a family.
    pub(super) fn names_key_or_family(&self) -> bool {
        self.key.is_some() && !self.names_subject()
    }

    fn covers(&self, operation: Operation) -> bool {
        self.operations & bit(operation) != 0
    }

    fn within(&mut self, uid: &EntityUid) {
        let id = plain_id(uid);
        match ResourceKind::of_type(uid.type_name()) {
            Some(ResourceKind::Tenant) => self.tenant = Some(id),
            Some(ResourceKind::Key) => {
                // A key's id is `TENANT/KEY`, and a tenant's name has no `/`.
                self.tenant = id.split_once('/').map(|(tenant, _)| tenant.into());
                self.kind = Some(ResourceKind::Key);
                self.key = Some(id);
            }
            // Everything is in the system.
            Some(ResourceKind::System) | None => {}
        }
    }
}

fn bit(operation: Operation) -> u64 {
    1 << operation as u32
}

fn operations_below(uids: &[EntityUid], schema: &Schema) -> u64 {
    let entities = schema.action_entities().ok();
    let below = |operation: &Operation| {
        let own = super::evaluate::action_uid(*operation);
        let inside =
            |uid: &EntityUid| entities.as_ref().is_none_or(|entities| entities.is_ancestor_of(uid, &own));
        uids.iter().any(|uid| *uid == own || inside(uid))
    };
    Operation::ALL.iter().filter(|operation| below(operation)).fold(0, |set, operation| set | bit(*operation))
}

fn plain_id(uid: &EntityUid) -> Arc<str> {
    let id: &str = uid.id().unescaped();
    id.into()
}
