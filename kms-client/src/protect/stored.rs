//! What stands in a protected table's columns. Only moves bytes: whether they open is found out when they are opened.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use kms_core::field::text;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A sealed value in a column of bytes (KF1). In JSON it is its text form.
///
/// While a table moves over from plaintext it may hold a value that was never sealed, so it is shown as a length only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sealed(Vec<u8>);

/// A sealed value in a column of text: `kf1.` and base64url.
///
/// While a table moves over from plaintext it may hold a value that was never sealed, so it is shown as a length only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SealedText(String);

/// A blind index: equal values have equal ones, and so have some others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlindIndexValue(Vec<u8>);

#[cfg(feature = "sqlx")]
impl Sealed {
    pub(super) fn inner(&self) -> &Vec<u8> {
        &self.0
    }
}

#[cfg(feature = "sqlx")]
impl SealedText {
    pub(super) fn inner(&self) -> &String {
        &self.0
    }
}

#[cfg(feature = "sqlx")]
impl BlindIndexValue {
    pub(super) fn inner(&self) -> &Vec<u8> {
        &self.0
    }
}

impl Sealed {
    /// As the database has it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the database wants it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl SealedText {
    /// As the database has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the database wants it.
    pub fn into_string(self) -> String {
        self.0
    }

    pub(super) fn of(ciphertext: &[u8]) -> Self {
        Self(text::encode(ciphertext))
    }
}

impl BlindIndexValue {
    /// As the database has it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the database wants it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Sealed {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<String> for SealedText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Vec<u8>> for BlindIndexValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for BlindIndexValue {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(<{} bytes>)", self.0.len())
    }
}

impl fmt::Debug for SealedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedText(<{} characters>)", self.0.len())
    }
}

impl fmt::Debug for BlindIndexValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlindIndexValue(<{} bytes>)", self.0.len())
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.serialize_str(&text::encode(&self.0)),
            false => serializer.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => text::decode(&String::deserialize(deserializer)?).map_err(de::Error::custom),
            false => Vec::deserialize(deserializer),
        }
        .map(Self)
    }
}

impl Serialize for SealedText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SealedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl Serialize for BlindIndexValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(&self.0)),
            false => serializer.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for BlindIndexValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Vec::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
        bytes.map(Self).map_err(|_| de::Error::custom("a blind index is unpadded base64url"))
    }
}
