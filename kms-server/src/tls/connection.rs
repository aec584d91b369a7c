//! One accepted connection, and the register of all that live, so that a certificate's end is a connection's end.
//!
//! A connection is closed by a flag and a wake-up, not by its socket: the task that serves it sees an error at its next
//! read or write, whatever it is waiting for.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::SystemTime,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::{
    identity::Identity,
    share::{Place, Share, Shares},
};

/// Who is at the other end; in the extensions of each request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Made once, from the verified chain.
    pub identity: Arc<Identity>,
    /// Where the connection comes from.
    pub remote: SocketAddr,
    /// What the identity holds, over all its connections.
    pub share: Arc<Share>,
}

/// A TLS connection of a verified caller.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    held: Arc<Held>,
    _entry: Entry,
    _place: Place,
}

/// What the register knows of a connection.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) peer: Peer,
    /// As sent: leaf, then intermediates.
    pub(super) chain: Vec<CertificateDer<'static>>,
    closed: AtomicBool,
    waker: AtomicWaker,
}

impl Held {
    /// Ends the connection at its next read or write, and wakes its reader.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.peer.identity.not_after
    }

    fn check(&self) -> io::Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server closed the connection"));
        }
        Ok(())
    }
}

/// All live connections.
#[derive(Debug, Default)]
pub(super) struct Register {
    next: AtomicU64,
    pub(super) shares: Shares,
    live: Mutex<HashMap<u64, Arc<Held>>>,
}

impl Register {
    /// Enters a connection; it leaves when dropped.
    pub(super) fn enter(
        self: &Arc<Self>,
        stream: TlsStream<TcpStream>,
        peer: Peer,
        place: Place,
        chain: Vec<CertificateDer<'static>>,
    ) -> Connection {
        let held = Arc::new(Held { peer, chain, closed: AtomicBool::new(false), waker: AtomicWaker::new() });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.live.lock().insert(number, held.clone());
        Connection { stream, held, _entry: Entry { register: self.clone(), number }, _place: place }
    }

    pub(super) fn len(&self) -> usize {
        self.live.lock().len()
    }

    /// Those that live now, so that they can be examined without holding up others.
    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        self.live.lock().values().cloned().collect()
    }

    /// Closes all connections; gives how many there were.
    pub(super) fn close_all(&self) -> usize {
        let live = self.live.lock();
        live.values().for_each(|held| held.close());
        live.len()
    }

    /// Closes the connections whose leaf has expired.
    pub(super) fn close_expired(&self, now: SystemTime) -> usize {
        let live = self.live.lock();
        let expired = live.values().filter(|held| held.is_expired(now) && held.check().is_ok());
        expired.map(|held| held.close()).count()
    }
}

/// A place in the register.
#[derive(Debug)]
struct Entry {
    register: Arc<Register>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.register.live.lock().remove(&self.number);
    }
}

impl Connection {
    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.held.peer
    }

    pub(super) fn held(&self) -> &Arc<Held> {
        &self.held
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.held.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // ORDER: the waker is left before the flag is read; the other way round a close between the two would be missed.
        self.held.waker.register(cx.waker());
        self.held.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.held.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.held.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
