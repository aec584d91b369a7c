//! Fields of stored messages, to domain types and back: numbers that the messages give to states, classes and reasons.
//!
//! The numbers are those of the enums of `kms.v1`; they are written to disk and never change.

use std::time::Duration;

use kms_core::id::Uid;
use kms_core::state::{DestroyReason, KeyClass, LifecycleState};
use kms_proto::v1;

/// A stored value that this version does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored {0} is damaged")]
pub struct Damaged(pub &'static str);

macro_rules! numbers {
    ($to:ident, $from:ident, $domain:ident, $wire:ident, $what:literal, $($variant:ident),+) => {
        #[doc = concat!("The number that stands for a ", $what, ".")]
        pub fn $to(value: $domain) -> i32 {
            match value { $($domain::$variant => v1::$wire::$variant as i32),+ }
        }

        #[doc = concat!("The ", $what, " that a stored number stands for.")]
        ///
        /// # Errors
        /// Where it stands for none.
        pub fn $from(number: i32) -> Result<$domain, Damaged> {
            match v1::$wire::try_from(number) {
                $(Ok(v1::$wire::$variant) => Ok($domain::$variant),)+
                Ok(v1::$wire::Unspecified) | Err(_) => Err(Damaged($what)),
            }
        }
    };
}

numbers!(
    state_number,
    state,
    LifecycleState,
    LifecycleState,
    "life-cycle state",
    PreActive,
    Active,
    Suspended,
    Deactivated,
    DestroyScheduled,
    Destroyed,
    Erased
);
numbers!(class_number, class, KeyClass, KeyClass, "class", L1, L2, L3, L4);
numbers!(
    reason_number,
    reason,
    DestroyReason,
    DestroyReason,
    "reason",
    RetentionEnded,
    SubjectRequest,
    ContractEnded,
    Compromise,
    Superseded,
    Test,
    Other
);

/// A stored name, parsed.
///
/// # Errors
/// Where it breaks the rule it was written under.
pub fn name<'a, N: TryFrom<&'a str>>(text: &'a str) -> Result<N, Damaged> {
    N::try_from(text).map_err(|_| Damaged("name"))
}

/// A stored uid.
///
/// # Errors
/// Where it has not 16 bytes.
pub fn uid(bytes: &[u8]) -> Result<Uid, Damaged> {
    Uid::try_from(bytes).map_err(|_| Damaged("uid"))
}

/// A duration as it is stored.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_and_zero_stands_for_nothing() {
        for known in LifecycleState::ALL {
            assert_eq!(state(state_number(*known)).unwrap(), *known);
        }
        for known in KeyClass::ALL {
            assert_eq!(class(class_number(*known)).unwrap(), *known);
        }
        for known in DestroyReason::ALL {
            assert_eq!(reason(reason_number(*known)).unwrap(), *known);
        }
        assert!(state(0).is_err() && class(0).is_err() && reason(0).is_err() && state(99).is_err());
    }
}
