//! gRPC reflection, v1 and v1alpha: the server describes its interface to those whom policy lets ask (`Reflect`).
//!
//! What may be asked is decided once for each stream, before the first answer, by a function that the gate gives.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use kms_proto::{reason::Reason, refusal};
use tonic::{Status, body::Body, server::NamedService};
use tonic_reflection::server::{Builder, Error, v1, v1alpha};
use tower::Service;

use crate::{audit::RequestId, identity::Identity, tls::Peer};

/// Whether somebody may ask; a refusal is a status.
pub type Allowed = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;
/// Asks the gate: identity, name of the call.
pub type Ask = Arc<dyn Fn(Arc<Identity>, Arc<RequestId>) -> Allowed + Send + Sync>;

/// Both versions of the reflection service, each behind the gate.
///
/// # Errors
/// Where a descriptor does not parse, which a test would have found.
pub fn services(
    ask: Ask,
) -> Result<
    (
        Gated<v1::ServerReflectionServer<impl v1::ServerReflection>>,
        Gated<v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>>,
    ),
    Error,
> {
    let first = Gated { inner: described().build_v1()?, ask: Arc::clone(&ask) };
    let alpha = Gated { inner: described().build_v1alpha()?, ask };
    Ok((first, alpha))
}

fn described() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(kms_proto::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// A service that asks the gate before each call.
#[derive(Clone)]
pub struct Gated<S> {
    inner: S,
    ask: Ask,
}

impl<S: NamedService> NamedService for Gated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let id = request
            .extensions()
            .get::<Arc<RequestId>>()
            .cloned()
            .unwrap_or_else(|| Arc::new(RequestId::fresh()));
        let Some(peer) = request.extensions().get::<Peer>() else {
            let reason = Reason::IdentityMissing;
            let refused = refusal::status(reason, reason.words(), Some(id.as_str()), None);
            return Box::pin(std::future::ready(Ok(refused.into_http())));
        };
        let allowed = (self.ask)(Arc::clone(&peer.identity), id);
        // The one that was polled ready is used; a fresh clone stays.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            match allowed.await {
                Ok(()) => inner.call(request).await,
                Err(refused) => Ok(refused.into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tower::ServiceExt as _;

    use super::*;
    use crate::identity::{IdentityName, KeyExchangeGroup};

    fn only_the_curious() -> Ask {
        Arc::new(|identity, request_id| {
            Box::pin(async move {
                assert_eq!(request_id.as_str(), "id-1");
                match identity.name.to_string().ends_with("/curious") {
                    true => Ok(()),
                    false => Err(Status::permission_denied("no")),
                }
            })
        })
    }

    fn request(path: &str, name: &str) -> Request<Body> {
        let name = IdentityName::Spiffe(name.into());
        let (group, not_after) = (KeyExchangeGroup::X25519, SystemTime::now() + Duration::from_secs(60));
        let identity = Arc::new(Identity { name, certificate: [0; 32], group, not_after });
        let mut request = Request::post(path).header("content-type", "application/grpc");
        let extensions = request.extensions_mut().unwrap();
        extensions.insert(Peer { identity, remote: ([127, 0, 0, 1], 1).into(), share: Arc::default() });
        extensions.insert(Arc::new(RequestId::try_from("id-1").unwrap()));
        request.body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn both_versions_answer_those_who_may_ask_and_nobody_else() {
        let (first, alpha) = services(only_the_curious()).unwrap();
        let service = tonic::service::Routes::new(first).add_service(alpha);
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            let ask = async |request| {
                let response = service.clone().oneshot(request).await.unwrap();
                Status::from_header_map(response.headers()).map(|status| status.code())
            };
            assert_eq!(ask(request(&path, "spiffe://x/curious")).await, None, "{version}");
            let other = ask(request(&path, "spiffe://x/other")).await;
            assert_eq!(other, Some(tonic::Code::PermissionDenied), "{version}");
            let mut nobody = request(&path, "spiffe://x/curious");
            nobody.extensions_mut().remove::<Peer>();
            assert_eq!(ask(nobody).await, Some(tonic::Code::Unauthenticated), "{version}");
        }
    }
}
