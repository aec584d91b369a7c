//! Names each call: `x-request-id` as the caller gave it, or a new UUID (version 7), as an `Arc<RequestId>` in the extensions of the
//! request. Errors, logs and audit show it, and it goes
//! back in the reply. A caller that sends a W3C `traceparent` gets a tracing span with both around its call.
//!
//! Not the idempotency key: that is `request_id` in the message.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use crate::audit::RequestId;

/// Metadata name.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The caller's name for the call, where it follows the rule; a new one otherwise.
fn name_of(headers: &HeaderMap) -> (Arc<RequestId>, Option<HeaderValue>) {
    if let Some(given) = headers.get(&X_REQUEST_ID)
        // ATTACK: a line break or a quote in a name that logs and audit show does not parse.
        && let Some(id) = given.to_str().ok().and_then(|text| RequestId::try_from(text).ok())
    {
        return (Arc::new(id), Some(given.clone()));
    }
    let id = RequestId::fresh();
    let header = HeaderValue::from_str(id.as_str()).ok();
    (Arc::new(id), header)
}

/// Puts the layer around a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestIdLayer;

impl<S> Layer<S> for RequestIdLayer {
    type Service = Named<S>;
    fn layer(&self, inner: S) -> Named<S> {
        Named { inner }
    }
}

/// A service whose calls have names.
#[derive(Debug, Clone)]
pub struct Named<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Named<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (id, header) = name_of(request.headers());
        let span = span(&id, &request);
        request.extensions_mut().insert(id);
        let call = self.inner.call(request);
        Box::pin(
            async move {
                let mut response = call.await?;
                if let Some(mut header) = header {
                    // No two calls have the same: kept out of HPACK's table (RFC 7541, section 6.2.3), which it would churn.
                    header.set_sensitive(true);
                    response.headers_mut().insert(X_REQUEST_ID, header);
                }
                Ok(response)
            }
            .instrument(span),
        )
    }
}

/// A span for calls that are traced, or when debugging: for every call it would cost more than the limits do.
fn span<B>(id: &RequestId, request: &Request<B>) -> Span {
    let (id, method) = (id.as_str(), request.uri().path());
    match request.headers().get(&TRACEPARENT).and_then(traceparent) {
        Some(parent) => tracing::info_span!("call", request_id = id, method, traceparent = parent),
        None => tracing::debug_span!("call", request_id = id, method),
    }
}

/// `VERSION-TRACE-PARENT-FLAGS`, all in lower-case hexadecimal; anything else is passed over.
fn traceparent(header: &HeaderValue) -> Option<&str> {
    let text = header.to_str().ok()?;
    let mut lengths = [2, 32, 16, 2].into_iter();
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fits = text.split('-').all(|part| lengths.next() == Some(part.len()) && hex(part));
    (fits && lengths.next().is_none()).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    async fn call(header: Option<&[u8]>) -> (String, String) {
        let service = service_fn(|request: Request<()>| async move {
            let id = request.extensions().get::<Arc<RequestId>>().unwrap().to_string();
            Ok::<_, Infallible>(Response::new(id))
        });
        let mut request = Request::new(());
        if let Some(header) = header {
            request.headers_mut().insert(X_REQUEST_ID, HeaderValue::from_bytes(header).unwrap());
        }
        let response = RequestIdLayer.layer(service).oneshot(request).await.unwrap();
        let header = response.headers()[&X_REQUEST_ID].to_str().unwrap().to_owned();
        (response.into_body(), header)
    }

    #[tokio::test]
    async fn a_sane_id_is_kept_and_sent_back() {
        assert_eq!(call(Some(b"order-17.retry")).await, ("order-17.retry".into(), "order-17.retry".into()));
    }

    #[tokio::test]
    async fn an_absent_or_odd_id_is_replaced_by_a_new_uuid() {
        let long = "x".repeat(65);
        for odd in [
            None,
            Some(&b""[..]),
            Some(b"two words"),
            Some(b"a\"b"),
            Some(b"t\xc3\xa4g"),
            Some(long.as_bytes()),
        ] {
            let (inside, outside) = call(odd).await;
            assert_eq!(inside, outside);
            assert_eq!(uuid::Uuid::parse_str(&inside).unwrap().get_version_num(), 7, "{odd:?}");
        }
        assert_ne!(call(None).await, call(None).await);
    }

    #[test]
    fn only_a_well_formed_traceparent_reaches_the_log() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(&HeaderValue::from_static(good)), Some(good));
        for bad in ["", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-aa-bb-01", "00"] {
            assert_eq!(traceparent(&HeaderValue::from_static(bad)), None, "{bad}");
        }
        assert_eq!(traceparent(&HeaderValue::from_str(&format!("{good}-00")).unwrap()), None);
    }
}
