//! What every call passes before its handler: is there an identity, is it within its rate, has the server room, how long may it take.
//!
//! A refusal is cheap, says why (`google.rpc.ErrorInfo`), and says when to come back (`google.rpc.RetryInfo`). Sizes are tonic's to
//! refuse: every service is built with [`MAX_MESSAGE`].

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use kms_proto::{reason::Reason, refusal};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::{
    audit::RequestId,
    rate::{PerIdentity, Rate, TooFast},
    share::Place,
    tls::Peer,
};

/// Most bytes of a message, in or out: 4 MiB of payloads and what stands around them. tonic's own limit is 4 MiB.
pub const MAX_MESSAGE: usize = 5 << 20;

/// When to try again where the server has no room.
const ROOM_AGAIN: Duration = Duration::from_millis(100);
/// When to try again where the server is stopping: by then another one answers, or none does.
const SERVER_AGAIN: Duration = Duration::from_secs(1);
/// tonic watches the caller's own deadline too, and would refuse without a reason: ours ends this much sooner.
const MARGIN: Duration = Duration::from_millis(3);
/// Says how the server is, so it is answered when the server has no room, too.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Calls that run to their end though their caller may be gone; they take [`Held`] along.
const RUN_TO_END: [&str; 2] = ["/kms.v1.Keys/", "/kms.v1.Audit/DeleteAudit"];

/// What calls are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Calls of one identity.
    pub calls: Rate,
    /// Calls in hand at a time, of all together.
    pub in_flight: usize,
    /// How many of them may be one identity's. A call counts from its headers on, so bodies that never become whole hold only this.
    pub in_flight_per_identity: usize,
    /// Longest a call may take; a caller can ask for less (`grpc-timeout`), not for more.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            calls: Rate::new(100_000, 100_000),
            in_flight: 4_096,
            in_flight_per_identity: 1_024,
            deadline: Duration::from_secs(60),
        }
    }
}

/// The limits of a server, shared by all its connections.
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

struct Shared {
    options: Options,
    calls: PerIdentity,
    in_flight: AtomicUsize,
    draining: AtomicBool,
}

impl Limits {
    /// Nothing in hand, full rates.
    pub fn new(options: Options) -> Self {
        let (in_flight, draining) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self(Arc::new(Shared { options, calls: PerIdentity::new(options.calls), in_flight, draining }))
    }

    /// From now on new calls are refused; those in hand go on.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Calls in hand, for the metrics and for the end of a drain.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Acquire)
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<Admitted, (Reason, Option<Duration>)> {
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Err((Reason::IdentityMissing, None));
        };
        if let Err(TooFast { retry_after }) = self.0.calls.take(&peer.identity.name) {
            return Err((Reason::RateLimited, Some(retry_after)));
        }
        if request.uri().path().starts_with(HEALTH) {
            return Ok(Admitted::count(&self.0, None));
        }
        let Some(place) = peer.share.call(self.0.options.in_flight_per_identity) else {
            return Err((Reason::RateLimited, Some(ROOM_AGAIN)));
        };
        let admitted = Admitted::count(&self.0, Some(place));
        if self.0.draining.load(Ordering::Acquire) {
            return Err((Reason::ShuttingDown, Some(SERVER_AGAIN)));
        }
        if admitted.before >= self.0.options.in_flight {
            return Err((Reason::Overloaded, Some(ROOM_AGAIN)));
        }
        Ok(admitted)
    }

    fn deadline(&self, headers: &HeaderMap) -> Duration {
        let longest = self.0.options.deadline;
        match grpc_timeout(headers) {
            Some(asked) if asked <= longest => asked.saturating_sub(MARGIN.min(asked / 2)),
            _ => longest,
        }
    }
}

/// One call in hand, until it is dropped.
struct Admitted {
    shared: Arc<Shared>,
    /// How many were in hand before it.
    before: usize,
    /// Of its identity; health takes none.
    _place: Option<Place>,
}

/// A call in hand that may outlive its caller: in the extensions of its request.
#[derive(Clone)]
pub(super) struct Held {
    _admitted: Arc<Admitted>,
}

impl Admitted {
    fn count(shared: &Arc<Shared>, place: Option<Place>) -> Self {
        let before = shared.in_flight.fetch_add(1, Ordering::AcqRel);
        Self { before, shared: Arc::clone(shared), _place: place }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S> Layer<S> for Limits {
    type Service = Limited<S>;
    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, limits: self.clone() }
    }
}

/// A service within limits.
#[derive(Clone)]
pub struct Limited<S> {
    inner: S,
    limits: Limits,
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = request.extensions().get::<Arc<RequestId>>().cloned();
        let admitted = match self.limits.admit(&request) {
            Ok(admitted) => admitted,
            Err((reason, retry_after)) => {
                let refused = refuse(reason, id.as_ref(), retry_after);
                return Box::pin(std::future::ready(Ok(refused)));
            }
        };
        let (mut ends_here, mut runs_on) = (Some(admitted), None);
        if RUN_TO_END.iter().any(|path| request.uri().path().starts_with(path))
            && let Some(admitted) = ends_here.take()
        {
            let held = Held { _admitted: Arc::new(admitted) };
            request.extensions_mut().insert(held.clone());
            runs_on = Some(held);
        }
        let deadline = self.limits.deadline(request.headers());
        // The timer starts only when the call has to wait for something.
        let call = tokio::time::timeout(deadline, self.inner.call(request));
        Box::pin(async move {
            let answer = call.await;
            drop((ends_here, runs_on));
            answer.unwrap_or_else(|_| Ok(refuse(Reason::DeadlineExceeded, id.as_ref(), None)))
        })
    }
}

fn refuse(reason: Reason, id: Option<&Arc<RequestId>>, retry_after: Option<Duration>) -> Response<Body> {
    metrics::counter!("kms_calls_refused_total", "reason" => reason.as_str()).increment(1);
    refusal::status(reason, reason.words(), id.map(|id| id.as_str()), retry_after).into_http()
}

/// `grpc-timeout`: at most 8 digits and a unit. What is not that counts as absent, as in tonic.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get("grpc-timeout")?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3_600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
