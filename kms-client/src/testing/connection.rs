//! Connections that never leave the process: HTTP/2 over a pipe in memory, so that the client is the one that talks to a real server.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use kms_proto::v1::{crypto_server::CryptoServer, keys_server::KeysServer, policy_server::PolicyServer};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tonic::{
    body::Body,
    codegen::{Body as HttpBody, Service as TowerService, StdError},
};

use super::{centre::Shared, refused::Refused, service::Service};
use crate::connect::{ConnectProblem, DialError};

/// Bytes on their way in a pipe.
const PIPE: usize = 64 << 10;
/// As the real server takes.
const MAX_MESSAGE: usize = 5 << 20;

/// Makes connections for tonic, all of one client.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(super) centre: Arc<Shared>,
    pub(super) client: Arc<str>,
}

impl TowerService<Uri> for Dialer {
    type Response = TokioIo<DuplexStream>;
    type Error = DialError;
    type Future = Ready<Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Some(stopped) = self.centre.running() else {
            return ready(Err(DialError::from(ConnectProblem::Network(
                "the in-memory key centre is stopped".into(),
            ))));
        };
        let (ours, theirs) = duplex(PIPE);
        let dialer = self.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(serve(theirs, dialer)).await });
        ready(Ok(TokioIo::new(ours)))
    }
}

/// Answers the calls of a connection, however it ends: the client makes another one.
pub(super) async fn serve<C>(connection: C, Dialer { centre, client }: Dialer)
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = Router(Service { centre, client });
    let server = auto::Builder::new(TokioExecutor::new()).http2_only();
    drop(server.serve_connection(TokioIo::new(connection), TowerToHyperService::new(router)).await);
}

/// Takes each call to its service.
#[derive(Debug, Clone)]
struct Router(Service);

impl<B> TowerService<http::Request<B>> for Router
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.0.clone();
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match name.strip_prefix("kms.v1.").unwrap_or(name) {
            "Crypto" => CryptoServer::new(service)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE)
                .call(request),
            "Keys" => KeysServer::new(service).max_decoding_message_size(MAX_MESSAGE).call(request),
            "Policy" => PolicyServer::new(service).call(request),
            other => {
                let refused = Refused::not_in_memory(&format!("service `{other}`"));
                Box::pin(ready(Ok(refused.status(None).into_http())))
            }
        }
    }
}
