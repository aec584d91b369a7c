//! Service `kms.v1.Policy`.

use std::time::Duration;

use kms_core::names::{FamilyName, KeyName, TenantName};
use kms_core::state::KeyClass;
use kms_proto::reason::Reason;
use kms_proto::v1;
use kms_proto::v1::policy_server::Policy;
use tonic::{Request, Response, Status};

use super::convert;
use super::page::PageToken;
use super::status::Failure;
use super::{Core, accept, answer, calls};
use crate::gate::Caller;
use crate::gate::target::System;
use crate::identity::{IdentityName, KeyExchangeGroup};
use crate::keyring::LookupError;
use crate::operation::Operation;
use crate::policy::{Decision, DeclaredMask, PolicyRequest, Resource, ResourceKind, resource_kinds};
use crate::usecase::{explain, list_masks};

/// The service.
pub struct PolicyService(pub Core);

impl Core {
    async fn explain(
        &self,
        caller: &Caller,
        message: v1::ExplainRequest,
    ) -> Result<v1::ExplainResponse, Failure> {
        let principal: IdentityName = message.identity.parse().map_err(|_| {
            let message = "`identity` must be `spiffe://DOMAIN/PATH` or `spki:sha256:HEX`";
            Failure::message(Reason::FieldInvalid, message)
        })?;
        let operation: Operation =
            message.operation.parse().map_err(|error: crate::operation::UnknownOperation| {
                Failure::message(Reason::FieldInvalid, error.to_string())
            })?;
        let tenant = optional(&message.tenant, |name| TenantName::try_from(name))?;
        let key = optional(&message.key, |name| KeyName::try_from(name))?;
        let permit = self.gate.authorize(caller, System, None).await?;

        let entry = match (&tenant, &key) {
            (Some(tenant), Some(key)) => match self.keyring.key(tenant.as_str(), &key.to_string()) {
                Ok(entry) => Some(entry),
                // Asked about a key that is not there: policy is asked as for one to be made.
                Err(LookupError::NotThere) => None,
                Err(error) => return Err(error.into()),
            },
            _ => None,
        };
        let resource = match (&tenant, &key) {
            _ if resource_kinds(operation) == [ResourceKind::System] => Resource::System,
            (None, _) => return Err(Failure::required("tenant")),
            (Some(name), None) => Resource::Tenant { name },
            (Some(tenant), Some(name)) => Resource::Key {
                tenant,
                name: name.into(),
                class: entry.as_ref().map_or(KeyClass::L2, |entry| entry.class),
                purposes: entry.as_ref().map_or(&[], |entry| &entry.purposes),
                key_revision: entry.as_ref().map_or(0, |entry| entry.revision),
            },
        };
        let request = PolicyRequest {
            principal: &principal,
            operation,
            resource,
            purpose: (!message.purpose.is_empty()).then_some(&*message.purpose),
            group: KeyExchangeGroup::X25519MlKem768,
            window: Duration::ZERO,
        };
        let explained = explain::explain(permit, self.gate.policy(), &request);
        let explanation = self.gate.record(explained).await??;
        let errors = match &*explanation.decision {
            Decision::Allow { .. } => Vec::new(),
            Decision::Deny { errors, .. } => errors.iter().map(|error| error.to_string()).collect(),
        };
        Ok(v1::ExplainResponse {
            allowed: explanation.decision.is_allowed(),
            policies: explanation.decision.policies().iter().map(|policy| policy.to_string()).collect(),
            explanation: explanation.words,
            errors,
            policy_epoch: explanation.epoch.0,
        })
    }
}

impl Core {
    async fn list_masks(
        &self,
        caller: &Caller,
        message: v1::ListMasksRequest,
    ) -> Result<v1::ListMasksResponse, Failure> {
        let limit = convert::page_size(message.page_size);
        let family = optional(&message.key, |name| FamilyName::try_from(name))?;
        let after = PageToken::read("masks", &message.page_token)?;
        let after =
            after.map(|after| after.parse::<usize>().map_err(|_| PageToken::invalid())).transpose()?;
        let permit = self.gate.authorize(caller, System, None).await?;
        let listed = list_masks::list_masks(permit, self.gate.policy());
        let (masks, epoch) = self.gate.record(listed).await??;
        let from = after.map_or(0, |after| after.saturating_add(1));
        let wanted = masks.all().iter().enumerate().skip(from);
        let wanted = wanted.filter(|(_, mask)| family.as_ref().is_none_or(|family| *family == mask.family));
        let page: Vec<_> = wanted.take(limit).collect();
        Ok(v1::ListMasksResponse {
            next_page_token: PageToken::after("masks", &page, limit, |(place, _)| place.to_string()),
            masks: page.into_iter().map(|(_, mask)| mask_to_wire(mask)).collect(),
            policy_epoch: epoch.0,
        })
    }
}

fn mask_to_wire(declared: &DeclaredMask) -> v1::DeclaredMask {
    let DeclaredMask { family, table, column, mask } = declared;
    v1::DeclaredMask {
        key: family.to_string(),
        table: table.to_string(),
        column: column.to_string(),
        form: mask.form().to_string(),
        terms: mask.terms(),
    }
}

fn optional<T, E: Into<Failure>>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Failure> {
    (!text.is_empty()).then(|| parse(text).map_err(Into::into)).transpose()
}

calls! {
    PolicyService: Policy {
        explain(ExplainRequest) -> v1::ExplainResponse;
        list_masks(ListMasksRequest) -> v1::ListMasksResponse;
    }
}
