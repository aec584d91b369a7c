//! What metrics say of hits, misses and fetches. Names and labels are in the guide, for those who watch them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kms_proto::v1::{
    KeyEventKind,
    watch_keys_response::{Event, event::Item},
};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

use super::purge::Purge;
use crate::{
    Error,
    testing::{ATTENDANCE, Rights, Scene, TENANT, phone, row, scene, scene_with, until},
};

/// Counters as `name{label="value"}`, and how often something was measured.
#[derive(Default)]
struct Counted(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counted {
    fn place(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value())).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.0.lock().entry(format!("{}{labels}", key.name())).or_default().clone()
    }

    fn of(&self, name: &str) -> u64 {
        self.0.lock().get(name).map_or(0, |count| count.load(Relaxed))
    }

    fn misses(&self, reason: &str) -> u64 {
        self.of(&format!("kms_client_lease_misses_total{{reason=\"{reason}\"}}"))
    }

    fn fetches(&self, outcome: &str) -> u64 {
        self.of(&format!("kms_client_lease_fetches_total{{outcome=\"{outcome}\"}}"))
    }

    fn hits(&self) -> u64 {
        self.of("kms_client_lease_hits_total")
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.place(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.place(key);
        Histogram::noop()
    }
}

async fn seal(scene: &Scene) -> Result<Vec<u8>, Error> {
    scene.records().seal(&phone(), &row("1"), b"x").await
}

#[tokio::test]
async fn hits_are_counted_and_a_first_miss_is_cold() {
    let counted = Counted::default();
    let _guard = metrics::set_default_local_recorder(&counted);
    let scene = scene();
    for hits in 0..3 {
        seal(&scene).await.unwrap();
        assert_eq!((counted.hits(), counted.misses("cold"), counted.fetches("leased")), (hits, 1, 1));
    }
}

#[tokio::test]
async fn a_lease_that_ended_is_missed_as_expired_whether_or_not_it_was_wiped_yet() {
    let counted = Counted::default();
    let _guard = metrics::set_default_local_recorder(&counted);
    let scene = scene();
    seal(&scene).await.unwrap();
    // Nothing else has run since, so what has ended is still there.
    scene.centre.advance(Duration::from_secs(60));
    seal(&scene).await.unwrap();
    assert_eq!((counted.misses("expired"), counted.misses("cold")), (1, 1));

    scene.centre.advance(Duration::from_secs(50));
    until("it is renewed", || counted.of("kms_client_lease_renewals_total") > 0).await;
}

#[tokio::test]
async fn a_miss_says_whether_the_server_refused_an_event_ended_it_or_the_budget_was_spent() {
    let counted = Counted::default();
    let _guard = metrics::set_default_local_recorder(&counted);
    let refused = scene();
    seal(&refused).await.unwrap();
    refused.centre.restrict(ATTENDANCE, Rights::none());
    refused.centre.advance(Duration::from_secs(49));
    until("the renewal is refused", || counted.fetches("denied") == 1).await;
    seal(&refused).await.unwrap_err();
    assert_eq!((counted.misses("refused"), counted.fetches("denied")), (1, 2));

    let purged = scene();
    seal(&purged).await.unwrap();
    let version_id = purged.records().sealing_version(&phone()).await.unwrap().get();
    let item = Item { tenant: TENANT.into(), key: ATTENDANCE.into(), version_id };
    let kind = KeyEventKind::Destroyed.into();
    purged.kms.shared.leases.purge(Purge::of(&Event {
        number: 1,
        store_revision: 0,
        kind,
        items: vec![item],
    }));
    seal(&purged).await.unwrap();
    assert_eq!(counted.misses("purged"), 1, "{:?}", counted.0.lock());
    assert_eq!(counted.of("kms_client_leases_purged_total{event=\"destroyed\"}"), 1);
    assert!(counted.0.lock().contains_key("kms_client_purge_seconds"));

    let spent = scene();
    spent.faults().limit_budget(1);
    let (column, rows) = (phone(), [row("1"), row("2")]);
    let item = |record| crate::ToSealField { column: &column, record, plaintext: b"x" };
    assert!(spent.records().seal_batch(&[item(&rows[0]), item(&rows[1])]).await.iter().all(Result::is_ok));
    assert!(counted.misses("budget") >= 1);
}

#[tokio::test]
async fn a_server_that_is_away_is_a_failed_fetch_and_no_denial() {
    let counted = Counted::default();
    let _guard = metrics::set_default_local_recorder(&counted);
    let scene = scene_with(|builder| builder.deadline(Duration::from_millis(200)));
    scene.centre.stop();
    for _ in 0..5 {
        seal(&scene).await.unwrap_err();
    }
    assert_eq!((counted.misses("cold"), counted.fetches("failed"), counted.fetches("denied")), (5, 1, 0));
}

#[test]
fn every_name_and_label_is_in_the_guide() {
    let guide = include_str!("../../../docs/field-encryption.md");
    for name in [
        "kms_client_lease_hits_total",
        "kms_client_lease_misses_total",
        "kms_client_lease_fetches_total",
        "kms_client_lease_renewals_total",
        "kms_client_leases_purged_total",
        "kms_client_purge_seconds",
    ] {
        assert!(guide.contains(name), "{name}");
    }
    for label in ["cold", "expired", "budget", "refused", "purged", "leased", "denied", "failed"] {
        assert!(guide.contains(&format!("`{label}`")), "{label}");
    }
}
