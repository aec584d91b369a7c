//! TLS settings from the files a profile names: TLS 1.3 (RFC 8446) only, X25519MLKEM768 first, no resumption.
//!
//! Reads private keys and hands them to rustls; keeps no copy.

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{ClientConfig, RootCertStore, client::Resumption, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::profile::{Profile, ProfileError};

/// How often the files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The settings in force, and what the files looked like when they were read.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    profile: Profile,
    config: ArcSwap<ClientConfig>,
    seen: parking_lot::Mutex<Option<[Stamp; 3]>>,
}

/// Enough of a file's metadata to notice that it is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
    inode: u64,
}

impl TlsSettings {
    /// Reads the files.
    pub(crate) fn load(profile: Profile) -> Result<Self, ProfileError> {
        // ORDER: looked at before read, so that a change in between is noticed at the next look.
        let seen = stamps(&profile);
        let config = read(&profile)?;
        Ok(Self { profile, config: ArcSwap::from(config), seen: parking_lot::Mutex::new(seen) })
    }

    /// What new connections use.
    pub(crate) fn current(&self) -> Arc<ClientConfig> {
        self.config.load_full()
    }

    /// Reads the files again; what does not load leaves the last good settings in force.
    pub(crate) fn reload(&self) -> Result<(), ProfileError> {
        let now = stamps(&self.profile);
        let config = read(&self.profile)?;
        self.config.store(config);
        *self.seen.lock() = now;
        Ok(())
    }

    /// Reads the files again where they look different; says whether there are new settings.
    pub(crate) fn reload_if_changed(&self) -> Result<bool, ProfileError> {
        // A file that is missing for a moment, as while it is replaced, is not a change yet.
        let Some(now) = stamps(&self.profile) else { return Ok(false) };
        if self.seen.lock().as_ref() == Some(&now) {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }
}

fn stamps(profile: &Profile) -> Option<[Stamp; 3]> {
    let stamp = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        Some(Stamp { modified: metadata.modified().ok()?, len: metadata.len(), inode })
    };
    Some([stamp(profile.ca())?, stamp(profile.cert())?, stamp(profile.key())?])
}

fn read(profile: &Profile) -> Result<Arc<ClientConfig>, ProfileError> {
    let mut roots = RootCertStore::empty();
    for ca in certificates("CA certificate file", profile.ca())? {
        roots.add(ca).map_err(|error| file("CA certificate file", profile.ca(), error.to_string()))?;
    }
    let chain = certificates("certificate file", profile.cert())?;
    let key = private_key(profile.key())?;
    let unusable = |error: rustls::Error| ProfileError::Certificate {
        path: profile.cert().into(),
        problem: plainly(&error),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ProfileError> {
    let pem = fs::read(path).map_err(|error| unreadable(what, path, &error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(file(what, path, "holds no certificate in PEM".into()))
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(file(what, path, "is not valid PEM".into())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ProfileError> {
    let what = "private key file";
    let pem = Zeroizing::new(fs::read(path).map_err(|error| unreadable(what, path, &error))?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| file(what, path, "holds no private key in PEM".into()))
}

fn unreadable(what: &'static str, path: &Path, error: &io::Error) -> ProfileError {
    file(what, path, format!("cannot be read: {error}"))
}

fn file(what: &'static str, path: &Path, problem: String) -> ProfileError {
    ProfileError::File { what, path: path.into(), problem }
}

fn plainly(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the private key belongs to another certificate".into(),
        other => other.to_string(),
    }
}
