//! What is asked of policy, and what it says: values without a Cedar type in them.

use std::{fmt, sync::Arc, time::Duration};

use kms_core::{
    names::{FamilyName, KeyName, SubjectName, TenantName},
    state::KeyClass,
};

use crate::{
    identity::{IdentityName, KeyExchangeGroup},
    operation::Operation,
};

/// Most bytes of a purpose; a longer one is denied before anything is evaluated.
pub const MAX_PURPOSE: usize = 128;

/// May this caller do this, to that?
#[derive(Debug, Clone, Copy)]
pub struct PolicyRequest<'a> {
    /// Who asks.
    pub principal: &'a IdentityName,
    /// What they want done.
    pub operation: Operation,
    /// To what.
    pub resource: Resource<'a>,
    /// What they say it is for.
    pub purpose: Option<&'a str>,
    /// How the connection's key was agreed.
    pub group: KeyExchangeGroup,
    /// Of a destruction: how long it can be called off. A policy that reads it is not cached, so the cache does not look at it.
    pub window: Duration,
}

/// What an operation is done to.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// The key centre as a whole.
    System,
    /// A tenant, there or to be made.
    Tenant {
        /// Its name.
        name: &'a TenantName,
    },
    /// A key, there or to be made.
    Key {
        /// Whose key.
        tenant: &'a TenantName,
        /// Its name.
        name: NamedKey<'a>,
        /// Its class, or the one asked for.
        class: KeyClass,
        /// Its purposes, or those asked for.
        purposes: &'a [Arc<str>],
        /// Its revision; 0 for one to be made.
        key_revision: u64,
    },
}

/// A key's name, as far as it is known: who opens by a version's address has not said whose it is, and it is stored nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedKey<'a> {
    /// The key's name, or the family's.
    pub family: &'a FamilyName,
    /// The subject under it.
    pub subject: Subject<'a>,
}

/// The subject of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject<'a> {
    /// It is no subject's.
    None,
    /// It is this one's.
    Named(&'a SubjectName),
    /// It is one's that is not known by name. Where a policy looks at the subject the answer is no.
    Unnamed,
}

impl<'a> From<&'a KeyName> for NamedKey<'a> {
    fn from(name: &'a KeyName) -> Self {
        let subject = match (name.subject(), name.subject_id()) {
            (Some(subject), _) => Subject::Named(subject),
            (None, Some(_)) => Subject::Unnamed,
            (None, None) => Subject::None,
        };
        Self { family: name.family(), subject }
    }
}

impl fmt::Display for NamedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::None => self.family.fmt(f),
            Subject::Named(subject) => write!(f, "{}/{subject}", self.family),
            // No key is called so.
            Subject::Unnamed => write!(f, "{}//", self.family),
        }
    }
}

/// A policy, by its `@id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub(super) Arc<str>);

impl PolicyId {
    /// The id as the policy's author wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What policy says. A value, never a `Result`: a policy that fails to evaluate denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow {
        /// The policies that permit it, sorted; at least one.
        policies: Vec<PolicyId>,
    },
    /// No.
    Deny {
        /// The policies that forbid it, sorted; none where no policy permits it.
        policies: Vec<PolicyId>,
        /// What failed to evaluate; any one of these denies.
        errors: Vec<Box<str>>,
    },
}

impl Decision {
    /// What two decisions come to that must both be yes.
    pub fn both(first: Arc<Self>, second: Arc<Self>) -> Arc<Self> {
        match (&*first, &*second) {
            (Self::Deny { .. }, _) => first,
            (_, Self::Deny { .. }) => second,
            (Self::Allow { policies }, Self::Allow { policies: others }) if policies == others => first,
            (Self::Allow { policies }, Self::Allow { policies: others }) => {
                let mut policies = [policies.as_slice(), others].concat();
                policies.sort_unstable();
                policies.dedup();
                Arc::new(Self::Allow { policies })
            }
        }
    }

    /// Whether it is yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// The policies that decided, for the audit.
    pub fn policies(&self) -> &[PolicyId] {
        let (Self::Allow { policies } | Self::Deny { policies, .. }) = self;
        policies
    }
}

/// Counts the policy sets this process has loaded: 1, 2, 3, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyEpoch(pub u64);

/// A decision in words, for `kms policy explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What was decided.
    pub decision: Arc<Decision>,
    /// Why, in words; where it was denied also which policies came near.
    pub words: String,
    /// Under which policy set.
    pub epoch: PolicyEpoch,
}
