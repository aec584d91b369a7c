//! Certificates for tests.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub(crate) struct TestCa(CertifiedIssuer<'static, KeyPair>);

pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn server(&self) -> Issued {
        self.issue(SanType::IpAddress([127, 0, 0, 1].into()))
    }

    pub(crate) fn client(&self, name: &str) -> Issued {
        let id = format!("spiffe://test.local/{name}");
        self.issue(SanType::URI(Ia5String::try_from(id).unwrap()))
    }

    fn issue(&self, name: SanType) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { certificate: certificate.der().clone(), key }
    }
}

impl Issued {
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Writes NAME.pem and NAME.key, as an operator's tool would: each file replaced whole.
    pub(crate) fn write(&self, dir: &Path, name: &str) {
        let replace = |file: String, text: String| {
            let temporary = dir.join(format!("{file}.new"));
            std::fs::write(&temporary, text).unwrap();
            std::fs::rename(temporary, dir.join(file)).unwrap();
        };
        replace(format!("{name}.key"), self.key.serialize_pem());
        replace(format!("{name}.pem"), pem(&self.certificate));
    }
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let body = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
