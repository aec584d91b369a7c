//! How far a line must have got before its request is answered.

use std::str::FromStr;

use kms_core::state::KeyClass;

use super::Outcome;
use crate::operation::Operation;

/// How far a line has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Handed to the operating system: survives a kill of the process; synced within 10 ms.
    #[default]
    Written,
    /// On the medium: survives power loss.
    Synced,
}

/// What a line waits for: L1, L2 on the data plane and denials are written; L3, L4 and the whole control plane are synced.
///
/// The configuration can only raise it: take the greater of this and what is configured ([`super::Options::least`]).
pub fn durability(class: Option<KeyClass>, operation: Operation, outcome: Outcome) -> Durability {
    // ATTACK: a denial costs its sender nothing, so it must not cost the server a barrier.
    if matches!(outcome, Outcome::Denied(_)) {
        return Durability::Written;
    }
    match class {
        _ if operation.is_control_plane() => Durability::Synced,
        Some(KeyClass::L3 | KeyClass::L4) => Durability::Synced,
        Some(KeyClass::L1 | KeyClass::L2) | None => Durability::Written,
    }
}

impl FromStr for Durability {
    type Err = UnknownDurability;
    fn from_str(word: &str) -> Result<Self, UnknownDurability> {
        match word {
            "written" => Ok(Self::Written),
            "synced" => Ok(Self::Synced),
            _ => Err(UnknownDurability(word.into())),
        }
    }
}

/// A word that names no durability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a durability; give `written` or `synced`")]
pub struct UnknownDurability(Box<str>);

#[cfg(test)]
mod tests {
    use super::*;
    use kms_proto::reason::Reason;

    #[test]
    fn the_class_decides_on_the_data_plane() {
        let of = |class| durability(Some(class), Operation::Encrypt, Outcome::Allowed);
        assert_eq!(KeyClass::ALL.iter().map(|class| of(*class)).collect::<Vec<_>>(), {
            use Durability::{Synced, Written};
            [Written, Written, Synced, Synced]
        });
        let failed = Outcome::Failed(Reason::KeyNotAccessible);
        assert_eq!(durability(Some(KeyClass::L4), Operation::Decrypt, failed), Durability::Synced);
    }

    #[test]
    fn the_control_plane_is_synced_and_a_denial_never_is() {
        for &operation in Operation::ALL {
            let allowed = durability(Some(KeyClass::L1), operation, Outcome::Allowed);
            assert_eq!(allowed == Durability::Synced, operation.is_control_plane(), "{operation}");
            let denied = Outcome::Denied(Reason::PolicyDenied);
            assert_eq!(durability(Some(KeyClass::L4), operation, denied), Durability::Written, "{operation}");
        }
    }
}
