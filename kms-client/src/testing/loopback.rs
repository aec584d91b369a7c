//! A key centre in memory behind a real listener, for tests of connections: TLS 1.3 with client certificates on a loopback port, which
//! can be stopped, and started again where it was.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier, version::TLS13};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

use super::{
    InMemoryKeyCentre,
    ca::TestCa,
    connection::{Dialer, serve},
    faults::Faults,
};
use crate::Profile;

pub(crate) struct Loopback {
    pub(crate) ca: TestCa,
    pub(crate) centre: InMemoryKeyCentre,
    dir: tempfile::TempDir,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    runtime: Option<Runtime>,
    peers: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Loopback {
    pub(crate) fn start() -> Self {
        let (ca, dir) = (TestCa::new(), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        ca.client("attendance").write(dir.path(), "attendance");
        let mut server = Self {
            acceptor: TlsAcceptor::from(tls(&ca)),
            ca,
            centre: InMemoryKeyCentre::new(),
            dir,
            address: ([127, 0, 0, 1], 0).into(),
            runtime: None,
            peers: Arc::default(),
        };
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
        let (acceptor, peers) = (self.acceptor.clone(), self.peers.clone());
        let dialer = self.centre.dialer("attendance");
        runtime.spawn(async move {
            accept(TcpListener::from_std(listener).unwrap(), acceptor, dialer, peers).await;
        });
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

    pub(crate) fn faults(&self) -> &Faults {
        self.centre.faults()
    }

    /// Certificates that clients showed, a connection each, in order.
    pub(crate) fn peers(&self) -> Vec<Vec<u8>> {
        self.peers.lock().clone()
    }
}

impl Drop for Loopback {
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

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    dialer: Dialer,
    peers: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, dialer, peers) = (acceptor.clone(), dialer.clone(), peers.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            let peer = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            peers.lock().push(peer);
            serve(stream, dialer).await;
        });
    }
}
