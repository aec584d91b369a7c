//! Listens to what becomes of the keys that are held, purges, and confirms; for as long as the client lives.
//!
//! While nobody can be listened to, leases run on as they do: to their end, and not longer. Afterwards the server says whether it lost
//! sight of what this client holds; then that is leased anew.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::stream;
use kms_proto::v1::{
    WatchKeysRequest, WatchKeysResponse,
    watch_keys_request::{Confirm, Open, Request},
    watch_keys_response::{Event, Opened, Response},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::{Scope, Want, purge::Purge};
use crate::{
    api::crypto_client,
    call::jittered,
    kms::{DEADLINE, Kms, Shared, Terms},
};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Confirmations that may wait for the connection.
const AHEAD: usize = 16;

/// A stream that was opened.
struct Watch {
    confirms: mpsc::Sender<WatchKeysRequest>,
    events: Streaming<WatchKeysResponse>,
    opened: Opened,
}

/// Listens until the client is dropped.
pub(crate) async fn watch(shared: Weak<Shared>, dropped: CancellationToken) {
    // Whoever happened to lease first says nothing of how long this may take, nor is it part of what they trace.
    let terms = Terms { deadline: DEADLINE, traceparent: None, purpose: Arc::from("") };
    let listening = async {
        let mut failures: u32 = 0;
        while let Some(client) = shared.upgrade() {
            let kms = Kms { shared: client, terms: terms.clone() };
            let opened = open(&kms).await;
            let ended = match opened {
                Ok(watch) => {
                    failures = 0;
                    if watch.opened.stale {
                        lease_anew(&kms);
                    }
                    // Nothing of this keeps the client alive while it listens.
                    drop(kms);
                    listen(&shared, watch).await
                }
                Err(status) => status,
            };
            if ended.code() == Code::Unimplemented {
                tracing::info!("the key centre tells nobody what becomes of keys; leases end by themselves");
                return;
            }
            tracing::debug!(%ended, "key events are not heard");
            // ATTACK: clients of a server that comes back must not come back all in one moment.
            sleep(jittered(FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT))).await;
            failures += 1;
        }
    };
    dropped.run_until_cancelled(listening).await;
}

async fn open(kms: &Kms) -> Result<Watch, Status> {
    let (confirms, mut said) = mpsc::channel(AHEAD);
    let open = Open { client_instance: kms.shared.leases.instance().to_owned() };
    // There is room for the first.
    drop(confirms.try_send(WatchKeysRequest { request: Some(Request::Open(open)) }));
    let said = stream::poll_fn(move |context| said.poll_recv(context));
    let request = kms.request(said, &Uuid::new_v4().to_string());
    let channel = kms.shared.pool.borrow().channel();
    let opening = async {
        let mut events = crypto_client(channel).watch_keys(request).await?.into_inner();
        match events.message().await?.and_then(|first| first.response) {
            Some(Response::Opened(opened)) => Ok(Watch { confirms, events, opened }),
            _ => Err(Status::data_loss("a stream of key events that does not say that it is open")),
        }
    };
    let late = |_| Err(Status::deadline_exceeded("key events could not be listened to in time"));
    timeout(kms.terms.deadline, opening).await.unwrap_or_else(late)
}

/// Purges and confirms until the stream ends; says how it did.
async fn listen(shared: &Weak<Shared>, mut watch: Watch) -> Status {
    loop {
        let event = match watch.events.message().await {
            Ok(Some(WatchKeysResponse { response: Some(Response::Event(event)) })) => event,
            Ok(Some(_)) => return Status::data_loss("a message that is no key event"),
            Ok(None) => return Status::unavailable("the stream of key events ended"),
            Err(status) => return status,
        };
        let Some(shared) = shared.upgrade() else { return Status::cancelled("") };
        let number = event.number;
        if let Err(status) = purge(shared, event).await {
            return status;
        }
        let confirm = WatchKeysRequest { request: Some(Request::Confirm(Confirm { number })) };
        if watch.confirms.send(confirm).await.is_err() {
            return Status::unavailable("the stream of key events ended");
        }
    }
}

/// ORDER: returns, and so is confirmed, only once every use under way has ended.
async fn purge(shared: Arc<Shared>, event: Event) -> Result<(), Status> {
    // A user of a data key may take as long as it likes: on a thread that may wait.
    let runtime = shared.runtime.clone();
    let purged = runtime.spawn_blocking(move || shared.leases.purge(Purge::of(&event)));
    purged.await.map_err(|_| Status::cancelled("the runtime is stopping"))
}

/// Asks again for all that is in use, in one call a scope; what is denied ends.
fn lease_anew(kms: &Kms) {
    let mut scopes: HashMap<Scope, Vec<Want>> = HashMap::new();
    for want in kms.shared.leases.stale() {
        scopes.entry(want.scope.clone()).or_default().push(want);
    }
    for (scope, wants) in scopes {
        kms.renew(&scope, wants);
    }
}

#[cfg(test)]
mod tests;
