//! What policy decides, and why.

use kms_core::names::{KeyName, TenantName};
use kms_proto::v1::{self, policy_client::PolicyClient};

use crate::{error::Error, kms::Kms};

/// The request to be explained.
#[derive(Debug, Clone)]
pub struct Explain {
    /// Whose: a SPIFFE ID or `spki:sha256:HEX`.
    pub identity: String,
    /// For example `Encrypt`.
    pub operation: String,
    /// On which tenant; `None` for operations on the whole system.
    pub tenant: Option<TenantName>,
    /// On which key; `None` for operations on a tenant.
    pub key: Option<KeyName>,
    /// Policy attribute `purpose`.
    pub purpose: Option<String>,
}

/// A decision in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Whether it would be allowed.
    pub allowed: bool,
    /// Ids of the policies that decided.
    pub policies: Vec<String>,
    /// The decision in words.
    pub explanation: String,
    /// Policies that failed; any one of them denies.
    pub errors: Vec<String>,
    /// Which load of the policies answered.
    pub policy_epoch: u64,
}

impl Kms {
    /// Asks the server what its policy would decide; what it decides is what counts.
    pub async fn explain(&self, what: Explain) -> Result<Explained, Error> {
        let message = v1::ExplainRequest {
            identity: what.identity,
            operation: what.operation,
            tenant: what.tenant.map(|tenant| tenant.to_string()).unwrap_or_default(),
            key: what.key.map(|key| key.to_string()).unwrap_or_default(),
            purpose: what.purpose.unwrap_or_default(),
        };
        let called = self.call(message, |channel, request| async move {
            PolicyClient::new(channel).explain(request).await
        });
        let v1::ExplainResponse { allowed, policies, explanation, errors, policy_epoch } =
            called.await?.answer;
        Ok(Explained { allowed, policies, explanation, errors, policy_epoch })
    }
}
