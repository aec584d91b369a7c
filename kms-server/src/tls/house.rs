//! A server over a loopback socket for the tests of this module, and the means to knock at its door.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::Duration};

use rcgen::CertificateParams;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::StreamExt;

use super::{Accepting, Peer, Refusal, Tls, TlsFiles, TrustFiles};
use crate::dev::authority::{self, Authority, Issued};

pub(super) const HOUR: time::Duration = time::Duration::hours(1);
pub(super) const DOMAIN: &str = "dev.local";

/// A server that greets, and the means to knock at its door.
pub(super) struct House {
    pub(super) dir: TempDir,
    pub(super) authority: Authority,
    pub(super) tls: Tls,
    pub(super) address: std::net::SocketAddr,
    pub(super) refusals: mpsc::UnboundedReceiver<Refusal>,
    pub(super) peers: mpsc::UnboundedReceiver<Peer>,
}

impl House {
    pub(super) async fn with_crl(crl: Option<String>, authority: Authority) -> Self {
        Self::build(crl, authority, Accepting::default()).await
    }

    pub(super) async fn new() -> Self {
        Self::with_crl(None, Authority::create("root").unwrap().0).await
    }

    pub(super) async fn build(crl: Option<String>, authority: Authority, accepting: Accepting) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), authority.certificate()).unwrap();
        if let Some(crl) = &crl {
            fs::write(dir.path().join("crl.pem"), crl).unwrap();
        }
        write_credential(&dir, &authority);
        let tls = Tls::load(&files(&dir, crl.is_some())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (refused, refusals) = mpsc::unbounded_channel();
        let (met, peers) = mpsc::unbounded_channel();
        let accepting = Accepting {
            refused: Arc::new(move |_, refusal| refused.send(refusal.clone()).unwrap_or_default()),
            ..accepting
        };
        let mut incoming = tls.incoming(listener, accepting);
        tokio::spawn(async move {
            while let Some(Ok(mut connection)) = incoming.next().await {
                met.send(connection.peer().clone()).unwrap();
                tokio::spawn(async move {
                    connection.write_all(b"hello").await.unwrap();
                    connection.flush().await.unwrap();
                    drop(connection.read(&mut [0; 8]).await);
                });
            }
        });
        Self { dir, authority, tls, address, refusals, peers }
    }

    pub(super) fn caller(&self, name: &str) -> (CertificateParams, Issued) {
        let params = authority::caller(&format!("spiffe://{DOMAIN}/{name}"), HOUR).unwrap();
        let issued = self.authority.issue(&params).unwrap();
        (params, issued)
    }

    /// Knocks with a certificate, reads the greeting.
    pub(super) async fn knock(&self, with: Option<&Issued>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut stream = self.knock_as(client_config(&self.authority, with)).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        assert_eq!(&greeting, b"hello");
        Ok(stream)
    }

    pub(super) async fn knock_as(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }

    /// A certificate that is refused, and why.
    pub(super) async fn refused(&mut self, with: Option<&Issued>) -> Refusal {
        assert!(self.knock(with).await.is_err());
        self.refusals.recv().await.unwrap()
    }

    pub(super) async fn refused_with(&mut self, change: impl FnOnce(&mut CertificateParams)) -> Refusal {
        let (mut params, _) = self.caller("attendance");
        change(&mut params);
        let issued = self.authority.issue(&params).unwrap();
        self.refused(Some(&issued)).await
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }
}

pub(super) fn files(dir: &TempDir, crl: bool) -> TlsFiles {
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    TlsFiles {
        certificate: path("server.pem"),
        key: path("server.key"),
        trust_domains: vec![(
            DOMAIN.try_into().unwrap(),
            TrustFiles { ca: vec![path("ca.pem")], crl: if crl { vec![path("crl.pem")] } else { vec![] } },
        )],
        without_spiffe_id: None,
    }
}

pub(super) fn write_credential(dir: &TempDir, authority: &Authority) {
    let issued = authority.issue(&authority::server(HOUR).unwrap()).unwrap();
    fs::write(dir.path().join("server.pem"), issued.certificate).unwrap();
    fs::write(dir.path().join("server.key"), issued.key).unwrap();
    fs::set_permissions(dir.path().join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

pub(super) fn client_config(authority: &Authority, with: Option<&Issued>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match with {
        Some(Issued { certificate, key }) => builder
            .with_client_auth_cert(
                CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect(),
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

pub(super) fn crl(authority: &Authority, number: u64, revoked: &[&CertificateParams]) -> String {
    let now = OffsetDateTime::now_utc();
    let serials: Vec<_> = revoked.iter().map(|params| params.serial_number.clone().unwrap()).collect();
    authority.revocation_list(number, &serials, now - HOUR, now + HOUR).unwrap()
}

/// Reads until the other side closes.
pub(super) async fn closes(stream: &mut TlsStream<TcpStream>) {
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
