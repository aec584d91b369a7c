//! `kms-server dev`: everything a server needs, made on first use and used again after, under one directory.
//!
//! For trying out, and on this machine only: the authority's key and the seal lie beside what they guard.
//!
//! ```text
//! DIR/kms-server.toml   DIR/policies/   DIR/seal      DIR/store/  DIR/effaceable/  DIR/audit/
//! DIR/tls/{ca,server}.{pem,key}         DIR/profiles/NAME.{toml,pem,key}
//! ```

pub mod authority;

use std::{
    fs, io,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rcgen::CertificateParams;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::{Duration, OffsetDateTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use self::authority::Authority;
use crate::{cli::Failure, policy, seal};

/// The callers that `dev` knows, as in the example policies.
pub const IDENTITIES: [&str; 5] = ["operator", "second-operator", "attendance", "hr-portal", "compliance"];

/// Their trust domain.
pub const TRUST_DOMAIN: &str = "dev.local";

/// Certificates last this long, and are made anew when less than [`RENEW`] is left.
const VALIDITY: Duration = Duration::days(90);
const RENEW: Duration = Duration::days(30);

/// The configuration of a new place.
pub const CONFIG: &str = r#"# Made by `kms-server dev`; change it as you like. Every option is explained in kms-server/kms-server.toml of the source tree.
version = 1
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
data = "store"
seal = "seal"
policies = "policies"
reflection = true

[effaceable]
path = "effaceable"
# For trying out any place will do. Certificates say what effacing there is worth.
accept_unsuitable = true

[tls]
certificate = "tls/server.pem"
key = "tls/server.key"

[[tls.trust_domain]]
name = "dev.local"
ca = ["tls/ca.pem"]

[audit]
directory = "audit"
segment_size = "8 MiB"

[log]
filter = "warn"
"#;

/// What stands in a place; who starts a server for themselves has its log there before it runs.
const PARTS: [&str; 10] = [
    "kms-server.toml",
    "policies",
    "policies.new",
    "seal",
    "store",
    "effaceable",
    "audit",
    "tls",
    "profiles",
    "server.log",
];

/// A directory with everything in it.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    listen: SocketAddr,
}

impl Place {
    /// Makes what is not there yet.
    pub(crate) fn prepare(dir: &Path, listen: Option<SocketAddr>) -> Result<Self, Failure> {
        let dir = std::path::absolute(dir).map_err(Failure::usage)?;
        let mut place = Self { dir, listen: listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into()) };
        place.refuse_other_than_loopback(place.listen)?;
        place.refuse_what_is_not_ours()?;
        place
            .fill()
            .map_err(|error| Failure::failed(format!("cannot prepare `{}`: {error}", place.dir.display())))?;
        if listen.is_none() {
            place.listen = place.last_address().unwrap_or(place.listen);
        }
        Ok(place)
    }

    pub(crate) fn refuse_other_than_loopback(&self, address: SocketAddr) -> Result<(), Failure> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        let ip = address.ip();
        Err(Failure::usage(format!(
            "`dev` listens on this machine only, and `{ip}` is not loopback; for others use `init` and `run`"
        )))
    }

    /// A directory with something else in it is a slip of the one who typed: nothing is strewn among their files.
    fn refuse_what_is_not_ours(&self) -> Result<(), Failure> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(()) };
        let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        let is_ours = self.dir.join("tls/ca.key").is_file();
        // A kill at the very beginning leaves such, and whoever brings policies of their own lays them there before.
        match names.find(|name| !PARTS.iter().any(|part| name == part)) {
            Some(other) if !is_ours => Err(Failure::usage(format!(
                "`{}` has `{}` in it and was not made by `dev`; give a new or an empty directory",
                self.dir.display(),
                other.display()
            ))),
            _ => Ok(()),
        }
    }

    /// For whoever reads along: what was written, and what to try.
    pub(crate) fn next_steps(&self) -> String {
        let profiles = self.dir.join("profiles");
        format!(
            "profiles in {}: {}\ntry: kms tenant create acme --profile {}\nwho may do what: {}",
            profiles.display(),
            IDENTITIES.map(|name| format!("{name}.toml")).join(", "),
            profiles.join("operator.toml").display(),
            self.dir.join("policies").display()
        )
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.join("kms-server.toml")
    }

    /// Tells clients where the server is.
    pub(crate) fn write_profiles(&self, address: SocketAddr) -> io::Result<()> {
        for name in IDENTITIES {
            let profile = format!(
                "version = 1\nendpoint = \"https://{address}\"\nca = \"../tls/ca.pem\"\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\n"
            );
            write_whole(&self.dir.join("profiles").join(format!("{name}.toml")), profile.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    fn fill(&self) -> io::Result<()> {
        for directory in ["", "tls", "profiles"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.dir.join(directory))?;
        }
        self.fill_certificates()?;
        if !self.dir.join("seal").exists() && !self.dir.join("store").exists() {
            seal::create(&self.dir.join("seal")).map_err(io::Error::other)?;
        }
        self.fill_policies()?;
        if !self.config_file().exists() {
            write_whole(&self.config_file(), CONFIG.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// The example policies, as a whole or not at all.
    fn fill_policies(&self) -> io::Result<()> {
        let (policies, new) = (self.dir.join("policies"), self.dir.join("policies.new"));
        if policies.exists() {
            return Ok(());
        }
        fs::create_dir_all(&new)?;
        for (name, text) in policy::EXAMPLES {
            fs::write(new.join(name), text)?;
        }
        fs::rename(new, policies)
    }

    fn fill_certificates(&self) -> io::Result<()> {
        let tls = self.dir.join("tls");
        let (ca, ca_key) = (tls.join("ca.pem"), tls.join("ca.key"));
        // ORDER: the key before the certificate; a certificate alone could issue nothing.
        if !ca.exists() {
            let (_, issued) = Authority::create("key centre dev authority").map_err(io::Error::other)?;
            write_whole(&ca_key, issued.key.as_bytes(), 0o600)?;
            write_whole(&ca, issued.certificate.as_bytes(), 0o644)?;
        }
        let authority = Authority::open(&fs::read_to_string(&ca)?, &fs::read_to_string(&ca_key)?)
            .map_err(|error| io::Error::other(format!("`{}` is not an authority: {error}", ca.display())))?;
        let server = authority::server(VALIDITY).map_err(io::Error::other)?;
        renew(&authority, &server, &tls.join("server.pem"), &tls.join("server.key"))?;
        for name in IDENTITIES {
            let id = format!("spiffe://{TRUST_DOMAIN}/{name}");
            let caller = authority::caller(&id, VALIDITY).map_err(io::Error::other)?;
            let path = |ending: &str| self.dir.join("profiles").join(format!("{name}.{ending}"));
            renew(&authority, &caller, &path("pem"), &path("key"))?;
        }
        Ok(())
    }

    /// Where the server was last, if that is free: clients that run find it again.
    fn last_address(&self) -> Option<SocketAddr> {
        let profile = fs::read_to_string(self.dir.join("profiles/operator.toml")).ok()?;
        let endpoint = profile.lines().find_map(|line| line.strip_prefix("endpoint = \"https://"))?;
        let address: SocketAddr = endpoint.trim_end_matches('"').parse().ok()?;
        TcpListener::bind(address).ok().filter(|_| address.ip().is_loopback()).map(|_| address)
    }
}

/// Issues a certificate where none is, or one that ends soon.
fn renew(
    authority: &Authority,
    params: &CertificateParams,
    certificate: &Path,
    key: &Path,
) -> io::Result<()> {
    let lasts = fs::read(certificate).is_ok_and(|pem| lasts_beyond(&pem, OffsetDateTime::now_utc() + RENEW));
    if lasts && key.exists() {
        return Ok(());
    }
    let issued = authority.issue(params).map_err(io::Error::other)?;
    write_whole(key, issued.key.as_bytes(), 0o600)?;
    write_whole(certificate, issued.certificate.as_bytes(), 0o644)
}

fn lasts_beyond(pem: &[u8], instant: OffsetDateTime) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem) else { return false };
    X509Certificate::from_der(&der)
        .is_ok_and(|(_, parsed)| parsed.validity().not_after.timestamp() > instant.unix_timestamp())
}

/// Writes a file that is whole or as it was.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Left over from a kill, with a mode that is not ours to trust.
    if new.exists() {
        fs::remove_file(&new)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_other_files_is_left_as_it_is_and_one_of_its_own_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (foreign, ours) = (dir.path().join("foreign"), dir.path().join("ours"));
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.tex"), "").unwrap();
        let refused = Place::prepare(&foreign, None).unwrap_err();
        assert!(matches!(&refused, Failure::Usage(why) if why.contains("`thesis.tex`")), "{refused:?}");
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "nothing was written");

        fs::create_dir(&ours).unwrap();
        let place = Place::prepare(&ours, None).unwrap();
        Place::prepare(&ours, None).unwrap();
        assert!(place.next_steps().contains("operator.toml") && place.next_steps().lines().count() <= 4);
        fs::remove_file(place.config_file()).unwrap();
        Place::prepare(&ours, None).unwrap();
    }
}
