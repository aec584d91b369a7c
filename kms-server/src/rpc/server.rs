//! All services behind their layers, ready for a stream of connections.

use std::sync::Arc;
use std::time::Duration;

use kms_proto::v1::audit_server::AuditServer;
use kms_proto::v1::crypto_server::CryptoServer;
use kms_proto::v1::keys_server::KeysServer;
use kms_proto::v1::policy_server::PolicyServer;
use kms_proto::v1::transparency_server::TransparencyServer;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity as NoLayer, Stack};

use super::audit::AuditService;
use super::crypto::CryptoService;
use super::health::HealthState;
use super::keys::KeysService;
use super::limits::{Limits, MAX_MESSAGE};
use super::policy::PolicyService;
use super::request_id::RequestIdLayer;
use super::status::Failure;
use super::transparency::TransparencyService;
use super::{Core, reflection};
use crate::gate::permit::op;
use crate::gate::{Caller, Note, Permit, target};
use crate::identity::Identity;

/// How long a connection may say nothing before it is asked whether the peer is there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long the peer may take to answer that.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// What a server is built of, beside its core.
pub struct Parts {
    /// What calls are held to.
    pub limits: Limits,
    /// How the server is.
    pub health: HealthState,
    /// Whether the API is described to those whom policy lets ask.
    pub reflection: bool,
    /// Streams that one connection may have open at once.
    pub streams: u32,
}

/// The layers around every call.
type Layers = Stack<Limits, Stack<RequestIdLayer, NoLayer>>;

/// Puts the services together.
///
/// # Errors
/// Where the descriptors for reflection do not parse, which a test would have found.
pub fn router(core: &Core, parts: Parts) -> Result<Router<Layers>, tonic_reflection::server::Error> {
    macro_rules! sized {
        ($server:ident, $service:expr) => {
            $server::new($service(core.clone()))
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE)
        };
    }
    let mut router = Server::builder()
        .max_concurrent_streams(parts.streams)
        // ATTACK: a peer that is gone, or says nothing, must not keep its connection and what it holds.
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .layer(RequestIdLayer)
        .layer(parts.limits)
        .add_service(parts.health.service())
        .add_service(sized!(CryptoServer, CryptoService))
        .add_service(sized!(KeysServer, KeysService))
        .add_service(sized!(AuditServer, AuditService::new))
        .add_service(sized!(PolicyServer, PolicyService))
        .add_service(sized!(TransparencyServer, TransparencyService));
    if parts.reflection {
        let (v1, v1alpha) = reflection::services(may_reflect(core.clone()))?;
        router = router.add_service(v1).add_service(v1alpha);
    }
    Ok(router)
}

fn may_reflect(core: Core) -> reflection::Ask {
    Arc::new(move |identity: Arc<Identity>, request_id| {
        let core = core.clone();
        Box::pin(async move {
            let caller = Caller { identity, request_id };
            let asked = async {
                let permit: Permit<op::Reflect> = core.gate.authorize(&caller, target::System, None).await?;
                let described = permit.finish(Ok::<_, crate::usecase::refused::Refused>(()), Note::default());
                Ok::<_, Failure>(core.gate.record(described).await??)
            };
            asked.await.map_err(|failure| failure.status(caller.request_id.as_str()))
        })
    })
}
