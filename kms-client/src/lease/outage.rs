//! A server that was away for a while, and many clients that wait for it.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;

use crate::{
    Error, Kms,
    testing::{ATTENDANCE, TENANT, phone, row, scene},
};

const OPEN: &str = "OpenDataKeys";
const CLIENTS: u64 = 40;
const TASKS: usize = 5;
const STEP: Duration = Duration::from_millis(250);

/// Several tasks of one client want the same key.
async fn seal(kms: &Kms) -> Vec<Result<Vec<u8>, Error>> {
    let records = kms.records(&TENANT.parse().unwrap(), &ATTENDANCE.parse().unwrap());
    let (column, row) = (phone(), row("1"));
    join_all((0..TASKS).map(|_| records.seal(&column, &row, b"x"))).await
}

#[tokio::test]
async fn clients_of_a_server_that_is_back_come_one_by_one_and_ask_once_each() {
    let scene = scene();
    let clients: Vec<Kms> = (0..CLIENTS).map(|_| scene.cold()).collect();
    scene.centre.stop();
    // Long enough away for the longest wait.
    for _ in 0..8 {
        let away = clients.iter().map(|kms| kms.clone().with_deadline(Duration::from_millis(50)));
        let away: Vec<Kms> = away.collect();
        for error in join_all(away.iter().map(seal)).await.into_iter().flatten() {
            assert!(error.unwrap_err().is_retryable());
        }
        scene.centre.advance(Duration::from_secs(5));
    }
    let away: Vec<Kms> =
        clients.iter().map(|kms| kms.clone().with_deadline(Duration::from_millis(50))).collect();
    join_all(away.iter().map(seal)).await;
    assert_eq!(scene.calls(OPEN), 0);

    scene.centre.start();
    let (mut came, mut served) = (Vec::new(), HashMap::new());
    for step in 0..=20 {
        let before = scene.calls(OPEN);
        for (client, sealed) in join_all(clients.iter().map(seal)).await.into_iter().enumerate() {
            let served_now = sealed.iter().filter(|sealed| sealed.is_ok()).count();
            assert!([0, TASKS].contains(&served_now), "tasks of one client are served together");
            if served_now > 0 {
                served.entry(client).or_insert(step);
            }
        }
        came.push(scene.calls(OPEN) - before);
        scene.centre.advance(STEP);
    }
    assert_eq!(served.len() as u64, CLIENTS, "within five seconds all are served");
    assert_eq!(scene.calls(OPEN), CLIENTS, "one call for each client, whatever its tasks");
    let most = came.iter().max().unwrap();
    assert!(*most <= CLIENTS / 2, "they come spread: {came:?}");
}
