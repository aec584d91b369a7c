//! Ciphertexts that were changed, moved, or belong to somebody else.

use kms_proto::{reason::Reason, v1};
use kms_tests::api::{KEY, TENANT, answer, context, field, started};

/// A cut or flipped ciphertext is never opened; which of these it is depends on what was hit.
const CLOSED: [Reason; 3] =
    [Reason::CiphertextRejected, Reason::CiphertextMalformed, Reason::KeyNotAccessible];

#[tokio::test]
async fn a_ciphertext_cut_at_any_length_or_with_any_bit_flipped_does_not_open() {
    let (_place, server, _, attendance) = started().await;
    for bound in [context(&[("row", "1")]), field("checkins", "phone", "1")] {
        let sealed = attendance.encrypt(TENANT, KEY, b"138 0013 8000", bound.clone()).await.unwrap();
        let cut = (1..sealed.len()).map(|length| sealed[..length].to_vec());
        let extended = [0, 0xff].map(|byte| [&*sealed, &[byte]].concat());
        let flipped = (0..sealed.len() * 8).map(|bit| {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        });
        let changed: Vec<_> = cut.chain(extended).chain(flipped).collect();
        let opened = attendance.decrypt_each(TENANT, KEY, changed.clone(), &bound).await;
        assert_eq!(opened.len(), changed.len());
        for (changed, opened) in changed.iter().zip(opened) {
            assert!(opened.is_err_and(|reason| CLOSED.contains(&reason)), "{}", hex::encode(changed));
        }
        assert_eq!(attendance.decrypt(TENANT, KEY, &[], bound.clone()).await, Err(Reason::FieldRequired));
        assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, bound).await.unwrap(), b"138 0013 8000");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn a_value_moved_to_another_row_column_or_table_does_not_open() {
    let (_place, _server, _, attendance) = started().await;
    let sealed = attendance.encrypt(TENANT, KEY, b"x", field("checkins", "phone", "1")).await.unwrap();
    for elsewhere in [
        field("checkins", "phone", "2"),
        field("checkins", "phone", "1 "),
        field("checkins", "phones", "1"),
        field("checkinsp", "hone", "1"),
        field("checkouts", "phone", "1"),
        field("Checkins", "phone", "1"),
        context(&[("table", "checkins"), ("column", "phone"), ("record", "1")]),
    ] {
        let moved = attendance.decrypt(TENANT, KEY, &sealed, elsewhere).await;
        assert_eq!(moved, Err(Reason::CiphertextRejected));
    }
}

#[tokio::test]
async fn a_request_that_names_one_key_and_carries_anothers_ciphertext_learns_nothing() {
    let (place, server, operator, attendance) = started().await;
    std::fs::write(
        place.path("policies/all.cedar"),
        r#"@id("all-of-two-tenants") @says("the attendance service uses every key") @tenants("any")
           permit (principal == Service::"spiffe://dev.local/attendance",
                   action in [Action::"seals", Action::"opens"], resource);"#,
    )
    .unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    operator.create_tenant("umbrella").await.unwrap();
    let bound = context(&[]);
    let mut sealed = Vec::new();
    let places = [(TENANT, KEY), (TENANT, "payroll"), ("umbrella", KEY), ("umbrella", "payroll")];
    for (tenant, key) in places {
        if (tenant, key) != (TENANT, KEY) {
            operator.create_key(tenant, key).await.unwrap();
        }
        sealed.push(attendance.encrypt(tenant, key, b"x", bound.clone()).await.unwrap());
    }
    for (named, (tenant, key)) in places.iter().enumerate() {
        for (carried, ciphertext) in sealed.iter().enumerate() {
            let opened = attendance.decrypt(tenant, key, ciphertext, bound.clone()).await;
            let expected = if named == carried { Ok(b"x".to_vec()) } else { Err(Reason::KeyNotAccessible) };
            assert_eq!(opened, expected, "{tenant}/{key} named, {:?} carried", places[carried]);
        }
    }
    // Destroyed and suspended keys of others look the same.
    operator.suspend("umbrella", KEY).await.unwrap();
    operator.destroy(TENANT, "payroll", None).await.unwrap();
    for other in &sealed[1..3] {
        let opened = attendance.decrypt(TENANT, KEY, other, bound.clone()).await;
        assert_eq!(opened, Err(Reason::KeyNotAccessible));
        let message = v1::ReEncryptRequest {
            tenant: TENANT.into(),
            key: KEY.into(),
            ciphertext: other.clone(),
            source_binding: Some(bound.clone()),
            ..v1::ReEncryptRequest::default()
        };
        let resealed = answer(attendance.crypto().re_encrypt(message).await);
        assert_eq!(resealed.map(drop), Err(Reason::KeyNotAccessible));
    }
}

#[tokio::test]
async fn an_unknown_version_is_as_good_as_no_key_and_a_destroyed_one_is_called_so() {
    let (_place, _server, operator, attendance) = started().await;
    let bound = context(&[]);
    let sealed = attendance.encrypt(TENANT, KEY, b"x", bound.clone()).await.unwrap();
    let header = kms_core::field::Header::parse(&sealed).unwrap();
    let at = sealed.windows(8).position(|window| window == header.version.get().to_be_bytes()).unwrap();
    for unknown in [header.version.get() + 40, u64::MAX, 0, 1 << 32] {
        let mut renamed = sealed.clone();
        renamed[at..at + 8].copy_from_slice(&unknown.to_be_bytes());
        let opened = attendance.decrypt(TENANT, KEY, &renamed, bound.clone()).await;
        assert_eq!(opened, Err(Reason::KeyNotAccessible), "{unknown:x}");
    }
    operator.rotate(TENANT, KEY).await.unwrap();
    operator.destroy(TENANT, KEY, Some(1)).await.unwrap();
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, bound).await, Err(Reason::KeyDestroyed));
    assert_eq!(operator.destroy(TENANT, KEY, Some(7)).await.map(drop), Err(Reason::VersionNotFound));
}
