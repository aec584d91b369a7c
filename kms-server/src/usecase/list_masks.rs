//! Says which masked form `Reveal` shows of which column.

use std::sync::Arc;

use super::refused::Refused;
use crate::gate::permit::op;
use crate::gate::{Note, Permit, Unrecorded};
use crate::policy::{Masks, PolicyEngine, PolicyEpoch};

/// The masks in force.
pub fn list_masks(
    permit: Permit<op::ExplainPolicy>,
    policy: &PolicyEngine,
) -> Unrecorded<Result<(Arc<Masks>, PolicyEpoch), Refused>> {
    permit.finish(Ok(policy.masks()), Note::default())
}
