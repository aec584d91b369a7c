//! What an effacement leaves for the log and the certificate. Nothing in it is secret.

use kms_core::{canonical::Text, certificate::body::MediumClass};

use super::SecretId;

/// What effacing on the medium is worth; a better one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EffaceableClass {
    /// The erase is described; no standard is claimed.
    None,
    /// A token that says that it destroyed the key.
    Token,
    /// Overwritten in place on a magnetic disk that keeps its places.
    Clear,
}

impl EffaceableClass {
    /// As a certificate says it.
    pub fn word(self) -> &'static str {
        let class = match self {
            Self::None => MediumClass::None,
            Self::Token => MediumClass::Token,
            Self::Clear => MediumClass::Clear,
        };
        class.as_str()
    }
}

/// What a medium is, and what effacing there is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worth {
    /// Its class.
    pub class: EffaceableClass,
    /// What the class rests on, or why none is claimed.
    pub assurance: Text,
    /// What it is: file system and device, or token.
    pub media: Text,
}

impl std::fmt::Display for Worth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: class `{}`; {}", self.media, self.class.word(), self.assurance)
    }
}

/// What was done to make secrets unreadable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Secrets that are no longer on the medium.
    pub effaced: Vec<SecretId>,
    /// What that is worth.
    pub class: EffaceableClass,
    /// What the class rests on.
    pub assurance: Text,
    /// What was done.
    pub technique: Text,
    /// The medium.
    pub media: Text,
    /// What was looked at afterwards.
    pub verification: Text,
}

impl Evidence {
    /// The two as one: worth no more than the lesser.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.effaced.extend(other.effaced);
        self.class = self.class.min(other.class);
        self.assurance = both(&self.assurance, &other.assurance);
        self.technique = both(&self.technique, &other.technique);
        self.media = both(&self.media, &other.media);
        self.verification = both(&self.verification, &other.verification);
        self
    }

    /// The same, of secrets of which some were found gone: what an interrupted run did to them was not looked at.
    #[must_use]
    pub fn after_interruption(mut self) -> Self {
        if self.class == EffaceableClass::Clear {
            self.class = EffaceableClass::None;
            self.assurance = Text::lossy(
                "none claimed: an effacement was interrupted, and where the secret had lain was not compared any more",
            );
        }
        let more =
            Text::lossy("some were found gone after an interruption, and nothing about them was compared");
        self.verification = both(&self.verification, &more);
        self
    }
}

fn both(one: &Text, other: &Text) -> Text {
    // Evidence that waits is joined again and again; what was said is not said twice.
    match one.as_str().split("; and ").any(|said| said == other.as_str()) {
        true => one.clone(),
        false => Text::lossy(&format!("{one}; and {other}")),
    }
}

#[cfg(test)]
mod tests {
    use kms_core::id::{Attempt, Epoch};

    use super::*;

    fn evidence(epoch: u64, class: EffaceableClass, word: &str) -> Evidence {
        let text = Text::lossy(word);
        let effaced = vec![SecretId { epoch: Epoch(epoch), attempt: Attempt([0; 16]) }];
        let (assurance, technique) = (text.clone(), text.clone());
        Evidence { effaced, class, assurance, technique, media: text.clone(), verification: text }
    }

    #[test]
    fn joined_evidence_is_worth_no_more_than_the_lesser_and_says_nothing_twice() {
        let (clear, none) =
            (evidence(1, EffaceableClass::Clear, "one"), evidence(2, EffaceableClass::None, "other"));
        let joined = clear.clone().and(none.clone());
        assert_eq!((joined.class, joined.effaced.len()), (EffaceableClass::None, 2));
        assert_eq!(joined.media.as_str(), "one; and other");
        let again = joined.and(clear).and(none);
        assert_eq!(again.verification.as_str(), "one; and other");
    }
}
