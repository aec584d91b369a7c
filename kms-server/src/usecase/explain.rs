//! Says what policy would decide, and why.

use super::refused::Refused;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::policy::{Explanation, PolicyEngine, PolicyRequest};

/// Explains the decision about a request that nobody made.
pub fn explain(
    permit: Permit<op::ExplainPolicy>,
    policy: &PolicyEngine,
    request: &PolicyRequest<'_>,
) -> Unrecorded<Result<Explanation, Refused>> {
    permit.finish(Ok(policy.explain(request)), Note::default())
}
