//! Sealing and opening on the server, one value or many.

use kms_proto::{reason::Reason, v1};
use kms_tests::api::{Answer, Api, KEY, TENANT, answer, context, field, started};

#[tokio::test]
async fn a_value_opens_with_its_own_binding_and_no_other() {
    let (_place, _server, _, attendance) = started().await;
    let direct = context(&[("employee", "17"), ("office", "north")]);
    let place = field("checkins", "phone", "row-1");
    for bound in [&direct, &place] {
        for plaintext in [&b""[..], b"138 0013 8000", &[7; 64 * 1024]] {
            let sealed = attendance.encrypt(TENANT, KEY, plaintext, bound.clone()).await.unwrap();
            assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, bound.clone()).await.unwrap(), plaintext);
        }
    }
    let sealed = attendance.encrypt(TENANT, KEY, b"x", direct.clone()).await.unwrap();
    let reordered = context(&[("office", "north"), ("employee", "17")]);
    assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, reordered).await.unwrap(), b"x");
    for other in [
        context(&[]),
        context(&[("employee", "17")]),
        context(&[("employee", "18"), ("office", "north")]),
        context(&[("employee", "17"), ("offices", "north")]),
        context(&[("employee", "17"), ("office", "north"), ("more", "")]),
        place,
    ] {
        assert_eq!(attendance.decrypt(TENANT, KEY, &sealed, other).await, Err(Reason::CiphertextRejected));
    }
}

#[tokio::test]
async fn two_seals_of_one_value_differ() {
    let (_place, _server, _, attendance) = started().await;
    let seal = || attendance.encrypt(TENANT, KEY, b"the same", context(&[]));
    assert_ne!(seal().await.unwrap(), seal().await.unwrap());
}

async fn reseal(
    api: &Api,
    ciphertext: &[u8],
    (source, destination): (v1::Binding, Option<v1::Binding>),
    key: &str,
) -> Answer<v1::ReEncryptResponse> {
    let message = v1::ReEncryptRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        ciphertext: ciphertext.into(),
        source_binding: Some(source),
        destination_key: key.into(),
        destination_binding: destination,
        purpose: String::new(),
    };
    answer(api.crypto().re_encrypt(message).await)
}

#[tokio::test]
async fn reencrypt_moves_a_value_to_the_active_version_and_to_another_binding() {
    let (_place, _server, operator, attendance) = started().await;
    let (old, new) = (context(&[("row", "1")]), field("checkins", "phone", "1"));
    let sealed = attendance.encrypt(TENANT, KEY, b"value", old.clone()).await.unwrap();
    operator.rotate(TENANT, KEY).await.unwrap();

    let kept = reseal(&attendance, &sealed, (old.clone(), None), "").await.unwrap();
    assert_eq!((kept.source_version, kept.version), (1, 2));
    assert_eq!(attendance.decrypt(TENANT, KEY, &kept.ciphertext, old.clone()).await.unwrap(), b"value");

    let moved = reseal(&attendance, &sealed, (old.clone(), Some(new.clone())), "").await.unwrap();
    assert_eq!(attendance.decrypt(TENANT, KEY, &moved.ciphertext, new.clone()).await.unwrap(), b"value");
    let back = attendance.decrypt(TENANT, KEY, &moved.ciphertext, old).await;
    assert_eq!(back, Err(Reason::CiphertextRejected));
    let unmoved = reseal(&attendance, &sealed, (new, None), "").await;
    assert_eq!(unmoved, Err(Reason::CiphertextRejected));
}

#[tokio::test]
async fn reencrypt_needs_leave_for_its_destination_too() {
    let (place, server, operator, attendance) = started().await;
    operator.create_key(TENANT, "payroll").await.unwrap();
    let bound = context(&[]);
    let sealed = attendance.encrypt(TENANT, KEY, b"value", bound.clone()).await.unwrap();
    for key in ["payroll", "nowhere"] {
        let refused = reseal(&attendance, &sealed, (bound.clone(), None), key).await;
        assert_eq!(refused, Err(Reason::KeyNotAccessible), "{key}");
    }
    std::fs::write(
        place.path("policies/payroll.cedar"),
        r#"@id("payroll-too") @says("the attendance service seals with payroll of acme")
           permit (principal == Service::"spiffe://dev.local/attendance", action in [Action::"seals", Action::"opens"],
                   resource == Key::"acme/payroll");"#,
    )
    .unwrap();
    server.hang_up();
    server.wait_for_log("policies reloaded", 1);
    let moved = reseal(&attendance, &sealed, (bound.clone(), None), "payroll").await.unwrap();
    assert_eq!(
        attendance.decrypt(TENANT, "payroll", &moved.ciphertext, bound.clone()).await.unwrap(),
        b"value"
    );
    let by_the_old_name = attendance.decrypt(TENANT, KEY, &moved.ciphertext, bound).await;
    assert_eq!(by_the_old_name, Err(Reason::KeyNotAccessible));
}

#[tokio::test]
async fn each_item_of_a_batch_has_its_own_result_in_order() {
    use v1::encrypt_batch_response::item::Outcome as Sealed;
    let (_place, _server, operator, attendance) = started().await;
    operator.create_tenant("umbrella").await.unwrap();
    operator.create_key("umbrella", KEY).await.unwrap();
    let bound = context(&[("row", "1")]);
    let item = |plaintext: Vec<u8>, binding| v1::encrypt_batch_request::Item { plaintext, binding };
    let items = vec![
        item(b"first".to_vec(), Some(bound.clone())),
        item(b"unbound".to_vec(), None),
        item(vec![0; 64 * 1024 + 1], Some(bound.clone())),
        item(b"bad name".to_vec(), Some(context(&[("Row", "1")]))),
        item(b"last".to_vec(), Some(bound.clone())),
    ];
    let message =
        v1::EncryptBatchRequest { tenant: TENANT.into(), key: KEY.into(), items, purpose: String::new() };
    let answered = answer(attendance.crypto().encrypt_batch(message).await).unwrap();
    let results: Vec<_> = answered.items.into_iter().map(|item| item.outcome.unwrap()).collect();
    let sealed = |at: usize| match &results[at] {
        Sealed::Ciphertext(ciphertext) => ciphertext.clone(),
        Sealed::Error(error) => panic!("{error:?}"),
    };
    for (at, reason) in
        [(1, Reason::BindingInvalid), (2, Reason::PayloadTooLarge), (3, Reason::ContextInvalid)]
    {
        let Sealed::Error(error) = &results[at] else { panic!("item {at} was sealed") };
        assert_eq!((&*error.reason, error.code), (reason.as_str(), reason.code() as i32));
        assert!(!error.message.is_empty());
    }

    let elsewhere = attendance.encrypt("umbrella", KEY, b"else", bound.clone()).await.unwrap();
    let mut flipped = sealed(0);
    *flipped.last_mut().unwrap() ^= 1;
    let items = [sealed(0), flipped, b"nonsense".to_vec(), elsewhere, sealed(4)];
    let opened = attendance.decrypt_each(TENANT, KEY, items, &bound).await;
    assert_eq!(
        opened,
        [
            Ok(b"first".to_vec()),
            Err(Reason::CiphertextRejected),
            Err(Reason::CiphertextMalformed),
            Err(Reason::KeyNotAccessible),
            Ok(b"last".to_vec()),
        ]
    );
}

#[tokio::test]
async fn a_batch_is_reencrypted_item_by_item() {
    use v1::re_encrypt_batch_response::item::Outcome;
    let (_place, _server, _, attendance) = started().await;
    let (old, new) = (context(&[("row", "1")]), context(&[("row", "2")]));
    let sealed = attendance.encrypt(TENANT, KEY, b"value", old.clone()).await.unwrap();
    let item = |source, destination_binding| v1::re_encrypt_batch_request::Item {
        ciphertext: sealed.clone(),
        source_binding: Some(source),
        destination_binding,
    };
    let message = v1::ReEncryptBatchRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        destination_key: String::new(),
        items: vec![item(old.clone(), Some(new.clone())), item(new.clone(), None), item(old.clone(), None)],
        purpose: String::new(),
    };
    let answered = answer(attendance.crypto().re_encrypt_batch(message).await).unwrap();
    let results: Vec<_> = answered.items.into_iter().map(|item| item.outcome.unwrap()).collect();
    let [Outcome::Ciphertext(moved), Outcome::Error(error), Outcome::Ciphertext(kept)] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!(error.reason, "CIPHERTEXT_REJECTED");
    assert_eq!(attendance.decrypt(TENANT, KEY, moved, new).await.unwrap(), b"value");
    assert_eq!(attendance.decrypt(TENANT, KEY, kept, old).await.unwrap(), b"value");
}

#[tokio::test]
async fn a_full_batch_is_taken_and_one_more_item_or_byte_is_not() {
    let (_place, _server, _, attendance) = started().await;
    let batch = async |items: usize, bytes: usize| {
        let item = v1::encrypt_batch_request::Item { plaintext: vec![1; bytes], binding: Some(context(&[])) };
        let items = vec![item; items];
        let message =
            v1::EncryptBatchRequest { tenant: TENANT.into(), key: KEY.into(), items, purpose: String::new() };
        answer(attendance.crypto().encrypt_batch(message).await).map(|answered| answered.items.len())
    };
    assert_eq!(batch(1_000, 1).await, Ok(1_000));
    assert_eq!(batch(1_001, 1).await, Err(Reason::BatchTooLarge));
    assert_eq!(batch(64, 64 * 1024).await, Ok(64));
    assert_eq!(batch(66, 64 * 1024).await, Err(Reason::PayloadTooLarge));
}

#[tokio::test]
async fn an_envelope_key_opens_with_its_context_and_is_left_out_when_not_asked_for() {
    let (_place, _server, _, attendance) = started().await;
    let bound = context(&[("file", "42")]);
    let Some(v1::binding::Binding::Direct(pairs)) = bound.binding.clone() else { unreachable!() };
    let make = async |without_plaintext| {
        let context = Some(pairs.clone());
        let message = v1::GenerateDataKeyRequest {
            tenant: TENANT.into(),
            key: KEY.into(),
            context,
            without_plaintext,
            purpose: String::new(),
        };
        answer(attendance.crypto().generate_data_key(message).await).unwrap()
    };
    let (shown, hidden) = (make(false).await, make(true).await);
    assert_eq!((shown.plaintext.len(), hidden.plaintext.len()), (32, 0));
    assert_eq!(
        attendance.decrypt(TENANT, KEY, &shown.ciphertext, bound.clone()).await.unwrap(),
        shown.plaintext
    );
    let opened = attendance.decrypt(TENANT, KEY, &hidden.ciphertext, bound).await.unwrap();
    assert_eq!(opened.len(), 32);
    assert_ne!(opened, shown.plaintext);
    let other = attendance.decrypt(TENANT, KEY, &shown.ciphertext, context(&[])).await;
    assert_eq!(other, Err(Reason::CiphertextRejected));
}

#[tokio::test]
async fn random_bytes_come_from_one_to_64_kib() {
    let (_place, _server, _, attendance) = started().await;
    let draw = async |length| {
        let message = v1::GenerateRandomRequest { length };
        answer(attendance.crypto().generate_random(message).await).map(|drawn| drawn.random)
    };
    for length in [1, 32, 64 * 1024] {
        assert_eq!(draw(length).await.unwrap().len(), length as usize);
    }
    assert_ne!(draw(32).await, draw(32).await);
    for length in [0, 64 * 1024 + 1, u32::MAX] {
        assert_eq!(draw(length).await, Err(Reason::FieldInvalid), "{length}");
    }
}

#[tokio::test]
async fn a_batch_without_items_is_refused_and_one_whose_items_do_not_parse_asks_leave() {
    let (place, _server, _, attendance) = started().await;
    let stranger = Api::of(&place, "hr-portal").await;
    let batch = async |api: &Api, items: Vec<v1::encrypt_batch_request::Item>| {
        let message =
            v1::EncryptBatchRequest { tenant: TENANT.into(), key: KEY.into(), items, purpose: String::new() };
        answer(api.crypto().encrypt_batch(message).await).map(|answered| answered.items.len())
    };
    let unbound = || vec![v1::encrypt_batch_request::Item { plaintext: vec![1], binding: None }];
    for api in [&attendance, &stranger] {
        assert_eq!(batch(api, Vec::new()).await, Err(Reason::FieldRequired));
    }
    assert_eq!(batch(&attendance, unbound()).await, Ok(1));
    assert_eq!(batch(&stranger, unbound()).await, Err(Reason::KeyNotAccessible));
}
