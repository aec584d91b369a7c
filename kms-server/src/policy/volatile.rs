//! Finds the policies whose decisions must not be cached: those that read more of the request than the cache's key holds.
//!
//! The rule is a list of what may be read, not of what may not: `context.purpose` and `context.group` are in the key. Any other
//! use of `context` (time, an attribute of a later schema, the record as a whole) makes a policy volatile.

use cedar_policy::Policy;
use serde_json::Value;

/// Attributes of the context that the cache compares.
const CACHED: [&str; 2] = ["purpose", "group"];

/// Whether the policy's answer can change while everything that the cache compares stays as it is.
pub(super) fn reads_more_than_is_cached(policy: &Policy) -> bool {
    match policy.to_json() {
        Ok(json) => uses_context(&json),
        Err(_) => true,
    }
}

/// Walks Cedar's JSON form, where `context.time` is `{".": {"left": {"Var": "context"}, "attr": "time"}}`, and `has` alike.
fn uses_context(json: &Value) -> bool {
    match json {
        Value::Object(fields) => fields.iter().any(|(name, inner)| match name.as_str() {
            "." | "has" if reads_cached(inner) => false,
            "Var" if inner == "context" => true,
            _ => uses_context(inner),
        }),
        Value::Array(items) => items.iter().any(uses_context),
        _ => false,
    }
}

fn reads_cached(access: &Value) -> bool {
    let attribute = access.get("attr").and_then(Value::as_str);
    access.get("left").and_then(|left| left.get("Var")).is_some_and(|left| left == "context")
        && attribute.is_some_and(|attribute| CACHED.contains(&attribute))
}
