//! The fields of a certificate of sanitization, NIST SP 800-88r2 section 4.6: what people file it under.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    body::{Body, Effaceable, MediumClass},
    part::{NoPart, Part},
};
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

/// What the facts say about each field. People and places are for whoever files the certificate to add.
pub fn fields(body: &Body) -> Sanitization {
    let each = |of: fn(&Effaceable) -> &str| {
        let texts: BTreeSet<&str> = body.effaceable.iter().map(of).collect();
        match texts.is_empty() {
            true => "still to come".to_owned(),
            false => texts.into_iter().collect::<Vec<_>>().join("; "),
        }
    };
    let method = match body.medium_class() {
        None => "still to come",
        Some(MediumClass::None) => "none claimed: the erase is described, and no method of the standard is",
        Some(MediumClass::Token) => "cryptographic erase; the key was destroyed by a token",
        Some(MediumClass::Clear) => "cryptographic erase; the medium of the key was cleared",
    };
    let by: BTreeSet<&str> = body.request.iter().map(|request| request.by.as_str()).collect();
    let at = body.erasure.epochs.iter().filter_map(|epoch| Some(epoch.effacement.as_ref()?.effaced)).max();
    let fields = [
        ("media", each(|medium| medium.media.as_str())),
        ("media_source", format!("key centre {}", body.instance)),
        ("method", method.to_owned()),
        ("technique", each(|medium| medium.technique.as_str())),
        ("tool", format!("keycentre {}", env!("CARGO_PKG_VERSION"))),
        ("verification", each(|medium| medium.verification.as_str())),
        ("validation", each(|medium| medium.assurance.as_str())),
        ("requested_by", by.into_iter().collect::<Vec<_>>().join("; ")),
        ("performed_by", format!("key centre {}", body.instance)),
        ("date", at.map_or("still to come".to_owned(), |at| at.to_string())),
    ];
    Sanitization(fields.into_iter().map(|(name, text)| (name.to_owned(), Text::lossy(&text))).collect())
}
