//! The accept loop: every handshake in a task of its own, with a time limit and a bounded number.
//!
//! Nobody without an identity can stop the service: when too many handshakes wait, the oldest gives way (an honest one takes
//! milliseconds, a stalled one ages), and a lack of file descriptors pauses the loop, never ends it.

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use rustls::NamedGroup;
use rustls_pki_types::UnixTime;
use sha2::{Digest, Sha256};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Inner,
    connection::{Connection, Peer},
    refusal::Refusal,
};
use crate::identity::{Identity, KeyExchangeGroup};

/// How long the loop rests when it has no descriptors or memory for another connection.
const REST: Duration = Duration::from_millis(100);

/// Hears of each refusal. Called on the loop's tasks: it must not block.
pub type OnRefusal = Arc<dyn Fn(SocketAddr, &Refusal) + Send + Sync>;

/// Bounds of the accept loop, and who hears of refusals.
#[derive(Clone)]
pub struct Accepting {
    /// Handshakes that may wait at once.
    pub handshakes: usize,
    /// How long one may take.
    pub handshake_timeout: Duration,
    /// Connections that may be open at once.
    pub connections: usize,
    /// How many of them may be one identity's.
    pub connections_per_identity: usize,
    /// Ends the listening (draining); connections that live go on.
    pub stop: CancellationToken,
    /// Hears of each refusal.
    pub refused: OnRefusal,
}

impl Default for Accepting {
    fn default() -> Self {
        Self {
            handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            connections: 10_000,
            connections_per_identity: 2_500,
            stop: CancellationToken::new(),
            refused: Arc::new(|_, _| {}),
        }
    }
}

impl fmt::Debug for Accepting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            handshakes,
            handshake_timeout,
            connections,
            connections_per_identity,
            stop: _,
            refused: _,
        } = self;
        f.debug_struct("Accepting")
            .field("handshakes", handshakes)
            .field("handshake_timeout", handshake_timeout)
            .field("connections", connections)
            .field("connections_per_identity", connections_per_identity)
            .finish_non_exhaustive()
    }
}

/// Verified connections, as they come. Ends after `Accepting::stop`; dropping it stops the listening too.
#[derive(Debug)]
pub struct Incoming {
    ready: mpsc::Receiver<Connection>,
    _stop: DropGuard,
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

/// Starts the loop. Must be called within a tokio runtime.
pub(super) fn start(inner: Arc<Inner>, listener: TcpListener, accepting: Accepting) -> Incoming {
    let (sender, ready) = mpsc::channel(accepting.handshakes.max(1));
    let stop = accepting.stop.child_token();
    let accepting = Accepting { stop: stop.clone(), ..accepting };
    tokio::spawn(accept(inner, listener, accepting, sender));
    Incoming { ready, _stop: stop.drop_guard() }
}

async fn accept(
    inner: Arc<Inner>,
    listener: TcpListener,
    accepting: Accepting,
    sender: mpsc::Sender<Connection>,
) {
    let mut waiting = Waiting::default();
    loop {
        let accepted = tokio::select! {
            () = accepting.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !concerns_one_connection(&error) {
                    tracing::warn!(%error, "no new connections for a moment");
                    metrics::counter!("kms_accept_errors_total").increment(1);
                    tokio::time::sleep(REST).await;
                }
                continue;
            }
        };
        if inner.register.len() >= accepting.connections {
            (accepting.refused)(remote, &Refusal::Full);
            continue;
        }
        if let Some(crowded_out) = waiting.make_room(accepting.handshakes) {
            (accepting.refused)(crowded_out, &Refusal::CrowdedOut);
        }
        let (inner, sender, accepting) = (inner.clone(), sender.clone(), accepting.clone());
        let handshake = tokio::spawn(async move {
            match handshake(&inner, socket, remote, &accepting).await {
                // A full channel means that the server above is busy: the connection waits in this task, which counts.
                // A closed one means that it is gone.
                Ok(connection) => drop(sender.send(connection).await),
                Err(refusal) => (accepting.refused)(remote, &refusal),
            }
        });
        waiting.tasks.push_back((remote, handshake.abort_handle()));
    }
    // ORDER: the socket closes here, before the last connections drain.
    drop(listener);
    waiting.tasks.iter().for_each(|(_, task)| task.abort());
}

/// The handshakes under way, oldest first.
#[derive(Default)]
struct Waiting {
    tasks: VecDeque<(SocketAddr, AbortHandle)>,
}

impl Waiting {
    /// Makes room for one more among `most`; gives the address of the one that had to go.
    fn make_room(&mut self, most: usize) -> Option<SocketAddr> {
        if self.tasks.len() < most {
            return None;
        }
        self.tasks.retain(|(_, task)| !task.is_finished());
        if self.tasks.len() < most {
            return None;
        }
        let (remote, oldest) = self.tasks.pop_front()?;
        oldest.abort();
        Some(remote)
    }
}

/// Errors of `accept` that say nothing about the next one (accept(2)).
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused | Kind::Interrupted
    )
}

async fn handshake(
    inner: &Arc<Inner>,
    socket: TcpStream,
    remote: SocketAddr,
    accepting: &Accepting,
) -> Result<Connection, Refusal> {
    // A small answer must not wait for the acknowledgement of the one before it.
    socket.set_nodelay(true).map_err(|_| Refusal::Disconnected)?;
    let active = inner.active.load_full();
    let acceptor = TlsAcceptor::from(active.config.clone());
    let stream = tokio::time::timeout(accepting.handshake_timeout, acceptor.accept(socket))
        .await
        .map_err(|_| Refusal::TimedOut)?
        .map_err(|error| Refusal::of_io(&error))?;

    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().ok_or(Refusal::NoCertificate)?.to_vec();
    let (leaf, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
    let group = group(session.negotiated_key_exchange_group().map(|group| group.name()));
    let (read, _verified) = active.trust.verify(leaf, intermediates, UnixTime::now())?;
    let identity = Arc::new(Identity {
        name: read.name,
        certificate: Sha256::digest(leaf).into(),
        group,
        not_after: read.not_after,
    });
    let share = inner.register.shares.of(&identity.name);
    let place = share.connect(accepting.connections_per_identity).ok_or(Refusal::IdentityFull)?;
    let connection = inner.register.enter(stream, Peer { identity, remote, share }, place, chain);
    // ORDER: entered first, then compared. A reload between handshake and entry is seen here; one after, by its own walk.
    let newest = inner.active.load();
    if newest.generation != active.generation {
        newest.still_holds(connection.held(), SystemTime::now())?;
    }
    Ok(connection)
}

fn group(name: Option<NamedGroup>) -> KeyExchangeGroup {
    match name {
        Some(NamedGroup::X25519MLKEM768) => KeyExchangeGroup::X25519MlKem768,
        Some(NamedGroup::X25519) => KeyExchangeGroup::X25519,
        Some(NamedGroup::secp256r1) => KeyExchangeGroup::Secp256r1,
        Some(NamedGroup::secp384r1) => KeyExchangeGroup::Secp384r1,
        _ => KeyExchangeGroup::Other,
    }
}
