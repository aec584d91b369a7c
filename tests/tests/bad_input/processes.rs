//! Two servers, and policies that do not validate.

use kms_proto::reason::Reason;
use kms_tests::{
    Server,
    api::{KEY, TENANT, context, started},
};

#[tokio::test]
async fn a_second_server_on_one_data_directory_is_refused_and_the_first_serves_on() {
    let (place, server, operator, attendance) = started().await;
    let dir = place.dir();
    let second = Server::start(&["dev", "--data", dir.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let failed = second.unwrap_err();
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("is open in another server"), "{}", failed.stderr);
    operator.rotate(TENANT, KEY).await.unwrap();
    assert!(attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.is_ok());
    server.kill();
    // A killed one leaves no lock behind.
    let _server = place.start();
}

#[tokio::test]
async fn a_policy_that_does_not_validate_at_reload_leaves_the_old_ones_deciding() {
    let (place, server, operator, attendance) = started().await;
    let file = "policies/new.cedar";
    let permit = r#"permit (principal == Service::"spiffe://dev.local/operator", action == Action::"Encrypt", resource"#;
    for (bad, text) in [
        ("not Cedar", "permit nothing to nobody".to_owned()),
        (
            "an unknown operation",
            "@id(\"a\") permit (principal, action == Action::\"Fly\", resource);".into(),
        ),
        (
            "an unknown attribute",
            format!("@id(\"a\") @tenants(\"any\") {permit}) when {{ resource.colour == \"red\" }};"),
        ),
        ("no wall", format!("@id(\"a\") {permit});")),
    ] {
        let reports = server.log().matches("new.cedar").count();
        place.replace(file, &text);
        server.hang_up();
        server.wait_for_log("new.cedar", reports + 1);
        assert!(attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.is_ok(), "{bad}");
        let refused = operator.encrypt(TENANT, KEY, b"x", context(&[])).await;
        assert_eq!(refused, Err(Reason::KeyNotAccessible), "{bad}");
    }
    // And one that does is put in force: here, one that takes a right away.
    place.replace(
        file,
        r#"@id("attendance-rests") @says("the attendance service rests")
           forbid (principal == Service::"spiffe://dev.local/attendance", action, resource);"#,
    );
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    let refused = attendance.encrypt(TENANT, KEY, b"x", context(&[])).await;
    assert_eq!(refused, Err(Reason::KeyNotAccessible));
}
