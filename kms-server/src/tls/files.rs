//! The files TLS is made from: what each must hold, and what is wrong with the one that does not.
//!
//! Each part (the server's certificate with its key; each trust domain) loads whole or not at all. Never prints a key.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{RootCertStore, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{PemObject, SectionKind},
};
use sha2::{Digest, Sha256};
use spiffe::TrustDomain;
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer, revocation_list::CertificateRevocationList,
    x509::X509Name,
};
use zeroize::Zeroizing;

use super::{leaf::instant, trust::Anchor};

/// Where everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then its intermediates, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Whose SPIFFE IDs are believed, and from which roots.
    pub trust_domains: Vec<(TrustDomain, TrustFiles)>,
    /// Roots for client certificates without URI name, known by the hash of their public key.
    pub without_spiffe_id: Option<TrustFiles>,
}

impl TlsFiles {
    /// Every file, for watching.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let trust = self.trust_domains.iter().map(|(_, files)| files).chain(&self.without_spiffe_id);
        [&self.certificate, &self.key]
            .into_iter()
            .chain(trust.flat_map(|files| files.ca.iter().chain(&files.crl)))
            .map(PathBuf::as_path)
    }
}

/// The roots and CRLs of one trust domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustFiles {
    /// Root certificates in PEM, any number a file.
    pub ca: Vec<PathBuf>,
    /// CRLs in PEM (any number a file) or DER. None: revocation is not checked. Any: each issuer needs one.
    pub crl: Vec<PathBuf>,
}

/// One thing that is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("`{}` holds no {expected}; give it in PEM", path.display())]
    Holds {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The private key can be read by everybody.
    #[error("`{}` can be read by every user of this machine; make it private with `chmod 600`", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("the key in `{}` does not belong to the certificate in `{}`", key.display(), certificate.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A certificate or CRL is past its time or before it.
    #[error("`{}` is {when}; renew it", path.display())]
    OutOfTime {
        /// The file.
        path: PathBuf,
        /// "expired", "not valid yet".
        when: &'static str,
    },
    /// A root that is not a certificate authority.
    #[error("`{}` holds a certificate that is not a certificate authority's", path.display())]
    NotAuthority {
        /// The file.
        path: PathBuf,
    },
    /// CRLs are configured, but none of this root.
    #[error(
        "none of the CRLs of `{domain}` is from the root `{root}`; once one is given, each issuer needs one"
    )]
    NoCrl {
        /// The trust domain.
        domain: String,
        /// The root's subject.
        root: String,
    },
    /// Roots or CRLs that cannot be used.
    #[error("the roots and CRLs of `{domain}` cannot be used: {reason}")]
    Unusable {
        /// The trust domain.
        domain: String,
        /// Why.
        reason: String,
    },
    /// The TLS library refuses the whole.
    #[error("TLS cannot be set up: {reason}")]
    NoTls {
        /// Why.
        reason: String,
    },
}

/// All that is wrong, one line each.
#[derive(Debug, Default)]
pub struct TlsProblems(pub Vec<TlsProblem>);

impl fmt::Display for TlsProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsProblems {}

/// The server's certificate with its key.
#[derive(Debug, Clone)]
pub(super) struct Credential {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) not_after: SystemTime,
    pub(super) digest: [u8; 32],
}

/// Loads the server's certificate and key.
pub(super) fn credential(
    files: &TlsFiles,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<Credential, TlsProblem> {
    let path = &files.certificate;
    let bytes = read(path)?;
    let holds = || TlsProblem::Holds { path: path.clone(), expected: "certificate" };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|_| holds())?;
    let leaf = chain.first().ok_or_else(holds)?;
    let not_after = current(leaf, path, now)?;

    let key_bytes = Zeroizing::new(read(&files.key)?);
    let exposed = fs::metadata(&files.key).is_ok_and(|file| file.mode() & 0o007 != 0);
    if exposed {
        return Err(TlsProblem::Exposed { path: files.key.clone() });
    }
    let key = PrivateKeyDer::from_pem_slice(&key_bytes)
        .map_err(|_| TlsProblem::Holds { path: files.key.clone(), expected: "private key" })?;
    let digest = Sha256::new().chain_update(&bytes).chain_update(key.secret_der()).finalize().into();
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsProblem::Mismatch { certificate: path.clone(), key: files.key.clone() }
        }
        _ => TlsProblem::Holds { path: files.key.clone(), expected: "private key of a known kind" },
    })?;
    Ok(Credential { key: Arc::new(key), not_after, digest })
}

/// Loads the roots and CRLs of `domain`.
pub(super) fn anchor(
    domain: &str,
    files: &TrustFiles,
    provider: &Arc<CryptoProvider>,
    now: SystemTime,
) -> Result<Anchor, TlsProblem> {
    let mut digest = Sha256::new();
    let mut roots = RootCertStore::empty();
    let mut subjects = Vec::new();
    for path in &files.ca {
        let bytes = read(path)?;
        digest.update(&bytes);
        let holds = || TlsProblem::Holds { path: path.clone(), expected: "certificate" };
        let found: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|_| holds())?;
        if found.is_empty() {
            return Err(holds());
        }
        for root in found {
            current(&root, path, now)?;
            subjects.push(subject(&root, path)?);
            roots.add(root).map_err(|_| holds())?;
        }
    }

    let mut crls = Vec::new();
    let mut crl_issuers = Vec::new();
    let mut first_expiry: Option<SystemTime> = None;
    for path in &files.crl {
        let bytes = read(path)?;
        digest.update(&bytes);
        for crl in crls_of(path, bytes)? {
            let (issuer, expiry) = crl_facts(&crl, path, now)?;
            first_expiry = Some(first_expiry.map_or(expiry, |first| first.min(expiry)));
            crl_issuers.push(issuer);
            crls.push(crl);
        }
    }
    // A root without a CRL beside others would refuse everybody it vouches for: better said than found out.
    if let Some((_, root)) =
        subjects.iter().find(|(raw, _)| !files.crl.is_empty() && !crl_issuers.contains(raw))
    {
        return Err(TlsProblem::NoCrl { domain: domain.into(), root: root.clone() });
    }
    Anchor::new(provider, roots, crls, first_expiry, digest.finalize().into())
        .map_err(|error| TlsProblem::Unusable { domain: domain.into(), reason: error.to_string() })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsProblem> {
    fs::read(path).map_err(|source| TlsProblem::Unreadable { path: path.into(), source })
}

/// Parses a certificate and refuses one out of its time; gives the end of its validity.
fn current(certificate: &CertificateDer<'_>, path: &Path, now: SystemTime) -> Result<SystemTime, TlsProblem> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| TlsProblem::Holds { path: path.into(), expected: "certificate" })?;
    let (not_before, not_after) =
        (instant(parsed.validity().not_before), instant(parsed.validity().not_after));
    let out = |when| TlsProblem::OutOfTime { path: path.into(), when };
    match () {
        () if now > not_after => Err(out("expired")),
        () if now < not_before => Err(out("not valid yet")),
        () => Ok(not_after),
    }
}

/// A root's subject, raw for comparing and in words.
fn subject(root: &CertificateDer<'_>, path: &Path) -> Result<(Vec<u8>, String), TlsProblem> {
    let (_, parsed) = X509Certificate::from_der(root)
        .map_err(|_| TlsProblem::Holds { path: path.into(), expected: "certificate" })?;
    if !parsed.is_ca() {
        return Err(TlsProblem::NotAuthority { path: path.into() });
    }
    let name: &X509Name<'_> = parsed.subject();
    Ok((name.as_raw().to_vec(), name.to_string()))
}

/// The CRLs of one file: PEM, or one in DER.
fn crls_of(path: &Path, bytes: Vec<u8>) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsProblem> {
    let holds = || TlsProblem::Holds { path: path.into(), expected: "CRL" };
    // A DER SEQUENCE starts with 0x30; PEM never does.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let mut crls = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        match section.map_err(|_| holds())? {
            (SectionKind::Crl, der) => crls.push(CertificateRevocationListDer::from(der)),
            _ => return Err(holds()),
        }
    }
    if crls.is_empty() { Err(holds()) } else { Ok(crls) }
}

/// A CRL's issuer (raw) and the time of its next update; refuses one that is past it.
fn crl_facts(
    crl: &CertificateRevocationListDer<'_>,
    path: &Path,
    now: SystemTime,
) -> Result<(Vec<u8>, SystemTime), TlsProblem> {
    let holds = || TlsProblem::Holds { path: path.into(), expected: "CRL" };
    let (rest, parsed) = CertificateRevocationList::from_der(crl).map_err(|_| holds())?;
    // RFC 5280 5.1.2.5: nextUpdate is required.
    let expiry = instant(parsed.next_update().ok_or_else(holds)?);
    if !rest.is_empty() {
        return Err(holds());
    }
    if now > expiry {
        return Err(TlsProblem::OutOfTime { path: path.into(), when: "expired" });
    }
    Ok((parsed.issuer().as_raw().to_vec(), expiry))
}
