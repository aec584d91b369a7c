//! When a value that one scheme did not open may be of an older one: the same for who reads rows and for who moves them.

use kms_core::field::Kind;
use kms_proto::reason::Reason;

use crate::error::Error;

/// Which of the older schemes may have sealed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Older {
    Any,
    /// Those under another key than the one in whose name it did not open.
    OfAnotherKey,
}

impl Older {
    /// By why it did not open. A key that is destroyed sealed it: the server says that of a key's own versions only.
    pub(crate) fn after(error: &Error, kind: Kind, row_has_subject: bool) -> Option<Self> {
        match error.reason() {
            Some(Reason::CiphertextRejected) => Some(Self::Any),
            // The key is named to the server where it is a subject's, and where the server opens the value itself. It knows no such value
            // of that key if another sealed it.
            Some(Reason::KeyNotAccessible) if row_has_subject || kind == Kind::Direct => {
                Some(Self::OfAnotherKey)
            }
            _ => None,
        }
    }

    /// Whether that can be one whose key is, or is not, the one that was tried.
    pub(crate) fn may_be(self, under_same_key: bool) -> bool {
        self == Self::Any || !under_same_key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_such_key_leads_on_where_a_key_was_named_and_to_other_keys_only() {
        let after = |reason, kind, has_subject| Older::after(&Error::Value { reason }, kind, has_subject);
        for kind in [Kind::Randomized, Kind::Deterministic, Kind::Direct] {
            for has_subject in [false, true] {
                assert_eq!(after(Reason::CiphertextRejected, kind, has_subject), Some(Older::Any));
                let named = has_subject || kind == Kind::Direct;
                let not_there = after(Reason::KeyNotAccessible, kind, has_subject);
                assert_eq!(not_there, named.then_some(Older::OfAnotherKey));
                for end in [
                    Reason::KeyDestroyed,
                    Reason::KeySuspended,
                    Reason::RateLimited,
                    Reason::CiphertextMalformed,
                ] {
                    assert_eq!(after(end, kind, has_subject), None, "{end:?}");
                }
            }
        }
        assert!(Older::Any.may_be(true) && Older::Any.may_be(false));
        assert!(Older::OfAnotherKey.may_be(false) && !Older::OfAnotherKey.may_be(true));
    }
}
