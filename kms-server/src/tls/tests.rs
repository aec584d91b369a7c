//! Handshakes over loopback sockets. The client's view of a refusal comes with its first read: TLS 1.3 lets it finish first.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use rcgen::{CertificateParams, IsCa, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{
    house::{HOUR, House, client_config, closes, crl, files, write_credential},
    *,
};
use crate::{
    dev::authority::{self, Authority},
    identity::{IdentityName, KeyExchangeGroup},
};

#[tokio::test]
async fn a_verified_caller_is_known_by_its_spiffe_id_over_a_post_quantum_group() {
    let mut house = House::new().await;
    let (_, issued) = house.caller("attendance");
    let stream = house.knock(Some(&issued)).await.unwrap();
    let peer = house.peers.recv().await.unwrap();
    assert_eq!(peer.identity.name, IdentityName::Spiffe("spiffe://dev.local/attendance".into()));
    assert_eq!(peer.identity.group, KeyExchangeGroup::X25519MlKem768);
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(house.tls.connections(), 1);
}

#[tokio::test]
async fn no_ticket_is_sent_and_no_session_resumed() {
    let house = House::new().await;
    let (_, issued) = house.caller("attendance");
    let config = client_config(&house.authority, Some(&issued));
    for _ in 0..2 {
        let mut stream = house.knock_as(config.clone()).await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.tls13_tickets_received(), 0);
        assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let mut house = House::new().await;
    assert_eq!(house.refused(None).await, Refusal::NoCertificate);
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let mut house = House::new().await;
    let now = OffsetDateTime::now_utc();
    assert_eq!(house.refused_with(|p| p.not_after = now - HOUR / 2).await, Refusal::Expired);
    assert_eq!(house.refused_with(|p| p.not_before = now + HOUR / 2).await, Refusal::NotYetValid);
}

#[tokio::test]
async fn two_uri_names_or_a_wrong_one_are_refused() {
    let mut house = House::new().await;
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let second = uri("spiffe://dev.local/operator");
    assert_eq!(
        house.refused_with(|p| p.subject_alt_names.push(second)).await,
        Refusal::Leaf(LeafError::SeveralUris(2))
    );
    for wrong in ["https://dev.local/attendance", "spiffe://DEV.local/attendance", "spiffe://dev.local"] {
        assert_eq!(
            house.refused_with(|p| p.subject_alt_names = vec![uri(wrong)]).await,
            Refusal::Leaf(LeafError::NotSpiffe)
        );
    }
}

#[tokio::test]
async fn an_authority_is_not_a_caller() {
    let mut house = House::new().await;
    let ca = |p: &mut CertificateParams| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(house.refused_with(ca).await, Refusal::Leaf(LeafError::IsAuthority));
    let signer = |p: &mut CertificateParams| p.key_usages.push(KeyUsagePurpose::KeyCertSign);
    assert_eq!(house.refused_with(signer).await, Refusal::Leaf(LeafError::IsAuthority));
}

#[tokio::test]
async fn a_server_certificate_is_not_a_callers() {
    let mut house = House::new().await;
    let usage = |p: &mut CertificateParams| {
        p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(house.refused_with(usage).await, Refusal::BadCertificate);
}

#[tokio::test]
async fn a_foreign_domain_is_refused_even_when_signed_by_a_known_root() {
    let mut house = House::new().await;
    let foreign = SanType::URI("spiffe://elsewhere/attendance".try_into().unwrap());
    assert_eq!(house.refused_with(|p| p.subject_alt_names = vec![foreign]).await, Refusal::ForeignDomain);
}

#[tokio::test]
async fn a_known_name_from_an_unknown_root_is_refused() {
    let mut house = House::new().await;
    let stranger = Authority::create("root").unwrap().0;
    let params = authority::caller("spiffe://dev.local/attendance", HOUR).unwrap();
    let refusal = house.refused(Some(&stranger.issue(&params).unwrap())).await;
    assert!(matches!(refusal, Refusal::UnknownIssuer | Refusal::BadCertificate), "{refusal:?}");
}

#[tokio::test]
async fn the_root_of_one_domain_cannot_speak_for_another() {
    let (other, _) = Authority::create("other root").unwrap();
    let house = House::new().await;
    let mut files = files(&house.dir, false);
    house.write("other.pem", other.certificate());
    let trust = TrustFiles { ca: vec![house.dir.path().join("other.pem")], crl: vec![] };
    files.trust_domains.push(("other.local".try_into().unwrap(), trust));
    let tls = Tls::load(&files).unwrap();
    let verify = |id: &str| {
        let issued = other.issue(&authority::caller(id, HOUR).unwrap()).unwrap();
        let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        tls.0.active.load().trust.verify(&leaf, &[], UnixTime::now()).map(|(leaf, _)| leaf.name)
    };
    assert!(verify("spiffe://other.local/attendance").is_ok());
    assert_eq!(verify("spiffe://dev.local/attendance"), Err(Refusal::UnknownIssuer));
}

#[tokio::test]
async fn a_leaf_without_uri_name_is_known_by_its_public_key_only_where_roots_are_configured_for_it() {
    let mut house = House::new().await;
    let without = |p: &mut CertificateParams| p.subject_alt_names.clear();
    assert_eq!(house.refused_with(without).await, Refusal::ForeignDomain);

    let mut files = files(&house.dir, false);
    files.without_spiffe_id = Some(files.trust_domains[0].1.clone());
    let tls = Tls::load(&files).unwrap();
    let issued = house.authority.issue(&authority::params("somebody", HOUR).unwrap()).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let (read, _) = tls.0.active.load().trust.verify(&leaf, &[], UnixTime::now()).unwrap();
    assert!(matches!(read.name, IdentityName::Spki(_)), "{:?}", read.name);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_others_are_not() {
    let (authority, _) = Authority::create("root").unwrap();
    let revoked = authority::caller("spiffe://dev.local/attendance", HOUR).unwrap();
    let list = crl(&authority, 1, &[&revoked]);
    let mut house = House::with_crl(Some(list), authority).await;
    let issued = house.authority.issue(&revoked).unwrap();
    assert_eq!(house.refused(Some(&issued)).await, Refusal::Revoked);
    assert!(house.knock(Some(&house.caller("operator").1)).await.is_ok());
}

#[tokio::test]
async fn a_new_crl_closes_the_revoked_connection_and_leaves_the_other() {
    let (authority, _) = Authority::create("root").unwrap();
    let mut house = House::with_crl(Some(crl(&authority, 1, &[])), authority).await;
    let (params, leaving) = house.caller("attendance");
    let (_, staying) = house.caller("operator");
    let mut cut = house.knock(Some(&leaving)).await.unwrap();
    let _kept = house.knock(Some(&staying)).await.unwrap();

    house.write("crl.pem", &crl(&house.authority, 2, &[&params]));
    let reloaded = house.tls.reload();
    assert!(reloaded.changed && reloaded.problems.0.is_empty(), "{reloaded:?}");
    assert_eq!(reloaded.closed, 1);
    closes(&mut cut).await;
    assert_eq!(house.refused(Some(&leaving)).await, Refusal::Revoked);
    assert!(house.knock(Some(&staying)).await.is_ok());
}

#[tokio::test]
async fn a_root_that_goes_takes_its_connections_along() {
    let house = House::new().await;
    let mut stream = house.knock(Some(&house.caller("attendance").1)).await.unwrap();
    house.write("ca.pem", Authority::create("root").unwrap().0.certificate());
    assert_eq!(house.tls.reload().closed, 1);
    closes(&mut stream).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let house = House::new().await;
    let (mut params, _) = house.caller("attendance");
    params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(2);
    let mut stream = house.knock(Some(&house.authority.issue(&params).unwrap())).await.unwrap();
    closes(&mut stream).await;
    assert!(OffsetDateTime::now_utc() >= params.not_after - time::Duration::seconds(1));
}

#[tokio::test]
async fn what_does_not_load_is_reported_and_the_last_good_stays() {
    let (authority, _) = Authority::create("root").unwrap();
    let mut house = House::with_crl(Some(crl(&authority, 1, &[])), authority).await;
    let (params, issued) = house.caller("attendance");
    let (_, other) = house.caller("operator");
    let _live = house.knock(Some(&issued)).await.unwrap();

    house.write("server.key", "not a key");
    let reloaded = house.tls.reload();
    assert!(!reloaded.changed && reloaded.closed == 0);
    assert_eq!(reloaded.problems.0.len(), 1, "{}", reloaded.problems);
    assert!(house.knock(Some(&issued)).await.is_ok());

    // A broken key does not hold up a revocation.
    house.write("crl.pem", &crl(&house.authority, 2, &[&params]));
    let reloaded = house.tls.reload();
    assert!(reloaded.changed && reloaded.problems.0.len() == 1, "{reloaded:?}");
    assert_eq!(house.refused(Some(&issued)).await, Refusal::Revoked);

    // A CRL that is cut short does not lift the revocation.
    house.write("crl.pem", "-----BEGIN X509 CRL-----\nMII");
    assert_eq!(house.tls.reload().problems.0.len(), 2);
    assert_eq!(house.refused(Some(&issued)).await, Refusal::Revoked);
    assert!(house.knock(Some(&other)).await.is_ok());
}

#[tokio::test]
async fn a_new_server_certificate_is_served_without_a_restart() {
    let house = House::new().await;
    let (_, issued) = house.caller("attendance");
    let served = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let first = house.knock(Some(&issued)).await.unwrap();
    write_credential(&house.dir, &house.authority);
    assert!(house.tls.reload().changed);
    let second = house.knock(Some(&issued)).await.unwrap();
    assert_ne!(served(&first), served(&second));
    assert_eq!(house.tls.connections(), 2, "the reload closes nobody whose certificate holds");
}

#[test]
fn an_expired_crl_and_a_root_without_one_are_refused_at_load() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, _) = Authority::create("root").unwrap();
    let (second, _) = Authority::create("second root").unwrap();
    write_credential(&dir, &authority);
    let now = OffsetDateTime::now_utc();
    fs::write(dir.path().join("ca.pem"), authority.certificate()).unwrap();
    let expired = authority.revocation_list(1, &[], now - HOUR, now - HOUR / 2).unwrap();
    fs::write(dir.path().join("crl.pem"), expired).unwrap();
    let problems = Tls::load(&files(&dir, true)).unwrap_err();
    assert!(matches!(problems.0[..], [TlsProblem::OutOfTime { when: "expired", .. }]), "{problems}");

    let both = format!("{}{}", authority.certificate(), second.certificate());
    fs::write(dir.path().join("ca.pem"), both).unwrap();
    fs::write(dir.path().join("crl.pem"), crl(&authority, 1, &[])).unwrap();
    let problems = Tls::load(&files(&dir, true)).unwrap_err();
    assert!(
        matches!(&problems.0[..], [TlsProblem::NoCrl { root, .. }] if root.contains("second")),
        "{problems}"
    );
}

#[test]
fn all_that_is_wrong_with_the_files_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let problems = Tls::load(&files(&dir, true)).unwrap_err();
    assert_eq!(problems.0.len(), 2, "{problems}");
}

#[test]
fn a_key_that_everybody_can_read_or_that_belongs_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, _) = Authority::create("root").unwrap();
    fs::write(dir.path().join("ca.pem"), authority.certificate()).unwrap();
    write_credential(&dir, &authority);
    let key = dir.path().join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Tls::load(&files(&dir, false)).unwrap_err().0[..], [TlsProblem::Exposed { .. }]));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, authority.issue(&authority::server(HOUR).unwrap()).unwrap().key).unwrap();
    assert!(matches!(Tls::load(&files(&dir, false)).unwrap_err().0[..], [TlsProblem::Mismatch { .. }]));
}

#[tokio::test]
async fn stalled_handshakes_give_way_and_an_honest_caller_gets_in() {
    let accepting = Accepting { handshakes: 4, ..Accepting::default() };
    let mut house = House::build(None, Authority::create("root").unwrap().0, accepting).await;
    let mut stalled = Vec::new();
    for _ in 0..12 {
        stalled.push(TcpStream::connect(house.address).await.unwrap());
    }
    assert!(house.knock(Some(&house.caller("attendance").1)).await.is_ok());
    assert_eq!(house.refusals.recv().await.unwrap(), Refusal::CrowdedOut);
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended() {
    let accepting = Accepting { handshake_timeout: Duration::from_millis(50), ..Accepting::default() };
    let mut house = House::build(None, Authority::create("root").unwrap().0, accepting).await;
    let mut stalled = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(house.refusals.recv().await.unwrap(), Refusal::TimedOut);
    assert_eq!(stalled.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn one_identity_takes_its_share_of_the_connections_and_others_get_in() {
    let accepting = Accepting { connections_per_identity: 2, ..Accepting::default() };
    let mut house = House::build(None, Authority::create("root").unwrap().0, accepting).await;
    let (hog, honest) = (house.caller("hog").1, house.caller("honest").1);
    let held = [house.knock(Some(&hog)).await.unwrap(), house.knock(Some(&hog)).await.unwrap()];
    assert!(house.knock(Some(&hog)).await.is_err());
    assert_eq!(house.refusals.recv().await.unwrap(), Refusal::IdentityFull);
    assert!(house.knock(Some(&honest)).await.is_ok());
    drop(held);
    while house.knock(Some(&hog)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_not_tls_is_refused() {
    let mut house = House::new().await;
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(house.refusals.recv().await.unwrap(), Refusal::Protocol);
}

#[tokio::test]
async fn stopping_closes_the_socket_and_leaves_live_connections() {
    let stop = tokio_util::sync::CancellationToken::new();
    let accepting = Accepting { stop: stop.clone(), ..Accepting::default() };
    let house = House::build(None, Authority::create("root").unwrap().0, accepting).await;
    let mut live = house.knock(Some(&house.caller("attendance").1)).await.unwrap();
    stop.cancel();
    while TcpStream::connect(house.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    live.write_all(b"still").await.unwrap();
    assert_eq!(house.tls.connections(), 1);
}
