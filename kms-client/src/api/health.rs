//! gRPC health: whether the server serves.

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{error::Error, kms::Kms};

/// What the server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It is there and does not serve.
    NotServing,
    /// It does not say.
    Unknown,
}

impl Kms {
    /// Asks for the health of the whole server (`service` empty) or of one service, for example `kms.v1.Crypto`.
    pub async fn health(&self, service: &str) -> Result<Health, Error> {
        let message = HealthCheckRequest { service: service.into() };
        let called = self
            .call(message, |channel, request| async move { HealthClient::new(channel).check(request).await });
        Ok(match called.await?.answer.status() {
            ServingStatus::Serving => Health::Serving,
            ServingStatus::NotServing => Health::NotServing,
            ServingStatus::Unknown | ServingStatus::ServiceUnknown => Health::Unknown,
        })
    }
}
