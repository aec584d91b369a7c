//! Who is calling: made once per connection, from the verified certificate chain, and by nothing else.
//!
//! This file is the vocabulary; `tls` makes the values.

use std::{fmt, str::FromStr, sync::Arc, time::SystemTime};

/// The name policy and audit know a caller by. Never a common name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityName {
    /// `spiffe://TRUST-DOMAIN/PATH`, from the leaf's only URI SAN.
    Spiffe(Arc<str>),
    /// SHA-256 of the leaf's SubjectPublicKeyInfo, where it has no URI SAN.
    Spki([u8; 32]),
}

impl fmt::Display for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => f.write_str(id),
            Self::Spki(hash) => {
                f.write_str("spki:sha256:")?;
                hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// A text that names no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identity is `spiffe://DOMAIN/PATH` or `spki:sha256:HEX`")]
pub struct UnknownIdentity;

impl FromStr for IdentityName {
    type Err = UnknownIdentity;
    fn from_str(text: &str) -> Result<Self, UnknownIdentity> {
        if let Some(digest) = text.strip_prefix("spki:sha256:") {
            let mut hash = [0; 32];
            hex::decode_to_slice(digest, &mut hash).map_err(|_| UnknownIdentity)?;
            return Ok(Self::Spki(hash));
        }
        spiffe::SpiffeId::new(text).map_err(|_| UnknownIdentity)?;
        Ok(Self::Spiffe(text.into()))
    }
}

/// How the connection's key was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyExchangeGroup {
    /// Hybrid post-quantum, preferred.
    X25519MlKem768,
    /// X25519 alone.
    X25519,
    /// NIST P-256.
    Secp256r1,
    /// NIST P-384.
    Secp384r1,
    /// Anything else TLS 1.3 may agree on.
    Other,
}

impl KeyExchangeGroup {
    /// The name of RFC 8446 or of the IANA registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "x25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
            Self::Other => "other",
        }
    }
}

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What policy and audit call it.
    pub name: IdentityName,
    /// SHA-256 of the leaf certificate, for the audit.
    pub certificate: [u8; 32],
    /// How the connection's key was agreed.
    pub group: KeyExchangeGroup,
    /// End of the certificate's validity; the connection does not outlive it.
    pub not_after: SystemTime,
}
