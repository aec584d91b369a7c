//! One evaluation: a request becomes Cedar entities, and every shard of policies that could have a say is asked.
//!
//! Sharding is sound because a shard leaves out only policies whose scope names another caller or another tenant. The answers of
//! several shards join as Cedar itself would join them: any error denies, then any `forbid`, then some `permit` allows.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema,
};
use kms_core::names::TenantName;
use time::{OffsetDateTime, macros::format_description};

use super::{
    request::{Decision, PolicyId, PolicyRequest, Resource, Subject},
    scope::ResourceKind,
};
use crate::{identity::IdentityName, operation::Operation};

/// The only resource of kind `System`.
const SYSTEM: &str = "kms";

/// Anything that keeps a request from being evaluated; it denies.
#[derive(Debug, thiserror::Error)]
#[error("the request does not fit the policy schema: {0}")]
pub(super) struct Unfit(String);

/// A request in Cedar's terms.
pub(super) struct Question {
    request: Request,
    entities: Entities,
}

impl Question {
    /// Builds the request; it is checked against the schema, its entities are ours.
    pub(super) fn new(
        asked: &PolicyRequest<'_>,
        schema: &Schema,
        actions: &HashMap<Operation, Entity>,
    ) -> Result<Self, Unfit> {
        let (resource, mut entities) = resource(asked.resource)?;
        let principal = service(asked.principal)?;
        let action =
            actions.get(&asked.operation).ok_or_else(|| Unfit(format!("no action `{}`", asked.operation)))?;
        let request = Request::new(principal.uid(), action.uid(), resource, context(asked)?, Some(schema))
            .map_err(|mistake| Unfit(mistake.to_string()))?;
        entities.extend([principal, action.clone()]);
        // Without the schema, which would check again what this file builds; `probe` checks it once for each kind.
        let entities =
            Entities::from_entities(entities, None).map_err(|mistake| Unfit(mistake.to_string()))?;
        Ok(Self { request, entities })
    }

    /// Checks the entities too, as a stranger's would be.
    pub(super) fn probe(&self, schema: &Schema) -> Result<(), Unfit> {
        let ours = self.entities.iter().filter(|entity| entity.uid().type_name().basename() != "Action");
        match Entities::from_entities(ours.cloned(), Some(schema)) {
            Ok(_) => Ok(()),
            Err(mistake) => Err(Unfit(mistake.to_string())),
        }
    }

    /// Asks every set and joins the answers.
    pub(super) fn ask<'p>(&self, sets: impl Iterator<Item = &'p PolicySet>) -> Decision {
        let (mut permits, mut forbids, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let authorizer = Authorizer::new();
        for set in sets {
            let answer = authorizer.is_authorized(&self.request, set, &self.entities);
            let reasons = answer.diagnostics().reason().map(own_id);
            match answer.decision() {
                cedar_policy::Decision::Allow => permits.extend(reasons),
                cedar_policy::Decision::Deny => forbids.extend(reasons),
            }
            errors.extend(answer.diagnostics().errors().map(failure));
        }
        for found in [&mut permits, &mut forbids] {
            found.sort();
            found.dedup();
        }
        errors.sort();
        if errors.is_empty() && forbids.is_empty() && !permits.is_empty() {
            Decision::Allow { policies: permits }
        } else {
            Decision::Deny { policies: forbids, errors }
        }
    }
}

/// Names the policy and no more: Cedar's own words may show an attribute's value.
fn failure(error: &cedar_policy::AuthorizationError) -> Box<str> {
    let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
    let id: &str = error.policy_id().as_ref();
    format!("policy `{id}` failed to evaluate: a number overflowed, or a text is not what a function takes")
        .into()
}

fn own_id(id: &cedar_policy::PolicyId) -> PolicyId {
    let id: &str = id.as_ref();
    PolicyId(id.into())
}

pub(super) fn action_uid(operation: Operation) -> EntityUid {
    uid("Action", operation.as_str())
}

/// The action entities of the schema, each with the groups it is in.
pub(super) fn actions(schema: &Schema) -> HashMap<Operation, Entity> {
    let Ok(entities) = schema.action_entities() else { return HashMap::new() };
    let found = Operation::ALL.iter().filter_map(|operation| {
        let own = action_uid(*operation);
        entities.get(&own)?;
        let groups: HashSet<EntityUid> = entities.ancestors(&own).into_iter().flatten().cloned().collect();
        Some((*operation, Entity::new_no_attrs(own, groups)))
    });
    found.collect()
}

fn service(name: &IdentityName) -> Result<Entity, Unfit> {
    let id = name.to_string();
    let mut attributes = HashMap::from([("id".to_owned(), text(&id))]);
    if let IdentityName::Spiffe(id) = name
        && let Some(domain) = id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next())
    {
        attributes.insert("trust_domain".to_owned(), text(domain));
    }
    entity(uid("Service", &id), attributes, None)
}

/// The resource's uid, and it with all it stands in.
fn resource(resource: Resource<'_>) -> Result<(EntityUid, Vec<Entity>), Unfit> {
    let system = Entity::with_uid(uid(ResourceKind::System.type_name(), SYSTEM));
    let tenant_entity = |name: &TenantName| {
        let attributes = HashMap::from([("name".to_owned(), text(name.as_str()))]);
        entity(tenant_uid(name), attributes, Some(system.uid()))
    };
    match resource {
        Resource::System => Ok((system.uid(), vec![system])),
        Resource::Tenant { name } => {
            let tenant = tenant_entity(name)?;
            Ok((tenant.uid(), vec![tenant, system]))
        }
        Resource::Key { tenant, name, class, purposes, key_revision: _ } => {
            let owner = tenant_entity(tenant)?;
            let purposes = purposes.iter().map(|purpose| text(purpose));
            let mut attributes = HashMap::from([
                ("tenant".to_owned(), RestrictedExpression::new_entity_uid(owner.uid())),
                ("name".to_owned(), text(&name.to_string())),
                ("family".to_owned(), text(name.family.as_str())),
                ("class".to_owned(), text(class.as_str())),
                ("purposes".to_owned(), RestrictedExpression::new_set(purposes)),
            ]);
            if let Subject::Named(subject) = name.subject {
                attributes.insert("subject".to_owned(), text(subject.as_str()));
            }
            let own = uid(ResourceKind::Key.type_name(), &format!("{tenant}/{name}"));
            let key = entity(own, attributes, Some(owner.uid()))?;
            Ok((key.uid(), vec![key, owner, system]))
        }
    }
}

fn tenant_uid(name: &TenantName) -> EntityUid {
    uid(ResourceKind::Tenant.type_name(), name.as_str())
}

fn context(asked: &PolicyRequest<'_>) -> Result<Context, Unfit> {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let now = OffsetDateTime::now_utc().format(format).map_err(|mistake| Unfit(mistake.to_string()))?;
    let purpose = asked.purpose.map(|purpose| ("purpose".to_owned(), text(purpose)));
    let pairs = [
        ("group".to_owned(), text(asked.group.as_str())),
        ("time".to_owned(), RestrictedExpression::new_datetime(now)),
    ];
    let window = matches!(asked.operation, Operation::DestroyKey | Operation::DestroyTenant).then(|| {
        let seconds = i64::try_from(asked.window.as_secs()).unwrap_or(i64::MAX);
        ("window".to_owned(), RestrictedExpression::new_long(seconds))
    });
    let pairs = purpose.into_iter().chain(window).chain(pairs);
    Context::from_pairs(pairs).map_err(|mistake| Unfit(mistake.to_string()))
}

fn entity(
    uid: EntityUid,
    attributes: HashMap<String, RestrictedExpression>,
    parent: Option<EntityUid>,
) -> Result<Entity, Unfit> {
    Entity::new(uid, attributes, parent.into_iter().collect()).map_err(|mistake| Unfit(mistake.to_string()))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

/// The schema's entity types, parsed once.
static TYPES: LazyLock<HashMap<&'static str, EntityTypeName>> = LazyLock::new(|| {
    let names = ["Service", "System", "Tenant", "Key", "Action"];
    names.into_iter().filter_map(|name| Some((name, name.parse().ok()?))).collect()
});

/// Takes one of the schema's entity types.
fn uid(kind: &'static str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(TYPES[kind].clone(), EntityId::new(id))
}
