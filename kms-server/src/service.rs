//! The wiring: what `init` makes and what `run` serves, from a configuration to open sockets and back.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{net::TcpListener, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, NotReady},
    config::Config,
    policy::{self, PolicyEngine, PolicyProblems},
    reload::{Cause, Reloads},
    seal::{self, SealError},
    tls::{Accepting, Tally, Tls, TlsProblems},
};

/// Where the server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// gRPC over TLS.
    pub address: SocketAddr,
    /// Probes and metrics.
    pub admin: SocketAddr,
}

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// `init` makes new instances only.
    #[error("there is an instance in `{}` already; `kms-server run` serves it", .0.display())]
    Exists(PathBuf),
    /// `run` makes none.
    #[error("there is no instance in `{}`; `kms-server init` makes a new one, a lost one comes back from a backup", .0.display())]
    NoInstance(PathBuf),
    /// The seal.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Certificates, keys, CRLs.
    #[error("{0}")]
    Tls(#[from] TlsProblems),
    /// Policies.
    #[error("{0}")]
    Policy(#[from] PolicyProblems),
    /// An address.
    #[error("cannot listen at `{address}`: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Directories, signals.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Whether an instance was made in the configured directory.
pub fn exists(config: &Config) -> bool {
    config.data.is_dir()
}

/// Makes a new instance.
///
/// # Errors
/// Where one exists, or it cannot be made.
pub fn init(config: &Config) -> Result<(), ServiceError> {
    if exists(config) {
        return Err(ServiceError::Exists(config.data.clone()));
    }
    if !config.seal.exists() {
        seal::create(&config.seal)?;
    }
    let _seal = seal::load(&config.seal)?;
    let what = format!("cannot make `{}`", config.data.display());
    std::fs::create_dir_all(&config.data).map_err(|source| ServiceError::Io { what, source })
}

/// Serves until SIGTERM or SIGINT, then drains. Calls `ready` once the sockets answer.
///
/// # Errors
/// What keeps the server from starting, or ended it.
pub async fn serve(config: Config, ready: impl FnOnce(Ready) -> io::Result<()>) -> Result<(), ServiceError> {
    if !exists(&config) {
        return Err(ServiceError::NoInstance(config.data.clone()));
    }
    let stop = stop_signal()?;
    let _seal = seal::load(&config.seal)?;
    let tls = Tls::load(&config.tls)?;
    let options = policy::Options::default();
    let policies = Arc::new(PolicyEngine::load_with(&config.policies, options)?);
    let reloads = Reloads::watch(&config.watched()).map_err(io_error("cannot listen to SIGHUP"))?;

    let listener = listen(config.listen).await?;
    let admin = listen(config.admin).await?;
    let reached = Ready { address: address(&listener)?, admin: address(&admin)? };
    let metrics = admin::metrics().map_err(io::Error::other).map_err(io_error("cannot collect metrics"))?;
    let not_ready: NotReady = Arc::new(Vec::new);
    tokio::spawn(admin::serve(admin, metrics, not_ready, stop.clone()));
    tokio::spawn(reload(tls.clone(), policies, reloads, stop.clone()));

    let tally = Tally::new();
    let incoming = tls.incoming(
        listener,
        Accepting {
            handshakes: config.limits.handshakes,
            handshake_timeout: config.limits.handshake_timeout,
            connections: config.limits.connections,
            stop: stop.clone(),
            refused: tally.counting(),
        },
    );
    let (_, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(config.limits.streams)
        .timeout(config.limits.deadline)
        .add_service(health)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let server = tokio::spawn(server);
    ready(reached).map_err(io_error("cannot say that the server is ready"))?;

    stop.cancelled().await;
    tracing::info!("draining");
    match tokio::time::timeout(config.limits.drain, server).await {
        Ok(_) => tracing::info!("drained"),
        Err(_) => tracing::warn!("requests still in flight were cut"),
    }
    Ok(())
}

/// Puts new files in force, until `stop`.
async fn reload(tls: Tls, policies: Arc<PolicyEngine>, mut reloads: Reloads, stop: CancellationToken) {
    while let Some(cause) = stop.run_until_cancelled(reloads.next()).await {
        let (tls, policies) = (tls.clone(), policies.clone());
        // Files and signatures block.
        let reloaded = tokio::task::spawn_blocking(move || {
            let tls = tls.reload();
            if tls.changed {
                tracing::info!(closed = tls.closed, "certificates and CRLs reloaded");
            }
            for problem in &tls.problems.0 {
                tracing::error!("not reloaded, the last good stays in force: {problem}");
            }
            if cause != Cause::Time
                && let Err(problems) = policies.reload()
            {
                tracing::error!("{problems}");
            }
        });
        drop(reloaded.await);
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    TcpListener::bind(address).await.map_err(|source| ServiceError::Listen { address, source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, ServiceError> {
    listener.local_addr().map_err(io_error("cannot tell the address"))
}

/// Cancelled by SIGTERM or SIGINT.
fn stop_signal() -> Result<CancellationToken, ServiceError> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = tokio::signal::unix::signal(kind).map_err(io_error("cannot listen to signals"))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

fn io_error(what: &str) -> impl Fn(io::Error) -> ServiceError + '_ {
    move |source| ServiceError::Io { what: what.into(), source }
}
