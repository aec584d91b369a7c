//! `WatchKeys` of service `kms.v1.Crypto`: what became of the keys that a client was leased, and what it confirms to have purged.
//!
//! No policy is asked: a client is told of what it was leased, which policy allowed and the audit has, and of nothing else; and one that
//! may use a key no more must hear all the same that it is destroyed. To whoever was leased nothing, the stream is silent.
//!
//! ATTACK: a stream costs memory for as long as its client likes. So an identity has a share of them, a client that does not take its
//! events is cut off, one that does not say who it is has the time of a call for it, and one that is gone is noticed by the connection's
//! keepalive.

use std::pin::Pin;
use std::sync::Arc;

use kms_proto::reason::Reason;
use kms_proto::v1;
use kms_proto::v1::watch_keys_request::Request as Said;
use kms_proto::v1::watch_keys_response::{Event, Opened, Response as Told, event};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::leases::client;
use super::status::Failure;
use super::{Core, accept};
use crate::audit::RequestId;
use crate::gate::Caller;
use crate::keyring::watches::{Cut, KeyEvent, Kind, NoWatch, Watching};
use crate::share::Place;
use crate::tls::Peer;

pub(super) type Events = Pin<Box<dyn Stream<Item = Result<v1::WatchKeysResponse, Status>> + Send>>;

/// Streams of one identity.
const MOST_OF_ONE: usize = 4_096;
/// Events that wait for the connection; the rest waits where it is counted.
const AHEAD: usize = 4;

impl Core {
    pub(super) async fn watch_keys(
        &self,
        request: Request<Streaming<v1::WatchKeysRequest>>,
    ) -> Result<Response<Events>, Status> {
        let share = request.extensions().get::<Peer>().map(|peer| Arc::clone(&peer.share));
        let (caller, mut said) = accept(request)?;
        let failed = |failure: Failure| failure.status(caller.request_id.as_str());
        let place = share.and_then(|share| share.watch(MOST_OF_ONE));
        let place = place.ok_or_else(|| failed(Reason::RateLimited.into()))?;
        // Until it is answered it is a call like any other, and its deadline ends it.
        let first = said.message().await?.and_then(|message| message.request);
        let watching = self.open_watch(&caller, first).map_err(failed)?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let opened =
            Opened { server_instance: self.keyring.instance().to_owned(), stale: watching.is_stale() };
        // There is room for the first.
        drop(sender.try_send(Ok(told(Told::Opened(opened)))));
        let stream = WatchStream { watching, said, sender, request_id: caller.request_id, _place: place };
        tokio::spawn(stream.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    fn open_watch(&self, caller: &Caller, first: Option<Said>) -> Result<Watching, Failure> {
        let Some(Said::Open(open)) = first else { return Err(Failure::required("open")) };
        let client = client(caller, &open.client_instance)?;
        let client = client.ok_or_else(|| Failure::required("client_instance"))?;
        self.keyring.watch(&client).map_err(|no| match no {
            NoWatch::Full => Reason::Overloaded.into(),
            NoWatch::Closed => Reason::ShuttingDown.into(),
        })
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::message(reason, reason.words())
    }
}

/// One stream, both ways.
struct WatchStream {
    watching: Watching,
    said: Streaming<v1::WatchKeysRequest>,
    sender: mpsc::Sender<Result<v1::WatchKeysResponse, Status>>,
    request_id: Arc<RequestId>,
    _place: Place,
}

impl WatchStream {
    async fn run(mut self) {
        metrics::gauge!("kms_watching_clients").increment(1);
        if let Err(Some(why)) = self.serve().await {
            let status = why.status(self.request_id.as_str());
            // Where there is no room for it, the client sees the stream end all the same.
            drop(self.sender.try_send(Err(status)));
        }
        metrics::gauge!("kms_watching_clients").decrement(1);
    }

    /// Until one of both sides ends it; gives what the client is to be told, if it is still there.
    async fn serve(&mut self) -> Result<(), Option<Failure>> {
        let Self { watching, said, sender, .. } = self;
        loop {
            let turn = tokio::select! {
                biased;
                () = sender.closed() => return Err(None),
                message = said.message() => Turn::Said(message.ok().flatten().ok_or(None)?),
                // ORDER: an event is counted as told only with room for it.
                event = room_then_next(sender, watching) => Turn::Next(event.ok_or(None)?),
            };
            match turn {
                Turn::Said(message) => confirm(watching, message).map_err(Some)?,
                Turn::Next(Ok((permit, event))) => permit.send(Ok(told(Told::Event(event)))),
                Turn::Next(Err(cut)) => return Err(Some(failure(cut))),
            }
        }
    }
}

enum Turn<'a> {
    Said(v1::WatchKeysRequest),
    Next(Result<(Permit<'a>, Event), Cut>),
}

fn confirm(watching: &mut Watching, message: v1::WatchKeysRequest) -> Result<(), Failure> {
    let Some(Said::Confirm(confirm)) = message.request else { return Err(Failure::required("confirm")) };
    let confirmed = watching.confirm(confirm.number);
    confirmed.map_err(|error| Failure::message(Reason::FieldInvalid, error.to_string()))
}

type Permit<'a> = mpsc::Permit<'a, Result<v1::WatchKeysResponse, Status>>;

/// The next event, once there is room to send it. `None` where the client is gone.
async fn room_then_next<'a>(
    sender: &'a mpsc::Sender<Result<v1::WatchKeysResponse, Status>>,
    watching: &mut Watching,
) -> Option<Result<(Permit<'a>, Event), Cut>> {
    let ended = watching.ended();
    let permit = tokio::select! {
        biased;
        () = ended.cancelled() => return Some(Err(watching.why())),
        permit = sender.reserve() => permit.ok()?,
    };
    Some(watching.next().await.map(|(number, event)| (permit, event_to_wire(number, &event))))
}

fn failure(cut: Cut) -> Failure {
    match cut {
        Cut::Closed => Reason::ShuttingDown.into(),
        Cut::Overtaken => Failure::message(
            Reason::Overloaded,
            "this client did not take or confirm its events in time, or watches by another stream; open one again",
        ),
    }
}

fn told(response: Told) -> v1::WatchKeysResponse {
    v1::WatchKeysResponse { response: Some(response) }
}

fn event_to_wire(number: u64, event: &KeyEvent) -> Event {
    let kind = match event.kind {
        Kind::Destroyed => v1::KeyEventKind::Destroyed,
        Kind::Suspended => v1::KeyEventKind::Suspended,
        Kind::Rotated => v1::KeyEventKind::Rotated,
    };
    let items = event.items.iter().map(|item| event::Item {
        tenant: item.tenant.to_string(),
        key: item.key.as_ref().map(ToString::to_string).unwrap_or_default(),
        version_id: item.version.get(),
    });
    Event { number, store_revision: event.revision.0, kind: kind.into(), items: items.collect() }
}

#[cfg(test)]
mod tests {
    use kms_core::id::Uid;
    use kms_core::names::KeyName;
    use prost::Message as _;

    use super::*;
    use crate::keyring::watches::TOLD_AT_ONCE;
    use crate::rpc::limits::MAX_MESSAGE;

    #[test]
    fn the_longest_event_fits_a_message() {
        let name = "n".repeat(63);
        let key = KeyName::of_subject_id(name.parse().unwrap(), Uid([0xFF; 16])).to_string();
        let longest = event::Item { tenant: name, key, version_id: u64::MAX };
        let event = Event {
            number: u64::MAX,
            store_revision: u64::MAX,
            kind: v1::KeyEventKind::Destroyed.into(),
            items: vec![longest; TOLD_AT_ONCE],
        };
        let length = told(Told::Event(event)).encoded_len();
        assert!((MAX_MESSAGE / 4..MAX_MESSAGE / 2).contains(&length), "{length}");
    }
}
