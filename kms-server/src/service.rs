//! The wiring: from a configuration to open sockets, and back in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::anchor::anchor;
use crate::audit::{AuditLog, ServerEvent};
use crate::clock::Clock;
use crate::config::{Config, Limits as Bounds};
use crate::gate::Gate;
use crate::instance::{self, Instance, InstanceError};
use crate::keyring::Keyring;
use crate::keyring::census;
use crate::policy::{self, PolicyEngine, PolicyProblems};
use crate::rate::{PerIdentity, Rate, TooFast};
use crate::reload::{Cause, Reloads};
use crate::rpc::Core;
use crate::rpc::health::{Fault, HealthState};
use crate::rpc::limits::{self, Limits};
use crate::rpc::server::{self, Parts};
use crate::running::RunningTime;
use crate::scheduler::Scheduler;
use crate::tls::{Accepting, Tally, Tls, TlsProblems};
use crate::watch::{Warnings, Watching, readiness};

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
    /// The instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// Certificates, keys, CRLs.
    #[error("{0}")]
    Tls(#[from] TlsProblems),
    /// Policies.
    #[error("{0}")]
    Policy(#[from] PolicyProblems),
    /// The descriptors for reflection.
    #[error("reflection cannot be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// An address.
    #[error("cannot listen at `{address}`: {source}; is another server running?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The writer stopped after a commit whose outcome is unknown.
    #[error("stopped: {0}; start again, and the restart decides what became of it")]
    Fatal(String),
    /// The listener's task.
    #[error("the server stopped serving: {0}; start it again")]
    Ended(String),
    /// Directories, signals.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Denials of one identity that are recorded; more are refused without a line.
const DENIALS: Rate = Rate::new(20, 200);
/// How long tasks that were told to end may take for it.
const LAST_LINES: Duration = Duration::from_secs(5);
/// Share of the memory budget that cached policy decisions may take.
const DECISIONS: u64 = 8;

/// Serves until SIGTERM or SIGINT, then drains. Calls `ready` once the sockets answer.
///
/// # Errors
/// What keeps the server from starting, or ended it.
pub async fn serve(config: Config, ready: impl FnOnce(Ready) -> io::Result<()>) -> Result<(), ServiceError> {
    let stop = stop_signal()?;
    // ORDER: before anything that takes long; until it is listened to, SIGHUP ends the process.
    let reloads = Reloads::watch(&config.watched()).map_err(io_error("cannot listen to SIGHUP"))?;
    let (fatal, died) = oneshot::channel();
    let (config, opened) = blocking(move || {
        let fatal = parking_lot::Mutex::new(Some(fatal));
        let tell = Arc::new(move |why: &str| {
            if let Some(fatal) = fatal.lock().take() {
                // Nobody listens any more only where the server is stopping already.
                drop(fatal.send(why.to_owned()));
            }
        });
        let opened = instance::open(&config, tell);
        (config, opened)
    })
    .await?;
    let Instance { writer, audit, log, started, last_signed, running, audit_gap, .. } = opened?;
    let tls = Tls::load(&config.tls)?;
    let policies = policy::Options { cache_bytes: config.limits.memory / DECISIONS };
    let policies = Arc::new(PolicyEngine::load_with(&config.policies, policies)?);
    let metrics = admin::metrics().map_err(io::Error::other).map_err(io_error("cannot collect metrics"))?;

    let listener = listen(config.listen).await?;
    let admin = listen(config.admin).await?;
    let reached = Ready { address: address(&listener)?, admin: address(&admin)? };

    let running = Arc::new(RunningTime::resume(running));
    let for_keys = config.limits.memory - config.limits.memory / DECISIONS;
    let keyring = Keyring::new(writer.clone(), Arc::clone(&running), for_keys);
    let denials = PerIdentity::new(DENIALS);
    let may_cost_a_line = move |identity: &crate::identity::Identity| {
        denials.take(&identity.name).map_err(|TooFast { retry_after }| retry_after)
    };
    let gate = Arc::new(Gate::new(Arc::clone(&policies), audit.clone(), Box::new(may_cost_a_line)));
    let limits = limits_of(&config.limits);
    let health = HealthState::new();
    let parts = Parts {
        limits: limits.clone(),
        health: health.clone(),
        reflection: config.reflection,
        streams: config.limits.streams,
    };
    let changes = TaskTracker::new();
    let keyring_of_census = Arc::clone(&keyring);
    let scheduler = Scheduler::new(Arc::clone(&keyring), audit.clone(), Arc::clone(&running));
    let core = Core {
        gate,
        keyring: Arc::clone(&keyring),
        log: Arc::new(log),
        running: Arc::clone(&running),
        least_rotation: config.limits.least_rotation,
        changes: changes.clone(),
    };
    let router = server::router(&core, parts)?;

    let tally = Tally::new();
    let accepting = Accepting {
        handshakes: config.limits.handshakes,
        handshake_timeout: config.limits.handshake_timeout,
        connections: config.limits.connections,
        connections_per_identity: config.limits.connections_per_identity,
        stop: stop.clone(),
        refused: tally.counting(),
    };
    let incoming = tls.incoming(listener, accepting);
    let serving = router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let mut serving = tokio::spawn(serving);
    let warnings = Warnings::default();
    let readiness = readiness(health.clone(), warnings.clone());
    tokio::spawn(admin::serve(admin, metrics, readiness, stop.clone()));
    changes.spawn(scheduler.run(stop.clone()));
    changes.spawn(census::keep(Arc::clone(&keyring_of_census), stop.clone()));
    let (last_anchor, end) = oneshot::channel();
    let anchoring = tokio::spawn(anchor(writer.clone(), audit.clone(), audit_gap, end));
    changes.spawn(reload(tls.clone(), policies, audit.clone(), reloads, stop.clone()));
    let watching = Watching {
        audit: audit.clone(),
        health: health.clone(),
        warnings,
        data: config.data.clone(),
        clock: Clock::new(last_signed, SystemTime::now(), Instant::now()),
        tally,
        running,
    };
    tokio::spawn(watching.watch(stop.clone()));

    if let Some(revision) = started.rolled_forward {
        record_server(&audit, ServerEvent::RolledForward { epoch: started.epoch, revision }).await;
    }
    record_server(&audit, ServerEvent::Started).await;
    health.set(Fault::NotRunning, false);
    ready(reached).map_err(io_error("cannot say that the server is ready"))?;

    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        why = died => {
            health.set(Fault::Store, true);
            stop.cancel();
            // Their lines say that the outcome is unknown.
            changes.close();
            drop(tokio::time::timeout(LAST_LINES, changes.wait()).await);
            // An end of the channel without a word is the end of the writer, which only a stop brings.
            return Err(ServiceError::Fatal(why.unwrap_or_else(|_| "the writer ended".into())));
        }
        ended = &mut serving => {
            stop.cancel();
            let why = match ended {
                Ok(Ok(())) => "no more connections are accepted".into(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            return Err(ServiceError::Ended(why));
        }
    }
    tracing::info!("draining");
    health.set(Fault::NotRunning, true);
    limits.drain();
    // They would last as long as their clients do.
    keyring.close_watches();
    writer.hurry();
    match tokio::time::timeout(config.limits.drain, &mut serving).await {
        Ok(_) => tracing::info!("drained"),
        Err(_) => {
            let connections = tls.close_all();
            tracing::warn!(connections, "requests still in flight were cut");
            if tokio::time::timeout(LAST_LINES, &mut serving).await.is_err() {
                serving.abort();
            }
        }
    }
    // ORDER: what was begun is committed and on record before the writer stops and the last line says so.
    changes.close();
    changes.wait().await;
    record_server(&audit, ServerEvent::Stopped).await;
    // ORDER: after the last line.
    drop(last_anchor);
    drop(anchoring.await);
    blocking(move || {
        writer.stop();
        drop(audit);
    })
    .await
}

fn limits_of(bounds: &Bounds) -> Limits {
    Limits::new(limits::Options {
        calls: Rate::new(bounds.rate, bounds.burst),
        in_flight: bounds.in_flight,
        in_flight_per_identity: bounds.in_flight_per_identity,
        deadline: bounds.deadline,
    })
}

/// Puts new files in force, until `stop`; what does not load is reported, and the last good stays.
async fn reload(
    tls: Tls,
    policies: Arc<PolicyEngine>,
    audit: AuditLog,
    mut reloads: Reloads,
    stop: CancellationToken,
) {
    while let Some(cause) = stop.run_until_cancelled(reloads.next()).await {
        let (tls, policies) = (tls.clone(), Arc::clone(&policies));
        // Files and signatures block.
        let events = tokio::task::spawn_blocking(move || {
            let mut events = reload_tls(&tls);
            if cause != Cause::Time {
                events.extend(reload_policies(&policies));
            }
            events
        });
        for event in events.await.unwrap_or_default() {
            record_server(&audit, event).await;
        }
    }
}

fn reload_tls(tls: &Tls) -> Vec<ServerEvent> {
    let mut events = Vec::new();
    let reloaded = tls.reload();
    if reloaded.changed {
        tracing::info!(closed = reloaded.closed, "certificates and CRLs reloaded");
        events.push(ServerEvent::CertificatesReloaded);
    }
    for problem in &reloaded.problems.0 {
        tracing::error!("not reloaded, the last good stays in force: {problem}");
    }
    if !reloaded.problems.0.is_empty() {
        events.push(ServerEvent::CertificatesRefused);
    }
    events
}

fn reload_policies(policies: &PolicyEngine) -> Option<ServerEvent> {
    let before = policies.epoch();
    match policies.reload() {
        Ok(epoch) if epoch == before => None,
        Ok(epoch) => {
            tracing::info!(epoch = epoch.0, "policies reloaded");
            Some(ServerEvent::PoliciesReloaded)
        }
        Err(problems) => {
            tracing::error!("{problems}");
            Some(ServerEvent::PoliciesRefused)
        }
    }
}

async fn record_server(audit: &AuditLog, event: ServerEvent) {
    if let Err(error) = audit.record_server(event).await {
        tracing::error!(%error, event = event.as_str(), "not on record");
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

/// Files, locks and joins block: not on a task of the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).map_err(io_error("a task of the server ended badly"))
}

fn io_error(what: &str) -> impl Fn(io::Error) -> ServiceError + '_ {
    move |source| ServiceError::Io { what: what.into(), source }
}
