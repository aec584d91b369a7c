//! Profiles: where the key centre is, whom to trust, and the certificate to show. One small TOML file.
//!
//! Holds paths, never key bytes; `connect::tls` reads the files, again whenever they change.

use std::{
    io,
    path::{Path, PathBuf},
};

use http::Uri;
use serde::Deserialize;

/// The version of the profile format that this release reads.
const VERSION: u32 = 1;

/// Where the key centre is, whom to trust, and the certificate to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    endpoint: Uri,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// What is wrong with a profile or with a file it names.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The profile could not be read.
    #[error("profile `{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The profile.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The profile is not the TOML that is expected.
    #[error("profile `{}` is not valid: {problem}; it takes `endpoint`, `ca`, `cert`, `key` and `version = 1`", path.display())]
    Invalid {
        /// The profile.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// Written for another release.
    #[error("profile `{}` has version {found}; this release reads version {VERSION}", path.display())]
    Version {
        /// The profile.
        path: PathBuf,
        /// The version it has.
        found: u32,
    },
    /// The endpoint is not one.
    #[error("endpoint `{endpoint}` {problem}; give `https://HOST:PORT`")]
    Endpoint {
        /// The endpoint as written.
        endpoint: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A certificate or key file does not load.
    #[error("{what} `{}` {problem}", path.display())]
    File {
        /// Which of the files.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificate and private key do not fit, or TLS refuses them.
    #[error("certificate `{}` cannot be used: {problem}", path.display())]
    Certificate {
        /// The certificate.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Option<u32>,
    endpoint: String,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Profile {
    /// Reads a profile. Paths in it are relative to the file.
    ///
    /// # Errors
    /// Where the file cannot be read or says something that a profile does not.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ProfileError::Unreadable { path: path.into(), source })?;
        let file: File = toml::from_str(&text).map_err(|error| invalid(path, &text, &error))?;
        match file.version {
            None | Some(VERSION) => {}
            Some(found) => return Err(ProfileError::Version { path: path.into(), found }),
        }
        let base = path.parent().unwrap_or(Path::new(""));
        Self::new(&file.endpoint, base.join(file.ca), base.join(file.cert), base.join(file.key))
    }

    /// A profile made in code.
    ///
    /// # Errors
    /// Where the endpoint is not `https://HOST:PORT`.
    pub fn new(
        endpoint: &str,
        ca: impl Into<PathBuf>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, ProfileError> {
        let endpoint = parse_endpoint(endpoint)?;
        Ok(Self { endpoint, ca: ca.into(), cert: cert.into(), key: key.into() })
    }

    /// Where the key centre serves.
    pub fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// The certificates that the server's must lead to, PEM.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The certificate chain to show, PEM, leaf first.
    pub fn cert(&self) -> &Path {
        &self.cert
    }

    /// The leaf's private key, PEM.
    pub fn key(&self) -> &Path {
        &self.key
    }
}

fn invalid(path: &Path, text: &str, error: &toml::de::Error) -> ProfileError {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let problem = match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    };
    ProfileError::Invalid { path: path.into(), problem: problem.replace('\n', " ") }
}

fn parse_endpoint(endpoint: &str) -> Result<Uri, ProfileError> {
    let wrong = |problem| ProfileError::Endpoint { endpoint: endpoint.into(), problem };
    let uri: Uri = endpoint.parse().map_err(|_| wrong("is not a URL"))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("does not start with `https://`"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong("names no host"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("carries a user name"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("has a path"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Profile, ProfileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.toml");
        std::fs::write(&path, text).unwrap();
        let loaded = Profile::load(&path);
        loaded.inspect(|profile| assert_eq!(profile.key().parent(), Some(dir.path())))
    }

    const GOOD: &str = "version = 1\nendpoint = \"https://127.0.0.1:8443\"\nca = \"ca.pem\"\ncert = \"c.pem\"\nkey = \"k.pem\"\n";

    #[test]
    fn paths_are_relative_to_the_file() {
        assert_eq!(load(GOOD).unwrap().endpoint().port_u16(), Some(8443));
        assert!(load(&GOOD.replace("version = 1\n", "")).is_ok());
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error = load(&format!("{GOOD}insecure = true\n")).unwrap_err().to_string();
        assert!(error.contains("insecure") && error.contains("line 6"), "{error}");
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = load(&GOOD.replace("ca = \"ca.pem\"\n", "")).unwrap_err().to_string();
        assert!(error.contains("`ca`"), "{error}");
    }

    #[test]
    fn another_version_is_refused() {
        let error = load(&GOOD.replace("version = 1", "version = 2")).unwrap_err();
        assert!(matches!(error, ProfileError::Version { found: 2, .. }), "{error}");
    }

    #[test]
    fn an_endpoint_without_tls_or_with_a_path_is_refused() {
        for bad in
            ["http://a:1", "a:1", "https://", "https://a:1/x", "https://a:1?x", "https://me@a:1", "unix:/x"]
        {
            assert!(Profile::new(bad, "a", "b", "c").is_err(), "{bad}");
        }
        for good in ["https://a:1", "https://[::1]:1/", "https://key-centre.example"] {
            assert!(Profile::new(good, "a", "b", "c").is_ok(), "{good}");
        }
    }
}
