//! Names, parsed once: tenants, keys, tables, columns, records, context pairs.
//!
//! Names enter key derivation and authenticated data for ever, so their rules never loosen.

use std::{fmt, str::FromStr, sync::Arc};

use smallvec::SmallVec;

use crate::id::Uid;

/// Most bytes of a tenant, key (family) or context name.
pub const MAX_NAME: usize = 63;
/// Most bytes of a subject, table or column name.
pub const MAX_LONG_NAME: usize = 128;
/// Most bytes of a record id and of a context value.
pub const MAX_VALUE: usize = 1024;
/// Most pairs of a context.
pub const MAX_CONTEXT_PAIRS: usize = 16;

/// What is wrong with a name, in the words of the one who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{what} is empty; give a name")]
    Empty {
        /// Which name.
        what: &'static str,
    },
    /// Longer than allowed.
    #[error("{what} has {len} bytes; at most {max} are allowed")]
    TooLong {
        /// Which name.
        what: &'static str,
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A byte that this kind of name may not have.
    #[error("{what} has {found:?} at byte {at}; allowed are {allowed}")]
    Character {
        /// Which name.
        what: &'static str,
        /// The character found.
        found: char,
        /// Where it stands, counted in bytes from 0.
        at: usize,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// More context pairs than allowed.
    #[error("the context has {0} pairs; at most {MAX_CONTEXT_PAIRS} are allowed")]
    TooManyPairs(usize),
    /// The same context name twice.
    #[error("the context names `{0}` twice; give each name once")]
    DuplicatePair(Box<str>),
}

/// `[a-z0-9][a-z0-9._-]{0,62}`
fn check_plain(what: &'static str, name: &str) -> Result<(), NameError> {
    check_length(what, name.len(), MAX_NAME)?;
    for (at, found) in name.char_indices() {
        let plain = found.is_ascii_lowercase() || found.is_ascii_digit();
        if !(plain || at > 0 && matches!(found, '.' | '_' | '-')) {
            let allowed = "a-z and 0-9, after the first also `.`, `_` and `-`";
            return Err(NameError::Character { what, found, at, allowed });
        }
    }
    Ok(())
}

fn check_length(what: &'static str, len: usize, max: usize) -> Result<(), NameError> {
    match len {
        0 => Err(NameError::Empty { what }),
        len if len > max => Err(NameError::TooLong { what, len, max }),
        _ => Ok(()),
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(name: &str) -> Result<Self, NameError> {
                $check(name)?;
                Ok(Self(name.into()))
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::try_from(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_name!(
    /// A tenant, the unit of isolation: `[a-z0-9][a-z0-9._-]{0,62}`.
    TenantName,
    |name: &str| check_plain("tenant", name)
);
text_name!(
    /// A key, or the family that subjects take their settings from: `[a-z0-9][a-z0-9._-]{0,62}`.
    FamilyName,
    |name: &str| check_plain("key", name)
);
text_name!(
    /// One person or thing under a family: up to 128 printable ASCII bytes without `/`.
    SubjectName,
    |name: &str| {
        check_length("subject", name.len(), MAX_LONG_NAME)?;
        match name.char_indices().find(|(_, c)| !matches!(c, ' '..='~') || *c == '/') {
            None => Ok(()),
            Some((at, found)) => Err(NameError::Character {
                what: "subject",
                found,
                at,
                allowed: "printable ASCII without `/`",
            }),
        }
    }
);
text_name!(
    /// A table: up to 128 bytes of UTF-8, compared as bytes.
    TableName,
    |name: &str| check_length("table", name.len(), MAX_LONG_NAME)
);
text_name!(
    /// A column: up to 128 bytes of UTF-8, compared as bytes.
    ColumnName,
    |name: &str| check_length("column", name.len(), MAX_LONG_NAME)
);
text_name!(
    /// The name of a context pair; the rule of key names.
    ContextName,
    |name: &str| check_plain("context name", name)
);

impl FamilyName {
    /// Whether keys of it make blind indexes and seal nothing: it is named `*.index`.
    pub fn is_index(&self) -> bool {
        self.0.ends_with(".index")
    }
}

/// A key's full name: `NAME`, or `FAMILY/SUBJECT`; or where the subject's name is not known or not to be told, `FAMILY//ID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    family: FamilyName,
    subject: Option<Subject>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    Name(SubjectName),
    Id(Uid),
}

impl KeyName {
    /// The key of one subject of a family.
    pub fn of_subject(family: FamilyName, subject: SubjectName) -> Self {
        Self { family, subject: Some(Subject::Name(subject)) }
    }

    /// The same, by the subject's id.
    pub fn of_subject_id(family: FamilyName, id: Uid) -> Self {
        Self { family, subject: Some(Subject::Id(id)) }
    }

    /// The part before `/`, or the whole name.
    pub fn family(&self) -> &FamilyName {
        &self.family
    }

    /// The part after `/`.
    pub fn subject(&self) -> Option<&SubjectName> {
        match &self.subject {
            Some(Subject::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// The part after `//`.
    pub fn subject_id(&self) -> Option<Uid> {
        match self.subject {
            Some(Subject::Id(id)) => Some(id),
            _ => None,
        }
    }

    /// Whether it is an index key: one that makes blind indexes and seals nothing. Its family is named `*.index`.
    pub fn is_index(&self) -> bool {
        self.family.is_index()
    }
}

/// 32 hexadecimal digits in lower case after a `/`.
fn subject_id(family: &str, id: &str) -> Result<Uid, NameError> {
    let digits = id.strip_prefix('/').unwrap_or(id);
    let bytes = hex::decode(digits).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    // One spelling only.
    bytes.map(Uid).filter(|uid| uid.to_string() == digits).ok_or(NameError::Character {
        what: "key",
        found: '/',
        at: family.len() + 1,
        allowed: "the subject's name, or `/` and its id in 32 hexadecimal digits",
    })
}

impl From<FamilyName> for KeyName {
    fn from(family: FamilyName) -> Self {
        Self { family, subject: None }
    }
}

/// What stands for a subject's name where that must not stand: the hexadecimal digits of its id.
impl From<Uid> for SubjectName {
    fn from(id: Uid) -> Self {
        Self(id.to_string().into())
    }
}

impl TryFrom<&str> for KeyName {
    type Error = NameError;
    fn try_from(name: &str) -> Result<Self, NameError> {
        let (family, subject) = match name.split_once('/') {
            // No subject's name begins with `/`, so none is taken for an id.
            Some((family, id)) if id.starts_with('/') => (family, Some(Subject::Id(subject_id(family, id)?))),
            Some((family, subject)) => (family, Some(Subject::Name(subject.try_into()?))),
            None => (name, None),
        };
        Ok(Self { family: FamilyName::try_from(family)?, subject })
    }
}

impl FromStr for KeyName {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::try_from(name)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(Subject::Name(subject)) => write!(f, "{}/{subject}", self.family),
            Some(Subject::Id(id)) => write!(f, "{}//{id}", self.family),
            None => self.family.fmt(f),
        }
    }
}

/// Which row a value stands in: 1 to 1,024 bytes. Shown only as a length, for it may name a person.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(SmallVec<[u8; SHORT]>);

/// A UUID as text, and most else that tells a row, stands in the id itself.
const SHORT: usize = 40;

impl RecordId {
    /// The bytes that are bound.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for RecordId {
    type Error = NameError;
    fn try_from(id: &[u8]) -> Result<Self, NameError> {
        check_length("record id", id.len(), MAX_VALUE)?;
        Ok(Self(SmallVec::from_slice(id)))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId(<{} bytes>)", self.0.len())
    }
}

/// Authenticated data of a `direct` value: at most 16 pairs, sorted by name, each name once.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Context(Box<[(ContextName, Box<[u8]>)]>);

impl Context {
    /// Sorts and checks the pairs.
    ///
    /// # Errors
    /// Names what is wrong: too many pairs, a name twice, a bad name, a value over 1 KiB.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, NameError> {
        let mut sorted = Vec::new();
        for (name, value) in pairs {
            if value.len() > MAX_VALUE {
                let (what, len) = ("context value", value.len());
                return Err(NameError::TooLong { what, len, max: MAX_VALUE });
            }
            sorted.push((ContextName::try_from(name)?, Box::from(value)));
        }
        if sorted.len() > MAX_CONTEXT_PAIRS {
            return Err(NameError::TooManyPairs(sorted.len()));
        }
        sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
        match sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(NameError::DuplicatePair(pair[0].0.as_str().into())),
            None => Ok(Self(sorted.into())),
        }
    }

    /// The pairs, sorted by name as bytes.
    pub fn pairs(&self) -> impl Iterator<Item = (&ContextName, &[u8])> {
        self.0.iter().map(|(name, value)| (name, &**value))
    }

    /// The value of one name.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.pairs().find(|(found, _)| found.as_str() == name).map(|(_, value)| value)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.pairs().map(|(name, _)| name.as_str())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_follow_the_rule() {
        for good in ["a", "0", "tenant-a", "a.b_c-d", &"x".repeat(63)] {
            assert!(TenantName::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", ".a", "a b", "ä", "a/b", &"x".repeat(64)] {
            assert!(TenantName::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subject_is_printable_ascii_after_one_slash() {
        let name = KeyName::try_from("attendance/Employee 17").unwrap();
        assert_eq!(name.family().as_str(), "attendance");
        assert_eq!(name.subject().unwrap().as_str(), "Employee 17");
        assert_eq!(name.to_string(), "attendance/Employee 17");
        for bad in ["attendance/", "attendance/a/b", "/a", "attendance/\n", "attendance/ä"] {
            assert!(KeyName::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_index_key_is_told_by_the_end_of_its_familys_name() {
        for index in ["attendance.index", "a.b.index", "attendance.index/employee-17"] {
            assert!(KeyName::try_from(index).unwrap().is_index(), "{index}");
        }
        for other in ["attendance", "index", "attendance-index", "attendance.indexes", "attendance/x.index"] {
            assert!(!KeyName::try_from(other).unwrap().is_index(), "{other}");
        }
    }

    #[test]
    fn a_subjects_id_after_two_slashes_is_no_name() {
        let id = "ab".repeat(16);
        let key = KeyName::try_from(&*format!("attendance//{id}")).unwrap();
        assert_eq!((key.subject(), key.subject_id()), (None, Some(Uid([0xAB; 16]))));
        assert_eq!(key, KeyName::of_subject_id("attendance".parse().unwrap(), Uid([0xAB; 16])));
        assert_eq!(key.to_string(), format!("attendance//{id}"));
        // A name may look like an id.
        let named = KeyName::try_from(&*format!("attendance/{id}")).unwrap();
        assert_eq!((named.subject().map(SubjectName::as_str), named.subject_id()), (Some(&*id), None));
        for bad in
            ["a//", "a//ab", &format!("a//{}", id.to_uppercase()), &format!("a///{id}"), &format!("//{id}")]
        {
            assert!(KeyName::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_context_is_sorted_and_names_are_unique() {
        let context = Context::new([("purpose", &b"billing"[..]), ("actor", b"svc")]).unwrap();
        let names: Vec<_> = context.pairs().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["actor", "purpose"]);
        assert_eq!(context.value("purpose"), Some(&b"billing"[..]));
        assert_eq!(Context::new([("a", &b"1"[..]), ("a", b"2")]), Err(NameError::DuplicatePair("a".into())));
    }

    #[test]
    fn debug_shows_neither_record_ids_nor_context_values() {
        let id = RecordId::try_from(&b"row-42"[..]).unwrap();
        let context = Context::new([("actor", &b"somebody"[..])]).unwrap();
        let shown = format!("{id:?} {context:?}");
        assert!(!shown.contains("row-42") && !shown.contains("somebody"), "{shown}");
    }
}
