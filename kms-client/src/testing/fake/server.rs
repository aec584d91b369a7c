//! The listener: TLS 1.3 with client certificates on a loopback port, stopped and started as tests like.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    task::{Context, Poll},
    time::Duration,
};

use kms_core::{id::VersionId, mask::Mask};
use kms_proto::v1::{
    WatchKeysResponse, crypto_server::CryptoServer, keys_server::KeysServer,
    open_data_keys_request::SealReport,
};
use parking_lot::Mutex;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier, version::TLS13};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::{Status, transport::server::Connected};

use super::ca::TestCa;
use crate::Profile;

pub(crate) struct FakeServer {
    pub(crate) ca: TestCa,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) state: Arc<State>,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    runtime: Option<Runtime>,
}

/// What tests look at and turn.
pub(crate) struct State {
    pub(crate) keys: Mutex<HashMap<String, FakeKey>>,
    /// By key, table and column; none are declared at first.
    pub(crate) masks: Mutex<HashMap<(String, String, String), Mask>>,
    /// Calls by name.
    pub(crate) calls: Mutex<HashMap<&'static str, u64>>,
    pub(crate) reports: Mutex<Vec<SealReport>>,
    /// `x-request-id` of each call, in order.
    pub(crate) request_ids: Mutex<Vec<String>>,
    /// Idempotency keys of changes, in order.
    pub(crate) change_ids: Mutex<Vec<String>>,
    /// Answers to the next calls, whatever they are.
    pub(crate) failures: Mutex<VecDeque<Status>>,
    /// While false, calls wait.
    pub(crate) open: watch::Sender<bool>,
    /// While true, answers with data keys do not arrive, although they are made.
    pub(crate) under_way: watch::Sender<bool>,
    /// Clients that were leased data keys, in order.
    pub(crate) instances: Mutex<Vec<String>>,
    /// Certificates of connections, in order.
    pub(crate) peers: Mutex<Vec<Vec<u8>>>,
    /// Streams of key events, in order.
    pub(crate) watches: Mutex<Vec<FakeWatch>>,
    /// What a stream says first of what the client holds.
    pub(crate) stale: AtomicBool,
    /// Revision of the store.
    pub(crate) revision: AtomicU64,
    /// Turns an honest answer into another.
    pub(crate) twist: Mutex<Option<fn(&mut kms_proto::v1::LeasedDataKey)>>,
    pub(crate) twist_index: Mutex<Option<fn(&mut kms_proto::v1::LeasedIndex)>>,
}

#[derive(Clone)]
pub(crate) struct FakeKey {
    pub(crate) slot: u32,
    pub(crate) version: u32,
    /// Of an index key: versions up to this one take new rows.
    pub(crate) settled: u32,
    pub(crate) destroyed: Vec<u32>,
    pub(crate) class_l4: bool,
    pub(crate) refuses: Option<kms_proto::reason::Reason>,
    pub(crate) lease: Duration,
    pub(crate) budget: u64,
}

/// A client that listens to key events.
#[derive(Clone)]
pub(crate) struct FakeWatch {
    pub(crate) instance: String,
    /// Says something to it; an error ends the stream.
    pub(crate) events: mpsc::UnboundedSender<Result<WatchKeysResponse, Status>>,
    /// The last number that it confirmed.
    pub(crate) confirmed: watch::Receiver<u64>,
}

impl FakeKey {
    pub(crate) fn id(&self, version: u32) -> VersionId {
        VersionId::from(1 << 32 | u64::from(self.slot * 1_000 + version))
    }
}

impl State {
    fn new() -> Self {
        let key = |slot| FakeKey {
            slot,
            version: 1,
            settled: 1,
            destroyed: Vec::new(),
            class_l4: false,
            refuses: None,
            lease: Duration::from_secs(60),
            budget: 1 << 20,
        };
        let keys = ["attendance", "payroll", "secrets", "attendance.index"]
            .into_iter()
            .zip(1..)
            .map(|(name, slot)| (name.into(), key(slot)));
        Self {
            keys: Mutex::new(keys.collect()),
            masks: Mutex::default(),
            calls: Mutex::default(),
            reports: Mutex::default(),
            request_ids: Mutex::default(),
            change_ids: Mutex::default(),
            failures: Mutex::default(),
            open: watch::Sender::new(true),
            under_way: watch::Sender::new(false),
            instances: Mutex::default(),
            peers: Mutex::default(),
            watches: Mutex::default(),
            stale: AtomicBool::new(false),
            revision: AtomicU64::new(1),
            twist: Mutex::default(),
            twist_index: Mutex::default(),
        }
    }

    pub(crate) fn calls(&self, name: &str) -> u64 {
        self.calls.lock().get(name).copied().unwrap_or(0)
    }

    pub(crate) fn turn(&self, key: &str, turn: impl FnOnce(&mut FakeKey)) {
        turn(self.keys.lock().get_mut(key).unwrap());
    }

    pub(super) async fn enter<Q>(
        &self,
        name: &'static str,
        request: &tonic::Request<Q>,
    ) -> Result<(), Status> {
        *self.calls.lock().entry(name).or_default() += 1;
        let id = request.metadata().get("x-request-id").unwrap().to_str().unwrap();
        self.request_ids.lock().push(id.to_owned());
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.unwrap();
        match self.failures.lock().pop_front() {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }
}

impl FakeServer {
    pub(crate) fn start() -> Self {
        let (ca, dir) = (TestCa::new(), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        ca.client("attendance").write(dir.path(), "attendance");
        let tls = tls(&ca);
        let address = ([127, 0, 0, 1], 0).into();
        let mut server = Self { ca, dir, state: Arc::new(State::new()), address, tls, runtime: None };
        server.restart();
        server
    }

    /// Serves (again), on the port it had.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (state, tls) = (self.state.clone(), self.tls.clone());
        runtime.spawn(async move { serve(TcpListener::from_std(listener).unwrap(), tls, state).await });
        self.runtime = Some(runtime);
    }

    /// Closes every connection and the port.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Tasks end at their next await; in a thread of its own, for a runtime may not be waited for inside another.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn profile(&self, name: &str) -> Profile {
        let dir = self.dir();
        let endpoint = format!("https://{}", self.address);
        Profile::new(
            &endpoint,
            dir.join("ca.pem"),
            dir.join(format!("{name}.pem")),
            dir.join(format!("{name}.key")),
        )
        .unwrap()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tls(ca: &TestCa) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.der()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let own = ca.server();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.certificate.clone()], own.private_key())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, state: Arc<State>) {
    let (accepted, incoming) = mpsc::channel(8);
    let acceptor = TlsAcceptor::from(tls);
    let peers = state.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, accepted, state) = (acceptor.clone(), accepted.clone(), peers.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let peer = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                state.peers.lock().push(peer);
                let _gone = accepted.send(Ok::<_, io::Error>(Accepted(stream))).await;
            });
        }
    });
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    tonic::transport::Server::builder()
        .add_service(CryptoServer::from_arc(state.clone()).max_decoding_message_size(5 << 20))
        .add_service(KeysServer::from_arc(state))
        .serve_with_incoming(incoming)
        .await
        .unwrap();
}

struct Accepted(TlsStream<TcpStream>);

impl Connected for Accepted {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
