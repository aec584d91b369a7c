//! Who is counted as a holder, on a store in memory.

use futures_util::FutureExt as _;
use kms_core::id::{LeafSlot, Uid};
use kms_core::state::LifecycleState;

use super::*;
use crate::keyring::tests::{Ground, KEY};
use crate::records::state_number;

const MINUTE: u64 = 60_000;

fn client(identity: &str) -> Client {
    Client { identity: IdentityName::Spiffe(identity.into()), instance: Uuid::new_v4() }
}

impl Ground {
    fn note(&self, number: u32, issued_before: bool, client: Option<&Client>) {
        let (key, version) = (&self.key(KEY), self.id(number));
        let to_seal = Some(ToSeal::Randomized);
        self.keyring.holders().note(Lease { key, version, to_seal, issued_before, client });
    }

    /// Whether the writer has been told, and has put on record, that an epoch is quiesced.
    async fn is_quiesced(&self, epoch: Epoch) -> bool {
        // Changes are made in order: what was told before this one is on record once it is.
        for _ in 0..2 {
            let nothing = |_: &mut crate::erasure::Change<'_>| Ok::<_, std::convert::Infallible>(());
            self.keyring.writer().commit(nothing).await.unwrap();
        }
        self.keyring.writer().snapshot().erased(epoch).unwrap()
    }

    fn pairs(&self) -> usize {
        self.keyring.holders().state.lock().pairs
    }
}

#[tokio::test]
async fn a_version_whose_only_holder_confirms_is_quiesced_and_not_before() {
    let ground = Ground::new(1 << 20).await;
    let one = client("one");
    // Of a tenant that was made before the keyring, nothing is known but what was on record.
    ground.note(1, false, Some(&one));
    let mut watching = ground.keyring.watch(&one).unwrap();
    let epoch = ground.destroy_leased(1, MINUTE).await;
    assert!(!ground.is_quiesced(epoch).await);
    let (number, event) = watching.next().await.unwrap();
    assert_eq!((number, event.kind, event.items[0].version), (1, Kind::Destroyed, ground.id(1)));
    assert!(!ground.is_quiesced(epoch).await, "told is not confirmed");
    watching.confirm(1).unwrap();
    assert!(ground.is_quiesced(epoch).await);
    assert_eq!(ground.pairs(), 0);
}

#[tokio::test]
async fn what_an_earlier_process_handed_out_is_waited_for_although_all_known_holders_confirm() {
    let ground = Ground::new(1 << 20).await;
    let one = client("one");
    ground.note(1, true, Some(&one));
    let mut watching = ground.keyring.watch(&one).unwrap();
    let epoch = ground.destroy_leased(1, MINUTE).await;
    watching.next().await.unwrap();
    watching.confirm(1).unwrap();
    assert!(!ground.is_quiesced(epoch).await);
    // And of a version that this process gave no lease of.
    let epoch = ground.destroy_leased(2, MINUTE).await;
    assert!(!ground.is_quiesced(epoch).await);
}

#[tokio::test]
async fn a_tenant_of_an_earlier_process_is_waited_for_although_all_known_holders_confirm() {
    let ground = Ground::new(1 << 20).await;
    let one = client("one");
    ground.note(1, false, Some(&one));
    let mut watching = ground.keyring.watch(&one).unwrap();
    let epoch = ground.destroy_tenant_leased(MINUTE).await;
    let (_, event) = watching.next().await.unwrap();
    assert_eq!((event.kind, &event.items[0].key), (Kind::Destroyed, &None));
    watching.confirm(1).unwrap();
    assert!(!ground.is_quiesced(epoch).await, "of its other versions nothing is known");
}

#[tokio::test]
async fn a_lease_that_is_attributed_to_nobody_is_waited_for() {
    let ground = Ground::new(1 << 20).await;
    let one = client("one");
    ground.note(1, false, Some(&one));
    ground.note(1, true, None);
    let mut watching = ground.keyring.watch(&one).unwrap();
    let epoch = ground.destroy_leased(1, MINUTE).await;
    watching.next().await.unwrap();
    watching.confirm(1).unwrap();
    assert!(!ground.is_quiesced(epoch).await);
}

#[tokio::test]
async fn who_holds_subjects_of_a_family_that_is_suspended_hears_of_it_once_and_nobody_else_does() {
    let ground = Ground::new(1 << 20).await;
    let [holds, other] = [client("holds"), client("other")];
    let tenant = ground.keyring.tenant("acme").unwrap();
    for (number, id) in [(1, 7), (2, 8)] {
        let subject = ground.give_subject(KEY, Uid([id; 16])).await;
        let (key, version) = (&ground.keyring.key_at(&tenant, &subject).unwrap(), ground.id(number));
        let (to_seal, client) = (Some(ToSeal::Randomized), Some(&holds));
        ground.keyring.holders().note(Lease { key, version, to_seal, issued_before: false, client });
    }
    let (key, version) = (&ground.key("payroll"), VersionId::new(tenant.slot, LeafSlot(1_000)));
    let (to_seal, client) = (Some(ToSeal::Randomized), Some(&other));
    ground.keyring.holders().note(Lease { key, version, to_seal, issued_before: false, client });
    let mut heard = [&holds, &other].map(|client| ground.keyring.watch(client).unwrap());
    ground.turn(KEY, |family| family.rotations += 1).await;
    ground.turn(KEY, |family| family.state = state_number(LifecycleState::Suspended)).await;
    let (number, event) = heard[0].next().now_or_never().unwrap().unwrap();
    assert_eq!(
        (number, event.kind),
        (1, Kind::Suspended),
        "a rotation is heard of as each subject follows it"
    );
    assert_eq!(*event.items, [Item::of(&ground.key(KEY), None)]);
    assert!(heard.iter_mut().all(|watching| watching.next().now_or_never().is_none()));
}

#[tokio::test]
async fn a_subjects_name_is_not_kept_with_the_lease_that_it_was_asked_by() {
    let ground = Ground::new(1 << 20).await;
    let subject = ground.give_subject(KEY, Uid([7; 16])).await;
    let tenant = ground.keyring.tenant("acme").unwrap();
    let asked = ground.keyring.key_at(&tenant, &subject).unwrap().asked_by("Zebediah".parse().unwrap());
    let (key, version, client) = (&Arc::new(asked), ground.id(1), client("one"));
    assert!(format!("{key:?}").contains("Zebediah"), "the control");
    let lease = Lease { key, version, to_seal: None, issued_before: false, client: Some(&client) };
    ground.keyring.holders().note(lease);
    let kept = Arc::clone(&ground.keyring.holders().state.lock().versions[&version].key);
    assert_eq!(kept.name, subject);
    assert!(!format!("{kept:?}").contains("Zebediah"));
}

#[tokio::test]
async fn one_identity_is_attributed_a_quarter_and_another_one_still_something() {
    let ground = Ground::new(1 << 20).await;
    let (key, greedy, other) = (&ground.key(KEY), client("greedy"), client("other"));
    let note = |slot: u32, client: &Client| {
        let version = VersionId::new(key.tenant.slot, LeafSlot(1_000 + slot));
        let (to_seal, client) = (None, Some(client));
        ground.keyring.holders().note(Lease { key, version, to_seal, issued_before: false, client });
    };
    let most = u32::try_from(super::super::held::MOST_OF_ONE).unwrap();
    for slot in 0..most + 10 {
        note(slot, &greedy);
    }
    assert_eq!(ground.pairs(), super::super::held::MOST_OF_ONE);
    note(0, &other);
    assert_eq!(ground.pairs(), super::super::held::MOST_OF_ONE + 1);
    let state = ground.keyring.holders().state.lock();
    let beyond = VersionId::new(key.tenant.slot, LeafSlot(1_000 + most));
    assert!(state.versions[&beyond].unnamed.is_some(), "counted to its end, without a name");
}

#[tokio::test]
async fn leases_that_have_ended_are_swept_out_with_their_clients() {
    let ground = Ground::new(1 << 20).await;
    let mut state = ground.keyring.holders().state.lock();
    let key = ground.key(KEY);
    let listens = client("listens");
    let id = state.client(&listens);
    state.known.get_mut(&id).unwrap().lost = true;
    for slot in 0..5_000 {
        let version = VersionId::new(key.tenant.slot, LeafSlot(1_000 + slot));
        let client = client("one");
        let lease = Lease { key: &key, version, to_seal: None, issued_before: false, client: Some(&client) };
        state.note(lease, BootTime(Duration::from_secs(1)), false);
    }
    assert_eq!((state.pairs, state.versions.len()), (5_000, 5_000));
    state.sweep_if_due(BootTime::now());
    assert_eq!((state.pairs, state.versions.len(), state.known.len()), (0, 0, 0));
    assert!(!state.knows(&listens));
}
