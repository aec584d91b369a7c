//! From a leaf certificate to a name: the SPIFFE ID of its only URI SAN, or the hash of its public key where it has none.
//!
//! Reads only; whether the certificate can be believed is decided in `trust`. Never looks at the common name.
//! Specification: SPIFFE-ID 2, X509-SVID 2–5; RFC 5280 4.2.1.6.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use spiffe::{SpiffeId, TrustDomain};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{ASN1Time, FromDer},
};

use crate::identity::IdentityName;

/// The longest SPIFFE ID that is read, in bytes (SPIFFE-ID 2.3).
const LONGEST_ID: usize = 2048;

/// What a leaf says about its bearer, before anybody has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) name: IdentityName,
    /// `None` for a leaf without URI SAN: the roots for those are of their own.
    pub(super) domain: Option<TrustDomain>,
    pub(super) not_after: SystemTime,
}

/// Why a leaf certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not an X.509 certificate, or bytes follow it.
    #[error("the certificate is not X.509")]
    NotX509,
    /// An extension is malformed or comes twice.
    #[error("an extension of the certificate is malformed or comes twice")]
    BadExtension,
    /// A certificate authority is not a caller.
    #[error("the certificate is a certificate authority's, not a leaf's")]
    IsAuthority,
    /// X509-SVID allows exactly one.
    #[error("the certificate has {0} URI names; a SPIFFE certificate has exactly one")]
    SeveralUris(usize),
    /// Not a SPIFFE ID in its canonical form with a path.
    #[error("the certificate's URI name is not a SPIFFE ID in canonical form with a path")]
    NotSpiffe,
}

/// Reads who `certificate` says it is.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Leaf, LeafError> {
    let (rest, leaf) = X509Certificate::from_der(certificate).map_err(|_| LeafError::NotX509)?;
    if !rest.is_empty() {
        return Err(LeafError::NotX509);
    }
    refuse_authority(&leaf)?;
    let not_after = instant(leaf.validity().not_after);

    let alternatives = leaf.subject_alternative_name().map_err(|_| LeafError::BadExtension)?;
    let mut uris = Vec::new();
    for name in alternatives.iter().flat_map(|san| &san.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            // ATTACK: a name that this parser could not read might be a second URI to another.
            GeneralName::Invalid(..) => return Err(LeafError::BadExtension),
            _ => {}
        }
    }
    let (name, domain) = match uris.as_slice() {
        [] => (IdentityName::Spki(Sha256::digest(leaf.public_key().raw).into()), None),
        [uri] => {
            let id = spiffe_id(uri)?;
            (IdentityName::Spiffe(Arc::from(*uri)), Some(id.trust_domain().clone()))
        }
        several => return Err(LeafError::SeveralUris(several.len())),
    };
    Ok(Leaf { name, domain, not_after })
}

/// X509-SVID 4.1, 4.3: a leaf is no CA and signs neither certificates nor CRLs.
fn refuse_authority(leaf: &X509Certificate<'_>) -> Result<(), LeafError> {
    let constraints = leaf.basic_constraints().map_err(|_| LeafError::BadExtension)?;
    let usage = leaf.key_usage().map_err(|_| LeafError::BadExtension)?;
    let authority = constraints.is_some_and(|c| c.value.ca)
        || usage.is_some_and(|u| u.value.key_cert_sign() || u.value.crl_sign());
    if authority { Err(LeafError::IsAuthority) } else { Ok(()) }
}

/// A SPIFFE ID with a path, whose text is its canonical form.
fn spiffe_id(uri: &str) -> Result<SpiffeId, LeafError> {
    if uri.len() > LONGEST_ID {
        return Err(LeafError::NotSpiffe);
    }
    let id = SpiffeId::new(uri).map_err(|_| LeafError::NotSpiffe)?;
    // ATTACK: the parser folds case; policy compares text. `spiffe://Example.org/a` must not become a name of its own.
    if id.path().is_empty() || id.to_string() != uri { Err(LeafError::NotSpiffe) } else { Ok(id) }
}

/// X.509 times are seconds; one before 1970 is as expired as 1970 is.
pub(super) fn instant(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_spiffe_id_with_a_path_is_a_name() {
        for uri in ["spiffe://dev.local/attendance", "spiffe://a/b/c-d_e.f/G9"] {
            assert!(spiffe_id(uri).is_ok(), "{uri}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let long = format!("spiffe://dev.local/{}", "a".repeat(LONGEST_ID));
        for uri in [
            "",
            "spiffe://",
            "spiffe://dev.local",
            "spiffe://dev.local/",
            "spiffe://Dev.local/attendance",
            "SPIFFE://dev.local/attendance",
            "https://dev.local/attendance",
            "spiffe://dev.local/a/../b",
            "spiffe://dev.local/./b",
            "spiffe://dev.local//b",
            "spiffe://dev.local/b/",
            "spiffe://dev.local:443/b",
            "spiffe://user@dev.local/b",
            "spiffe://dev.local/b?c",
            "spiffe://dev.local/b#c",
            "spiffe://dev.local/%2e%2e/b",
            "spiffe://dev.local/b ",
            &long,
        ] {
            assert_eq!(spiffe_id(uri), Err(LeafError::NotSpiffe), "{uri}");
        }
    }
}
