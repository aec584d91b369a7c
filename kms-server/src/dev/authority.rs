//! A certificate authority for trying out, and for tests: it issues what it is asked to, good or bad.
//!
//! Its key lies beside what it guards. A company's own authority takes its place in earnest.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

/// How far back new certificates reach, for clocks that differ.
const SKEW: Duration = Duration::hours(1);

/// An authority: certificate and key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, both in PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { certificate, key: _ } = self;
        f.debug_struct("Issued").field("certificate", certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one, valid for ten years; its key in PEM comes with it.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create(name: &str) -> Result<(Self, Issued), rcgen::Error> {
        let mut params = params(name, Duration::days(3650))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages.clear();
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let issued = Issued { certificate: certificate.clone(), key: key.serialize_pem() };
        Ok((Self { issuer: Issuer::new(params, key), certificate }, issued))
    }

    /// One that was made before.
    ///
    /// # Errors
    /// When the PEM texts are not a certificate and its key.
    pub fn open(certificate: &str, key: &str) -> Result<Self, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, certificate: certificate.into() })
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues what `params` say, with a new key.
    ///
    /// # Errors
    /// When the parameters cannot be encoded.
    pub fn issue(&self, params: &CertificateParams) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// A CRL in PEM that lists `revoked` and is current until `next_update`.
    ///
    /// # Errors
    /// When `next_update` lies before `this_update`.
    pub fn revocation_list(
        &self,
        number: u64,
        revoked: &[SerialNumber],
        this_update: OffsetDateTime,
        next_update: OffsetDateTime,
    ) -> Result<String, rcgen::Error> {
        let revoked_certs = revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: serial.clone(),
                revocation_time: this_update,
                reason_code: None,
                invalidity_date: None,
            })
            .collect();
        CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)?
        .pem()
    }
}

/// Parameters of a leaf called `name` that is valid for `validity` from now.
///
/// # Errors
/// When no random serial number can be drawn.
pub fn params(name: &str, validity: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    // RFC 5280 4.1.2.2: positive.
    serial[0] = serial[0] & 0x7f | 0x40;
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - SKEW;
    params.not_after = now + validity;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Parameters of a caller whose SPIFFE ID is `id`.
///
/// # Errors
/// When `id` is not ASCII.
pub fn caller(id: &str, validity: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(id, validity)?;
    params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
    Ok(params)
}

/// Parameters of a server on this machine.
///
/// # Errors
/// As [`params`].
pub fn server(validity: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params("key centre", validity)?;
    params.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}
