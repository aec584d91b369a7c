//! Several HTTP/2 connections to one server, for one connection is a ceiling; the least loaded is used first.
//!
//! New certificates make a new set: calls in flight finish on the old connections, which then close.

use std::{
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tonic::transport::{Channel, Endpoint};

use super::{
    dial::{ConnectProblem, Seen},
    tls::{LOOK_EVERY, TlsSettings},
    way::Way,
};
use crate::profile::{Profile, ProfileError};

/// Room for whole batches: payloads of 4 MiB and what surrounds them.
const STREAM_WINDOW: u32 = 5 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    endpoint: Endpoint,
    way: Way,
    size: usize,
    connections: ArcSwap<Vec<Connection>>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Connection {
    channel: Channel,
    in_flight: Arc<AtomicUsize>,
}

/// A connection, counted as busy until dropped.
#[derive(Debug)]
pub(crate) struct Borrowed {
    channel: Channel,
    in_flight: Arc<AtomicUsize>,
}

impl Borrowed {
    /// The connection.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Pool {
    /// Reads the profile's files; connects to nobody yet.
    pub(crate) fn new(profile: Profile, size: usize) -> Result<Self, ProfileError> {
        let endpoint = Endpoint::from(profile.endpoint().clone());
        Ok(Self::with(endpoint, Way::Tls(Arc::new(TlsSettings::load(profile)?)), size))
    }

    /// Connections within the process.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn in_memory(dialer: crate::testing::Dialer, size: usize) -> Self {
        Self::with(Endpoint::from_static(crate::testing::ENDPOINT), Way::Memory(dialer), size)
    }

    fn with(endpoint: Endpoint, way: Way, size: usize) -> Self {
        let endpoint = endpoint
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .keep_alive_while_idle(true);
        let connections = ArcSwap::from_pointee(connections(&endpoint, &way, size));
        Self { endpoint, way, size, connections, next: AtomicUsize::new(0) }
    }

    /// Makes a first connection, so that a wrong profile or an absent server shows at once.
    pub(crate) async fn connect(&self) -> Result<(), Arc<ConnectProblem>> {
        let channel = self.way.connect(&self.endpoint).await?;
        let mut rest = connections(&self.endpoint, &self.way, self.size.saturating_sub(1));
        rest.push(Connection { channel, in_flight: Arc::default() });
        self.connections.store(Arc::new(rest));
        Ok(())
    }

    /// A connection of its own, to see who answers.
    pub(crate) async fn look(&self) -> Result<Seen, Arc<ConnectProblem>> {
        self.way.look(&self.endpoint).await
    }

    /// The connection with the fewest calls; among equals, in turn.
    pub(crate) fn borrow(&self) -> Borrowed {
        let connections = self.connections.load();
        let first = self.next.fetch_add(1, Relaxed);
        let mut least = &connections[first % connections.len()];
        for offset in 1..connections.len() {
            let other = &connections[first.wrapping_add(offset) % connections.len()];
            if other.in_flight.load(Relaxed) < least.in_flight.load(Relaxed) {
                least = other;
            }
        }
        least.in_flight.fetch_add(1, Relaxed);
        Borrowed { channel: least.channel.clone(), in_flight: least.in_flight.clone() }
    }

    /// The connections as they stand.
    pub(crate) fn channels(&self) -> Vec<Channel> {
        self.connections.load().iter().map(|connection| connection.channel.clone()).collect()
    }

    /// Reads the certificates again and replaces the connections.
    pub(crate) fn reload(&self) -> Result<(), ProfileError> {
        self.way.reload()?;
        self.replace();
        Ok(())
    }

    /// Follows the profile's files for as long as somebody else holds the pool.
    pub(crate) async fn follow_files(pool: std::sync::Weak<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(pool) = pool.upgrade() else { return };
            match pool.way.reload_if_changed() {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!("the certificates changed; new connections use the new ones");
                    pool.replace();
                }
                Err(error) => {
                    tracing::warn!(%error, "the changed certificates do not load; the last good ones stay")
                }
            }
        }
    }

    // Dropping a channel lets its calls finish and then closes its connection.
    fn replace(&self) {
        self.connections.store(Arc::new(connections(&self.endpoint, &self.way, self.size)));
    }
}

fn connections(endpoint: &Endpoint, way: &Way, size: usize) -> Vec<Connection> {
    let connection = || Connection { channel: way.lazily(endpoint), in_flight: Arc::default() };
    std::iter::repeat_with(connection).take(size).collect()
}

/// What an error of the transport says about the connection.
pub(crate) fn problem_of(error: &(dyn StdError + 'static)) -> Arc<ConnectProblem> {
    ConnectProblem::within(error).cloned().unwrap_or_else(|| Arc::new(ConnectProblem::Lost))
}
