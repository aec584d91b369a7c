//! What a key is called in the store, the log, the audit and errors: its name, or of a subject's key the family and the subject's id.
//!
//! ATTACK: a subject's name is a person's, and what is written once is never unwritten. A [`KeyName`] that a request gave has no way
//! into a record: tables take this type, which no name of a subject fits in.

use std::fmt;

use kms_core::id::Uid;
use kms_core::names::{FamilyName, KeyName, NameError};

/// A key or family by its name, or a subject's key: `NAME`, or `FAMILY//ID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef {
    family: FamilyName,
    subject: Option<Uid>,
}

impl KeyRef {
    /// A subject's key.
    pub fn of_subject(family: FamilyName, id: Uid) -> Self {
        Self { family, subject: Some(id) }
    }

    /// The key's name, or the family's.
    pub fn family(&self) -> &FamilyName {
        &self.family
    }

    /// The subject's id.
    pub fn subject(&self) -> Option<Uid> {
        self.subject
    }

    /// Whether it makes blind indexes and seals nothing.
    pub fn is_index(&self) -> bool {
        self.family.is_index()
    }

    /// The same with digits in place of the subject's name: how the transparency log and certificates name it.
    pub fn logged(&self) -> KeyName {
        match self.subject {
            Some(id) => KeyName::of_subject(self.family.clone(), id.into()),
            None => self.family.clone().into(),
        }
    }
}

impl From<FamilyName> for KeyRef {
    fn from(family: FamilyName) -> Self {
        Self { family, subject: None }
    }
}

impl TryFrom<&str> for KeyRef {
    type Error = NameError;
    fn try_from(text: &str) -> Result<Self, NameError> {
        let name = KeyName::try_from(text)?;
        match name.subject() {
            None => Ok(Self { family: name.family().clone(), subject: name.subject_id() }),
            Some(_) => Err(NameError::Character {
                what: "key",
                found: '/',
                at: name.family().as_str().len(),
                allowed: "a name, or a family, `//` and a subject's id",
            }),
        }
    }
}

impl From<&KeyRef> for KeyName {
    fn from(key: &KeyRef) -> Self {
        match key.subject {
            Some(id) => Self::of_subject_id(key.family.clone(), id),
            None => key.family.clone().into(),
        }
    }
}

impl std::str::FromStr for KeyRef {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text)
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KeyName::from(self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_back_and_takes_no_subjects_name() {
        let id = Uid([0xAB; 16]);
        let subject = KeyRef::of_subject("attendance".parse().unwrap(), id);
        for key in [subject.clone(), "attendance".parse().unwrap()] {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        assert_eq!(subject.to_string(), format!("attendance//{}", "ab".repeat(16)));
        assert_eq!(subject.logged().to_string(), format!("attendance/{}", "ab".repeat(16)));
        assert!(KeyRef::try_from("attendance/employee-17").is_err());
    }
}
