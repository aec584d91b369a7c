//! One call: a request id, a deadline, and retries of what is safe to repeat.
//!
//! Every unary call of the API is safe to repeat: reads and seals change nothing, changes carry a request id that the server
//! remembers. No try starts after the deadline.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, metadata::MetadataValue, transport::Channel};
use uuid::Uuid;

use crate::{
    connect::{ConnectProblem, problem_of},
    error::Error,
    kms::Kms,
};

/// Most tries of one call.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Where somebody asks for more than clocks, timers and the `grpc-timeout` header can say.
const LONGEST_DEADLINE: Duration = Duration::from_secs(30 * 365 * 86_400);

/// An answer, with the id of the call that brought it.
pub(crate) struct Answered<A> {
    pub(crate) answer: A,
    pub(crate) request_id: Arc<str>,
}

impl<A> Answered<A> {
    /// Converts the answer; what it cannot say is an error that names the call.
    pub(crate) fn convert<T>(self, convert: impl FnOnce(A) -> Result<T, &'static str>) -> Result<T, Error> {
        let Self { answer, request_id } = self;
        convert(answer).map_err(|what| Error::Answer { what, request_id })
    }
}

impl Kms {
    /// Calls, and calls again where that is safe and can help.
    pub(crate) async fn call<Q, A, M, F>(&self, request: Q, method: M) -> Result<Answered<A>, Error>
    where
        Q: Clone,
        M: Fn(Channel, Request<Q>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let request_id: Arc<str> = Uuid::new_v4().to_string().into();
        let deadline = later(self.terms.deadline);
        let mut failed: Option<Error> = None;
        for tried in 0..TRIES {
            if let Some(error) = &failed {
                let wait = error.retry_after().unwrap_or(Duration::ZERO).max(backoff(tried));
                if later(wait) >= deadline {
                    break;
                }
                tokio::time::sleep(wait).await;
            }
            match self.attempt(request.clone(), &method, &request_id, deadline).await {
                Ok(response) => return Ok(Answered { answer: response.into_inner(), request_id }),
                // What happened to earlier tries says more than that time ran out on the last.
                Err(Error::TimedOut { .. }) if failed.is_some() => break,
                Err(error) if error.is_retryable() && !matches!(error, Error::TimedOut { .. }) => {
                    tracing::debug!(%error, request_id = &*request_id, tried, "a call failed and may be tried again");
                    failed = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(failed.unwrap_or(Error::TimedOut { within: self.terms.deadline, request_id }))
    }

    async fn attempt<Q, A, M, F>(
        &self,
        request: Q,
        method: &M,
        request_id: &Arc<str>,
        deadline: Instant,
    ) -> Result<Response<A>, Error>
    where
        M: Fn(Channel, Request<Q>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let timed_out = || Error::TimedOut { within: self.terms.deadline, request_id: request_id.clone() };
        let mut request = self.request(request, request_id);
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let connection = self.shared.pool.borrow();
        self.shared.calls.fetch_add(1, Relaxed);
        let called = timeout_at(deadline, method(connection.channel(), request)).await;
        match called.map_err(|_| timed_out())? {
            Err(status) if is_own_timeout(&status) => Err(timed_out()),
            other => other.map_err(|status| self.error_of(&status, request_id)),
        }
    }

    /// A request with its id and the caller's trace.
    pub(crate) fn request<Q>(&self, message: Q, request_id: &str) -> Request<Q> {
        let mut request = Request::new(message);
        if let Ok(id) = MetadataValue::try_from(request_id) {
            request.metadata_mut().insert("x-request-id", id);
        }
        if let Some(trace) = &self.terms.traceparent {
            request.metadata_mut().insert("traceparent", trace.clone());
        }
        request
    }

    /// What a status says: that of the server, or one that the transport made up.
    pub(crate) fn error_of(&self, status: &Status, request_id: &Arc<str>) -> Error {
        match std::error::Error::source(status) {
            Some(transport) => self.unreachable(problem_of(transport), request_id.clone()),
            None => Error::refused(status, request_id),
        }
    }

    /// An error that names the endpoint.
    pub(crate) fn unreachable(&self, problem: Arc<ConnectProblem>, request_id: Arc<str>) -> Error {
        Error::Unreachable { endpoint: self.shared.endpoint.clone(), problem, request_id }
    }
}

/// The moment `duration` from now; what no clock will show is as far away as a timer can wait.
fn later(duration: Duration) -> Instant {
    let now = Instant::now();
    now + duration.min(LONGEST_DEADLINE)
}

/// Whether tonic's own timer ended the call.
fn is_own_timeout(status: &Status) -> bool {
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// A wait that doubles with each try, of which a random half is taken off so that clients do not come back all at once.
pub(crate) fn backoff(tried: u32) -> Duration {
    jittered(FIRST_WAIT.saturating_mul(1 << tried.saturating_sub(1).min(16)).min(LONGEST_WAIT))
}

/// Between a half and the whole of `longest`.
pub(crate) fn jittered(longest: Duration) -> Duration {
    let half = longest / 2;
    // Jitter needs no secrecy: where the system has no randomness the full wait is as good.
    let Ok(random) = getrandom::u32() else { return longest };
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_beyond_all_clocks_is_a_long_one() {
        let scene = crate::testing::scene_with(|builder| builder.deadline(Duration::MAX));
        assert_eq!(scene.kms.generate_random(3).await.unwrap().len(), 3);
        let wait = Some(Duration::from_secs(u64::MAX >> 1));
        let busy = kms_proto::refusal::status(kms_proto::reason::Reason::RateLimited, "", None, wait);
        scene.fail([busy]);
        let error =
            scene.kms.clone().with_deadline(Duration::from_secs(5)).generate_random(3).await.unwrap_err();
        assert_eq!(error.reason(), Some(kms_proto::reason::Reason::RateLimited), "nobody waits that long");
    }

    #[test]
    fn waits_double_up_to_a_bound_and_differ() {
        for tried in 1..40 {
            let whole = FIRST_WAIT.saturating_mul(1 << (tried - 1).min(16)).min(LONGEST_WAIT);
            let wait = backoff(tried);
            assert!(wait >= whole / 2 && wait <= whole, "{tried}: {wait:?}");
        }
        let waits: std::collections::HashSet<_> = (0..20).map(|_| backoff(6)).collect();
        assert!(waits.len() > 1);
    }
}
