//! Finds the policies whose answer may depend on which subject of a family a key is.
//!
//! Where none does, a decision about one subject is a decision about all, so that 10,000 of them are decided once. Where one does, a
//! key whose subject the request did not name is denied. As in `volatile`, the rule is a list of what may be read of a resource:
//! any other use of it counts as looking at the subject.

use cedar_policy::Policy;
use serde_json::Value;

/// Attributes that a subject's key has from its family.
const OF_FAMILY: [&str; 4] = ["tenant", "family", "class", "purposes"];
/// Kinds of entity in which all keys of a family are, or none is.
const ABOVE_KEYS: [&str; 2] = ["Tenant", "System"];

pub(super) fn is_read_by(policy: &Policy) -> bool {
    match policy.to_json() {
        Ok(json) => uses_resource(&json),
        Err(_) => true,
    }
}

/// Walks Cedar's JSON form; the scope's own `resource` is no variable there.
fn uses_resource(json: &Value) -> bool {
    match json {
        Value::Object(fields) => fields.iter().any(|(name, inner)| match name.as_str() {
            "." | "has" if is_resource(inner) => {
                let attribute = inner.get("attr").and_then(Value::as_str);
                attribute.is_none_or(|attribute| !OF_FAMILY.contains(&attribute))
            }
            "is" if is_resource(inner) => inner.get("in").is_some_and(|within| !is_above_keys(within)),
            "in" if is_resource(inner) => inner.get("right").is_none_or(|within| !is_above_keys(within)),
            "Var" => inner == "resource",
            _ => uses_resource(inner),
        }),
        Value::Array(items) => items.iter().any(uses_resource),
        _ => false,
    }
}

fn is_resource(access: &Value) -> bool {
    access.get("left").and_then(|left| left.get("Var")).is_some_and(|left| left == "resource")
}

fn is_above_keys(within: &Value) -> bool {
    let entity = within.get("Value").and_then(|value| value.get("__entity"));
    let kind = entity.and_then(|entity| entity.get("type")).and_then(Value::as_str);
    kind.is_some_and(|kind| ABOVE_KEYS.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_at_the_subject_is_told_from_what_looks_at_the_family() {
        let reads = |when: &str| {
            let text = format!("permit (principal, action, resource is Key) when {{ {when} }};");
            is_read_by(&Policy::parse(None, text).unwrap())
        };
        for family in [
            "resource.family == \"attendance\" && resource.class == \"L2\"",
            "resource.purposes.contains(\"billing\") || resource in Tenant::\"acme\"",
            "resource is Key in Tenant::\"acme\" && resource has purposes",
            "resource.tenant.name == \"acme\" && context.purpose == \"resource\"",
        ] {
            assert!(!reads(family), "{family}");
        }
        for subject in [
            "resource has subject",
            "resource has subject && resource.subject == \"employee-17\"",
            "resource.name == \"attendance/employee-17\"",
            "resource == Key::\"acme/attendance/employee-17\"",
            "resource in Key::\"acme/attendance/employee-17\"",
            "[resource].contains(Key::\"acme/attendance/employee-17\")",
            "resource in [Tenant::\"acme\", Key::\"acme/attendance/employee-17\"]",
        ] {
            assert!(reads(subject), "{subject}");
        }
    }
}
