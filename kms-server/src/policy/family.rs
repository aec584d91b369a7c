//! A `forbid` that names a family holds for the family's subjects too.
//!
//! ATTACK: to Cedar `Key::"acme/attendance/employee-17"` is another resource than `Key::"acme/attendance"`, and in no way below it. Whoever
//! forbids a family by its name means to close it, and it is nothing but its subjects; taken at its word the rule would close nothing.
//! A `permit` is taken at its word: one of a family gives nobody its subjects.

use cedar_policy::PolicySet;

use super::{
    load::Rule,
    problem::Problem,
    request::{Decision, PolicyRequest, Resource, Subject},
    scope::Scope,
};

/// The `forbid`s whose scope names one key, and no subject's.
#[derive(Default)]
pub(super) struct FamilyForbids {
    set: PolicySet,
    volatile: Vec<Scope>,
}

impl FamilyForbids {
    pub(super) fn of(rules: &[Rule]) -> Result<Self, Problem> {
        let mut forbids = Self::default();
        for rule in rules.iter().filter(|rule| !rule.permits && rule.scope.names_key_or_family()) {
            let added = forbids.set.add(rule.policy.clone());
            added.map_err(|mistake| Problem {
                file: String::new(),
                line: None,
                text: mistake.to_string(),
            })?;
            if rule.volatile {
                forbids.volatile.push(rule.scope.clone());
            }
        }
        Ok(forbids)
    }

    /// The same request of the family, where it is about a subject and some `forbid` may have to do with that.
    pub(super) fn above<'r>(&self, request: &PolicyRequest<'r>) -> Option<PolicyRequest<'r>> {
        let mut above = *request;
        match &mut above.resource {
            Resource::Key { name, .. } if name.subject != Subject::None && !self.set.is_empty() => {
                name.subject = Subject::None;
                Some(above)
            }
            _ => None,
        }
    }

    pub(super) fn set(&self) -> &PolicySet {
        &self.set
    }

    /// Whether what these say of the family can change while every cached attribute stays.
    pub(super) fn is_volatile(&self, above: &PolicyRequest<'_>, caller: &str) -> bool {
        self.volatile.iter().any(|scope| scope.agreement(above, caller).is_full())
    }
}

/// What is decided of the subject, unless something forbids the family. That nothing permits the family says nothing of the subject.
pub(super) fn unless_forbidden(own: Decision, family: Decision) -> Decision {
    match family {
        Decision::Deny { policies, errors } if !(policies.is_empty() && errors.is_empty()) => {
            if own.is_allowed() { Decision::Deny { policies, errors } } else { own }
        }
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use kms_core::{names::KeyName, state::KeyClass};

    use crate::{
        identity::{IdentityName, KeyExchangeGroup},
        operation::Operation,
        policy::{Decision, Options, PolicyEngine, PolicyRequest, Resource},
    };

    const ANY: &str = r#"@id("any") @says("s") @tenants("any") permit (principal, action, resource is Key);"#;
    const CLOSED: &str = r#"@id("closed") @says("s") forbid (principal, action in Action::"opens", "#;

    fn engine(policies: &[&str]) -> PolicyEngine {
        PolicyEngine::of(&[("a.cedar", &*policies.concat())], Options::default()).unwrap()
    }

    fn decide(engine: &PolicyEngine, operation: Operation, tenant: &str, key: &str) -> Arc<Decision> {
        let (principal, key) =
            (IdentityName::Spiffe("spiffe://dev.local/a".into()), KeyName::try_from(key).unwrap());
        engine.decide(&PolicyRequest {
            principal: &principal,
            operation,
            resource: Resource::Key {
                tenant: &tenant.parse().unwrap(),
                name: (&key).into(),
                class: KeyClass::L2,
                purposes: &[],
                key_revision: 1,
            },
            purpose: None,
            group: KeyExchangeGroup::X25519MlKem768,
            window: Duration::ZERO,
        })
    }

    #[test]
    fn a_forbid_of_a_family_closes_its_subjects_and_nothing_else() {
        let by_id = format!("attendance//{}", "ab".repeat(16));
        for scope in ["resource ==", "resource in", "resource is Key in"] {
            let engine = engine(&[ANY, CLOSED, scope, r#" Key::"acme/attendance");"#]);
            let opens = |tenant, key| decide(&engine, Operation::LeaseToOpen, tenant, key);
            for closed in ["attendance", "attendance/employee-17", &by_id] {
                let decision = opens("acme", closed);
                assert!(!decision.is_allowed(), "{scope} {closed}");
                assert_eq!(decision.policies()[0].as_str(), "closed");
                assert!(!opens("acme", closed).is_allowed(), "nor when it is cached");
                let seals = decide(&engine, Operation::LeaseToSeal, "acme", closed);
                assert!(seals.is_allowed(), "{scope} {closed}: of another operation nothing is said");
            }
            for open in ["attendances/employee-17", "payroll/employee-17", "attendance.index"] {
                assert!(opens("acme", open).is_allowed(), "{scope} {open}");
            }
            assert!(opens("umbrella", "attendance/employee-17").is_allowed());
        }
    }

    #[test]
    fn a_forbid_of_one_subject_leaves_the_family_and_the_others_alone() {
        let engine = engine(&[ANY, CLOSED, r#"resource == Key::"acme/attendance/employee-17");"#]);
        let opens = |key| decide(&engine, Operation::LeaseToOpen, "acme", key).is_allowed();
        assert!(!opens("attendance/employee-17"));
        assert!(opens("attendance/employee-18") && opens("attendance"));
    }

    #[test]
    fn where_a_forbid_looks_at_the_subject_a_key_without_its_name_is_denied_and_elsewhere_it_is_not() {
        let engine = engine(&[
            ANY,
            CLOSED,
            r#"resource in Tenant::"acme") when { resource has subject && resource.subject == "employee-17" };"#,
        ]);
        let by_id = format!("attendance//{}", "ab".repeat(16));
        let opens = |tenant, key| decide(&engine, Operation::LeaseToOpen, tenant, key).is_allowed();
        assert!(!opens("acme", "attendance/employee-17") && opens("acme", "attendance/employee-18"));
        assert!(!opens("acme", &by_id), "it may be that one");
        assert!(opens("umbrella", &by_id) && opens("acme", "attendance"));
        assert!(decide(&engine, Operation::LeaseToSeal, "acme", &by_id).is_allowed());
    }

    #[test]
    fn a_permit_of_a_family_gives_nobody_its_subjects() {
        let engine = engine(&[
            r#"@id("p") @says("s") permit (principal, action, resource == Key::"acme/attendance");"#,
        ]);
        let opens = |key| decide(&engine, Operation::LeaseToOpen, "acme", key).is_allowed();
        assert!(opens("attendance") && !opens("attendance/employee-17"));
    }

    #[test]
    fn a_forbid_of_a_family_that_reads_time_is_asked_anew_for_its_subjects() {
        let engine = engine(&[
            ANY,
            CLOSED,
            r#"resource == Key::"acme/attendance") when { context.time < datetime("2001-01-01") };"#,
        ]);
        let cached = |key| {
            let decide = || decide(&engine, Operation::LeaseToOpen, "acme", key);
            assert!(decide().is_allowed());
            Arc::ptr_eq(&decide(), &decide())
        };
        assert!(!cached("attendance") && !cached("attendance/employee-17"));
        assert!(cached("payroll/employee-17"));
    }
}
