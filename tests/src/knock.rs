//! A TLS client that shows exactly the certificate it is given, and speaks just enough HTTP/2 to know that it was let in.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use kms_server::dev::authority::{Authority, Issued};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// RFC 9113 3.4: the preface, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A PING frame; its answer shows that the connection lives.
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";

/// An open session.
#[derive(Debug)]
pub struct Session(TlsStream<TcpStream>);

/// How to connect to the place of `authority`, with or without a certificate.
pub fn config(authority: &Authority, with: Option<&Issued>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match with {
        Some(Issued { certificate, key }) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Connects and waits for the server's first frame: only then has it accepted the certificate.
///
/// # Errors
/// When the server refuses.
pub async fn knock(address: SocketAddr, config: &ClientConfig) -> io::Result<Session> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let mut stream = TlsConnector::from(Arc::new(config.clone())).connect(name, socket).await?;
    stream.write_all(PREFACE).await?;
    stream.read_exact(&mut [0; 9]).await?;
    Ok(Session(stream))
}

impl Session {
    /// What TLS agreed on.
    pub fn tls(&self) -> &rustls::ClientConnection {
        self.0.get_ref().1
    }

    /// Whether the server still answers.
    pub async fn lives(&mut self) -> bool {
        if self.0.write_all(PING).await.is_err() {
            return false;
        }
        let mut seen = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            match self.0.read(&mut buffer).await {
                Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
                _ => return false,
            }
            if seen.windows(8).any(|window| window == b"pingpong") {
                return true;
            }
        }
    }

    /// Waits until the server closes.
    pub async fn closes(mut self) {
        let ended = tokio::time::timeout(Duration::from_secs(60), async {
            let mut buffer = [0; 1024];
            while self.0.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        });
        ended.await.unwrap();
    }
}
