//! Whom a client certificate is believed from: one root store and one set of CRLs per trust domain, chosen by the leaf's own
//! name, so that the roots of one domain cannot speak for another.
//!
//! Pure once loaded: no files, no clock. Specification: RFC 5280 6; X509-SVID 5; SPIFFE Trust Domain and Bundle 4.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use spiffe::TrustDomain;

use super::{
    leaf::{self, Leaf},
    refusal::Refusal,
};

/// The roots and CRLs of one trust domain, or of the leaves without a SPIFFE ID.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the first of its CRLs expires.
    pub(super) crl_expiry: Option<SystemTime>,
    /// What it was made from, to notice a change.
    pub(super) digest: [u8; 32],
}

impl Anchor {
    /// Roots, and CRLs. Without a CRL none is required; with one, each issuer on the path needs a current one.
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        roots: RootCertStore,
        crls: Vec<CertificateRevocationListDer<'static>>,
        crl_expiry: Option<SystemTime>,
        digest: [u8; 32],
    ) -> Result<Self, VerifierBuilderError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .with_crls(crls)
            .enforce_revocation_expiration()
            .build()?;
        Ok(Self { verifier, crl_expiry, digest })
    }
}

/// Everybody who is believed.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    pub(super) domains: BTreeMap<TrustDomain, Anchor>,
    pub(super) without_spiffe_id: Option<Anchor>,
}

impl Trust {
    /// Reads the leaf's name, and verifies the chain up to a root that may speak for that name.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(Leaf, ClientCertVerified), Refusal> {
        let read = leaf::read(leaf)?;
        let anchor = match &read.domain {
            Some(domain) => self.domains.get(domain),
            None => self.without_spiffe_id.as_ref(),
        }
        .ok_or(Refusal::ForeignDomain)?;
        match anchor.verifier.verify_client_cert(leaf, intermediates, now) {
            Ok(verified) => Ok((read, verified)),
            Err(error) => Err(Refusal::of_tls(&error)),
        }
    }

    /// When CRLs expire: from then on their domain's certificates are refused.
    pub(super) fn crl_expiries(&self) -> impl Iterator<Item = SystemTime> {
        self.anchors().filter_map(|anchor| anchor.crl_expiry)
    }

    /// Whether both were made from the same bytes.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.domains.keys().eq(other.domains.keys())
            && self.anchors().map(|anchor| anchor.digest).eq(other.anchors().map(|anchor| anchor.digest))
    }

    fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        self.domains.values().chain(&self.without_spiffe_id)
    }
}

/// What rustls asks.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Arc<Trust>,
    issuers: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(trust: Arc<Trust>, provider: &CryptoProvider) -> Self {
        let issuers =
            trust.anchors().flat_map(|anchor| anchor.verifier.root_hint_subjects().to_vec()).collect();
        Self { trust, issuers, algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.issuers
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        match self.trust.verify(end_entity, intermediates, now) {
            Ok((_, verified)) => Ok(verified),
            Err(refusal) => Err(TlsError::InvalidCertificate(alert(refusal))),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The peer of an honest mistake gets the alert that names it; any other gets `certificate_unknown`.
fn alert(refusal: Refusal) -> CertificateError {
    match refusal {
        Refusal::Expired => CertificateError::Expired,
        Refusal::NotYetValid => CertificateError::NotValidYet,
        Refusal::Revoked => CertificateError::Revoked,
        Refusal::UnknownIssuer => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}
