//! What can happen while a batch is under way: its lease ends, the server goes, the clock jumps, the caller gives up.

use std::time::Duration;

use futures_util::poll;
use kms_proto::reason::Reason;

use super::{CheckIn, checkin, sealed};
use crate::{
    Protect,
    testing::{scene, scene_with},
};

const OPEN: &str = "OpenDataKeys";
/// A lease of the scene, and more.
const LEASE: Duration = Duration::from_secs(61);

#[derive(Clone, PartialEq, Protect)]
#[protect(table = "memos", key = "attendance", tenant = "company_id", bind("id"))]
struct Memo {
    company_id: String,
    id: u32,
    #[protect(encrypt)]
    body: String,
}

fn memos() -> Vec<Memo> {
    (0..5_000).map(|id| Memo { company_id: "acme".into(), id, body: format!("memo {id}") }).collect()
}

#[tokio::test]
async fn a_lease_that_ends_in_the_middle_of_a_batch_is_followed_by_the_next() {
    let scene = scene();
    let rows = memos();
    // Warm for both.
    let twins = scene.kms.seal_all(&rows).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    scene.kms.open(&twins[0]).await.unwrap();
    let warm = scene.calls(OPEN);

    let mut sealing = Box::pin(scene.kms.seal_all(&rows));
    assert!(poll!(&mut sealing).is_pending(), "a long batch lets others run");
    scene.centre.advance(LEASE);
    let again = sealing.await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert!(scene.calls(OPEN) > warm);

    scene.kms.open(&twins[0]).await.unwrap();
    let warm = scene.calls(OPEN);
    let mut opening = Box::pin(scene.kms.open_all(again));
    assert!(poll!(&mut opening).is_pending());
    scene.centre.advance(LEASE);
    let opened = opening.await;
    assert!(opened.iter().zip(&rows).all(|(opened, row)| opened.as_ref().unwrap() == row));
    assert!(scene.calls(OPEN) > warm);
}

#[tokio::test]
async fn a_server_that_goes_in_the_middle_leaves_each_row_either_done_or_with_an_error_that_says_so() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_millis(300)));
    let rows = memos();
    let twins = scene.kms.seal_all(&rows).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    scene.kms.open(&twins[0]).await.unwrap();

    let mut opening = Box::pin(scene.kms.open_all(twins.clone()));
    assert!(poll!(&mut opening).is_pending());
    scene.centre.stop();
    scene.centre.advance(LEASE);
    let opened = opening.await;
    assert_eq!(opened.len(), rows.len());
    let (mut done, mut failed) = (0, 0);
    for (opened, row) in opened.iter().zip(&rows) {
        match opened {
            Ok(opened) => {
                assert!(opened == row);
                done += 1;
            }
            Err(error) => {
                assert_eq!((error.reason(), error.is_retryable()), (Some(Reason::ServerUnreachable), true));
                assert_eq!((error.table(), error.column()), ("memos", "body"));
                failed += 1;
            }
        }
    }
    assert!(done > 0 && failed > 0, "{done} done, {failed} failed");

    scene.centre.start();
    scene.centre.advance(Duration::from_secs(10));
    let kms = scene.kms.clone().with_deadline(Duration::from_secs(20));
    assert!(kms.open_all(twins).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn rows_work_on_without_the_server_until_their_lease_ends_and_then_say_why_not() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_millis(300)));
    let rows: Vec<CheckIn> = (1..=20).map(checkin).collect();
    let twins = sealed(&scene.kms, &rows).await;
    assert!(scene.kms.open_all(twins.clone()).await.iter().all(Result::is_ok));
    scene.centre.stop();
    scene.centre.advance(Duration::from_secs(59));
    assert!(scene.kms.seal_all(&rows).await.iter().all(Result::is_ok));
    assert!(scene.kms.open_all(twins.clone()).await.iter().all(Result::is_ok));
    scene.centre.advance(Duration::from_secs(1));
    for error in scene.kms.open_all(twins).await {
        let error = error.map(|_| ()).unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), (Some(Reason::ServerUnreachable), true));
        assert!(error.to_string().contains("cannot be reached"), "{error}");
    }
    assert!(scene.kms.seal_all(&rows).await.iter().all(Result::is_err));
}

#[tokio::test]
async fn a_clock_that_jumps_ends_leases_and_no_more() {
    let scene = scene();
    let rows: Vec<CheckIn> = (1..=20).map(checkin).collect();
    let twins = sealed(&scene.kms, &rows).await;
    // A machine that slept for a month; and one whose clock shows the end of time.
    for jump in [Duration::from_secs(30 * 86_400), Duration::from_secs(u64::MAX / 2)] {
        scene.centre.advance(jump);
        assert!(scene.kms.open_all(twins.clone()).await.iter().all(Result::is_ok));
        assert!(scene.kms.seal_all(&rows).await.iter().all(Result::is_ok));
    }
}

#[tokio::test]
async fn whoever_gives_up_does_not_take_those_down_who_wait_for_the_same_keys() {
    let scene = scene();
    let rows: Vec<CheckIn> = (1..=20).map(checkin).collect();
    let twins = sealed(&scene.kms, &rows).await;
    let cold = scene.cold();
    let before = scene.calls(OPEN);
    scene.hold_calls();
    let mut given_up = (Box::pin(cold.open_all(twins.clone())), Box::pin(cold.seal_all(&rows)));
    assert!(poll!(&mut given_up.0).is_pending() && poll!(&mut given_up.1).is_pending());
    let mut waiting = (Box::pin(cold.open_all(twins.clone())), Box::pin(cold.seal_all(&rows)));
    assert!(poll!(&mut waiting.0).is_pending() && poll!(&mut waiting.1).is_pending());
    drop(given_up);
    scene.release_calls();
    assert!(waiting.0.await.iter().all(Result::is_ok));
    assert!(waiting.1.await.iter().all(Result::is_ok));
    assert_eq!(scene.calls(OPEN), before + 2, "one call to open and one to seal");
}
