//! `WatchKeys`: tells a client what became of the keys that it was leased, and hears what it has purged.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use kms_proto::v1::{WatchKeysRequest, WatchKeysResponse, watch_keys_request::Request as Said};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{
    super::{centre::Shared, holders::Telling, ledger::Client, refused::Refused},
    Service,
    leases::client,
};

type Told = Result<WatchKeysResponse, Status>;

/// What a client is told, until the connection or the key centre ends it.
pub(crate) struct Events(mpsc::UnboundedReceiver<Told>);

impl Stream for Events {
    type Item = Told;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Told>> {
        self.0.poll_recv(context)
    }
}

impl Service {
    pub(super) async fn watch(
        &self,
        request: Request<Streaming<WatchKeysRequest>>,
    ) -> Result<Response<Events>, Status> {
        let mut said = request.into_inner();
        let first = said.message().await?.and_then(|message| message.request);
        let client = opens(&self.client, first).map_err(|refused| refused.status(None))?;
        let (telling, told) = mpsc::unbounded_channel();
        {
            let mut state = self.centre.state();
            let run = state.run.as_ref().map(|(run, _)| run.to_string()).unwrap_or_default();
            state.ledger.holders.listens(&client, run, telling.clone());
        }
        #[cfg(test)]
        self.centre.faults.listens(client.instance.to_string());
        tokio::spawn(hear(self.centre.clone(), client, said, telling));
        Ok(Response::new(Events(told)))
    }
}

fn opens(name: &str, first: Option<Said>) -> Result<Client, Refused> {
    let Some(Said::Open(open)) = first else { return Err(Refused::required("open")) };
    client(name, &open.client_instance)?.ok_or_else(|| Refused::required("client_instance"))
}

/// Hears what the client has purged, until it is gone or says something wrong.
async fn hear(centre: Arc<Shared>, client: Client, mut said: Streaming<WatchKeysRequest>, telling: Telling) {
    loop {
        let message = tokio::select! {
            () = telling.closed() => None,
            message = said.message() => message.ok().flatten(),
        };
        let Some(message) = message else { break };
        let confirmed = match message.request {
            Some(Said::Confirm(confirm)) => centre.state().ledger.holders.confirmed(&client, confirm.number),
            _ => false,
        };
        if !confirmed {
            let words =
                "a confirmation of an event that was not told on this stream, or was confirmed already";
            drop(telling.send(Err(Refused::invalid(words).status(None))));
            break;
        }
        centre.heard();
    }
    let mut state = centre.state();
    // While the key centre is away its clients hold on to what they have, and come again.
    if state.run.is_some() {
        state.ledger.holders.gone(&client, &telling);
    }
    drop(state);
    centre.heard();
}
