//! What the socket speaks: gRPC messages in, domain types through, statuses out. tonic's types stay in here.
//!
//! # Layout
//! - this file: a call and its caller.
//! - `convert`: messages to domain types; [`status`]: facts to statuses.
//! - [`crypto`] with `leases`, `reveal` and `watch`, [`keys`], [`audit`], [`policy`], [`transparency`]: one service each.
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
mod reveal;
pub mod server;
pub mod status;
pub mod transparency;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use kms_proto::reason::Reason;
use kms_proto::refusal;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use crate::audit::RequestId;
use crate::gate::{Caller, Gate};
use crate::keyring::Keyring;

use crate::running::RunningTime;
use crate::tls::Peer;
use crate::transparency::Transparency;
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
    /// The transparency log.
    pub log: Arc<Transparency>,
    /// How long the server has run, which what is scheduled depends on.
    pub running: Arc<RunningTime>,
    /// Shortest rotation period of a key.
    pub least_rotation: Duration,
    /// Calls that run to their end although nobody may wait for them: a stop does.
    pub changes: TaskTracker,
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

/// Serves the calls of one service by the methods of [`Core`] of the same names; after them stand those that are streams.
macro_rules! calls {
    ($service:ty: $trait:ident { $($name:ident($request:ident) -> $response:ty;)+ } $($streams:tt)*) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $($streams)*
            $(async fn $name(&self, request: Request<v1::$request>) -> Result<Response<$response>, Status> {
                let (caller, message) = accept(request)?;
                answer(&caller, self.0.$name(&caller, message).await)
            })+
        }
    };
}
use calls;

/// Runs a call that changes something to its end, line and all, although its caller may have gone away or its deadline may have
/// passed. It counts as in hand until then.
async fn run_to_end<T, R, F>(
    core: &Core,
    mut request: Request<T>,
    call: impl FnOnce(Core, Caller, T) -> F,
) -> Result<Response<R>, Status>
where
    R: Send + 'static,
    F: Future<Output = Result<R, Failure>> + Send + 'static,
{
    let held = request.extensions_mut().remove::<limits::Held>();
    let (caller, message) = accept(request)?;
    let work = call(core.clone(), caller.clone(), message);
    let request_id = Arc::clone(&caller.request_id);
    let done = core.changes.spawn(async move {
        let done = answer(&caller, work.await);
        drop(held);
        done
    });
    done.await.unwrap_or_else(|_| Err(Failure::unanswered().status(request_id.as_str())))
}

/// As [`calls`], for calls that change something: see [`run_to_end`].
macro_rules! changes {
    ($service:ty: $trait:ident { $($name:ident($request:ident) -> $response:ty;)+ }) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $(async fn $name(&self, request: Request<v1::$request>) -> Result<Response<$response>, Status> {
                let call = |core: Core, caller, message| async move { core.$name(&caller, message).await };
                run_to_end(&self.0, request, call).await
            })+
        }
    };
}
use changes;
