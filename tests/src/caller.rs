//! Certificates of callers: good ones, and ones with exactly one flaw.

use std::path::{Path, PathBuf};

use kms_server::dev::authority::{self, Authority, Issued};
use rcgen::{BasicConstraints, CertificateParams, IsCa, SanType};
use time::{Duration, OffsetDateTime};

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Valid until an hour ago.
    Expired,
    /// Valid from in an hour.
    NotYetValid,
    /// A SPIFFE ID of a trust domain that is not configured.
    ForeignDomain,
    /// From an authority with the right name and another key.
    StrangeRoot,
    /// Two SPIFFE IDs.
    TwoUris,
    /// A certificate authority's.
    Authority,
    /// No URI name.
    NoUri,
    /// A URI name that is no SPIFFE ID.
    NotSpiffe,
    /// For servers only.
    ServerUsage,
}

impl Flaw {
    /// All of them, each with the word that the server counts it under.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Expired, "expired"),
        (Self::NotYetValid, "not-yet-valid"),
        (Self::ForeignDomain, "foreign-domain"),
        (Self::StrangeRoot, "unknown-issuer"),
        (Self::TwoUris, "several-uris"),
        (Self::Authority, "authority"),
        (Self::NoUri, "foreign-domain"),
        (Self::NotSpiffe, "not-spiffe"),
        (Self::ServerUsage, "bad-certificate"),
    ];
}

/// A caller with its certificate and key.
#[derive(Debug)]
pub struct Caller {
    /// What the certificate says.
    pub params: CertificateParams,
    /// Certificate and key in PEM.
    pub issued: Issued,
}

impl Caller {
    /// `spiffe://dev.local/NAME`, as it should be.
    pub fn good(authority: &Authority, name: &str) -> Self {
        Self::with(authority, params(name))
    }

    /// The same with a flaw.
    pub fn flawed(authority: &Authority, name: &str, flaw: Flaw) -> Self {
        let mut params = params(name);
        let now = OffsetDateTime::now_utc();
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        match flaw {
            Flaw::Expired => {
                params.not_before = now - Duration::hours(2);
                params.not_after = now - Duration::hours(1);
            }
            Flaw::NotYetValid => params.not_before = now + Duration::hours(1),
            Flaw::ForeignDomain => {
                params.subject_alt_names = vec![uri("spiffe://elsewhere.local/attendance")]
            }
            Flaw::StrangeRoot => {
                let (stranger, _) = Authority::create("stranger").unwrap();
                return Self::with(&stranger, params);
            }
            Flaw::TwoUris => params.subject_alt_names.push(uri("spiffe://dev.local/operator")),
            Flaw::Authority => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Flaw::NoUri => params.subject_alt_names.clear(),
            Flaw::NotSpiffe => params.subject_alt_names = vec![uri("https://dev.local/attendance")],
            Flaw::ServerUsage => {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            }
        }
        Self::with(authority, params)
    }

    /// Exactly what `params` say.
    pub fn with(authority: &Authority, params: CertificateParams) -> Self {
        let issued = authority.issue(&params).unwrap();
        Self { params, issued }
    }

    /// Writes certificate, key and profile for the server at `endpoint` under `directory`; gives the profile.
    pub fn profile(&self, directory: &Path, name: &str, ca: &Path, endpoint: &str) -> PathBuf {
        let path = |ending: &str| directory.join(format!("{name}.{ending}"));
        std::fs::write(path("pem"), &self.issued.certificate).unwrap();
        std::fs::write(path("key"), &self.issued.key).unwrap();
        let ca = ca.display();
        let text =
            format!("endpoint = {endpoint:?}\nca = \"{ca}\"\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\n");
        std::fs::write(path("toml"), text).unwrap();
        path("toml")
    }
}

/// What a good certificate of `spiffe://dev.local/NAME` says; for one with a flaw of your own.
pub fn params(name: &str) -> CertificateParams {
    authority::caller(&format!("spiffe://dev.local/{name}"), Duration::days(1)).unwrap()
}
