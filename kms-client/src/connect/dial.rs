//! One connection: TCP, TLS, and the server's first bytes, which say that it took our certificate.
//!
//! In TLS 1.3 the client's handshake is over before the server has judged the client's certificate; a refusal comes as an alert
//! in place of the first data. An HTTP/2 server speaks first (RFC 9113, 3.4), so waiting for that tells refusals apart.

use std::{
    error::Error as StdError,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::tls::TlsSettings;

/// Most time for TCP and TLS together.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the server may keep silent before it is taken to be one that waits for us to speak first.
const SPEAKS_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectProblem {
    /// Nobody answers there.
    #[error("{0}")]
    Network(Box<str>),
    /// No answer in time.
    #[error("no connection within {CONNECT_WITHIN:?}")]
    TimedOut,
    /// The server's certificate does not lead to the profile's CA, or is for another name, or has expired.
    #[error("the server's certificate is not trusted ({0}); check `ca` in the profile")]
    ServerNotTrusted(Box<str>),
    /// The server does not take our certificate.
    #[error(
        "the server refuses our certificate ({0}); check `cert` in the profile, its dates and its issuer"
    )]
    IdentityRefused(Box<str>),
    /// Something else in TLS.
    #[error("TLS: {0}")]
    Tls(Box<str>),
    /// The connection broke under a call.
    #[error("the connection was lost")]
    Lost,
}

impl ConnectProblem {
    /// Whether another try can go better without anybody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Network(_) | Self::TimedOut | Self::Lost)
    }

    /// Whether somebody was there who spoke TLS.
    pub(crate) fn has_answered(&self) -> bool {
        matches!(self, Self::ServerNotTrusted(_) | Self::IdentityRefused(_) | Self::Tls(_))
    }

    /// Whether the server was there and it is our certificate that it does not take.
    pub(crate) fn is_about_us(&self) -> bool {
        matches!(self, Self::IdentityRefused(_))
    }

    /// The problem inside an error of the transport.
    pub(super) fn within<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Arc<Self>> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(DialError(problem)) = error.downcast_ref() {
                return Some(problem);
            }
            next = error.source();
        }
        None
    }
}

impl From<io::Error> for ConnectProblem {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(why)) => Self::ServerNotTrusted(why.to_string().into()),
            Some(rustls::Error::AlertReceived(alert)) if is_about_certificates(*alert) => {
                Self::IdentityRefused(format!("{alert:?}").into())
            }
            Some(other) => Self::Tls(other.to_string().into()),
            None if error.kind() == io::ErrorKind::ConnectionRefused => {
                Self::Network(format!("{error}; is the server running?").into())
            }
            None => Self::Network(error.to_string().into()),
        }
    }
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
    )
}

/// Who answered, after both sides had taken each other's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The server's certificate (DER).
    pub certificate: Vec<u8>,
    /// How the connection's key was agreed, for example `X25519MLKEM768`.
    pub key_exchange: Option<String>,
}

/// A problem on its way through the transport's errors.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DialError(Arc<ConnectProblem>);

impl From<ConnectProblem> for DialError {
    fn from(problem: ConnectProblem) -> Self {
        Self(Arc::new(problem))
    }
}

/// Makes connections for tonic.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    pub(super) settings: Arc<TlsSettings>,
}

impl tower::Service<Uri> for Dialer {
    type Response = TokioIo<Confirmed>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, endpoint: Uri) -> Self::Future {
        let settings = self.settings.clone();
        Box::pin(async move {
            let confirmed = connect(endpoint, &settings).await;
            confirmed.map(TokioIo::new).map_err(|problem| {
                tracing::debug!(%problem, "no connection to the key centre");
                problem.into()
            })
        })
    }
}

async fn connect(endpoint: Uri, settings: &TlsSettings) -> Result<Confirmed, ConnectProblem> {
    timeout(CONNECT_WITHIN, dial(endpoint, settings)).await.unwrap_or(Err(ConnectProblem::TimedOut))
}

/// Makes a connection only to say who answers there.
pub(super) async fn look(endpoint: Uri, settings: &TlsSettings) -> Result<Seen, Arc<ConnectProblem>> {
    let confirmed = connect(endpoint, settings).await.map_err(Arc::new)?;
    let (_, session) = confirmed.stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    Ok(Seen {
        certificate: leaf.map(|leaf| leaf.to_vec()).unwrap_or_default(),
        key_exchange: session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
    })
}

async fn dial(endpoint: Uri, settings: &TlsSettings) -> Result<Confirmed, ConnectProblem> {
    let host = endpoint.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
    let name = ServerName::try_from(host.clone())
        .map_err(|_| ConnectProblem::Network(format!("`{host}` is not a host name").into()))?;
    let tcp = TcpStream::connect((host, endpoint.port_u16().unwrap_or(443))).await?;
    tcp.set_nodelay(true)?;
    let mut stream = TlsConnector::from(settings.current()).connect(name, tcp).await?;

    // ATTACK: nothing of a call is written before the server has taken our certificate; so no call is lost to a refusal.
    let mut first = vec![0; 512];
    let len = match timeout(SPEAKS_WITHIN, stream.read(&mut first)).await {
        Ok(Ok(0)) => return Err(ConnectProblem::Network("the server hung up".into())),
        Ok(len) => len?,
        Err(_silent) => 0,
    };
    first.truncate(len);
    Ok(Confirmed { stream, first, read: 0 })
}

/// A connection whose first bytes were read ahead.
#[derive(Debug)]
pub(super) struct Confirmed {
    stream: TlsStream<TcpStream>,
    first: Vec<u8>,
    read: usize,
}

impl AsyncRead for Confirmed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.first[self.read..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = left.len().min(buf.remaining());
        buf.put_slice(&left[..len]);
        self.read += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Confirmed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
