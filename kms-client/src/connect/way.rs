//! How connections are made: over TLS to a server somewhere, or in memory to the one of `testing`.

use std::sync::Arc;

use tonic::transport::{Channel, Endpoint};

use super::{
    dial::{ConnectProblem, Dialer, Seen, look},
    pool::problem_of,
    tls::TlsSettings,
};
use crate::profile::ProfileError;

/// A way to a server.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// TLS with the certificates of a profile.
    Tls(Arc<TlsSettings>),
    /// Within the process.
    #[cfg(any(test, feature = "testing"))]
    Memory(crate::testing::Dialer),
}

impl Way {
    /// A connection that is made with its first call.
    pub(super) fn lazily(&self, endpoint: &Endpoint) -> Channel {
        match self {
            Self::Tls(settings) => {
                endpoint.connect_with_connector_lazy(Dialer { settings: settings.clone() })
            }
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(dialer) => endpoint.connect_with_connector_lazy(dialer.clone()),
        }
    }

    /// A connection that is made.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Arc<ConnectProblem>> {
        let connected = match self {
            Self::Tls(settings) => {
                endpoint.connect_with_connector(Dialer { settings: settings.clone() }).await
            }
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(dialer) => endpoint.connect_with_connector(dialer.clone()).await,
        };
        connected.map_err(|error| problem_of(&error))
    }

    /// Who answers there.
    pub(super) async fn look(&self, endpoint: &Endpoint) -> Result<Seen, Arc<ConnectProblem>> {
        match self {
            Self::Tls(settings) => look(endpoint.uri().clone(), settings).await,
            // Nobody shows a certificate.
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_) => {
                self.connect(endpoint).await.map(|_| Seen { certificate: Vec::new(), key_exchange: None })
            }
        }
    }

    /// Reads the certificates again.
    pub(super) fn reload(&self) -> Result<(), ProfileError> {
        match self {
            Self::Tls(settings) => settings.reload(),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_) => Ok(()),
        }
    }

    /// Reads them again where they changed; says whether they did.
    pub(super) fn reload_if_changed(&self) -> Result<bool, ProfileError> {
        match self {
            Self::Tls(settings) => settings.reload_if_changed(),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_) => Ok(false),
        }
    }
}
