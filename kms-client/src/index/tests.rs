//! Blind indexes against a key centre in memory, on a clock that tests move.

use std::{sync::Arc, time::Duration};

use kms_proto::reason::Reason;

use crate::{
    Error, IndexedColumn, Indexes, Normalizer, ToIndex,
    api::DestroyTarget,
    testing::{ATTENDANCE, Rights, SETTLING, Scene, TENANT, scene, until},
};

const OPEN: &str = "OpenDataKeys";
const KEY: &str = "attendance.index";

fn indexes(kms: &crate::Kms) -> Indexes {
    kms.index(&TENANT.parse().unwrap(), &KEY.parse().unwrap())
}

fn phone() -> IndexedColumn {
    IndexedColumn::new("checkins", "phone", "eq", 64).unwrap()
}

fn calls(scene: &Scene) -> u64 {
    scene.calls(OPEN)
}

#[tokio::test]
async fn a_cold_probe_makes_one_call_and_warm_ones_none() {
    let scene = scene();
    let index = indexes(&scene.kms);
    let probes = index.probes(&phone(), b"138").await.unwrap();
    assert_eq!(calls(&scene), 1);
    assert_eq!(probes, [index.value(&phone(), b"138").await.unwrap()]);
    let items = [b"138", b"139"].map(|normalized| (phone(), normalized));
    let items: Vec<_> =
        items.iter().map(|(column, normalized)| ToIndex { column, normalized: *normalized }).collect();
    let values = index.values(&items).await.unwrap();
    assert_eq!(values[..1], probes[..]);
    assert_ne!(values[1], probes[0]);
    assert!(index.versions().await.unwrap().are_settled());
    assert_eq!(calls(&scene), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cold_probes_make_one_call() {
    let scene = scene();
    scene.hold_calls();
    let index = indexes(&scene.kms);
    let probe = |n: u32| {
        let index = index.clone();
        tokio::spawn(async move { index.probes(&phone(), &n.to_be_bytes()).await })
    };
    let tasks: Vec<_> = (0..1_000).map(probe).collect();
    until("the call has arrived", || calls(&scene) == 1).await;
    scene.release_calls();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().len(), 1);
    }
    assert_eq!(calls(&scene), 1);
}

#[tokio::test]
async fn rows_are_looked_for_under_every_live_version_and_written_under_the_one_that_has_settled() {
    let scene = scene();
    let first = indexes(&scene.kms).value(&phone(), b"138").await.unwrap();

    scene.rotate(KEY).await;
    scene.centre.advance(SETTLING / 2);
    let unsettled = indexes(&scene.cold());
    assert_eq!(unsettled.value(&phone(), b"138").await.unwrap(), first);
    assert!(!unsettled.versions().await.unwrap().are_settled());
    assert_eq!(unsettled.probes(&phone(), b"138").await.unwrap().len(), 2);

    // The lease from before still runs.
    scene.centre.advance(SETTLING / 2);
    let settled = indexes(&scene.cold());
    let second = settled.value(&phone(), b"138").await.unwrap();
    assert_ne!(second, first);
    assert_eq!(settled.probes(&phone(), b"138").await.unwrap(), [second.clone(), first.clone()]);
    assert!(unsettled.probes(&phone(), b"138").await.unwrap().contains(&second), "those before find it too");

    scene.destroy(KEY, DestroyTarget::Version(1)).await;
    let later = indexes(&scene.cold());
    assert_eq!(later.probes(&phone(), b"138").await.unwrap(), [second]);
}

#[tokio::test]
async fn a_lease_goes_over_to_the_newest_version_at_the_moment_that_it_was_told() {
    let scene = scene();
    let soon = Duration::from_secs(10);
    scene.rotate(KEY).await;
    scene.centre.advance(SETTLING - soon);
    let index = indexes(&scene.kms);
    let before = index.value(&phone(), b"138").await.unwrap();
    let asked = calls(&scene);
    scene.centre.advance(Duration::from_secs(9));
    assert_eq!(index.value(&phone(), b"138").await.unwrap(), before);
    scene.centre.advance(Duration::from_secs(1));
    let after = index.value(&phone(), b"138").await.unwrap();
    assert_ne!(after, before);
    assert!(index.versions().await.unwrap().are_settled());
    assert_eq!(index.probes(&phone(), b"138").await.unwrap(), [after, before]);
    assert_eq!(calls(&scene), asked, "nobody was asked again");

    // Servers of before do not say which it is: then the lease stays as it was given.
    scene.rotate(KEY).await;
    scene.centre.advance(SETTLING - soon);
    scene.faults().twist_index(|leased| leased.settles_under = None);
    let cold = scene.cold();
    let index = indexes(&cold);
    let before = index.value(&phone(), b"138").await.unwrap();
    scene.centre.advance(soon);
    assert_eq!(index.value(&phone(), b"138").await.unwrap(), before);
}

#[tokio::test]
async fn who_waits_for_the_newest_version_asks_again_when_it_takes_rows() {
    let scene = scene();
    scene.rotate(KEY).await;
    let index = indexes(&scene.kms);
    let before = index.value(&phone(), b"138").await.unwrap();
    let waiting = tokio::spawn({
        let index = index.clone();
        async move { index.settled().await }
    });
    until("it has asked anew", || calls(&scene) == 2).await;
    scene.centre.advance(SETTLING);
    assert!(waiting.await.unwrap().unwrap().are_settled());
    assert_ne!(index.value(&phone(), b"138").await.unwrap(), before);

    scene.rotate(KEY).await;
    scene.faults().twist_index(|leased| leased.writes_under = None);
    let error = indexes(&scene.cold()).settled().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyDeactivated));
}

#[tokio::test]
async fn probes_that_are_equal_under_two_versions_are_one() {
    let scene = scene();
    for _ in 1..20 {
        scene.rotate(KEY).await;
    }
    let bit = IndexedColumn::new("checkins", "phone", "eq", 1).unwrap();
    let mut probes = indexes(&scene.kms).probes(&bit, b"138").await.unwrap();
    probes.sort();
    assert_eq!(probes, [[0x00], [0x80]], "20 versions of one bit");
}

#[tokio::test]
async fn table_column_name_and_length_each_make_another_index() {
    let scene = scene();
    let index = indexes(&scene.kms);
    let here = index.value(&phone(), b"138").await.unwrap();
    for (table, column, name) in
        [("staff", "phone", "eq"), ("checkins", "mobile", "eq"), ("checkins", "phone", "last")]
    {
        let there = IndexedColumn::new(table, column, name, 64).unwrap();
        assert_ne!(index.value(&there, b"138").await.unwrap(), here);
    }
    let shorter = IndexedColumn::new("checkins", "phone", "eq", 20).unwrap();
    let shorter = index.value(&shorter, b"138").await.unwrap();
    assert_eq!((shorter.len(), &shorter[..2]), (3, &here[..2]));
    for bits in [0, 257] {
        assert!(matches!(IndexedColumn::new("t", "c", "eq", bits), Err(Error::Unsupported(_))));
    }
    assert!(matches!(IndexedColumn::new("t", "c", "", 8), Err(Error::Name(_))));
}

#[tokio::test]
async fn more_indexes_than_a_lease_keeps_prepared_are_the_same_each_time() {
    let scene = scene();
    let index = indexes(&scene.kms);
    let columns: Vec<_> =
        (0..1_100).map(|n| IndexedColumn::new("t", &n.to_string(), "eq", 64).unwrap()).collect();
    let items: Vec<_> = columns.iter().map(|column| ToIndex { column, normalized: b"x" }).collect();
    let once = index.values(&items).await.unwrap();
    assert_eq!(index.values(&items).await.unwrap(), once);
    let distinct: std::collections::HashSet<_> = once.iter().collect();
    assert_eq!((distinct.len(), calls(&scene)), (1_100, 1));
}

#[tokio::test]
async fn a_lease_of_an_index_is_wiped_at_its_end_though_somebody_holds_it_and_fetched_again() {
    let scene = scene();
    let index = indexes(&scene.kms);
    let value = index.value(&phone(), b"138").await.unwrap();
    let lease = scene.kms.shared.leases.peek(&index.want()).unwrap();
    assert!(lease.with_index_keys(|_| ()).is_ok() && !lease.is_wiped());
    scene.hold_calls();
    scene.centre.advance(Duration::from_secs(60));
    assert!(lease.with_index_keys(|_| ()).is_err(), "not a moment longer");
    until("it is wiped", || lease.is_wiped()).await;
    scene.release_calls();
    assert_eq!(index.value(&phone(), b"138").await.unwrap(), value);
    assert!(calls(&scene) >= 2);
}

#[tokio::test]
async fn a_lease_to_index_is_used_for_nothing_else_and_no_other_for_it() {
    let scene = scene();
    let index = indexes(&scene.kms);
    index.value(&phone(), b"138").await.unwrap();
    let lease = scene.kms.shared.leases.peek(&index.want()).unwrap();
    assert!(lease.with_data_key(|_| ()).is_err());
    assert!(lease.prepared(phone().table(), phone().column()).is_err());

    let records = scene.records();
    records.seal(&crate::testing::phone(), &crate::testing::row("1"), b"x").await.unwrap();
    let lease = scene.kms.lease(&records.want_to_seal(false)).await.unwrap();
    assert!(lease.with_index_keys(|_| ()).is_err());
    let of_another = scene.kms.index(&"other".parse().unwrap(), &KEY.parse().unwrap());
    let error = of_another.probes(&phone(), b"138").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyNotAccessible), "nor one tenant's for another");
    let before = calls(&scene);
    index.clone().with_purpose("billing").probes(&phone(), b"138").await.unwrap();
    assert_eq!(calls(&scene), before + 1, "nor one purpose's");
}

#[tokio::test]
async fn a_key_that_takes_no_new_values_is_still_searched() {
    let scene = scene();
    scene.faults().twist_index(|leased| leased.writes_under = None);
    let index = indexes(&scene.kms);
    assert_eq!(index.probes(&phone(), b"138").await.unwrap().len(), 1);
    let error = index.value(&phone(), b"138").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyDeactivated));
    assert!(!index.versions().await.unwrap().are_settled());
}

#[tokio::test]
async fn a_refusal_of_the_server_is_told_and_not_remembered() {
    let scene = scene();
    let index = indexes(&scene.kms);
    scene.centre.restrict(ATTENDANCE, Rights::none());
    assert_eq!(index.probes(&phone(), b"138").await.unwrap_err().reason(), Some(Reason::KeyNotAccessible));
    scene.centre.restrict(ATTENDANCE, Rights::all());
    scene.suspend(KEY).await;
    assert_eq!(index.probes(&phone(), b"138").await.unwrap_err().reason(), Some(Reason::KeySuspended));
    scene.resume(KEY).await;
    index.probes(&phone(), b"138").await.unwrap();
    scene.destroy(KEY, DestroyTarget::All).await;
    assert_eq!(index.probes(&phone(), b"138").await.unwrap_err().reason(), Some(Reason::KeyDestroyed));
    let of_data = scene.kms.index(&TENANT.parse().unwrap(), &"attendance".parse().unwrap());
    let error = of_data.probes(&phone(), b"138").await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), (Some(Reason::KeyUseMismatch), 2));
}

#[tokio::test]
async fn an_answer_that_is_not_an_index_key_as_asked_for_is_refused() {
    let twists: [fn(&mut kms_proto::v1::LeasedIndex); 8] = [
        |leased| leased.versions.clear(),
        |leased| leased.versions.push(leased.versions[0].clone()),
        |leased| leased.writes_under = Some(7),
        |leased| leased.versions[0].key = "payroll.index".into(),
        |leased| leased.versions[0].data_key_id = 5,
        |leased| leased.versions[0].data_key.truncate(31),
        |leased| leased.versions[0].lease = None,
        |leased| leased.versions[0].lease = Some(prost_types::Duration::default()),
    ];
    for twist in twists {
        let scene = scene();
        scene.faults().twist_index(twist);
        let error = indexes(&scene.kms).probes(&phone(), b"138").await.unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_lease_ends_with_the_first_of_its_versions() {
    let scene = scene();
    scene.rotate(KEY).await;
    scene
        .faults()
        .twist_index(|leased| leased.versions[1].lease = Some(Duration::from_secs(20).try_into().unwrap()));
    let index = indexes(&scene.kms);
    index.probes(&phone(), b"138").await.unwrap();
    scene.hold_calls();
    scene.centre.advance(Duration::from_secs(20));
    let waiting = tokio::spawn(async move { index.probes(&phone(), b"138").await });
    until("it is fetched again", || calls(&scene) == 2).await;
    scene.release_calls();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn debug_forms_show_no_values() {
    let scene = scene();
    let column = phone();
    let item = ToIndex { column: &column, normalized: b"zebra" };
    let index = indexes(&scene.kms);
    index.values(&[item]).await.unwrap();
    let shown = format!("{item:?} {index:?} {:?}", Arc::new(Normalizer::Phone));
    for hidden in ["zebra", "[122, 101"] {
        assert!(!shown.contains(hidden), "{hidden} is shown");
    }
}
