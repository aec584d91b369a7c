//! How the sections of a certificate stand in canonical JSON: every member is known, none is missing, and an error says where.

use std::fmt;

use crate::{
    canonical::{Members, Value},
    commitment::Hash,
    event::{Entry, Member},
};

/// A member of a certificate that is missing, unknown, or not of its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {fault}")]
pub struct NoPart {
    path: String,
    fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Missing,
    Unknown,
    Form,
    Entry(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Unknown => f.write_str("is no member that a certificate has there"),
            Self::Form => f.write_str("is not of its form"),
            Self::Entry(what) => write!(f, "is no entry of a log: {what}"),
        }
    }
}

impl NoPart {
    fn new(fault: Fault) -> Self {
        Self { path: String::new(), fault }
    }

    pub(super) fn form() -> Self {
        Self::new(Fault::Form)
    }

    /// Whether an entry of the log is what is not of its form.
    pub(super) fn is_entry(&self) -> bool {
        matches!(self.fault, Fault::Entry(_))
    }

    fn missing(name: &str) -> Self {
        Self { path: name.to_owned(), fault: Fault::Missing }
    }

    pub(super) fn within(mut self, parent: &str) -> Self {
        let between = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{parent}{between}{}", self.path);
        self
    }
}

/// Something that a certificate is made of.
pub trait Part: Sized {
    /// As it is written.
    fn to_value(&self) -> Value;
    /// Reads it.
    ///
    /// # Errors
    /// Where it is not written as [`Self::to_value`] writes it.
    fn from_value(value: Value) -> Result<Self, NoPart>;
}

impl<T: Member> Part for T {
    fn to_value(&self) -> Value {
        Member::to_value(self)
    }
    fn from_value(value: Value) -> Result<Self, NoPart> {
        Member::from_value(&value).ok_or_else(NoPart::form)
    }
}

impl<T: Part> Part for Vec<T> {
    fn to_value(&self) -> Value {
        Value::List(self.iter().map(Part::to_value).collect())
    }
    fn from_value(value: Value) -> Result<Self, NoPart> {
        let Value::List(items) = value else { return Err(NoPart::form()) };
        let items = items.into_iter().enumerate();
        items.map(|(at, item)| T::from_value(item).map_err(|e| e.within(&format!("[{at}]")))).collect()
    }
}

/// A sibling of a slot proof; `""` stands for a subtree without any leaf.
impl Part for Option<Hash> {
    fn to_value(&self) -> Value {
        self.map_or_else(|| Value::Text(Default::default()), |hash| Part::to_value(&hash))
    }
    fn from_value(value: Value) -> Result<Self, NoPart> {
        match value {
            Value::Text(text) if text.as_str().is_empty() => Ok(None),
            value => <Hash as Part>::from_value(value).map(Some),
        }
    }
}

impl Part for Entry {
    fn to_value(&self) -> Value {
        Self::to_value(self)
    }
    fn from_value(value: Value) -> Result<Self, NoPart> {
        Self::from_value(value).map_err(|error| NoPart::new(Fault::Entry(error.to_string())))
    }
}

/// Members that stand among those of the section around them.
pub(super) trait Flat: Sized {
    fn put(&self, members: &mut Members);
    fn take(members: &mut Members) -> Result<Self, NoPart>;
}

pub(super) fn put(members: &mut Members, name: &str, part: &impl Part) {
    members.insert(name.to_owned(), part.to_value());
}

pub(super) fn take<T: Part>(members: &mut Members, name: &str) -> Result<T, NoPart> {
    let value = members.remove(name).ok_or_else(|| NoPart::missing(name))?;
    T::from_value(value).map_err(|e| e.within(name))
}

/// A section with these members and no others.
pub(super) fn whole<T: Flat>(value: Value) -> Result<T, NoPart> {
    let Value::Object(mut members) = value else { return Err(NoPart::form()) };
    let section = T::take(&mut members)?;
    match members.pop_first() {
        None => Ok(section),
        Some((name, _)) => Err(NoPart::new(Fault::Unknown).within(&name)),
    }
}

/// Plain structs, each member under the name of its field; those after `..` have no name of their own.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$fdoc:meta])* $field:ident: $type:ty,)*
        $(.. { $($(#[$gdoc:meta])* $flat:ident: $gtype:ty,)* })?
    })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $type,)*
            $($($(#[$gdoc])* pub $flat: $gtype,)*)?
        }

        impl $crate::certificate::part::Flat for $name {
            fn put(&self, members: &mut $crate::canonical::Members) {
                $($crate::certificate::part::put(members, stringify!($field), &self.$field);)*
                $($($crate::certificate::part::Flat::put(&self.$flat, members);)*)?
            }
            fn take(
                members: &mut $crate::canonical::Members,
            ) -> Result<Self, $crate::certificate::part::NoPart> {
                Ok(Self {
                    $($field: $crate::certificate::part::take(members, stringify!($field))?,)*
                    $($($flat: $crate::certificate::part::Flat::take(members)?,)*)?
                })
            }
        }

        impl $crate::certificate::part::Part for $name {
            fn to_value(&self) -> $crate::canonical::Value {
                let mut members = $crate::canonical::Members::new();
                $crate::certificate::part::Flat::put(self, &mut members);
                $crate::canonical::Value::Object(members)
            }
            fn from_value(
                value: $crate::canonical::Value,
            ) -> Result<Self, $crate::certificate::part::NoPart> {
                $crate::certificate::part::whole(value)
            }
        }
    )*};
}

/// Members that are one of a few words.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word that it is written as.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::event::Member for $name {
            fn to_value(&self) -> $crate::canonical::Value {
                $crate::canonical::Value::Text($crate::canonical::Text::lossy(self.as_str()))
            }
            fn from_value(value: &$crate::canonical::Value) -> Option<Self> {
                match value {
                    $crate::canonical::Value::Text(text) => Self::from_word(text.as_str()),
                    _ => None,
                }
            }
        }
    )*};
}

pub(super) use {sections, words};
