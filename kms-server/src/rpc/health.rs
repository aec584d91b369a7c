//! `grpc.health.v1`: whether each service serves. Says less than it knows: the reasons are in the log and on the admin listener.
//!
//! Without audit nothing is served at all. Without the writer the data plane still seals and opens with what it holds, so that an
//! operator who looks at the disk need not stop every service of the company; the control plane does not serve.
//!
//! Room that runs short stops nothing yet, so it is no status here: `/readyz`, a metric and the log warn of it.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

/// What keeps a server from serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The audit cannot be written.
    Audit,
    /// The writer is poisoned, or the store does not answer.
    Store,
    /// The server is starting, or stopping.
    NotRunning,
}

/// All faults there are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Faults {
    audit: bool,
    store: bool,
    not_running: bool,
}

/// How the server is. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct HealthState(Arc<watch::Sender<Faults>>);

impl Default for HealthState {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthState {
    /// A server that does not run yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Faults { not_running: true, ..Faults::default() })))
    }

    /// Sets or clears a fault; whoever watches is told if that changes anything.
    pub fn set(&self, fault: Fault, present: bool) {
        self.0.send_if_modified(|faults| {
            let flag = match fault {
                Fault::Audit => &mut faults.audit,
                Fault::Store => &mut faults.store,
                Fault::NotRunning => &mut faults.not_running,
            };
            std::mem::replace(flag, present) != present
        });
    }

    /// The faults there are now, for the admin listener.
    pub fn faults(&self) -> Vec<Fault> {
        let faults = *self.0.borrow();
        let all = [
            (Fault::Audit, faults.audit),
            (Fault::Store, faults.store),
            (Fault::NotRunning, faults.not_running),
        ];
        all.into_iter().filter_map(|(fault, present)| present.then_some(fault)).collect()
    }

    /// Whether everything serves.
    pub fn is_serving(&self) -> bool {
        *self.0.borrow() == Faults::default()
    }

    /// The service to be registered.
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService(self.clone()))
    }
}

/// Which faults stop a service: `None` for one that is not ours. The empty name is the server as a whole.
fn serves(service: &str, faults: Faults) -> Option<bool> {
    let recorded = !faults.audit && !faults.not_running;
    match service {
        "kms.v1.Crypto" | "kms.v1.Audit" | "kms.v1.Policy" => Some(recorded),
        "kms.v1.Keys" | "" => Some(recorded && !faults.store),
        _ => None,
    }
}

fn status(service: &str, faults: Faults) -> ServingStatus {
    match serves(service, faults) {
        None => ServingStatus::ServiceUnknown,
        Some(true) => ServingStatus::Serving,
        Some(false) => ServingStatus::NotServing,
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// `grpc.health.v1.Health`.
#[derive(Debug)]
pub struct HealthService(HealthState);

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let faults = *self.0.0.borrow();
        match status(&request.get_ref().service, faults) {
            // As the protocol has it: `Check` answers with a status code, `Watch` with a value.
            ServingStatus::ServiceUnknown => Err(Status::not_found("no such service")),
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let mut last = None;
        let changes = WatchStream::new(self.0.0.subscribe()).filter_map(move |faults| {
            let status = status(&service, faults);
            let changed = last.replace(status) != Some(status);
            std::future::ready(changed.then(|| Ok(answer(status))))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(state: &HealthState, service: &str) -> Result<ServingStatus, tonic::Code> {
        let request = Request::new(HealthCheckRequest { service: service.into() });
        let answer = HealthService(state.clone()).check(request).await.map_err(|status| status.code())?;
        Ok(answer.into_inner().status())
    }

    #[tokio::test]
    async fn a_server_serves_once_it_runs_and_not_before() {
        let state = HealthState::new();
        assert_eq!(check(&state, "").await, Ok(ServingStatus::NotServing));
        state.set(Fault::NotRunning, false);
        for service in ["", "kms.v1.Crypto", "kms.v1.Keys", "kms.v1.Audit", "kms.v1.Policy"] {
            assert_eq!(check(&state, service).await, Ok(ServingStatus::Serving), "{service}");
        }
        assert!(state.is_serving());
        assert_eq!(check(&state, "kms.v1.Other").await, Err(tonic::Code::NotFound));
    }

    #[tokio::test]
    async fn nothing_serves_without_audit_and_no_change_is_made_without_the_writer() {
        let state = HealthState::new();
        state.set(Fault::NotRunning, false);
        state.set(Fault::Audit, true);
        for service in ["", "kms.v1.Crypto", "kms.v1.Keys", "kms.v1.Audit", "kms.v1.Policy"] {
            assert_eq!(check(&state, service).await, Ok(ServingStatus::NotServing), "{service}");
        }
        state.set(Fault::Audit, false);
        state.set(Fault::Store, true);
        assert_eq!(check(&state, "kms.v1.Crypto").await, Ok(ServingStatus::Serving));
        assert_eq!(check(&state, "kms.v1.Keys").await, Ok(ServingStatus::NotServing));
        assert_eq!(check(&state, "").await, Ok(ServingStatus::NotServing));
        assert_eq!(state.faults(), [Fault::Store]);
    }

    #[tokio::test]
    async fn a_watcher_is_told_of_each_change_of_its_service_and_of_no_other() {
        let state = HealthState::new();
        state.set(Fault::NotRunning, false);
        let request = Request::new(HealthCheckRequest { service: "kms.v1.Crypto".into() });
        let mut changes = HealthService(state.clone()).watch(request).await.unwrap().into_inner();
        assert_eq!(changes.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
        state.set(Fault::Store, true);
        assert!(futures_util::poll!(changes.next()).is_pending(), "the writer is not this service's matter");
        state.set(Fault::Audit, true);
        assert_eq!(changes.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        state.set(Fault::Audit, false);
        assert_eq!(changes.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    }
}
