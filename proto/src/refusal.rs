//! A refusal on the wire: gRPC status, `google.rpc.ErrorInfo`, and `RetryInfo` where a retry helps. Both ends use this file, so
//! that what one writes the other reads.

use std::{collections::HashMap, time::Duration};

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::reason::Reason;

/// `ErrorInfo.domain` of every reason of ours.
pub const DOMAIN: &str = "kms";
/// Key of `ErrorInfo.metadata` under which the request id stands.
pub const REQUEST_ID: &str = "request_id";

/// Builds the status of a refusal. `retry_after` is sent only where the reason says that a retry helps.
pub fn status(
    reason: Reason,
    message: impl Into<String>,
    request_id: Option<&str>,
    retry_after: Option<Duration>,
) -> Status {
    let metadata: HashMap<String, String> =
        request_id.map(|id| (REQUEST_ID.to_owned(), id.to_owned())).into_iter().collect();
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata);
    if reason.is_retryable() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(reason.code(), message, details)
}

/// What a received status says in our terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, where the status carries one that this release knows.
    pub reason: Option<Reason>,
    /// The reason as it was sent, known or not.
    pub word: Option<String>,
    /// The request id, as the server's log and audit show it.
    pub request_id: Option<String>,
    /// How long to wait before the next try.
    pub retry_after: Option<Duration>,
}

/// Reads the details of a received status; one that is not ours gives an empty refusal.
pub fn read(status: &Status) -> Refusal {
    let mut refusal = Refusal::default();
    if let Some(info) = status.get_details_error_info()
        && info.domain == DOMAIN
    {
        refusal.reason = info.reason.parse().ok();
        refusal.request_id = info.metadata.get(REQUEST_ID).cloned();
        refusal.word = Some(info.reason);
    }
    refusal.retry_after = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for reason in Reason::ALL {
            let wait = Duration::from_millis(250);
            let status = status(*reason, "words", Some("id-1"), Some(wait));
            assert_eq!((status.code(), status.message()), (reason.code(), "words"));
            let read = read(&status);
            assert_eq!((read.reason, read.request_id.as_deref()), (Some(*reason), Some("id-1")));
            assert_eq!(read.retry_after, reason.is_retryable().then_some(wait));
        }
    }

    #[test]
    fn a_status_of_somebody_else_carries_no_reason() {
        assert_eq!(read(&Status::internal("proxy")), Refusal::default());
        let details = ErrorDetails::with_error_info("RATE_LIMITED", "example.com", HashMap::new());
        let foreign = Status::with_error_details(tonic::Code::Unavailable, "", details);
        assert_eq!(read(&foreign), Refusal::default());
    }
}
