//! What the one who checks asks of a certificate beyond its being true.

use std::collections::BTreeSet;

use super::{body::MediumClass, risks::Risk};
use crate::transparency::{VerifierKey, WitnessKey};

/// What must hold, and which risks are accepted. The default asks for nothing, and accepts no risk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// No medium may be of a lower class.
    pub minimum_class: MediumClass,
    /// So many different identities must have approved each destruction.
    pub approvals: u64,
    /// Risks that are accepted.
    pub accept: BTreeSet<Risk>,
    /// Witnesses that are trusted to be independent.
    pub witnesses: Vec<WitnessKey>,
    /// The log's key.
    pub log_key: Option<VerifierKey>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            minimum_class: MediumClass::None,
            approvals: 0,
            accept: BTreeSet::new(),
            witnesses: Vec::new(),
            log_key: None,
        }
    }
}
