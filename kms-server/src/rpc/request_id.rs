//! Names each call: `x-request-id` as the caller gave it, or a new UUID (version 7). Errors, logs and audit show it, and it goes
//! back in the reply. A caller that sends a W3C `traceparent` gets a tracing span with both around its call.
//!
//! Not the idempotency key: that is `request_id` in the message.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};
use uuid::{Builder, Uuid};

/// Metadata name.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Most bytes of a caller's request id.
const MAX_LEN: usize = 128;

/// What a call is named; in the extensions of each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// Takes the caller's, where it is a token of 1 to 128 visible ASCII characters; makes one otherwise.
    fn of(headers: &HeaderMap) -> (Self, Option<HeaderValue>) {
        if let Some(given) = headers.get(&X_REQUEST_ID)
            && let Ok(text) = std::str::from_utf8(given.as_bytes())
            && (1..=MAX_LEN).contains(&text.len())
            // ATTACK: a line break or a quote in a name that logs and audit show.
            && text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return (Self(text.into()), Some(given.clone()));
        }
        let mut text = Uuid::encode_buffer();
        let text = &*fresh().hyphenated().encode_lower(&mut text);
        (Self(text.into()), HeaderValue::from_str(text).ok())
    }
}

/// A UUID of version 7, from the thread's generator: no call to the operating system.
fn fresh() -> Uuid {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    match kms_core::nonce::fresh() {
        Ok(random) => {
            let [a, b, c, d, e, f, g, h, i, j, ..] = random;
            Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]).into_uuid()
        }
        Err(_) => Uuid::now_v7(),
    }
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
        let (id, header) = RequestId::of(request.headers());
        let span = span(&id, &request);
        request.extensions_mut().insert(id);
        let call = self.inner.call(request);
        Box::pin(
            async move {
                let mut response = call.await?;
                if let Some(header) = header {
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
    let (id, method) = (&*id.0, request.uri().path());
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

    async fn call(header: Option<&[u8]>) -> (Arc<str>, String) {
        let service = service_fn(|request: Request<()>| async move {
            let id = request.extensions().get::<RequestId>().unwrap().clone();
            Ok::<_, Infallible>(Response::new(id))
        });
        let mut request = Request::new(());
        if let Some(header) = header {
            request.headers_mut().insert(X_REQUEST_ID, HeaderValue::from_bytes(header).unwrap());
        }
        let response = RequestIdLayer.layer(service).oneshot(request).await.unwrap();
        let header = response.headers()[&X_REQUEST_ID].to_str().unwrap().to_owned();
        (response.into_body().0, header)
    }

    #[tokio::test]
    async fn a_sane_id_is_kept_and_sent_back() {
        let (inside, outside) = call(Some(b"order-17/\"retry\"")).await;
        assert_eq!((&*inside, &*outside), ("order-17/\"retry\"", "order-17/\"retry\""));
        let longest = "x".repeat(MAX_LEN);
        assert_eq!(&*call(Some(longest.as_bytes())).await.0, &*longest);
    }

    #[tokio::test]
    async fn an_absent_or_odd_id_is_replaced_by_a_new_uuid() {
        let long = "x".repeat(MAX_LEN + 1);
        for odd in [None, Some(&b""[..]), Some(b"two words"), Some(b"t\xc3\xa4g"), Some(long.as_bytes())] {
            let (inside, outside) = call(odd).await;
            assert_eq!(*inside, *outside);
            assert_eq!(Uuid::parse_str(&inside).unwrap().get_version_num(), 7, "{odd:?}");
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
