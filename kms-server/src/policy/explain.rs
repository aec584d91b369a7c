//! A decision in words: which policies decided, in their authors' sentences, and which came near where none permits.

use super::{
    load::Rule,
    request::{Decision, PolicyId, PolicyRequest, Resource},
};

/// Most policies that are named as near.
const MAX_NEAR: usize = 5;

pub(super) fn in_words(asked: &PolicyRequest<'_>, decision: &Decision, rules: &[Rule]) -> String {
    match decision {
        Decision::Allow { policies } => format!("allowed by {}", sentences(policies, rules)),
        Decision::Deny { errors, .. } if !errors.is_empty() => format!("denied: {}", errors.join("; ")),
        Decision::Deny { policies, .. } if !policies.is_empty() => {
            format!("denied: forbidden by {}", sentences(policies, rules))
        }
        Decision::Deny { .. } => {
            let mut words = format!(
                "denied: no policy permits `{}` to {} {}",
                asked.principal,
                asked.operation,
                what(asked.resource)
            );
            for near in near(asked, rules) {
                words.push_str("\n  near: ");
                words.push_str(&near);
            }
            words
        }
    }
}

fn sentences(ids: &[PolicyId], rules: &[Rule]) -> String {
    let sentence = |id: &PolicyId| match rules.iter().find(|rule| rule.id == *id) {
        Some(rule) => format!("`{id}`: {}", rule.says),
        None => format!("`{id}`"),
    };
    ids.iter().map(sentence).collect::<Vec<_>>().join("; and by ")
}

fn what(resource: Resource<'_>) -> String {
    match resource {
        Resource::System => "the key centre as a whole".into(),
        Resource::Tenant { name } => format!("tenant `{name}`"),
        Resource::Key { tenant, name, class, .. } => {
            format!("key `{name}` of tenant `{tenant}` (class {class})")
        }
    }
}

/// Permits that miss by one thing: those of this caller first.
fn near(asked: &PolicyRequest<'_>, rules: &[Rule]) -> Vec<String> {
    let caller = asked.principal.to_string();
    let mut found = Vec::new();
    for rule in rules.iter().filter(|rule| rule.permits) {
        let agreement = rule.scope.agreement(asked, &caller);
        let missing = match (agreement.principal, agreement.operation, agreement.resource) {
            (true, true, true) => "covers this, but its `when` or `unless` does not hold",
            (true, false, true) => "covers it, but not this operation",
            (true, true, false) => "covers this operation, but not there",
            (false, true, true) => "permits this, but to another caller",
            _ => continue,
        };
        let named = rule.scope.principal.is_some() && agreement.principal;
        let rank = match (named, agreement.principal) {
            (true, _) => 0,
            (_, true) => 1,
            _ => 2,
        };
        found.push((rank, format!("`{}` {missing} ({})", rule.id, rule.says)));
    }
    found.sort();
    found.into_iter().take(MAX_NEAR).map(|(_, words)| words).collect()
}
