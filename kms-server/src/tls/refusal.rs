//! Why a connection did not come to be: what is counted and logged. The peer learns no more than a TLS alert.

use std::io;

use rustls::{CertificateError, Error as TlsError};

use super::leaf::LeafError;

/// Why a handshake was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No client certificate.
    #[error("no client certificate was given")]
    NoCertificate,
    /// The leaf or one above it has expired.
    #[error("the client certificate has expired")]
    Expired,
    /// The leaf or one above it is not valid yet.
    #[error("the client certificate is not valid yet")]
    NotYetValid,
    /// A CRL lists it.
    #[error("the client certificate is revoked")]
    Revoked,
    /// Its issuer has no CRL here, or an expired one.
    #[error("no current CRL of the client certificate's issuer; give one to the trust domain")]
    RevocationUnknown,
    /// No configured trust domain has the name that the certificate claims.
    #[error("the client certificate's trust domain is not configured")]
    ForeignDomain,
    /// The roots of the claimed trust domain did not issue it.
    #[error("the roots of its trust domain did not issue the client certificate")]
    UnknownIssuer,
    /// The leaf names nobody.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The certificate is not acceptable for another reason (usage, signature, encoding).
    #[error("the client certificate is not acceptable")]
    BadCertificate,
    /// What came is not TLS 1.3 with a group, suite and protocol that are spoken here.
    #[error("not the TLS that is spoken here")]
    Protocol,
    /// The handshake took too long.
    #[error("the handshake took too long")]
    TimedOut,
    /// A newer handshake took its place: too many were waiting.
    #[error("too many handshakes were waiting")]
    CrowdedOut,
    /// As many connections as the configuration allows are open.
    #[error("too many connections are open")]
    Full,
    /// As many connections as one identity may have are open.
    #[error("too many connections of this identity are open")]
    IdentityFull,
    /// The peer went away.
    #[error("the peer went away during the handshake")]
    Disconnected,
}

impl Refusal {
    /// One word for counters.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation-unknown",
            Self::ForeignDomain => "foreign-domain",
            Self::UnknownIssuer => "unknown-issuer",
            Self::Leaf(LeafError::NotX509 | LeafError::BadExtension) => "bad-certificate",
            Self::Leaf(LeafError::IsAuthority) => "authority",
            Self::Leaf(LeafError::SeveralUris(_)) => "several-uris",
            Self::Leaf(LeafError::NotSpiffe) => "not-spiffe",
            Self::BadCertificate => "bad-certificate",
            Self::Protocol => "protocol",
            Self::TimedOut => "timed-out",
            Self::CrowdedOut => "crowded-out",
            Self::Full => "full",
            Self::IdentityFull => "identity-full",
            Self::Disconnected => "disconnected",
        }
    }

    /// Sorts what the TLS library reports.
    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(tls) => Self::of_tls(tls),
            None => Self::Disconnected,
        }
    }

    /// Sorts what a verification reports.
    pub(super) fn of_tls(error: &TlsError) -> Self {
        use CertificateError as Certificate;
        match error {
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            TlsError::InvalidCertificate(reason) => match reason {
                Certificate::Expired | Certificate::ExpiredContext { .. } => Self::Expired,
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Self::NotYetValid,
                Certificate::Revoked => Self::Revoked,
                Certificate::UnknownRevocationStatus
                | Certificate::ExpiredRevocationList
                | Certificate::ExpiredRevocationListContext { .. } => Self::RevocationUnknown,
                Certificate::UnknownIssuer => Self::UnknownIssuer,
                Certificate::Other(other) => {
                    other.0.downcast_ref::<Self>().cloned().unwrap_or(Self::BadCertificate)
                }
                _ => Self::BadCertificate,
            },
            _ => Self::Protocol,
        }
    }
}
