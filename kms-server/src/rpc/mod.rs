//! What the socket speaks: gRPC messages in, domain types through, statuses out. tonic's types stay in here.
//!
//! # Layout
//! - this file: a call and its caller.
//! - `convert`: messages to domain types; [`status`]: facts to statuses.
//! - [`crypto`] with `leases`, [`keys`], [`audit`], [`policy`]: one service each.
//! - [`limits`], [`request_id`]: layers around every call; [`health`], [`reflection`].

pub mod audit;
mod batch;
mod convert;
pub mod crypto;
pub mod health;
pub mod keys;
mod leases;
pub mod limits;
mod page;
pub mod policy;
pub mod reflection;
pub mod request_id;
pub mod server;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use kms_proto::reason::Reason;
use kms_proto::refusal;
use tonic::{Request, Response, Status};

use crate::audit::RequestId;
use crate::gate::{Caller, Gate};
use crate::keyring::Keyring;

use crate::tls::Peer;
use status::Failure;

/// How long a caller should wait before it repeats a call that failed for a passing reason.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What every service rests on.
#[derive(Clone)]
pub struct Core {
    /// Permits and the audit.
    pub gate: Arc<Gate>,
    /// Live keys.
    pub keyring: Arc<Keyring>,
}

/// Takes the caller from the connection and the message from the request.
fn accept<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    let (_, extensions, message) = request.into_parts();
    let request_id =
        extensions.get::<Arc<RequestId>>().cloned().unwrap_or_else(|| Arc::new(RequestId::fresh()));
    let Some(peer) = extensions.get::<Peer>() else {
        let reason = Reason::IdentityMissing;
        return Err(refusal::status(reason, reason.words(), Some(request_id.as_str()), None));
    };
    Ok((Caller { identity: Arc::clone(&peer.identity), request_id }, message))
}

/// A reply, or the status of what went wrong.
fn answer<T>(caller: &Caller, result: Result<T, Failure>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|failure| failure.status(caller.request_id.as_str()))
}

/// Serves the calls of one service by the methods of [`Core`] of the same names.
macro_rules! calls {
    ($service:ty: $trait:ident { $($name:ident($request:ident) -> $response:ty;)+ }) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $(async fn $name(&self, request: Request<v1::$request>) -> Result<Response<$response>, Status> {
                let (caller, message) = accept(request)?;
                answer(&caller, self.0.$name(&caller, message).await)
            })+
        }
    };
}
use calls;

/// As [`calls`], for calls that change something: each runs to its end, line and all, although its caller may have gone away or
/// its deadline may have passed.
macro_rules! changes {
    ($service:ty: $trait:ident { $($name:ident($request:ident) -> $response:ty;)+ }) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $(async fn $name(&self, request: Request<v1::$request>) -> Result<Response<$response>, Status> {
                let (caller, message) = accept(request)?;
                let (core, request_id) = (self.0.clone(), Arc::clone(&caller.request_id));
                let done = tokio::spawn(async move { answer(&caller, core.$name(&caller, message).await) });
                done.await.unwrap_or_else(|_| Err(Failure::unanswered().status(request_id.as_str())))
            })+
        }
    };
}
use changes;
