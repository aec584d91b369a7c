//! What a socket speaks: TLS 1.3 with a verified client certificate, and nothing else.
//!
//! # Layout
//! - [`Tls`] (here): what is in force, reloading it, and closing what no longer holds.
//! - `leaf`: from a certificate to a name. `trust`: whom it is believed from. `files`: where both come from.
//! - `accept`: the loop. `connection`: what it gives, and the register of all that live. `refusal`, `tally`: what it does not, and how often.
//!
//! No resumption, no tickets, no early data: on resumption rustls would take the client's certificate from the ticket without
//! verifying it again, and a revoked caller would stay. Specifications: RFC 8446, RFC 5280, X509-SVID.

mod accept;
mod connection;
mod files;
#[cfg(test)]
mod house;
mod leaf;
mod refusal;
mod tally;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::TLS13,
};
use rustls_pki_types::UnixTime;
use tokio::net::TcpListener;

pub use self::{
    accept::{Accepting, Incoming, OnRefusal},
    connection::{Connection, Peer},
    files::{TlsFiles, TlsProblem, TlsProblems, TrustFiles},
    leaf::LeafError,
    refusal::Refusal,
    tally::Tally,
};
use self::{
    connection::{Held, Register},
    files::Credential,
    trust::{Trust, Verifier},
};

/// How often connections past their certificate's end are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// The TLS side of the server. Cloning gives another handle.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    active: ArcSwap<Active>,
    register: Arc<Register>,
    /// One reload at a time.
    reloading: Mutex<()>,
}

/// What is in force.
#[derive(Debug)]
struct Active {
    config: Arc<ServerConfig>,
    credential: Credential,
    trust: Arc<Trust>,
    generation: u64,
}

/// What a reload did.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// Whether anything changed.
    pub changed: bool,
    /// Connections closed since their certificate no longer holds.
    pub closed: usize,
    /// What did not load; of that, the last good one stays in force.
    pub problems: TlsProblems,
}

/// When what is in force ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiries {
    /// The server's own certificate.
    pub certificate: SystemTime,
    /// The first CRL.
    pub crl: Option<SystemTime>,
}

impl Tls {
    /// Loads everything.
    ///
    /// # Errors
    /// All that is wrong with the files, not only the first thing.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsProblems> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (credential, trust, problems) = load(files, &provider, None);
        let Some(credential) = credential.filter(|_| problems.0.is_empty()) else {
            return Err(problems);
        };
        let active =
            Active::new(&provider, credential, trust, 0).map_err(|problem| TlsProblems(vec![problem]))?;
        Ok(Self(Arc::new(Inner {
            files: files.clone(),
            provider,
            active: ArcSwap::from_pointee(active),
            register: Arc::default(),
            reloading: Mutex::new(()),
        })))
    }

    /// Reads the files again, puts in force what loads, keeps the last good of what does not, and closes the connections
    /// whose certificate no longer holds. Blocks on files and signatures: not for a request's task.
    pub fn reload(&self) -> Reloaded {
        let Inner { files, provider, active, reloading, .. } = &*self.0;
        let _one_at_a_time = reloading.lock();
        let last = active.load_full();
        let (credential, trust, mut problems) = load(files, provider, Some(&last));
        let credential = credential.unwrap_or_else(|| last.credential.clone());
        if credential.digest == last.credential.digest && trust.same_as(&last.trust) {
            return Reloaded { problems, ..Reloaded::default() };
        }
        match Active::new(provider, credential, trust, last.generation + 1) {
            Ok(next) => active.store(Arc::new(next)),
            Err(problem) => {
                problems.0.push(problem);
                return Reloaded { problems, ..Reloaded::default() };
            }
        }
        let closed = self.0.close_what_no_longer_holds(SystemTime::now());
        Reloaded { changed: true, closed, problems }
    }

    /// Accepts connections from `listener`, within a tokio runtime.
    pub fn incoming(&self, listener: TcpListener, accepting: Accepting) -> Incoming {
        tokio::spawn(sweep(Arc::downgrade(&self.0)));
        accept::start(self.0.clone(), listener, accepting)
    }

    /// Ends every connection, whatever it is doing; gives how many there were.
    pub fn close_all(&self) -> usize {
        self.0.register.close_all()
    }

    /// How many connections live.
    pub fn connections(&self) -> usize {
        self.0.register.len()
    }

    /// When certificate and CRLs end, for metrics and health.
    pub fn expiries(&self) -> Expiries {
        let active = self.0.active.load();
        Expiries { certificate: active.credential.not_after, crl: active.trust.crl_expiries().min() }
    }
}

impl Active {
    fn new(
        provider: &Arc<CryptoProvider>,
        credential: Credential,
        trust: Trust,
        generation: u64,
    ) -> Result<Self, TlsProblem> {
        let trust = Arc::new(trust);
        let config = server_config(provider, &credential, &trust)
            .map_err(|error| TlsProblem::NoTls { reason: error.to_string() })?;
        Ok(Self { config: Arc::new(config), credential, trust, generation })
    }

    /// Whether a connection could be made again with the certificate it was made with.
    fn still_holds(&self, held: &Held, now: SystemTime) -> Result<(), Refusal> {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (leaf, intermediates) = held.chain.split_first().ok_or(Refusal::NoCertificate)?;
        self.trust.verify(leaf, intermediates, UnixTime::since_unix_epoch(since_epoch)).map(drop)
    }
}

impl Inner {
    fn close_what_no_longer_holds(&self, now: SystemTime) -> usize {
        let active = self.active.load_full();
        let mut closed = 0;
        for held in self.register.all() {
            if let Err(reason) = active.still_holds(&held, now) {
                tracing::warn!(identity = %held.peer.identity.name, remote = %held.peer.remote, %reason, "connection closed");
                held.close();
                closed += 1;
            }
        }
        metrics::counter!("kms_connections_closed_total", "why" => "trust").increment(closed as u64);
        closed
    }
}

/// TLS 1.3 as it is spoken here.
fn server_config(
    provider: &Arc<CryptoProvider>,
    credential: &Credential,
    trust: &Arc<Trust>,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = Arc::new(Verifier::new(trust.clone(), provider));
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credential.key.clone())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Loads all parts; for a trust domain that does not load, the one of `last` stands in.
fn load(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
    last: Option<&Active>,
) -> (Option<Credential>, Trust, TlsProblems) {
    let now = SystemTime::now();
    let mut problems = Vec::new();
    let credential = files::credential(files, provider, now).map_err(|problem| problems.push(problem)).ok();

    let mut domains = BTreeMap::new();
    for (domain, trust_files) in &files.trust_domains {
        let anchor = files::anchor(domain.as_str(), trust_files, provider, now)
            .map_err(|problem| problems.push(problem))
            .ok()
            .or_else(|| last.and_then(|active| active.trust.domains.get(domain).cloned()));
        domains.extend(anchor.map(|anchor| (domain.clone(), anchor)));
    }
    let without_spiffe_id = files.without_spiffe_id.as_ref().and_then(|trust_files| {
        files::anchor("certificates without SPIFFE ID", trust_files, provider, now)
            .map_err(|problem| problems.push(problem))
            .ok()
            .or_else(|| last.and_then(|active| active.trust.without_spiffe_id.clone()))
    });
    (credential, Trust { domains, without_spiffe_id }, TlsProblems(problems))
}

/// Closes connections at the end of their certificate, and looks at all of them again when a CRL runs out.
async fn sweep(inner: Weak<Inner>) {
    let mut last = SystemTime::now();
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(inner) = inner.upgrade() else { return };
        let now = SystemTime::now();
        let closed = inner.register.close_expired(now);
        metrics::counter!("kms_connections_closed_total", "why" => "expired").increment(closed as u64);
        let trust = inner.active.load().trust.clone();
        let crl_ran_out = trust.crl_expiries().any(|expiry| last < expiry && expiry <= now);
        last = now;
        if crl_ran_out {
            tracing::error!("a CRL has expired: its trust domain is refused until a new one is loaded");
            // Signatures take their time; a lost task means that the process ends.
            drop(tokio::task::spawn_blocking(move || inner.close_what_no_longer_holds(now)).await);
        }
    }
}
