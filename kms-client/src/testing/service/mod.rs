//! The calls of the API: what they carry is checked, leave is asked, the ledger is read or changed.
//!
//! # Layout
//! - this file: how every call goes. `keys`, `crypto`, `leases`, `reveal`, `policy`: the calls; `watch`: key events.
//! - `limits`: what a message may carry.

mod crypto;
mod keys;
mod leases;
mod limits;
mod policy;
mod reveal;
mod watch;

use std::sync::Arc;

use kms_core::names::{KeyName, TenantName};
use kms_proto::{reason::Reason, v1};
use prost::Message;
use tonic::{Request, Response, Status};

use super::{
    centre::{Shared, State},
    ledger::{Ledger, Moment, Outcome, Place},
    refused::Refused,
    rights::Operation,
};

/// The services, for one client.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) centre: Arc<Shared>,
    pub(super) client: Arc<str>,
}

/// One call under way: whose it is, and all that the key centre knows.
struct Desk<'a> {
    client: &'a str,
    state: &'a mut State,
    now: Moment,
}

/// Calls of a service: each with its request, whose name is that of the call, and its answer.
macro_rules! calls {
    ($service:ident { $($call:ident($request:ident) -> $answer:ident;)* } $($rest:tt)*) => {
        #[tonic::async_trait]
        impl $service for Service {
            $(async fn $call(&self, request: Request<v1::$request>) -> Result<Response<v1::$answer>, Status> {
                self.answer(stringify!($request), request, |desk, message| desk.$call(message))
            })*
            $($rest)*
        }
    };
}
use calls;

impl Service {
    fn answer<Q, A>(
        &self,
        request_name: &'static str,
        request: Request<Q>,
        work: impl FnOnce(&mut Desk<'_>, Q) -> Result<A, Refused>,
    ) -> Result<Response<A>, Status> {
        let id = request.metadata().get("x-request-id").and_then(|id| id.to_str().ok().map(str::to_owned));
        let now = self.centre.now();
        let mut state = self.centre.state();
        let name = request_name.strip_suffix("Request").unwrap_or(request_name);
        *state.calls.entry(name).or_default() += 1;
        let answered = match state.failures.pop_front() {
            Some(reason) => Err(reason.into()),
            None => {
                let mut desk = Desk { client: &self.client, state: &mut state, now };
                work(&mut desk, request.into_inner())
            }
        };
        answered.map(Response::new).map_err(|refused| refused.status(id.as_deref()))
    }
}

impl Desk<'_> {
    fn ledger(&mut self) -> &mut Ledger {
        &mut self.state.ledger
    }

    fn revision(&self) -> u64 {
        self.state.ledger.revision
    }

    fn may(&self, operation: Operation, tenant: Option<&str>, key: Option<&str>) -> bool {
        self.state.restrictions.allow(self.client, operation, tenant, key)
    }

    /// Leave for something that is about no tenant.
    fn authorize(&self, operation: Operation) -> Result<(), Refused> {
        if self.may(operation, None, None) { Ok(()) } else { Err(Reason::PolicyDenied.into()) }
    }

    /// Leave for something that is about a tenant, which need not be there.
    fn authorize_tenant(&self, operation: Operation, tenant: &str) -> Result<TenantName, Refused> {
        let name = TenantName::try_from(tenant)?;
        if self.may(operation, Some(tenant), None) {
            Ok(name)
        } else {
            Err(Reason::TenantNotAccessible.into())
        }
    }

    /// Leave for something that is about a key, of which the family counts, and which need not be there.
    fn authorize_key(&self, operation: Operation, tenant: &str, key: &KeyName) -> Result<(), Refused> {
        let allowed = self.may(operation, Some(tenant), Some(key.family().as_str()));
        if allowed { Ok(()) } else { Err(Reason::KeyNotAccessible.into()) }
    }

    /// The key named in a request, with leave for it. One that does not exist is refused as one that is not the caller's.
    fn permit(&self, operation: Operation, tenant: &str, key: &str) -> Result<Place, Refused> {
        match self.state.ledger.place(tenant, key) {
            Some(place) => self.authorize_key(operation, tenant, &place.key).map(|()| place),
            None => {
                TenantName::try_from(tenant)?;
                KeyName::try_from(key)?;
                Err(Reason::KeyNotAccessible.into())
            }
        }
    }

    /// Changes something, once for a request id.
    fn once<M: Message>(
        &mut self,
        operation: Operation,
        request_id: &str,
        message: &M,
        change: impl FnOnce(&mut Ledger, Moment) -> Result<Outcome, Refused>,
    ) -> Result<Outcome, Refused> {
        let now = self.now;
        let (client, message) = (self.client, message.encode_to_vec());
        let ledger = &mut self.state.ledger;
        if let Some(outcome) = ledger.once.before((client, operation, request_id), &message)? {
            return Ok(outcome);
        }
        let outcome = change(ledger, now)?;
        ledger.once.note((client, operation, request_id), message, outcome.clone())?;
        Ok(outcome)
    }
}

/// An item of a batch that came to something, or to an error of its own.
fn item<T, O>(
    result: Result<T, Refused>,
    made: impl FnOnce(T) -> O,
    failed: impl FnOnce(v1::ItemError) -> O,
) -> O {
    match result {
        Ok(value) => made(value),
        Err(refused) => failed(refused.item()),
    }
}
