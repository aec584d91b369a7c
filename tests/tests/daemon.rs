//! The daemon's command line: starting, stopping, refusing to start, and what it says then.

#![expect(clippy::unwrap_used, reason = "where a test's setting up fails, the test has failed")]

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use kms_proto::v1;
use kms_tests::{
    Api, Place,
    api::{TENANT, destroy},
    knock,
    knock::config,
    server,
};

#[tokio::test]
async fn sigterm_drains_and_exits_with_0_though_a_peer_does_not_answer() {
    let place = Place::new();
    let server = place.start_with(&["--set", "limits.drain=1s"]);
    let caller = place.caller("attendance");
    let session = knock(server.address(), &config(&place.authority, Some(&caller.issued))).await.unwrap();
    let status = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    session.closes().await;
}

/// The lines of the audit's only segment, as they lie on disk.
fn audit_lines(place: &Place) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(place.path("audit/audit-0000000001.jsonl")).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn a_change_whose_caller_left_is_done_and_on_record_before_the_server_says_that_it_stopped() {
    let place = Place::new();
    let server = place.start_with(&["--set", "erasure_interval=1h"]);
    let (operator, _) = Api::ground(&place).await;
    for key in ["first", "second"] {
        operator.create_key(TENANT, key).await.unwrap();
    }
    operator.destroy(TENANT, "first", None).await.unwrap();
    // It waits for others to share its epoch, longer than its caller waits for it.
    let mut request = tonic::Request::new(destroy(TENANT, "second", None));
    request.set_timeout(Duration::from_millis(300));
    operator.keys().destroy_key(request).await.unwrap_err();
    assert_eq!(operator.describe_key(TENANT, "second").await.unwrap().state(), v1::LifecycleState::Active);
    let status = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));

    let mut lines = audit_lines(&place);
    lines.retain(|line| line["type"] != "head");
    let (stopped, before) = lines.split_last().unwrap();
    assert_eq!(stopped["event"], "stopped", "{stopped}");
    let line = before.iter().rfind(|line| line["operation"] == "DestroyKey").unwrap();
    assert_eq!((&line["key"], &line["outcome"]), (&"second".into(), &"allowed".into()));
    let _server = place.start();
    let operator = Api::of(&place, "operator").await;
    assert_eq!(operator.describe_key(TENANT, "second").await.unwrap().state(), v1::LifecycleState::Erased);
}

#[test]
fn what_dev_made_is_used_again_at_the_same_address_after_a_kill() {
    let place = Place::new();
    let server = place.start();
    let address = server.address();
    let made = |inside: &str| fs::read(place.path(inside)).unwrap();
    let (seal, certificate) = (made("seal"), made("profiles/operator.pem"));
    server.kill();
    let server = place.start();
    assert_eq!(server.address(), address);
    assert_eq!((made("seal"), made("profiles/operator.pem")), (seal, certificate));
}

#[test]
fn dev_keeps_secrets_private() {
    let place = Place::new();
    let _server = place.start();
    for secret in ["seal", "tls/ca.key", "tls/server.key", "profiles/operator.key"] {
        let mode = fs::metadata(place.path(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{secret} has mode {mode:o}");
    }
}

#[test]
fn dev_refuses_an_address_that_others_reach() {
    let place = Place::new();
    let failed = place.try_start(&["--listen", "0.0.0.0:0"]).unwrap_err();
    assert_eq!(failed.code, Some(2));
    assert!(failed.stderr.contains("`0.0.0.0` is not loopback"), "{}", failed.stderr);
    let failed = place.try_start(&["--set", "listen=0.0.0.0:0"]).unwrap_err();
    assert_eq!(failed.code, Some(2));
}

#[test]
fn a_port_in_use_is_named() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = place.try_start(&["--listen", &address]).unwrap_err();
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains(&format!("cannot listen at `{address}`")), "{}", failed.stderr);
}

#[test]
fn run_makes_no_instance_and_init_makes_no_second_one() {
    let place = Place::new();
    place.start().kill();
    let file = place.path("kms-server.toml");
    let file = file.to_str().unwrap();
    let (code, _, stderr) = server::run(&["init", "--config", file]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("there is an instance"), "{stderr}");

    fs::rename(place.path("store"), place.path("lost")).unwrap();
    let (code, _, stderr) = server::run(&["run", "--config", file]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("there is no instance"), "{stderr}");
    assert!(!place.path("store").exists());
}

#[test]
fn a_policy_that_does_not_validate_keeps_the_server_from_starting() {
    let place = Place::new();
    place.start().kill();
    fs::write(
        place.path("policies/broken.cedar"),
        "permit (principal, action == Action::\"Fly\", resource);",
    )
    .unwrap();
    let failed = place.try_start(&[]).unwrap_err();
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("broken.cedar"), "{}", failed.stderr);
}

#[test]
fn a_policy_that_does_not_validate_is_reported_at_reload_and_the_old_ones_stay() {
    let place = Place::new();
    let server = place.start();
    fs::write(place.path("policies/broken.cedar"), "permit (principal, action, resource) when { 1 };")
        .unwrap();
    server.hang_up();
    server.wait_for_log("broken.cedar", 1);
    assert_eq!(server.admin("/livez").0, 200);
}

#[test]
fn a_seal_of_the_wrong_length_or_that_others_can_reach_is_refused() {
    let place = Place::new();
    place.start().kill();
    let seal = place.path("seal");
    fs::set_permissions(&seal, fs::Permissions::from_mode(0o644)).unwrap();
    let failed = place.try_start(&[]).unwrap_err();
    assert!(failed.code == Some(1) && failed.stderr.contains("chmod 600"), "{failed:?}");
    fs::set_permissions(&seal, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&seal, "abcdef").unwrap();
    let failed = place.try_start(&[]).unwrap_err();
    assert!(failed.code == Some(1) && failed.stderr.contains("must hold 32 random bytes"), "{failed:?}");
}

#[test]
fn check_config_says_everything_that_is_wrong() {
    let place = Place::new();
    place.start().kill();
    let file = place.path("kms-server.toml");
    let file = file.to_str().unwrap();
    let (code, stdout, _) = server::run(&["check-config", file]);
    assert_eq!(code, Some(0), "{stdout}");

    fs::remove_file(place.path("tls/server.key")).unwrap();
    fs::write(place.path("seal"), "short").unwrap();
    let (code, stdout, _) = server::run(&["check-config", file, "--set", "effaceable.path=store/effaceable"]);
    assert_eq!(code, Some(2));
    for said in ["server.key", "must hold 32 random bytes", "warning: `effaceable.path` lies inside `data`"] {
        assert!(stdout.contains(said), "{said}: {stdout}");
    }

    place.change_config(|text| text.replace("listen = ", "lisen = ").replace("version = 1", "version = 7"));
    let (code, _, stderr) = server::run(&["check-config", file]);
    assert_eq!(code, Some(2));
    for said in ["line 2: `version`", "`lisen` is no option", "`listen` is missing"] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [&["frobnicate"][..], &[], &["run"], &["run", "--config", "x", "--set", "novalue"]] {
        assert_eq!(server::run(arguments).0, Some(2), "{arguments:?}");
    }
    assert_eq!(server::run(&["--help"]).0, Some(0));
}

#[test]
fn probes_and_metrics_answer() {
    let place = Place::new();
    let server = place.start();
    assert_eq!(server.admin("/livez").0, 200);
    assert_eq!(server.admin("/readyz").0, 200);
    assert_eq!(server.admin("/metrics").0, 200);
    assert_eq!(server.admin("/secrets").0, 404);
}

#[test]
fn the_process_leaves_no_core_and_cannot_be_read_by_its_user() {
    let place = Place::new();
    let server = place.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid().as_raw_nonzero())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
}
