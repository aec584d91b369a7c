//! Rows opened as they come, and what may happen in the middle of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, poll, stream};
use kms_proto::reason::Reason;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{CheckIn, SealedCheckIn, checkin, sealed};
use crate::{
    protect::{FieldProblem, stream::MOST_AT_ONCE},
    testing::{Scene, scene, scene_with, until},
};

const OPEN: &str = "OpenDataKeys";

#[derive(Debug, PartialEq)]
struct Lost;

type Source = Result<SealedCheckIn, Lost>;

async fn rows_of(scene: &Scene, count: u128) -> (Vec<CheckIn>, Vec<SealedCheckIn>) {
    let rows: Vec<CheckIn> = (1..=count).map(checkin).collect();
    let twins = sealed(&scene.kms, &rows).await;
    (rows, twins)
}

/// A source that counts what was taken from it, and holds a clone of the counter for as long as it lives.
fn counted(twins: Vec<SealedCheckIn>) -> (impl Stream<Item = Source> + Send, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let source = stream::iter(twins).map(move |twin| {
        counter.fetch_add(1, Relaxed);
        Ok(twin)
    });
    (source, taken)
}

#[tokio::test]
async fn rows_come_out_in_order_for_one_call_when_cold_and_none_when_warm() {
    let scene = scene();
    let (rows, twins) = rows_of(&scene, 3_000).await;
    let cold = scene.cold();
    for further in [1, 0] {
        let before = scene.calls(OPEN);
        let (source, _) = counted(twins.clone());
        let opened: Vec<_> = cold.open_stream(source).try_collect().await.unwrap();
        assert!(opened.into_iter().map(Result::unwrap).eq(rows.iter().cloned()));
        assert_eq!(scene.calls(OPEN), before + further);
    }
    let nothing = cold.open_stream(stream::empty::<Source>()).next().await;
    assert!(nothing.is_none());
}

#[tokio::test]
async fn an_error_of_the_source_stands_where_it_came_and_so_does_a_row_that_does_not_open() {
    let scene = scene();
    let (rows, mut twins) = rows_of(&scene, 9).await;
    twins[6].employee = twins[5].employee.clone();
    let mut source: Vec<Source> = twins.into_iter().map(Ok).collect();
    source[3] = Err(Lost);
    let opened: Vec<_> = scene.kms.open_stream(stream::iter(source)).collect().await;
    assert_eq!(opened.len(), 9);
    for ((at, opened), row) in opened.into_iter().enumerate().zip(rows) {
        match (at, opened) {
            (3, opened) => assert_eq!(opened.map(|_| ()), Err(Lost)),
            (6, opened) => {
                let error = opened.unwrap().map(|_| ()).unwrap_err();
                assert_eq!((error.column(), error.reason()), ("employee", Some(Reason::CiphertextRejected)));
            }
            (_, opened) => assert!(opened.unwrap().unwrap() == row),
        }
    }
}

#[tokio::test]
async fn a_row_does_not_wait_for_those_after_it() {
    let scene = scene();
    let (rows, twins) = rows_of(&scene, 2).await;
    let (send, source) = mpsc::unbounded_channel::<Source>();
    let mut opened = scene.kms.open_stream(UnboundedReceiverStream::new(source));
    for (row, twin) in rows.into_iter().zip(twins) {
        assert!(poll!(opened.next()).is_pending());
        send.send(Ok(twin)).unwrap();
        assert!(opened.next().await.unwrap().unwrap().unwrap() == row);
    }
    drop(send);
    assert!(opened.next().await.is_none());
}

#[tokio::test]
async fn it_reads_ahead_so_far_and_no_further() {
    let scene = scene();
    let (_, twins) = rows_of(&scene, 4_000).await;
    scene.hold_calls();
    let (source, taken) = counted(twins);
    let mut opened = scene.kms.open_stream(source);
    assert!(poll!(opened.next()).is_pending(), "the data key is on its way");
    let ahead = taken.load(Relaxed);
    assert!((2..=MOST_AT_ONCE).contains(&ahead), "{ahead}");
    for _ in 0..10 {
        tokio::task::yield_now().await;
        assert!(poll!(opened.next()).is_pending());
    }
    assert_eq!(taken.load(Relaxed), ahead, "the rest is left where it is");
    scene.release_calls();
    for row in 1..=4_000 {
        opened.next().await.unwrap().unwrap().unwrap();
        let ahead = taken.load(Relaxed) - row;
        assert!(ahead <= MOST_AT_ONCE, "{ahead} at {row}");
    }
}

#[tokio::test]
async fn dropped_in_the_middle_it_lets_go_of_the_source_and_opens_nothing_more() {
    let scene = scene();
    let (_, twins) = rows_of(&scene, 4_000).await;
    let (source, taken) = counted(twins.clone());
    let mut opened = scene.kms.open_stream(source);
    for _ in 0..700 {
        opened.next().await.unwrap().unwrap().unwrap();
    }
    drop(opened);
    assert_eq!(Arc::strong_count(&taken), 1, "the source is dropped");
    assert!(taken.load(Relaxed) < 4_000);

    // While a call is under way: what waits for it is given up, and the client works on.
    let cold = scene.cold();
    let before = scene.calls(OPEN);
    scene.hold_calls();
    let (source, taken) = counted(twins.clone());
    let mut opened = cold.open_stream(source);
    assert!(poll!(opened.next()).is_pending());
    until("the call has arrived", || scene.calls(OPEN) == before + 1).await;
    assert!(Arc::strong_count(&cold.shared) > 2, "tasks wait");
    drop(opened);
    assert_eq!(Arc::strong_count(&taken), 1);
    scene.release_calls();
    cold.open(&twins[0]).await.unwrap();
    assert_eq!(scene.calls(OPEN), before + 1, "the call is joined, not made again");
}

#[tokio::test]
async fn a_lease_that_ends_in_the_middle_is_taken_anew_and_where_there_is_none_the_rows_say_so() {
    let scene = scene_with(|builder| builder.deadline(Duration::from_millis(400)));
    let (rows, twins) = rows_of(&scene, 3_000).await;
    let cold = scene.cold();
    let (source, _) = counted(twins.clone());
    let mut opened = cold.open_stream(source);
    for row in &rows[..10] {
        assert!(opened.next().await.unwrap().unwrap().unwrap() == *row);
    }
    scene.centre.advance(Duration::from_secs(61));
    for row in &rows[10..] {
        assert!(opened.next().await.unwrap().unwrap().unwrap() == *row);
    }
    assert_eq!(cold.server_calls(), 2, "one lease after the other");

    let (source, _) = counted(twins);
    let mut opened = scene.kms.open_stream(source);
    opened.next().await.unwrap().unwrap().unwrap();
    scene.centre.stop();
    scene.centre.advance(Duration::from_secs(61));
    let rest: Vec<_> = opened.try_collect().await.unwrap();
    assert_eq!(rest.len(), 2_999, "every row has its answer");
    let failed: Vec<_> = rest.iter().skip_while(|row| row.is_ok()).collect();
    assert!(failed.len() > 1_000, "{} rows: all that were not opened in time", failed.len());
    for row in failed {
        let error = row.as_ref().map(|_| ()).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::ServerUnreachable), "{error}");
        assert!(error.is_retryable() && matches!(error.problem(), FieldProblem::Kms(_)));
    }
}

#[tokio::test]
async fn a_stream_that_nobody_polls_does_nothing() {
    let scene = scene();
    let (_, twins) = rows_of(&scene, 2).await;
    let before = scene.calls(OPEN);
    let (source, taken) = counted(twins);
    let opened = scene.kms.open_stream(source);
    assert!(tokio::task::yield_now().now_or_never().is_none());
    assert_eq!((taken.load(Relaxed), scene.calls(OPEN)), (0, before));
    drop(opened);
}
