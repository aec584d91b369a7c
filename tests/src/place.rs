//! An installation in a temporary directory, as `kms-server dev` makes it, whose authority the test holds.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use kms_server::dev::{self, authority::Authority};
use rcgen::CertificateParams;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use crate::{
    caller::{Caller, Flaw},
    server::{Failed, Server},
};

/// An installation.
#[derive(Debug)]
pub struct Place {
    root: TempDir,
    /// Issues the callers' certificates.
    pub authority: Authority,
}

impl Place {
    /// An empty one; the first start makes the instance.
    #[expect(clippy::new_without_default, reason = "it makes files")]
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// An empty one below this directory.
    pub fn new_in(directory: &Path) -> Self {
        let root = tempfile::tempdir_in(directory).unwrap();
        let (authority, issued) = Authority::create("test authority").unwrap();
        let place = Self { root, authority };
        fs::create_dir_all(place.path("tls")).unwrap();
        fs::write(place.path("tls/ca.pem"), issued.certificate).unwrap();
        fs::write(place.path("tls/ca.key"), issued.key).unwrap();
        fs::set_permissions(place.path("tls/ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(place.path("kms-server.toml"), dev::CONFIG).unwrap();
        place
    }

    /// One that checks revocation, with nobody revoked yet.
    pub fn with_crl() -> Self {
        let place = Self::new();
        place.revoke(1, &[]);
        place.change_config(|text| {
            text.replace("ca = [\"tls/ca.pem\"]", "ca = [\"tls/ca.pem\"]\ncrl = [\"tls/crl.pem\"]")
        });
        place
    }

    /// Its directory (`--data` of `dev`).
    pub fn dir(&self) -> PathBuf {
        self.root.path().join("kms")
    }

    /// A file or directory in it: `store`, `audit`, `effaceable`, `policies`, `seal`, `tls/…`, `profiles/…`.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir().join(inside)
    }

    /// Edits its configuration; for a running server this changes nothing.
    pub fn change_config(&self, change: impl FnOnce(String) -> String) {
        let file = self.path("kms-server.toml");
        let text = fs::read_to_string(&file).unwrap();
        let changed = change(text.clone());
        assert_ne!(text, changed, "the change found nothing to change");
        fs::write(file, changed).unwrap();
    }

    /// Publishes CRL number `number` that lists `revoked`.
    pub fn revoke(&self, number: u64, revoked: &[&CertificateParams]) {
        let serials: Vec<_> = revoked.iter().map(|params| params.serial_number.clone().unwrap()).collect();
        let now = OffsetDateTime::now_utc();
        let crl = self.authority.revocation_list(
            number,
            &serials,
            now - Duration::hours(1),
            now + Duration::days(1),
        );
        self.replace("tls/crl.pem", &crl.unwrap());
    }

    /// Replaces a file as a careful tool does: whole, by renaming, for its owner's eyes only.
    pub fn replace(&self, inside: &str, text: &str) {
        let (path, new) = (self.path(inside), self.path(&format!("{inside}.new")));
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Starts the server and waits until it is ready.
    pub fn start(&self) -> Server {
        self.start_with(&[])
    }

    /// With more arguments, for example `--set limits.rate=1`.
    pub fn start_with(&self, arguments: &[&str]) -> Server {
        self.try_start(arguments).unwrap_or_else(|failed| panic!("{failed:?}"))
    }

    /// Where it is expected not to start.
    pub fn try_start(&self, arguments: &[&str]) -> Result<Server, Failed> {
        self.start_by(Server::start, arguments)
    }

    /// So that the user who runs the tests may read its memory.
    pub fn start_readable(&self, arguments: &[&str]) -> Server {
        self.start_by(Server::start_readable, arguments).unwrap_or_else(|failed| panic!("{failed:?}"))
    }

    fn start_by(
        &self,
        start: impl FnOnce(&[&str]) -> Result<Server, Failed>,
        arguments: &[&str],
    ) -> Result<Server, Failed> {
        let dir = self.dir();
        let dir = dir.to_str().unwrap();
        start(&[&["dev", "--data", dir, "--set", "log.filter=info"], arguments].concat())
    }

    /// The profile of one of the five names of `dev`; there after the first start, right after each.
    pub fn profile(&self, name: &str) -> PathBuf {
        assert!(dev::IDENTITIES.contains(&name), "`{name}` is none of the five; see `profile_of`");
        self.path(&format!("profiles/{name}.toml"))
    }

    /// A profile for any caller.
    pub fn profile_of(&self, caller: &Caller, name: &str, server: &Server) -> PathBuf {
        let directory = self.root.path().join("callers");
        fs::create_dir_all(&directory).unwrap();
        caller.profile(&directory, name, &self.path("tls/ca.pem"), &server.endpoint())
    }

    /// A caller with a good certificate.
    pub fn caller(&self, name: &str) -> Caller {
        Caller::good(&self.authority, name)
    }

    /// A caller with a bad one.
    pub fn flawed(&self, name: &str, flaw: Flaw) -> Caller {
        Caller::flawed(&self.authority, name, flaw)
    }

    /// For scratch files beside the installation.
    pub fn scratch(&self) -> &Path {
        self.root.path()
    }
}
