//! Who gets in and who does not, how long, and what a reload changes: against a server process.

use std::time::Duration;

use kms_tests::{Flaw, Place, knock, knock::config};
use rcgen::CertificateParams;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn refused(word: &str) -> String {
    format!("kms_handshakes_refused_total{{why=\"{word}\"}}")
}

#[tokio::test]
async fn a_caller_with_a_good_certificate_gets_in_over_a_post_quantum_group() {
    let place = Place::new();
    let server = place.start();
    let caller = place.caller("attendance");
    let mut session = knock(server.address(), &config(&place.authority, Some(&caller.issued))).await.unwrap();
    assert!(session.lives().await);
    let tls = session.tls();
    assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(tls.negotiated_key_exchange_group().unwrap().name(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn no_certificate_or_one_with_any_flaw_is_refused_and_counted() {
    let place = Place::new();
    let server = place.start();
    assert!(knock(server.address(), &config(&place.authority, None)).await.is_err());
    server.wait_for_metric(&refused("no-certificate"), 1.0);
    for (flaw, word) in Flaw::ALL {
        let before = server.metric(&refused(word));
        let caller = place.flawed("attendance", flaw);
        let knocked = knock(server.address(), &config(&place.authority, Some(&caller.issued))).await;
        assert!(knocked.is_err(), "{flaw:?} was let in");
        server.wait_for_metric(&refused(word), before + 1.0);
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_another_of_the_same_name_is_not() {
    let place = Place::with_crl();
    let (revoked, renewed) = (place.caller("attendance"), place.caller("attendance"));
    place.revoke(2, &[&revoked.params]);
    let server = place.start();
    assert!(knock(server.address(), &config(&place.authority, Some(&revoked.issued))).await.is_err());
    server.wait_for_metric(&refused("revoked"), 1.0);
    assert!(knock(server.address(), &config(&place.authority, Some(&renewed.issued))).await.is_ok());
}

/// RFC 8446 4.2.1: who does not send `supported_versions` asks for TLS 1.2 or older.
#[tokio::test]
async fn tls_1_2_is_refused() {
    let place = Place::new();
    let server = place.start();
    let mut hello = vec![0x03, 0x03];
    hello.extend([7; 32]);
    // No session id, one suite (ECDHE-ECDSA-AES256-GCM-SHA384), null compression.
    hello.extend([0, 0, 2, 0xc0, 0x2c, 1, 0]);
    // supported_groups: x25519; signature_algorithms: ecdsa_secp256r1_sha256.
    hello.extend([0, 16, 0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 4, 0, 2, 4, 3]);
    let body = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, body + 4, 1, 0, 0, body];
    record.extend(hello);
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    // An alert record, fatal, protocol_version.
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
    server.wait_for_metric(&refused("protocol"), 1.0);
}

#[tokio::test]
async fn another_protocol_than_http_2_is_refused() {
    let place = Place::new();
    let server = place.start();
    let caller = place.caller("attendance");
    let mut config = config(&place.authority, Some(&caller.issued));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(knock(server.address(), &config).await.is_err());
}

#[tokio::test]
async fn no_ticket_is_given_and_no_session_resumed() {
    let place = Place::new();
    let server = place.start();
    let caller = place.caller("attendance");
    // One configuration, so that rustls would resume where it could.
    let config = config(&place.authority, Some(&caller.issued));
    for _ in 0..2 {
        let mut session = knock(server.address(), &config).await.unwrap();
        assert!(session.lives().await);
        assert_eq!(session.tls().tls13_tickets_received(), 0);
        assert_eq!(session.tls().handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_new_crl_closes_live_connections_of_the_revoked_and_nobody_elses() {
    let place = Place::with_crl();
    let server = place.start();
    let (leaving, staying) = (place.caller("attendance"), place.caller("operator"));
    let cut = knock(server.address(), &config(&place.authority, Some(&leaving.issued))).await.unwrap();
    let mut kept = knock(server.address(), &config(&place.authority, Some(&staying.issued))).await.unwrap();
    // No signal: the file is watched.
    place.revoke(2, &[&leaving.params]);
    cut.closes().await;
    assert!(kept.lives().await);
    assert!(knock(server.address(), &config(&place.authority, Some(&leaving.issued))).await.is_err());
}

#[tokio::test]
async fn a_broken_crl_is_reported_and_the_last_good_one_stays() {
    let place = Place::with_crl();
    let (revoked, good) = (place.caller("attendance"), place.caller("operator"));
    place.revoke(2, &[&revoked.params]);
    let server = place.start();
    let mut live = knock(server.address(), &config(&place.authority, Some(&good.issued))).await.unwrap();
    place.replace("tls/crl.pem", "-----BEGIN X509 CRL-----\nMIIB");
    server.hang_up();
    server.wait_for_log("crl.pem` holds no CRL", 1);
    assert!(live.lives().await);
    assert!(knock(server.address(), &config(&place.authority, Some(&good.issued))).await.is_ok());
    assert!(knock(server.address(), &config(&place.authority, Some(&revoked.issued))).await.is_err());
}

#[tokio::test]
async fn a_renewed_server_certificate_is_served_after_sighup_without_a_restart() {
    let place = Place::new();
    let server = place.start();
    let caller = place.caller("attendance");
    let config = config(&place.authority, Some(&caller.issued));
    let mut before = knock(server.address(), &config).await.unwrap();
    let renewed = kms_server::dev::authority::server(time::Duration::days(1)).unwrap();
    let renewed = place.authority.issue(&renewed).unwrap();
    // The two files cannot change in one step: between them they do not belong together, and the old pair is served.
    place.replace("tls/server.key", &renewed.key);
    place.replace("tls/server.pem", &renewed.certificate);
    server.hang_up();
    server.wait_for_log("certificates and CRLs reloaded", 1);
    let after = knock(server.address(), &config).await.unwrap();
    let served = |session: &kms_tests::Session| session.tls().peer_certificates().unwrap()[0].to_vec();
    assert_ne!(served(&before), served(&after));
    assert!(before.lives().await, "a renewal closes nobody");
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let place = Place::new();
    let server = place.start();
    let mut params: CertificateParams = kms_tests::caller::params("attendance");
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(3);
    let caller = kms_tests::Caller::with(&place.authority, params);
    let session = knock(server.address(), &config(&place.authority, Some(&caller.issued))).await.unwrap();
    session.closes().await;
}

#[tokio::test]
async fn a_lack_of_file_descriptors_passes() {
    let place = Place::new();
    let server = place.start();
    let caller = place.caller("attendance");
    let config = config(&place.authority, Some(&caller.issued));
    let open =
        std::fs::read_dir(format!("/proc/{}/fd", server.pid().as_raw_nonzero())).map_or(64, Iterator::count);
    let had = server.limit_open_files(u64::try_from(open).unwrap() + 8);
    let mut waiting = Vec::new();
    for _ in 0..64 {
        waiting.push(TcpStream::connect(server.address()).await.unwrap());
    }
    server.wait_for_log("no new connections for a moment", 1);
    drop(waiting);
    server.restore_open_files(had);
    let knocked = tokio::time::timeout(Duration::from_secs(60), knock(server.address(), &config)).await;
    assert!(knocked.unwrap().unwrap().lives().await);
}

#[tokio::test]
async fn stalled_handshakes_do_not_keep_a_caller_out() {
    let place = Place::new();
    let server = place.start_with(&["--set", "limits.handshakes=8"]);
    let mut stalled = Vec::new();
    for _ in 0..32 {
        stalled.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let caller = place.caller("attendance");
    assert!(knock(server.address(), &config(&place.authority, Some(&caller.issued))).await.is_ok());
    server.wait_for_metric(&refused("crowded-out"), 1.0);
}
