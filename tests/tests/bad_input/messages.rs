//! Messages that are too large or say what they may not.

use kms_proto::{reason::Reason, v1};
use kms_tests::api::{Api, KEY, TENANT, answer, context, field, fresh, started};
use tonic::{
    Code, Request,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

#[tokio::test]
async fn names_outside_their_rules_are_refused_where_they_are_made_and_nowhere_found() {
    let (_place, _server, operator, attendance) = started().await;
    let long = "a".repeat(64);
    for bad in ["", "Acme", "-acme", "ac me", "acme/", "ac\u{301}me", "acme\n", "../acme", "acme\0", &*long] {
        let made = operator.create_tenant(bad).await.map(drop);
        assert_eq!(made, Err(Reason::NameInvalid), "tenant {bad:?}");
        let made = operator.create_key(TENANT, bad).await.map(drop);
        assert_eq!(made, Err(Reason::NameInvalid), "key {bad:?}");
        let used = attendance.encrypt(bad, KEY, b"x", context(&[])).await;
        assert!(matches!(used, Err(Reason::KeyNotAccessible | Reason::NameInvalid)), "{bad:?}: {used:?}");
        let used = attendance.encrypt(TENANT, bad, b"x", context(&[])).await;
        assert!(matches!(used, Err(Reason::KeyNotAccessible | Reason::NameInvalid)), "{bad:?}: {used:?}");
    }
    for good in ["a", "0", "a.b_c-d", &long[..63]] {
        operator.create_tenant(good).await.unwrap();
        operator.create_key(TENANT, good).await.unwrap();
    }
}

#[tokio::test]
async fn contexts_and_places_outside_their_rules_are_refused_and_on_the_edge_are_not() {
    let (_place, _server, _, attendance) = started().await;
    let seal = |binding| attendance.encrypt(TENANT, KEY, b"x", binding);
    let names: Vec<String> = (0..17).map(|at| format!("name-{at}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "v")).collect();
    let (edge, over) = ("v".repeat(1024), "v".repeat(1025));
    for (good, binding) in [
        ("16 pairs", context(&pairs[..16])),
        ("a value of 1 KiB", context(&[("a", &edge)])),
        ("a table of 128 bytes", field(&"t".repeat(128), "c", "1")),
        ("a record id of 1 KiB", field("t", "c", &edge)),
    ] {
        assert!(seal(binding).await.is_ok(), "{good}");
    }
    for (bad, binding) in [
        ("17 pairs", context(&pairs)),
        ("a value of more", context(&[("a", &over)])),
        ("a name twice", context(&[("a", "1"), ("a", "2")])),
        ("no name", context(&[("", "1")])),
        ("a capital", context(&[("A", "1")])),
        ("a long name", context(&[(&"a".repeat(64), "1")])),
    ] {
        assert_eq!(seal(binding).await, Err(Reason::ContextInvalid), "{bad}");
    }
    for (bad, binding) in [
        ("no table", field("", "c", "1")),
        ("a long table", field(&"t".repeat(129), "c", "1")),
        ("no column", field("t", "", "1")),
        ("a long column", field("t", &"c".repeat(129), "1")),
        ("a long record id", field("t", "c", &over)),
    ] {
        assert_eq!(seal(binding).await, Err(Reason::NameInvalid), "{bad}");
    }
    assert_eq!(seal(v1::Binding { binding: None }).await, Err(Reason::BindingInvalid));
}

#[tokio::test]
async fn a_payload_over_64_kib_is_refused_and_a_message_over_5_mib_does_not_get_in() {
    let (_place, _server, _, attendance) = started().await;
    let sealed = attendance.encrypt(TENANT, KEY, &vec![0; 64 * 1024], context(&[])).await;
    assert!(sealed.is_ok());
    let over = attendance.encrypt(TENANT, KEY, &vec![0; 64 * 1024 + 1], context(&[])).await;
    assert_eq!(over, Err(Reason::PayloadTooLarge));
    let message = v1::EncryptRequest {
        tenant: TENANT.into(),
        key: KEY.into(),
        plaintext: vec![0; 6 << 20],
        binding: Some(context(&[])),
        purpose: String::new(),
    };
    let refused = attendance.crypto().encrypt(message).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert!(attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.is_ok(), "the connection lives");
}

#[tokio::test]
async fn fields_that_are_missing_unspecified_or_out_of_range_are_named() {
    let (_place, _server, operator, _) = started().await;
    let key = |change: fn(&mut v1::CreateKeyRequest)| {
        let mut message = v1::CreateKeyRequest {
            request_id: fresh(),
            tenant: TENANT.into(),
            key: "payroll".into(),
            ..v1::CreateKeyRequest::default()
        };
        change(&mut message);
        message
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let mut bad = vec![
        key(|message| message.key_class = 9),
        key(|message| message.purposes = vec![String::new()]),
        key(|message| message.purposes = vec!["p".into(); 17]),
        key(|message| message.purposes = vec!["p".repeat(10_000)]),
    ];
    for lease in [0, -1, 86_401, i64::MAX] {
        bad.push(v1::CreateKeyRequest { lease: seconds(lease), ..key(|_| {}) });
    }
    for message in bad {
        let refused = answer(operator.keys().create_key(message.clone()).await).map(drop);
        assert_eq!(refused, Err(Reason::FieldInvalid), "{message:?}");
    }
    let destroy = |change: fn(&mut v1::DestroyKeyRequest)| {
        let mut message = kms_tests::api::destroy(TENANT, KEY, None);
        change(&mut message);
        message
    };
    for (message, reason) in [
        (destroy(|message| message.reason = 0), Reason::FieldRequired),
        (destroy(|message| message.reason = 99), Reason::FieldInvalid),
        (destroy(|message| message.target = None), Reason::FieldRequired),
        (
            destroy(|message| message.target = Some(v1::destroy_key_request::Target::All(false))),
            Reason::FieldRequired,
        ),
        (
            destroy(|message| message.target = Some(v1::destroy_key_request::Target::Version(0))),
            Reason::FieldRequired,
        ),
        (destroy(|message| message.ticket = "free text with spaces".into()), Reason::FieldInvalid),
        (destroy(|message| message.ticket = "T".repeat(65)), Reason::FieldInvalid),
    ] {
        let refused = answer(operator.keys().destroy_key(message.clone()).await).map(drop);
        assert_eq!(refused, Err(reason), "{message:?}");
    }
    let message = v1::CreateTenantRequest {
        request_id: fresh(),
        tenant: "labelled".into(),
        label: "two\nlines".into(),
    };
    assert_eq!(answer(operator.keys().create_tenant(message).await).map(drop), Err(Reason::FieldInvalid));
    assert_eq!(operator.describe_key(TENANT, KEY).await.unwrap().versions.len(), 1);
}

/// Sends bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = tonic::Status;
    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        prost::bytes::BufMut::put_slice(into, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = tonic::Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> {
        let length = prost::bytes::Buf::remaining(from);
        prost::bytes::Buf::advance(from, length);
        Ok(Some(()))
    }
}

async fn send(api: &Api, path: &'static str, bytes: Vec<u8>) -> Result<(), tonic::Status> {
    let mut client = tonic::client::Grpc::new(api.channel());
    client.ready().await.unwrap();
    client.unary(Request::new(bytes), path.parse().unwrap(), Raw).await.map(drop)
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_and_the_server_goes_on() {
    let (_place, server, _, attendance) = started().await;
    for bytes in [
        vec![0xff; 64],
        // A field that says it is longer than the message.
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x07],
        // A name that is not UTF-8.
        vec![0x0a, 2, 0xc3, 0x28],
        // A group that never ends.
        vec![0x0b; 10_000],
        // A string where a message belongs.
        vec![0x22, 3, 0xff, 0xff, 0xff],
    ] {
        let refused = send(&attendance, "/kms.v1.Crypto/Encrypt", bytes.clone()).await.unwrap_err();
        assert!(
            matches!(refused.code(), Code::Internal | Code::InvalidArgument),
            "{bytes:02x?}: {refused:?}"
        );
    }
    let refused = send(&attendance, "/kms.v1.Crypto/Fly", Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(attendance.encrypt(TENANT, KEY, b"x", context(&[])).await.is_ok());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
