//! How domain types stand in canonical JSON: hashes and ids as lower-case hexadecimal, names and states as their words.

use std::str::FromStr;

use super::Origin;
use crate::{
    canonical::{Instant, Members, Text, Value},
    id::{Attempt, CommitNumber, Epoch, InstanceId, LeafSlot, TenantSlot, Uid},
    names::{KeyName, TenantName},
    state::{DestroyReason, KeyClass, LifecycleState},
};

/// A member that is missing, or not of its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the member `{0}` is missing, or not of its form")]
pub struct NoMember(pub &'static str);

/// A type that a member can have, with one spelling.
pub trait Member: Sized {
    /// As it is written.
    fn to_value(&self) -> Value;
    /// Reads it back; `None` for any other spelling.
    fn from_value(value: &Value) -> Option<Self>;
}

pub(super) fn put(members: &mut Members, name: &str, member: &impl Member) {
    members.insert(name.to_owned(), member.to_value());
}

pub(super) fn take<T: Member>(members: &mut Members, name: &'static str) -> Result<T, NoMember> {
    members.remove(name).as_ref().and_then(T::from_value).ok_or(NoMember(name))
}

macro_rules! numbers {
    ($($type:ty => ($to:expr, $from:expr);)*) => {
        $(impl Member for $type {
            fn to_value(&self) -> Value {
                Value::Number(u64::from(($to)(*self)))
            }
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Number(number) => (*number).try_into().ok().map($from),
                    _ => None,
                }
            }
        })*
    };
}

numbers! {
    u64 => (|number: u64| number, |number: u64| number);
    u32 => (|number: u32| number, |number: u32| number);
    u16 => (|number: u16| number, |number: u16| number);
    u8 => (|number: u8| number, |number: u8| number);
    Epoch => (|epoch: Epoch| epoch.0, Epoch);
    CommitNumber => (|commit: CommitNumber| commit.0, CommitNumber);
    TenantSlot => (|slot: TenantSlot| slot.0, TenantSlot);
    LeafSlot => (|slot: LeafSlot| slot.0, LeafSlot);
}

/// Members that are written as their words; a word that another word means too is refused.
macro_rules! words {
    ($($type:ty),*) => {
        $(impl Member for $type {
            fn to_value(&self) -> Value {
                Value::Text(Text::lossy(&self.to_string()))
            }
            fn from_value(value: &Value) -> Option<Self> {
                let Value::Text(text) = value else { return None };
                let read = Self::from_str(text.as_str()).ok()?;
                (read.to_string() == text.as_str()).then_some(read)
            }
        })*
    };
}

words!(Instant, TenantName, KeyClass, LifecycleState, DestroyReason);

impl Member for KeyName {
    fn to_value(&self) -> Value {
        Value::Text(Text::lossy(&self.to_string()))
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            // In the log the digits of a subject's id stand where its name would.
            Value::Text(text) => text.as_str().parse().ok().filter(|key: &Self| key.subject_id().is_none()),
            _ => None,
        }
    }
}

impl Member for Text {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl<const N: usize> Member for [u8; N] {
    fn to_value(&self) -> Value {
        Value::Text(Text::lossy(&hex::encode(self)))
    }
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        hex_bytes(text.as_str())
    }
}

fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    (!text.contains(|char: char| char.is_ascii_uppercase())).then_some(bytes)
}

macro_rules! ids {
    ($($type:ident),*) => {
        $(impl Member for $type {
            fn to_value(&self) -> Value {
                self.0.to_value()
            }
            fn from_value(value: &Value) -> Option<Self> {
                Member::from_value(value).map(Self)
            }
        })*
    };
}

ids!(Uid, Attempt, InstanceId);

impl Member for Origin {
    fn to_value(&self) -> Value {
        match self {
            Self::Generated => Value::Text(Text::lossy("generated")),
        }
    }
    fn from_value(value: &Value) -> Option<Self> {
        (*value == Self::Generated.to_value()).then_some(Self::Generated)
    }
}

/// Epoch secrets by name, `EPOCH:ATTEMPT`, separated by a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets(pub Vec<(Epoch, Attempt)>);

impl Member for Secrets {
    fn to_value(&self) -> Value {
        let names = self.0.iter().map(|(epoch, attempt)| format!("{epoch}:{attempt}"));
        Value::Text(Text::lossy(&names.collect::<Vec<_>>().join(" ")))
    }
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        let name = |name: &str| {
            let (epoch, attempt) = name.split_once(':')?;
            Some((Epoch(epoch.parse().ok()?), Attempt(hex_bytes(attempt)?)))
        };
        let names = text.as_str().split(' ').filter(|_| !text.as_str().is_empty());
        let secrets = Self(names.map(name).collect::<Option<_>>()?);
        (secrets.to_value() == *value).then_some(secrets)
    }
}
