//! Connections against a real listener.

use std::time::Duration;

use super::ConnectProblem;
use crate::{
    Error, Kms, Reason,
    testing::{Loopback, TestCa, until},
};

fn problem(error: &Error) -> &ConnectProblem {
    match error {
        Error::Unreachable { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_trusted() {
    let server = Loopback::start();
    std::fs::write(server.dir().join("ca.pem"), TestCa::new().pem()).unwrap();
    let error = Kms::connect(server.profile("attendance")).await.unwrap_err();
    assert!(matches!(problem(&error), ConnectProblem::ServerNotTrusted(_)), "{error}");
    assert_eq!((error.exit_code(), error.is_retryable()), (6, false));
    assert!(error.to_string().contains("`ca`"), "{error}");
}

#[tokio::test]
async fn a_certificate_the_server_refuses_is_told_from_a_server_that_is_away() {
    let mut server = Loopback::start();
    TestCa::new().client("stranger").write(server.dir(), "stranger");
    let error = Kms::connect(server.profile("stranger")).await.unwrap_err();
    assert!(matches!(problem(&error), ConnectProblem::IdentityRefused(_)), "{error}");
    assert_eq!((error.exit_code(), error.reason()), (5, Some(Reason::IdentityMissing)));

    let lazy = Kms::builder(server.profile("stranger")).build().unwrap();
    let error = lazy.generate_random(1).await.unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert_eq!(lazy.server_calls(), 1, "it is not tried again");

    server.stop();
    let error = Kms::connect(server.profile("attendance")).await.unwrap_err();
    assert!(matches!(problem(&error), ConnectProblem::Network(_)), "{error}");
    assert_eq!((error.exit_code(), error.reason()), (6, Some(Reason::ServerUnreachable)));
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused_before_any_connection() {
    let server = Loopback::start();
    let other = server.ca.client("other");
    std::fs::write(server.dir().join("attendance.key"), other.key.serialize_pem()).unwrap();
    let error = Kms::connect(server.profile("attendance")).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("belongs to another certificate"), "{error}");
    std::fs::write(server.dir().join("attendance.key"), "nothing").unwrap();
    let error = Kms::connect(server.profile("attendance")).await.unwrap_err();
    assert!(error.to_string().contains("holds no private key"), "{error}");
}

#[tokio::test]
async fn new_connections_show_the_new_certificate_and_calls_in_flight_finish() {
    let server = Loopback::start();
    let kms = Kms::builder(server.profile("attendance")).connections(1).connect().await.unwrap();
    kms.generate_random(1).await.unwrap();
    server.faults().hold_calls();
    let in_flight = tokio::spawn({
        let kms = kms.clone();
        async move { kms.generate_random(2).await }
    });
    until("the call has arrived", || server.centre.calls_of("GenerateRandom") == 2).await;

    let renewed = server.ca.client("attendance");
    renewed.write(server.dir(), "attendance");
    kms.reload_certificates().unwrap();
    server.faults().release_calls();
    assert_eq!(in_flight.await.unwrap().unwrap().len(), 2);
    kms.generate_random(3).await.unwrap();
    let peers = server.peers();
    assert_eq!(peers.len(), 2);
    assert_ne!(peers[0], renewed.certificate.as_ref());
    assert_eq!(peers[1], renewed.certificate.as_ref());
}

#[tokio::test]
async fn files_that_change_are_noticed_and_broken_ones_leave_the_last_good_set() {
    let server = Loopback::start();
    let settings = super::tls::TlsSettings::load(server.profile("attendance")).unwrap();
    assert!(!settings.reload_if_changed().unwrap());

    let before = settings.current();
    std::fs::write(server.dir().join("attendance.pem"), "broken").unwrap();
    assert!(settings.reload_if_changed().is_err());
    assert!(std::sync::Arc::ptr_eq(&before, &settings.current()));

    server.ca.client("attendance").write(server.dir(), "attendance");
    assert!(settings.reload_if_changed().unwrap());
    assert!(!settings.reload_if_changed().unwrap());
}

#[tokio::test]
async fn calls_spread_over_all_connections() {
    let server = Loopback::start();
    let kms = Kms::builder(server.profile("attendance")).connections(4).build().unwrap();
    server.faults().hold_calls();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let kms = kms.clone();
            tokio::spawn(async move { kms.generate_random(1).await })
        })
        .collect();
    until("eight calls have arrived", || server.centre.calls_of("GenerateRandom") == 8).await;
    assert_eq!(server.peers().len(), 4);
    server.faults().release_calls();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    let mut server = Loopback::start();
    let kms = Kms::builder(server.profile("attendance")).deadline(Duration::from_secs(20)).build().unwrap();
    kms.generate_random(1).await.unwrap();
    server.restart();
    assert_eq!(kms.generate_random(5).await.unwrap().len(), 5);
}
