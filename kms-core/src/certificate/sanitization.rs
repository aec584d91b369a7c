//! The fields of a certificate of sanitization, NIST SP 800-88r2 section 4.6: what people file it under.

use std::collections::BTreeMap;

use super::part::{NoPart, Part};
use crate::canonical::{Text, Value};

/// Fields by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sanitization(pub BTreeMap<String, Text>);

impl Part for Sanitization {
    fn to_value(&self) -> Value {
        let fields = self.0.iter().map(|(name, text)| (name.clone(), Value::Text(text.clone())));
        Value::Object(fields.collect())
    }
    fn from_value(value: Value) -> Result<Self, NoPart> {
        let Value::Object(members) = value else { return Err(NoPart::form()) };
        let field = |(name, value): (String, Value)| match value {
            Value::Text(text) => Ok((name, text)),
            _ => Err(NoPart::form().within(&name)),
        };
        members.into_iter().map(field).collect::<Result<_, _>>().map(Self)
    }
}
