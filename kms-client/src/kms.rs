//! The client itself: a cheap handle on connections and leases, shared by all its clones.

use std::{
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::runtime::Handle;
use tonic::metadata::{Ascii, MetadataValue};

use crate::{
    clock::{Clock, MachineClock},
    connect::{Pool, Seen},
    error::Error,
    lease::{self, Leases},
    profile::Profile,
};

/// How long a call may take where nothing else is said.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A client of the key centre. Clones share connections and leases.
#[derive(Debug, Clone)]
pub struct Kms {
    pub(crate) shared: Arc<Shared>,
    pub(crate) terms: Terms,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) endpoint: Arc<str>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) leases: Leases,
    pub(crate) calls: AtomicU64,
    /// Fetches leases, whatever thread finds that one is missing: sealers work on threads that know no runtime.
    pub(crate) runtime: Handle,
}

/// What one handle asks of its calls.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) deadline: Duration,
    pub(crate) traceparent: Option<MetadataValue<Ascii>>,
    /// Policy attribute; empty for none.
    pub(crate) purpose: Arc<str>,
}

/// Makes a [`Kms`] with other settings than the usual.
#[derive(Debug, Clone)]
pub struct Builder {
    server: Server,
    connections: usize,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    watch: bool,
}

/// Where calls go.
#[derive(Debug, Clone)]
enum Server {
    /// To the server of a profile.
    At(Profile),
    /// Nowhere: the server is in this process.
    #[cfg(any(test, feature = "testing"))]
    InMemory(crate::testing::Dialer),
}

impl Builder {
    fn of(server: Server, connections: usize, clock: Arc<dyn Clock>) -> Self {
        Self { server, connections, deadline: DEADLINE, clock, watch: true }
    }

    /// A client of a key centre in memory, whose leases are on that one's clock.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn in_memory(dialer: crate::testing::Dialer, clock: Arc<dyn Clock>) -> Self {
        Self::of(Server::InMemory(dialer), 1, clock)
    }

    /// How many HTTP/2 connections are kept, at least one. Usual: one a core, at most four.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long a call may take, with its retries. Usual: ten seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Does not listen to what becomes of keys: what is destroyed or suspended is then used until its lease ends, and the server's
    /// certificates wait for that. Usual: it listens, from the first lease on.
    pub fn without_watching(mut self) -> Self {
        self.watch = false;
        self
    }

    /// A client that connects with its first call. Must be made inside a tokio runtime.
    ///
    /// # Errors
    /// Where the files of the profile do not load.
    pub fn build(self) -> Result<Kms, Error> {
        let (endpoint, pool) = match &self.server {
            Server::At(profile) => {
                let endpoint = profile.endpoint().to_string().trim_end_matches('/').into();
                let pool = Arc::new(Pool::new(profile.clone(), self.connections)?);
                tokio::spawn(Pool::follow_files(Arc::downgrade(&pool)));
                (endpoint, pool)
            }
            #[cfg(any(test, feature = "testing"))]
            Server::InMemory(dialer) => in_memory(dialer.clone(), self.connections),
        };
        Ok(self.over(endpoint, pool))
    }

    fn over(self, endpoint: Arc<str>, pool: Arc<Pool>) -> Kms {
        let leases = Leases::new(self.clock, self.watch);
        let shared =
            Arc::new(Shared { endpoint, pool, leases, calls: AtomicU64::new(0), runtime: Handle::current() });
        let terms = Terms { deadline: self.deadline, traceparent: None, purpose: Arc::from("") };
        tokio::spawn(lease::keep(Arc::downgrade(&shared), terms.clone()));
        Kms { shared, terms }
    }

    /// A client with a first connection made.
    ///
    /// # Errors
    /// Where the files of the profile do not load, the server cannot be reached or trusted, or does not take our certificate.
    pub async fn connect(self) -> Result<Kms, Error> {
        let kms = self.build()?;
        kms.shared.pool.connect().await.map_err(|problem| kms.unreachable(problem, "".into()))?;
        Ok(kms)
    }
}

#[cfg(any(test, feature = "testing"))]
fn in_memory(dialer: crate::testing::Dialer, connections: usize) -> (Arc<str>, Arc<Pool>) {
    (crate::testing::ENDPOINT.into(), Arc::new(Pool::in_memory(dialer, connections)))
}

impl Kms {
    /// A client of a key centre in memory, with the usual settings: there is nothing that could fail.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn in_memory(dialer: crate::testing::Dialer, clock: Arc<dyn Clock>) -> Self {
        let builder = Builder::in_memory(dialer.clone(), clock);
        let (endpoint, pool) = in_memory(dialer, builder.connections);
        builder.over(endpoint, pool)
    }

    /// Connects as the profile says, with the usual settings.
    ///
    /// # Errors
    /// Where the files of the profile do not load, the server cannot be reached or trusted, or does not take our certificate.
    pub async fn connect(profile: Profile) -> Result<Self, Error> {
        Self::builder(profile).connect().await
    }

    /// Settings other than the usual.
    pub fn builder(profile: Profile) -> Builder {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Builder::of(Server::At(profile), cores.min(4), Arc::new(MachineClock))
    }

    /// This client, with another deadline for the calls made through the handle.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.terms.deadline = deadline;
        self
    }

    /// This client, passing on a W3C trace context (`traceparent`); text that no header can carry is left out.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: &str) -> Self {
        self.terms.traceparent = traceparent.parse().ok();
        self
    }

    /// This client, stating a purpose to policy: of every value and row that the handle seals, opens, searches for or reveals, here or
    /// at the server, and of the subjects that it ensures. Leases for one purpose are used for no other. A value that is bound to a
    /// context with a pair `purpose` states that one.
    #[must_use]
    pub fn with_purpose(mut self, purpose: &str) -> Self {
        self.terms.purpose = purpose.into();
        self
    }

    /// Where the key centre is.
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// How many calls this client and its clones have sent, tries counted each; the stream of key events is none.
    pub fn server_calls(&self) -> u64 {
        self.shared.calls.load(Relaxed)
    }

    /// Who answers at the endpoint, over a connection made for that.
    ///
    /// # Errors
    /// Where the server cannot be reached or trusted, or does not take our certificate.
    pub async fn look(&self) -> Result<Seen, Error> {
        self.shared.pool.look().await.map_err(|problem| self.unreachable(problem, "".into()))
    }

    /// The connections themselves, for calls that this crate does not make and for measuring. They are not followed: after a change
    /// of certificates ask again.
    pub fn channels(&self) -> Vec<tonic::transport::Channel> {
        self.shared.pool.channels()
    }

    /// Reads certificate, key and CA again now. They are also followed: a change is noticed within seconds.
    ///
    /// # Errors
    /// Where they do not load; the last good ones then stay in use.
    pub fn reload_certificates(&self) -> Result<(), Error> {
        Ok(self.shared.pool.reload()?)
    }
}
