//! Clients that are slow, that confirm what they should not, and a server that stops.

use uuid::Uuid;

use super::*;
use crate::identity::IdentityName;
use crate::keyring::holders::Lease;
use crate::keyring::tests::{Ground, KEY};

fn client() -> Client {
    Client { identity: IdentityName::Spiffe("one".into()), instance: Uuid::new_v4() }
}

fn event() -> KeyEvent {
    KeyEvent { kind: Kind::Suspended, revision: CommitNumber(1), items: Arc::new([]), epoch: None }
}

impl Ground {
    fn held_by(&self, client: &Client) -> ClientId {
        let (key, version) = (&self.key(KEY), self.id(1));
        let lease = Lease { key, version, to_seal: None, issued_before: false, client: Some(client) };
        self.keyring.holders().note(lease);
        self.keyring.holders().state.lock().client(client)
    }

    fn tell(&self, client: ClientId, times: usize) {
        let mut state = self.keyring.holders().state.lock();
        (0..times).for_each(|_| state.tell(client, event()));
    }
}

#[tokio::test]
async fn a_client_that_does_not_take_its_events_is_cut_off_and_is_to_lease_anew() {
    let ground = Ground::new(1 << 20).await;
    let one = client();
    let id = ground.held_by(&one);
    let mut slow = ground.keyring.watch(&one).unwrap();
    assert!(!slow.is_stale());
    ground.tell(id, AHEAD);
    assert!(!slow.ended().is_cancelled());
    ground.tell(id, 1);
    assert_eq!(slow.next().await, Err(Cut::Overtaken));
    drop(slow);
    assert!(ground.keyring.watch(&one).unwrap().is_stale());
}

#[tokio::test]
async fn a_client_that_is_away_for_long_is_to_lease_anew_and_one_for_short_is_told() {
    let ground = Ground::new(1 << 20).await;
    let (short, long) = (client(), client());
    let ids = [&short, &long].map(|client| ground.held_by(client));
    ground.tell(ids[0], 2);
    ground.tell(ids[1], 1_000);
    let mut watching = ground.keyring.watch(&short).unwrap();
    assert!(!watching.is_stale());
    for number in 1..=2 {
        assert_eq!(watching.next().await.unwrap().0, number);
    }
    assert!(ground.keyring.watch(&long).unwrap().is_stale());
}

#[tokio::test]
async fn what_was_told_and_not_confirmed_may_be_lost() {
    let ground = Ground::new(1 << 20).await;
    let one = client();
    let id = ground.held_by(&one);
    let mut watching = ground.keyring.watch(&one).unwrap();
    ground.tell(id, 3);
    for _ in 0..3 {
        watching.next().await.unwrap();
    }
    watching.confirm(3).unwrap();
    drop(watching);
    let mut watching = ground.keyring.watch(&one).unwrap();
    assert!(!watching.is_stale(), "it confirmed all");
    ground.tell(id, 1);
    watching.next().await.unwrap();
    drop(watching);
    assert!(ground.keyring.watch(&one).unwrap().is_stale());
}

#[tokio::test]
async fn a_client_that_takes_its_events_and_confirms_none_is_cut_off() {
    let ground = Ground::new(1 << 20).await;
    let one = client();
    let id = ground.held_by(&one);
    let mut watching = ground.keyring.watch(&one).unwrap();
    for number in 1..=u64::try_from(UNCONFIRMED).unwrap() {
        ground.tell(id, 1);
        assert_eq!(watching.next().await.unwrap().0, number);
    }
    ground.tell(id, 1);
    assert_eq!(watching.next().await, Err(Cut::Overtaken));
    watching.confirm(1).unwrap();
    watching.next().await.unwrap();
}

#[tokio::test]
async fn numbers_are_confirmed_once_in_order_and_only_when_told() {
    let ground = Ground::new(1 << 20).await;
    let one = client();
    let id = ground.held_by(&one);
    let mut watching = ground.keyring.watch(&one).unwrap();
    ground.tell(id, 4);
    assert!(watching.confirm(1).is_err(), "on its way, and not told");
    for _ in 0..3 {
        watching.next().await.unwrap();
    }
    assert!(watching.confirm(0).is_err() && watching.confirm(4).is_err());
    watching.confirm(2).unwrap();
    assert!(watching.confirm(2).is_err() && watching.confirm(1).is_err());
    watching.confirm(3).unwrap();
}

#[tokio::test]
async fn what_no_message_takes_is_told_in_parts_and_confirmed_with_the_last() {
    const ITEMS: usize = 2 * TOLD_AT_ONCE + 1;
    let ground = Ground::new(1 << 20).await;
    let one = client();
    let id = ground.held_by(&one);
    let key = ground.key(KEY);
    let slot = |slot| VersionId::new(key.tenant.slot, kms_core::id::LeafSlot(slot));
    let items: Arc<[_]> =
        (0..u32::try_from(ITEMS).unwrap()).map(|at| Item::of(&key, Some(slot(at)))).collect();
    let epoch = Some(Epoch(7));
    let long = KeyEvent { kind: Kind::Destroyed, items: Arc::clone(&items), epoch, ..event() };
    let tell = || ground.keyring.holders().state.lock().tell(id, long.clone());
    let mut watching = ground.keyring.watch(&one).unwrap();
    tell();
    ground.tell(id, 1);
    let mut told = Vec::new();
    for (number, epoch) in [(1, None), (2, None), (3, epoch)] {
        let (at, part) = watching.next().await.unwrap();
        assert_eq!((at, part.kind, part.epoch), (number, Kind::Destroyed, epoch));
        told.extend(part.items.iter().cloned());
    }
    assert_eq!(told, items[..], "each once, in order");
    assert_eq!(watching.next().await.unwrap(), (4, event()), "and then what follows");
    watching.confirm(2).unwrap();
    watching.confirm(4).unwrap();

    // Who leaves in the middle has not heard all of it.
    tell();
    watching.next().await.unwrap();
    watching.confirm(5).unwrap();
    drop(watching);
    assert!(ground.keyring.watch(&one).unwrap().is_stale());
    let mut watching = ground.keyring.watch(&one).unwrap();
    tell();
    watching.next().await.unwrap();
    ground.keyring.close_watches();
    assert_eq!(watching.next().await, Err(Cut::Closed), "nor is it told the rest once it is cut off");
}

#[tokio::test]
async fn a_server_that_stops_ends_all_streams_and_takes_none() {
    let ground = Ground::new(1 << 20).await;
    let (one, other) = (client(), client());
    let mut watching = ground.keyring.watch(&one).unwrap();
    ground.keyring.close_watches();
    assert_eq!(watching.next().await, Err(Cut::Closed));
    assert!(matches!(ground.keyring.watch(&other), Err(NoWatch::Closed)));
}

#[tokio::test]
async fn a_client_that_holds_nothing_and_listens_no_more_is_forgotten() {
    let ground = Ground::new(1 << 20).await;
    let (idle, holds) = (client(), client());
    ground.held_by(&holds);
    for client in [&idle, &holds] {
        drop(ground.keyring.watch(client).unwrap());
    }
    let state = ground.keyring.holders().state.lock();
    assert!(!state.knows(&idle) && state.knows(&holds));
    assert_eq!(state.watches, 0);
}
