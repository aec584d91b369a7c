//! Search by blind index against a real server: over rotation, rebuild and destruction, and who may not.

// Where a test's setting up fails, the test has failed: a panic with a line number is its message.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeSet, time::Duration};

use kms_client::{
    DestroyReason, IndexedColumn, Indexes, KeyClass, KeyName, Kms, Normalizer, Profile, Reason, TenantName,
    ToIndex,
    api::{Change, CreateKey, CreateTenant, DestroyKey, DestroyTarget, RotateKey},
};
use kms_tests::{Place, Server};

struct Scene {
    place: Place,
    _server: Server,
    operator: Kms,
    service: Kms,
}

/// The shortest lease that a key can have.
const LEASE: Duration = Duration::from_secs(1);

async fn client(place: &Place, name: &str) -> Kms {
    Kms::connect(Profile::load(place.profile(name)).unwrap()).await.unwrap()
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn index_key() -> KeyName {
    "attendance.index".parse().unwrap()
}

/// A tenant `acme` with an index key of a class.
async fn scene(class: KeyClass, lease: Option<Duration>) -> Scene {
    let place = Place::new();
    let server = place.start();
    let (operator, service) = (client(&place, "operator").await, client(&place, "attendance").await);
    operator.create_tenant(&acme(), CreateTenant::default()).await.unwrap();
    let how = CreateKey { class: Some(class), lease, ..CreateKey::default() };
    operator.create_key(&acme(), &index_key(), how).await.unwrap();
    Scene { place, _server: server, operator, service }
}

impl Scene {
    fn indexes(&self) -> Indexes {
        self.service.index(&acme(), &index_key())
    }

    /// The same key, with nothing at hand.
    async fn cold(&self) -> Indexes {
        client(&self.place, "attendance").await.index(&acme(), &index_key())
    }

    async fn destroy(&self, version: u32, force: bool) -> Result<(), Reason> {
        let how = DestroyKey {
            target: DestroyTarget::Version(version),
            reason: DestroyReason::Superseded,
            ticket: String::new(),
            force,
            window: None,
            change: Change::default(),
        };
        let done = self.operator.destroy_key(&acme(), &index_key(), how).await;
        done.map(drop).map_err(|error| error.reason().unwrap())
    }

    async fn rotate(&self) {
        self.operator.rotate_key(&acme(), &index_key(), RotateKey::default()).await.unwrap();
    }
}

fn phone() -> IndexedColumn {
    IndexedColumn::new("checkins", "phone", "eq", 64).unwrap()
}

/// A table's index column, with the number that was indexed.
#[derive(Default)]
struct Table(Vec<(String, Vec<u8>)>);

impl Table {
    async fn insert(&mut self, index: &Indexes, numbers: impl Iterator<Item = u32>) {
        for number in numbers {
            // Each number twice, written in two ways.
            for text in [format!("+86 138 {number:04}"), format!("0086-138-{number:04}")] {
                let value = index.value(&phone(), &Normalizer::Phone.normalize(&text)).await.unwrap();
                self.0.push((text, value));
            }
        }
    }

    async fn rebuild(&mut self, index: &Indexes) {
        let column = phone();
        let normalized: Vec<_> = self.0.iter().map(|(text, _)| Normalizer::Phone.normalize(text)).collect();
        let items: Vec<_> =
            normalized.iter().map(|normalized| ToIndex { column: &column, normalized }).collect();
        let values = index.values(&items).await.unwrap();
        self.0.iter_mut().zip(values).for_each(|((_, stored), value)| *stored = value);
    }

    /// Rows found by `WHERE phone_index IN (…)`.
    async fn find(&self, index: &Indexes, number: u32) -> Vec<&str> {
        let searched = Normalizer::Phone.normalize(&format!("+86138{number:04}"));
        let probes = index.probes(&phone(), &searched).await.unwrap();
        self.0.iter().filter(|(_, value)| probes.contains(value)).map(|(text, _)| text.as_str()).collect()
    }

    async fn check(&self, index: &Indexes, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let expected = [format!("+86 138 {number:04}"), format!("0086-138-{number:04}")];
            assert_eq!(self.find(index, number).await, expected, "{number}");
        }
    }
}

#[tokio::test]
async fn a_search_gives_the_same_rows_before_during_and_after_rotation_rebuild_and_destruction() {
    let scene = scene(KeyClass::L2, Some(LEASE)).await;
    let mut table = Table::default();
    table.insert(&scene.indexes(), 0..20).await;
    table.check(&scene.indexes(), 0..20).await;

    // Before the new version takes rows, and after: a client that asked at any moment finds what all others write.
    scene.rotate().await;
    let early = scene.cold().await;
    assert_eq!(early.versions().await.unwrap().live.len(), 2);
    assert!(!early.versions().await.unwrap().are_settled());
    table.insert(&early, 20..40).await;
    table.check(&scene.indexes(), 0..40).await;
    table.check(&scene.cold().await, 0..40).await;

    let settled = scene.cold().await;
    assert!(settled.settled().await.unwrap().are_settled());
    table.insert(&settled, 40..60).await;
    let versions: BTreeSet<_> = table.0.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(versions.len(), 60, "a number has one index under its version");
    table.check(&settled, 0..60).await;
    table.check(&scene.cold().await, 0..60).await;

    table.rebuild(&settled).await;
    table.check(&settled, 0..60).await;
    // Leases to write under the first version run out.
    while let Err(reason) = scene.destroy(1, false).await {
        assert_eq!(reason, Reason::SealingLeasesRun);
    }
    let after = scene.cold().await;
    assert_eq!(after.versions().await.unwrap().live.len(), 1);
    table.check(&after, 0..60).await;
    assert_eq!(after.probes(&phone(), b"x").await.unwrap().len(), 1, "the old version's probes are gone");
}

#[tokio::test]
async fn a_row_that_was_not_rebuilt_is_found_no_more_once_its_version_is_destroyed() {
    let scene = scene(KeyClass::L2, None).await;
    let mut table = Table::default();
    table.insert(&scene.indexes(), 0..1).await;
    scene.rotate().await;
    assert_eq!(scene.destroy(1, false).await, Err(Reason::SealingLeasesRun), "rows are written under it");
    scene.destroy(1, true).await.unwrap();
    let index = scene.cold().await;
    assert!(index.versions().await.unwrap().are_settled(), "there is no other to write under");
    assert!(table.find(&index, 0).await.is_empty());
    table.rebuild(&index).await;
    table.check(&index, 0..1).await;
}

#[tokio::test]
async fn one_call_makes_an_index_warm_and_a_thousand_that_miss_it_make_one() {
    let scene = scene(KeyClass::L2, None).await;
    let before = scene.service.server_calls();
    let probes = (0..1_000u32).map(|n| {
        let index = scene.indexes();
        tokio::spawn(async move { index.probes(&phone(), &n.to_be_bytes()).await })
    });
    for probe in probes.collect::<Vec<_>>() {
        assert_eq!(probe.await.unwrap().unwrap().len(), 1);
    }
    assert_eq!(scene.service.server_calls(), before + 1);
    scene.indexes().value(&phone(), b"138").await.unwrap();
    assert_eq!(scene.service.server_calls(), before + 1, "warm");
}

#[tokio::test]
async fn who_may_not_open_with_the_index_key_indexes_nothing() {
    let scene = scene(KeyClass::L2, None).await;
    for name in ["hr-portal", "operator", "compliance"] {
        let index = client(&scene.place, name).await.index(&acme(), &index_key());
        let error = index.probes(&phone(), b"138").await.unwrap_err();
        assert_eq!((error.reason(), error.exit_code()), (Some(Reason::KeyNotAccessible), 5), "{name}");
        assert!(index.value(&phone(), b"138").await.is_err(), "{name}");
    }
    let nowhere = scene.service.index(&acme(), &"nowhere.index".parse().unwrap());
    let error = nowhere.probes(&phone(), b"138").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyNotAccessible), "as one that is there and not ours");
}

#[tokio::test]
async fn another_tenants_index_of_the_same_value_differs() {
    let scene = scene(KeyClass::L2, None).await;
    let umbrella: TenantName = "umbrella".parse().unwrap();
    scene.operator.create_tenant(&umbrella, CreateTenant::default()).await.unwrap();
    scene.operator.create_key(&umbrella, &index_key(), CreateKey::default()).await.unwrap();
    let theirs = scene.service.index(&umbrella, &index_key()).value(&phone(), b"138").await.unwrap();
    assert_ne!(scene.indexes().value(&phone(), b"138").await.unwrap(), theirs);
}

#[tokio::test]
async fn a_suspended_key_indexes_nothing_until_it_is_resumed_and_a_destroyed_one_never_again() {
    let scene = scene(KeyClass::L2, None).await;
    let value = scene.indexes().value(&phone(), b"138").await.unwrap();
    scene.operator.suspend_key(&acme(), &index_key(), Change::default()).await.unwrap();
    let error = scene.cold().await.probes(&phone(), b"138").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeySuspended));
    scene.operator.resume_key(&acme(), &index_key(), Change::default()).await.unwrap();
    assert_eq!(scene.cold().await.probes(&phone(), b"138").await.unwrap(), [value]);

    scene.destroy(1, true).await.unwrap();
    let error = scene.cold().await.probes(&phone(), b"138").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyDestroyed));
}

#[tokio::test]
async fn class_l4_releases_no_index_key() {
    let scene = scene(KeyClass::L4, None).await;
    let error = scene.indexes().probes(&phone(), b"138").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ClassReleasesNoDataKeys));
}
