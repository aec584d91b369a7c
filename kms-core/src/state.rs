//! Classes and life-cycle states (NIST SP 800-57 part 1), and what each allows.

use std::{fmt, str::FromStr, time::Duration};

/// A word that is not one of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {what}; give one of {allowed}")]
pub struct UnknownWord {
    what: &'static str,
    found: Box<str>,
    allowed: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that stands for it in texts.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(UnknownWord { what: $what, found: word.into(), allowed: $allowed }),
                }
            }
        }
    };
}

words!(
    /// How sensitive the data under a key is. Decides lease, audit durability, and whether data keys leave the server.
    KeyClass, "class", "L1, L2, L3, L4" {
        /// Public or nearly so.
        L1 = "L1",
        /// The default.
        L2 = "L2",
        /// Audit is synced before the reply.
        L3 = "L3",
        /// As L3, and no data key leaves the server.
        L4 = "L4",
    }
);

impl KeyClass {
    /// Lease of a data key where none is configured.
    pub const DEFAULT_LEASE: Duration = Duration::from_secs(300);

    /// Whether clients may hold data keys.
    pub fn releases_data_keys(self) -> bool {
        self != Self::L4
    }
}

words!(
    /// States of a tenant, a key or a key version.
    LifecycleState, "state", "pre-active, active, suspended, deactivated, destroy-scheduled, destroyed, erased" {
        /// Made, not yet to be used.
        PreActive = "pre-active",
        /// Seals and opens.
        Active = "active",
        /// Neither seals nor opens, until resumed.
        Suspended = "suspended",
        /// Opens, does not seal.
        Deactivated = "deactivated",
        /// Opens, does not seal; a destruction is due and can be cancelled.
        DestroyScheduled = "destroy-scheduled",
        /// Unusable everywhere.
        Destroyed = "destroyed",
        /// No byte left can bring it back, with proof.
        Erased = "erased",
    }
);

impl LifecycleState {
    /// Whether new values may be sealed.
    pub fn seals(self) -> bool {
        self == Self::Active
    }

    /// Whether sealed values may be opened.
    pub fn opens(self) -> bool {
        matches!(self, Self::Active | Self::Deactivated | Self::DestroyScheduled)
    }

    /// Whether it is gone for good.
    pub fn is_destroyed(self) -> bool {
        matches!(self, Self::Destroyed | Self::Erased)
    }
}

words!(
    /// Why something was destroyed; a code, never free text.
    DestroyReason, "reason", "retention-ended, subject-request, contract-ended, compromise, superseded, test, other" {
        /// Its retention period is over.
        RetentionEnded = "retention-ended",
        /// The person it belongs to asked.
        SubjectRequest = "subject-request",
        /// The tenant left.
        ContractEnded = "contract-ended",
        /// It may be known to others.
        Compromise = "compromise",
        /// A newer one took its place.
        Superseded = "superseded",
        /// A trial.
        Test = "test",
        /// Anything else; say it in the ticket.
        Other = "other",
    }
);
