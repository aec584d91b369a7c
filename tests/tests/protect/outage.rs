//! The server is killed while a batch is under way.

use std::time::Duration;

use kms_client::{Kms, Profile, Reason};
use rustix::process::Signal;

use super::{CheckIn, Scene, SealedCheckIn, checkin, client};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_fails_what_was_cold_and_nothing_else() {
    let scene = Scene::with(&["acme", "globex"]).await;
    let rows: Vec<CheckIn> = (0..40)
        .map(|n| CheckIn { company_id: ["acme", "globex"][n as usize % 2].into(), ..checkin(n) })
        .collect();
    let twins: Vec<SealedCheckIn> =
        scene.service.seal_all(&rows).await.into_iter().collect::<Result<_, _>>().unwrap();

    let profile = Profile::load(scene.place.profile("attendance")).unwrap();
    let hasty = Kms::builder(profile).deadline(Duration::from_secs(3)).connect().await.unwrap();
    let warm: Vec<_> = twins.iter().filter(|twin| twin.company_id == "acme").cloned().collect();
    assert!(hasty.open_all(warm).await.iter().all(Result::is_ok));

    // It has stopped: the call is on its way, and no answer comes.
    scene.server.signal(Signal::STOP);
    let before = hasty.server_calls();
    let batch = tokio::spawn({
        let (hasty, twins) = (hasty.clone(), twins.clone());
        async move { hasty.open_all(twins).await }
    });
    while hasty.server_calls() == before {
        tokio::task::yield_now().await;
    }
    scene.server.kill();
    let opened = batch.await.unwrap();
    assert_eq!(opened.len(), rows.len());
    for (opened, row) in opened.iter().zip(&rows) {
        match (&*row.company_id, opened) {
            ("acme", opened) => assert!(opened.as_ref().unwrap() == row, "its keys were at hand"),
            (_, opened) => {
                let error = opened.as_ref().map(|_| ()).unwrap_err();
                assert!(
                    matches!(error.reason(), Some(Reason::ServerUnreachable | Reason::DeadlineExceeded)),
                    "{error}"
                );
                assert!(!format!("{error} {error:?}").contains("employee number"), "{error}");
            }
        }
    }
    // Nothing was half done: what was sealed opens once a server is there again.
    let _server = scene.place.start();
    let again = client(&scene.place, "attendance").await;
    let opened = again.open_all(twins).await;
    assert!(opened.iter().zip(&rows).all(|(opened, row)| opened.as_ref().unwrap() == row));
}
