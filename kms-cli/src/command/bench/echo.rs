//! The bare echo: what a call costs when nothing is done with it. Same TLS, same runtime, same HTTP/2 settings, one unary method.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tonic::{
    Request, Response, Status,
    body::Body,
    client::Grpc as GrpcClient,
    codegen::{BoxFuture, http},
    server::{Grpc, NamedService, UnaryService},
    transport::Channel,
};
use tonic_prost::ProstCodec;

const METHOD: &str = "/kms.bench.Echo/Echo";

/// Answers what it is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "kms.bench.Echo";
}

impl UnaryService<Vec<u8>> for Echo {
    type Response = Vec<u8>;
    type Future = std::future::Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<Vec<u8>, Vec<u8>>::default();
            Ok(Grpc::new(codec).unary(Echo, request).await)
        })
    }
}

/// Asks once.
pub(crate) async fn ask(channel: Channel, payload: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = GrpcClient::new(channel);
    client.ready().await.map_err(|e| Status::unknown(e.to_string()))?;
    let path = http::uri::PathAndQuery::from_static(METHOD);
    let codec = ProstCodec::<Vec<u8>, Vec<u8>>::default();
    client.unary(Request::new(payload), path, codec).await.map(Response::into_inner)
}
