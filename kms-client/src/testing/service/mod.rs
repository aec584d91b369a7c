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

use std::{collections::BTreeMap, sync::Arc};

use kms_core::names::{KeyName, TenantName};
use kms_proto::{reason::Reason, v1};
use prost::Message;
use tonic::{Request, Response, Status};

use super::{
    centre::{Shared, State},
    ledger::{Ledger, Moment, Outcome, Place},
    refused::Refused,
    rights::{Asked, Operation},
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
                self.answer(stringify!($request), request, |desk, message| desk.$call(message)).await
            })*
            $($rest)*
        }
    };
}
use calls;

impl Service {
    async fn answer<Q: Clone + Send + 'static, A: Send + 'static>(
        &self,
        request_name: &'static str,
        request: Request<Q>,
        work: impl FnOnce(&mut Desk<'_>, Q) -> Result<A, Refused>,
    ) -> Result<Response<A>, Status> {
        let id = request.metadata().get("x-request-id").and_then(|id| id.to_str().ok().map(str::to_owned));
        let (name, message) =
            (request_name.strip_suffix("Request").unwrap_or(request_name), request.into_inner());
        *self.centre.state().calls.entry(name).or_default() += 1;
        #[cfg(test)]
        self.centre.faults.arrives(id.clone(), message.clone()).await?;
        let answer = self.work(message, work).map_err(|refused| refused.status(id.as_deref()))?;
        #[cfg(test)]
        let answer = self.centre.faults.leaves(answer).await;
        Ok(Response::new(answer))
    }

    fn work<Q, A>(
        &self,
        message: Q,
        work: impl FnOnce(&mut Desk<'_>, Q) -> Result<A, Refused>,
    ) -> Result<A, Refused> {
        let now = self.centre.now();
        let mut state = self.centre.state();
        match state.failures.pop_front() {
            Some(reason) => Err(reason.into()),
            None => work(&mut Desk { client: &self.client, state: &mut state, now }, message),
        }
    }
}

impl Desk<'_> {
    fn ledger(&mut self) -> &mut Ledger {
        &mut self.state.ledger
    }

    fn revision(&self) -> u64 {
        self.state.ledger.revision
    }

    fn may(&self, asked: Asked<'_>) -> bool {
        self.state.restrictions.allow(self.client, asked)
    }

    /// Leave for something that is about no tenant.
    fn authorize(&self, operation: Operation) -> Result<(), Refused> {
        let asked = Asked { operation, tenant: None, key: None, purpose: None };
        if self.may(asked) { Ok(()) } else { Err(Reason::PolicyDenied.into()) }
    }

    /// Leave for something that is about a tenant, which need not be there.
    fn authorize_tenant(&self, operation: Operation, tenant: &str) -> Result<TenantName, Refused> {
        let name = TenantName::try_from(tenant)?;
        let asked = Asked { operation, tenant: Some(tenant), key: None, purpose: None };
        if self.may(asked) { Ok(name) } else { Err(Reason::TenantNotAccessible.into()) }
    }

    /// Leave for something that is about a key, of which the family counts, and which need not be there.
    fn authorize_key(
        &self,
        operation: Operation,
        tenant: &str,
        key: &KeyName,
        purpose: Option<&str>,
    ) -> Result<(), Refused> {
        let key = Some(key.family().as_str());
        let allowed = self.may(Asked { operation, tenant: Some(tenant), key, purpose });
        if allowed { Ok(()) } else { Err(Reason::KeyNotAccessible.into()) }
    }

    /// The same for a key that is there, which keeps to its purposes.
    fn authorize_place(
        &self,
        operation: Operation,
        tenant: &str,
        place: &Place,
        purpose: Option<&str>,
    ) -> Result<(), Refused> {
        self.authorize_key(operation, tenant, &place.key, purpose)?;
        match !operation.is_for_a_purpose() || self.state.ledger.is_for(place, purpose)? {
            true => Ok(()),
            false => Err(Reason::KeyNotAccessible.into()),
        }
    }

    /// The key named in a request, with leave for it. One that does not exist is refused as one that is not the caller's.
    fn permit(&self, operation: Operation, tenant: &str, key: &str) -> Result<Place, Refused> {
        self.permit_for(operation, (tenant, key), None)
    }

    /// The same, where the caller states a purpose.
    fn permit_for(
        &self,
        operation: Operation,
        (tenant, key): (&str, &str),
        purpose: Option<&str>,
    ) -> Result<Place, Refused> {
        match self.state.ledger.place(tenant, key) {
            Some(place) => self.authorize_place(operation, tenant, &place, purpose).map(|()| place),
            None => {
                TenantName::try_from(tenant)?;
                KeyName::try_from(key)?;
                Err(Reason::KeyNotAccessible.into())
            }
        }
    }

    /// Works through a batch. Leave is asked once for each purpose that items state, and at least once: items that it is denied to fail
    /// alone, and where all state the same the call does.
    fn each<I, G: Ord + Default, L, T>(
        &mut self,
        items: Vec<Result<I, Refused>>,
        stated: impl Fn(&I) -> G,
        leave: impl Fn(&Self, &G) -> Result<L, Refused>,
        mut work: impl FnMut(&mut Self, &L, I) -> Result<T, Refused>,
    ) -> Result<Vec<Result<T, Refused>>, Refused> {
        let mut asked: BTreeMap<G, Result<L, Refused>> = BTreeMap::new();
        for item in items.iter().flatten() {
            asked.entry(stated(item)).or_insert_with_key(|stated| leave(self, stated));
        }
        if asked.is_empty() {
            leave(self, &G::default())?;
        }
        if let (1, Some(Err(refused))) = (asked.len(), asked.values().next()) {
            return Err(refused.clone());
        }
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            results.push(item.and_then(|item| match asked.get(&stated(&item)) {
                Some(Ok(leave)) => work(self, leave, item),
                Some(Err(refused)) => Err(refused.clone()),
                None => Err(Reason::Internal.into()),
            }));
        }
        Ok(results)
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
